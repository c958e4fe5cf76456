/* SPDX-License-Identifier: MIT */

/* The codecs that count or do not frame at all, and what holds for every codec. Those that look at
 * text are in codec_text.c. */

#include "core/codec.h"

#include <errno.h>
#include <string.h>

#include "core/codec_frame.h"
#include "core/sized.h"
#include "core/text.h"

enum {
    VARINT_MAX = 5,                                    /* bytes that hold 32 bits, seven in each */
    FIRST_SIZE = GATE__SIZE_THROUGH(gate_codec, bytes) /* of the codec of version 0.1 */
};

/* ---- raw ---- */

static int decode_raw(const gate_codec *codec, const uint8_t *input, size_t len, size_t body_max,
                      int eof, gate_frame *frame)
{
    (void)codec, (void)input, (void)eof;
    size_t body_len = len < body_max ? len : body_max;
    return gate__frame_found(frame, 0, body_len, body_len);
}

const gate_codec *gate_codec_raw(void)
{
    static const gate_codec codec = {.size = sizeof(gate_codec),
                                     .flags = GATE_CODEC_ONE_SHOT | GATE_CODEC_REPLY_UNTIL_CLOSE,
                                     .decode = decode_raw};
    return &codec;
}

/* ---- eof ---- */

static int decode_eof(const gate_codec *codec, const uint8_t *input, size_t len, size_t body_max,
                      int eof, gate_frame *frame)
{
    (void)codec, (void)input;
    if (len > body_max)
        return GATE_ETOOBIG;
    return eof ? gate__frame_found(frame, 0, len, len) : gate__frame_open(frame);
}

const gate_codec *gate_codec_eof(void)
{
    static const gate_codec codec = {.size = sizeof(gate_codec),
                                     .flags = GATE_CODEC_ONE_SHOT | GATE_CODEC_UNTIL_EOF |
                                              GATE_CODEC_REPLY_UNTIL_CLOSE,
                                     .decode = decode_eof};
    return &codec;
}

/* ---- fixed ---- */

static int decode_fixed(const gate_codec *codec, const uint8_t *input, size_t len, size_t body_max,
                        int eof, gate_frame *frame)
{
    (void)input, (void)eof;
    return gate__frame_sized(frame, len, body_max, 0, codec->number, 0);
}

static int encode_fixed(const gate_codec *codec, const uint8_t *body, size_t len, gate_wrap *wrap)
{
    (void)body;
    wrap->head_len = 0;
    wrap->tail_len = 0;
    return len == codec->number ? 0 : -EMSGSIZE;
}

int gate_codec_fixed_sized(gate_codec *codec, size_t size, size_t body_len)
{
    const gate_codec made = {.decode = decode_fixed, .encode = encode_fixed, .number = body_len};

    return body_len != 0 ? gate__codec_fill(codec, size, &made) : -EINVAL;
}

/* ---- Length prefixes: number is the width ---- */

static inline uint32_t read_prefix(const uint8_t *bytes, size_t width, int big)
{
    uint32_t value = 0;
    for (size_t i = 0; i < width; i++)
        value |= (uint32_t)bytes[i] << 8 * (big ? width - 1 - i : i);
    return value;
}

static inline int decode_prefix(const uint8_t *input, size_t len, size_t body_max,
                                gate_frame *frame, size_t width, int big)
{
    if (len < width)
        return gate__frame_open(frame);
    return gate__frame_sized(frame, len, body_max, width, read_prefix(input, width, big), 0);
}

static int encode_prefix(const gate_codec *codec, size_t len, gate_wrap *wrap, int big)
{
    size_t width = (size_t)codec->number;

    if ((uint64_t)len >> 8 * width != 0)
        return -EMSGSIZE;
    for (size_t i = 0; i < width; i++)
        wrap->head[i] = (uint8_t)((uint64_t)len >> 8 * (big ? width - 1 - i : i));
    wrap->head_len = (uint32_t)width;
    wrap->tail_len = 0;
    return 0;
}

static int encode_be(const gate_codec *codec, const uint8_t *body, size_t len, gate_wrap *wrap)
{
    (void)body;
    return encode_prefix(codec, len, wrap, 1);
}

static int encode_le(const gate_codec *codec, const uint8_t *body, size_t len, gate_wrap *wrap)
{
    (void)body;
    return encode_prefix(codec, len, wrap, 0);
}

/* A function for each width and order, so that reading the prefix is one load. */
#define DEFINE_PREFIX(name, width, big)                                                         \
    static int name(const gate_codec *codec, const uint8_t *input, size_t len, size_t body_max, \
                    int eof, gate_frame *frame)                                                 \
    {                                                                                           \
        (void)codec, (void)eof;                                                                 \
        return decode_prefix(input, len, body_max, frame, width, big);                          \
    }
DEFINE_PREFIX(decode_u8, 1, 1)
DEFINE_PREFIX(decode_be16, 2, 1)
DEFINE_PREFIX(decode_be32, 4, 1)
DEFINE_PREFIX(decode_le16, 2, 0)
DEFINE_PREFIX(decode_le32, 4, 0)
#undef DEFINE_PREFIX

#define PREFIX_CODEC(width, decoder, encoder)                                                   \
    {                                                                                           \
        .size = sizeof(gate_codec), .decode = (decoder), .encode = (encoder), .number = (width) \
    }

const gate_codec *gate_codec_prefix_be(unsigned width)
{
    static const gate_codec u8 = PREFIX_CODEC(1, decode_u8, encode_be);
    static const gate_codec u16 = PREFIX_CODEC(2, decode_be16, encode_be);
    static const gate_codec u32 = PREFIX_CODEC(4, decode_be32, encode_be);
    return width == 1 ? &u8 : width == 2 ? &u16 : width == 4 ? &u32 : NULL;
}

