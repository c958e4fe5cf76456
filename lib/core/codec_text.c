/* SPDX-License-Identifier: MIT */

/* The codecs that search for an end or read digits: line, delimiter and netstring. */

#include <errno.h>
#include <string.h>

#include "core/codec.h"
#include "core/codec_frame.h"

enum {
    DELIMITER_MAX = 24, /* gate_wrap.tail and gate_codec.bytes */
    DIGITS_MAX = 19     /* any 19 digits fit into 64 bits */
};

/* ---- line ---- */

static int decode_line(const gate_codec *codec, const uint8_t *input, size_t len, size_t body_max,
                       int eof, gate_frame *frame)
{
    (void)codec, (void)eof;
    const uint8_t *end = memchr(input + frame->scanned, '\n', len - frame->scanned);
    size_t body_len = end != NULL ? (size_t)(end - input) : len;
    size_t total = body_len + 1;

    /* Without an end, a CR that is last may yet turn out to belong to it. */
    if (body_len > 0 && input[body_len - 1] == '\r')
        body_len--;
    if (body_len > body_max)
        return GATE_ETOOBIG;
    if (end != NULL)
        return gate__frame_found(frame, 0, body_len, total);
    frame->scanned = len;
    return gate__frame_open(frame);
}

/* A CR at the end of the body would be taken for the line's own. */
static int encode_line(const gate_codec *codec, const uint8_t *body, size_t len, gate_wrap *wrap)
{
    (void)codec;
    if (len > 0 && (body[len - 1] == '\r' || memchr(body, '\n', len) != NULL))
        return -EBADMSG;
    wrap->head_len = 0;
    wrap->tail_len = 1;
    wrap->tail[0] = '\n';
    return 0;
}

const gate_codec *gate_codec_line(void)
{
    static const gate_codec codec = {
        .size = sizeof(gate_codec), .decode = decode_line, .encode = encode_line};
    return &codec;
}

/* ---- delimiter: number is its length ---- */

static int decode_delimiter(const gate_codec *codec, const uint8_t *input, size_t len,
                            size_t body_max, int eof, gate_frame *frame)
{
    (void)eof;
    size_t width = (size_t)codec->number;
    const uint8_t *end = memmem(input + frame->scanned, len - frame->scanned, codec->bytes, width);

    if (end != NULL) {
        size_t body_len = (size_t)(end - input);
        if (body_len > body_max)
            return GATE_ETOOBIG;
        return gate__frame_found(frame, 0, body_len, body_len + width);
    }
    /* The last bytes may be the first ones of a delimiter. */
    if (len >= width)
        frame->scanned = len - width + 1;
    if (frame->scanned > body_max)
        return GATE_ETOOBIG;
    return gate__frame_open(frame);
}

/* Whether body and delimiter, put together, hold an earlier delimiter that begins in the body's
 * last bytes: "a" before "ab" is fine, "ab" before "aba" is not. */
static int joins_early(const gate_codec *codec, const uint8_t *body, size_t len)
{
    uint8_t seam[2 * DELIMITER_MAX];
    size_t width = (size_t)codec->number;
    size_t kept = len < width - 1 ? len : width - 1;

    if (kept == 0)
        return 0;
    memcpy(seam, body + len - kept, kept);
    memcpy(seam + kept, codec->bytes, width - 1);
    return memmem(seam, kept + width - 1, codec->bytes, width) != NULL;
}

static int encode_delimiter(const gate_codec *codec, const uint8_t *body, size_t len,
                            gate_wrap *wrap)
{
    size_t width = (size_t)codec->number;

    if (len > 0 && memmem(body, len, codec->bytes, width) != NULL)
        return -EBADMSG;
    if (joins_early(codec, body, len))
        return -EBADMSG;
    wrap->head_len = 0;
    wrap->tail_len = (uint32_t)width;
    memcpy(wrap->tail, codec->bytes, width);
    return 0;
}

int gate_codec_delimiter_sized(gate_codec *codec, size_t size, const void *delimiter, size_t len)
{
    gate_codec made = {.decode = decode_delimiter, .encode = encode_delimiter, .number = len};

    if (delimiter == NULL || len == 0 || len > DELIMITER_MAX)
        return -EINVAL;
    memcpy(made.bytes, delimiter, len);
    return gate__codec_fill(codec, size, &made);
}

/* ---- netstring ---- */

static int decode_netstring(const gate_codec *codec, const uint8_t *input, size_t len,
                            size_t body_max, int eof, gate_frame *frame)
{
    (void)codec, (void)eof;
    uint64_t body_len = 0;
    size_t at = 0;

    for (; at < len && input[at] >= '0' && input[at] <= '9'; at++) {
        if (at > 0 && input[0] == '0')
            return GATE_EFRAME; /* a leading zero */
        if (at == DIGITS_MAX)
            return GATE_ETOOBIG;
        body_len = body_len * 10 + (uint64_t)(input[at] - '0');
        if (body_len > body_max)
            return GATE_ETOOBIG;
    }
    if (at == len)
        return gate__frame_open(frame);
    if (at == 0 || input[at] != ':')
        return GATE_EFRAME;
    int rc = gate__frame_sized(frame, len, body_max, at + 1, body_len, 1);
    if (rc == 1 && input[frame->total - 1] != ',')
        return GATE_EFRAME;
    return rc;
}

static int encode_netstring(const gate_codec *codec, const uint8_t *body, size_t len,
                            gate_wrap *wrap)
{
    (void)codec, (void)body;
    uint32_t digits = 1;
    for (size_t rest = len; rest > 9; rest /= 10)
        digits++;
    for (uint32_t i = digits; i > 0; i--, len /= 10)
        wrap->head[i - 1] = (uint8_t)('0' + len % 10);
    wrap->head[digits] = ':';
    wrap->head_len = digits + 1;
    wrap->tail[0] = ',';
    wrap->tail_len = 1;
    return 0;
}

const gate_codec *gate_codec_netstring(void)
{
    static const gate_codec codec = {
        .size = sizeof(gate_codec), .decode = decode_netstring, .encode = encode_netstring};
    return &codec;
}
