/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Noreturn void fuzz_fail(const char *what, const char *file, int line)
{
    dprintf(STDERR_FILENO, "%s:%d: not so: %s\n", file, line, what);
    abort();
}

uint8_t fuzz_byte(fuzz_input *in)
{
    if (!in->left)
        return 0;
    in->left--;
    return *in->at++;
}

size_t fuzz_bytes(fuzz_input *in, size_t len, const uint8_t **at)
{
    size_t taken = len < in->left ? len : in->left;
    *at = in->at;
    in->at += taken;
    in->left -= taken;
    return taken;
}

void *fuzz_copy(const void *bytes, size_t len)
{
    void *copy = malloc(len ? len : 1);
    CHECK(copy != NULL);
    if (len)
        memcpy(copy, bytes, len);
    return copy;
}

char *fuzz_text(const void *bytes, size_t len)
{
    char *text = malloc(len + 1);
    CHECK(text != NULL);
    if (len)
        memcpy(text, bytes, len);
    text[len] = '\0';
    return text;
}

static const gate_codec *make_delimiter(fuzz_input *in, gate_codec *own)
{
    const uint8_t *bytes;
    size_t wanted = 1 + fuzz_byte(in) % 24u;
    size_t len = fuzz_bytes(in, wanted, &bytes);
    if (!len)
        return gate_codec_line();
    CHECK(gate_codec_delimiter(own, bytes, len) == 0);
    return own;
}

const gate_codec *fuzz_codec(fuzz_input *in, gate_codec *own)
{
    switch (fuzz_byte(in) % 12) {
    case 0:
        return gate_codec_raw();
    case 1:
        return gate_codec_line();
    case 2:
        return gate_codec_varint();
    case 3:
        return gate_codec_netstring();
    case 4:
        return gate_codec_eof();
    case 5:
        return gate_codec_prefix_be(1);
    case 6:
        return gate_codec_prefix_be(2);
    case 7:
        return gate_codec_prefix_be(4);
    case 8:
        return gate_codec_prefix_le(2);
    case 9:
        return gate_codec_prefix_le(4);
    case 10:
        CHECK(gate_codec_fixed(own, 1 + (size_t)fuzz_byte(in)) == 0);
        return own;
    default:
        return make_delimiter(in, own);
    }
}

static int decode_own(const gate_codec *codec, const uint8_t *input, size_t len, size_t body_max,
                      int eof, gate_frame *frame)
{
    (void)body_max;
    if ((codec->flags & GATE_CODEC_UNTIL_EOF) && !eof)
        return 0;
    frame->total = frame->body_len = 1;
    switch (input[0]) {
    case 'B': /* a body that ends behind its frame */
        frame->body = 1;
        return 1;
    case 'E': /* a code that means nothing here */
        return -77;
    case 'L': /* longer than what is there */
        frame->total = len + 1;
        return 1;
    case 'T': /* all that is there, whatever the limit */
        frame->total = frame->body_len = len;
        return 1;
    case 'Z': /* nothing at all */
        frame->total = frame->body_len = 0;
        return 1;
    default:
        return 1;
    }
}

gate_codec fuzz_own_codec(uint32_t flags)
{
    return (gate_codec){.size = sizeof(gate_codec), .flags = flags, .decode = decode_own};
}