const gate_codec *gate_codec_prefix_le(unsigned width)
{
    static const gate_codec u8 = PREFIX_CODEC(1, decode_u8, encode_le);
    static const gate_codec u16 = PREFIX_CODEC(2, decode_le16, encode_le);
    static const gate_codec u32 = PREFIX_CODEC(4, decode_le32, encode_le);
    return width == 1 ? &u8 : width == 2 ? &u16 : width == 4 ? &u32 : NULL;
}

/* ---- varint ---- */

static int decode_varint(const gate_codec *codec, const uint8_t *input, size_t len, size_t body_max,
                         int eof, gate_frame *frame)
{
    (void)codec, (void)eof;
    uint32_t value = 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = input[i];
        if (i == VARINT_MAX - 1 && byte > 0x0f)
            return GATE_EFRAME; /* over 32 bits, or a sixth byte announced */
        value |= (uint32_t)(byte & 0x7f) << 7 * i;
        if (byte & 0x80)
            continue;
        if (byte == 0 && i > 0)
            return GATE_EFRAME; /* a shorter form would do */
        return gate__frame_sized(frame, len, body_max, i + 1, value, 0);
    }
    return gate__frame_open(frame);
}

static int encode_varint(const gate_codec *codec, const uint8_t *body, size_t len, gate_wrap *wrap)
{
    (void)codec, (void)body;
    uint32_t count = 0;

    if ((uint64_t)len >> 32 != 0)
        return -EMSGSIZE;
    for (; len > 0x7f; len >>= 7)
        wrap->head[count++] = (uint8_t)(0x80 | (len & 0x7f));
    wrap->head[count++] = (uint8_t)len;
    wrap->head_len = count;
    wrap->tail_len = 0;
    return 0;
}

const gate_codec *gate_codec_varint(void)
{
    static const gate_codec codec = {
        .size = sizeof(gate_codec), .decode = decode_varint, .encode = encode_varint};
    return &codec;
}

/* ---- Any codec ---- */

int gate__codec_check(const gate_codec *codec)
{
    const uint32_t known =
        GATE_CODEC_ONE_SHOT | GATE_CODEC_UNTIL_EOF | GATE_CODEC_REPLY_UNTIL_CLOSE;

    if (codec == NULL || gate__sized_check(codec, sizeof(gate_codec), FIRST_SIZE) != 0 ||
        codec->decode == NULL || codec->reserved != NULL || (codec->flags & ~known) != 0)
        return -EINVAL;
    return 0;
}

int gate__codec_fill(gate_codec *codec, size_t size, const gate_codec *made)
{
    return codec != NULL ? gate__sized_write(codec, size, made, sizeof(*made), FIRST_SIZE)
                         : -EINVAL;
}

/* By its decode, which a copy of the raw codec has too. */
uint64_t gate__codec_request_max(const gate_codec *codec)
{
    if (codec->decode == decode_fixed)
        return codec->number;
    return codec->decode == decode_raw ? 1024 : 1024 * 1024;
}

int gate__codec_encode(const gate_codec *codec, const void *body, size_t len, gate_wrap *wrap)
{
    wrap->head_len = 0;
    wrap->tail_len = 0;
    if (codec->encode == NULL)
        return 0;
    *wrap = (gate_wrap){0}; /* bytes that it counts and does not write are not the stack's */
    int rc = codec->encode(codec, body, len, wrap);
    if (rc == 0 && wrap->head_len <= sizeof(wrap->head) && wrap->tail_len <= sizeof(wrap->tail))
        return 0;
    wrap->head_len = 0;
    wrap->tail_len = 0;
    if (rc == 0)
        return -EMSGSIZE;
    return rc < 0 ? rc : -EBADMSG;
}

static const gate_codec *find_named(const char *name)
{
    if (strcmp(name, "raw") == 0)
        return gate_codec_raw();
    if (strcmp(name, "line") == 0)
        return gate_codec_line();
    if (strcmp(name, "varint") == 0)
        return gate_codec_varint();
    if (strcmp(name, "netstring") == 0)
        return gate_codec_netstring();
    if (strcmp(name, "eof") == 0)
        return gate_codec_eof();
    if (strcmp(name, "u8") == 0)
        return gate_codec_prefix_be(1);
    if (strcmp(name, "u16") == 0)
        return gate_codec_prefix_be(2);
    if (strcmp(name, "u32") == 0)
        return gate_codec_prefix_be(4);
    if (strcmp(name, "u16le") == 0)
        return gate_codec_prefix_le(2);
    if (strcmp(name, "u32le") == 0)
        return gate_codec_prefix_le(4);
    return NULL;
}

int gate_codec_parse_sized(gate_codec *codec, size_t size, const char *name)
{
    static const char fixed[] = "fixed:";
    static const char delimiter[] = "delimiter:";
    uint64_t body_len;

    if (codec == NULL || name == NULL)
        return -EINVAL;
    if (strncmp(name, fixed, sizeof(fixed) - 1) == 0) {
        if (!gate__text_decimal(name + sizeof(fixed) - 1, SIZE_MAX, &body_len))
            return -EINVAL;
        return gate_codec_fixed_sized(codec, size, (size_t)body_len);
    }
    if (strncmp(name, delimiter, sizeof(delimiter) - 1) == 0) {
        const char *text = name + sizeof(delimiter) - 1;
        return gate_codec_delimiter_sized(codec, size, text, strlen(text));
    }
    const gate_codec *found = find_named(name);
    return found != NULL ? gate__codec_fill(codec, size, found) : -EINVAL;
}
