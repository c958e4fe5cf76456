/* SPDX-License-Identifier: MIT */
/* The codecs: the first bytes choose the codec and body_max, the rest is what a peer sends. Bytes
 * in pieces give the same frames and the same end as all of them at once. */

#include <stdlib.h>
#include <string.h>

#include "core/codec.h"
#include "fuzz.h"

enum { ROOM = 8192 };

typedef struct stream {
    const gate_codec *codec;
    const uint8_t *bytes;
    size_t len;
    size_t body_max;
} stream;

static int until_eof(const stream *s)
{
    return (s->codec->flags & GATE_CODEC_UNTIL_EOF) != 0;
}

static int decode(const stream *s, const uint8_t *bytes, size_t len, int eof, gate_frame *frame)
{
    uint8_t *copy = fuzz_copy(bytes, len);
    int rc = s->codec->decode(s->codec, copy, len, s->body_max, eof, frame);
    free(copy);
    CHECK(rc == 0 || rc == 1 || rc == GATE_EFRAME || rc == GATE_ETOOBIG);
    if (rc == 1) {
        CHECK(gate__frame_fits(frame, len));
        CHECK(frame->body_len <= s->body_max);
    }
    return rc;
}

/* As the frame at `off` comes in pieces of up to `step` bytes. */
static int decode_pieces(const stream *s, size_t off, size_t step, gate_frame *frame)
{
    size_t need = 0, len = 0;
    int rc = 0;

    *frame = (gate_frame){0};
    while (rc == 0 && len < s->len - off) {
        size_t scanned = frame->scanned;
        len = s->len - off - len > step ? len + step : s->len - off;
        rc = decode(s, s->bytes + off, len, 0, frame);
        if (rc < 0)
            return rc;
        CHECK(need == 0 || frame->need == need);
        need = frame->need;
        if (rc == 0) {
            CHECK(frame->scanned >= scanned && frame->scanned <= len);
            CHECK(need == 0 || need > len);
        }
    }
    if (rc == 0 && until_eof(s))
        rc = decode(s, s->bytes + off, len, 1, frame);
    return rc;
}

/* Encodes, and decodes what has come out with other bytes behind it. 0: the codec refuses it. */
static int goes_round(const stream *s, const uint8_t *body, size_t len)
{
    static uint8_t bytes[ROOM + 2 * sizeof((gate_wrap){0}.head)];
    const stream own = {s->codec, bytes, 0, len ? len : 1};
    gate_wrap wrap;
    gate_frame frame = {0};

    if (gate__codec_encode(s->codec, body, len, &wrap) != 0)
        return 0;
    size_t total = wrap.head_len + len + wrap.tail_len;
    if (total == 0)
        return 1;
    memcpy(bytes, wrap.head, wrap.head_len);
    if (len)
        memcpy(bytes + wrap.head_len, body, len);
    memcpy(bytes + wrap.head_len + len, wrap.tail, wrap.tail_len);
    CHECK(decode(&own, bytes, total, until_eof(s), &frame) == 1);
    CHECK(frame.total == total && frame.body_len == len);
    CHECK(len == 0 || memcmp(bytes + frame.body, body, len) == 0);
    if (s->codec->flags & GATE_CODEC_ONE_SHOT)
        return 1;
    memset(bytes + total, 0x2c, 3);
    frame = (gate_frame){0};
    CHECK(decode(&own, bytes, total + 3, 0, &frame) == 1);
    CHECK(frame.total == total && frame.body_len == len);
    return 1;
}

/* Frame by frame, each of them whole, in single bytes, and in pieces. */
static void walk(const stream *s, size_t step)
{
    size_t off = 0;

    while (off < s->len) {
        gate_frame frame = {0}, split;
        int rc = decode(s, s->bytes + off, s->len - off, until_eof(s), &frame);
        /* For raw, a read is what makes the frame. */
        if (s->codec->decode != gate_codec_raw()->decode) {
            CHECK(decode_pieces(s, off, step, &split) == rc);
            CHECK(rc != 1 || (split.total == frame.total && split.body == frame.body &&
                              split.body_len == frame.body_len));
        }
        if (rc != 1)
            break;
        const uint8_t *body = s->bytes + off + frame.body;
        int round = goes_round(s, body, frame.body_len);
        /* A line may hold a CR that only its other ending, CR LF, can carry. */
        CHECK(round || s->codec == gate_codec_line());
        off += frame.total;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size < ROOM ? size : ROOM};
    gate_codec own;
    stream s = {.codec = fuzz_codec(&in, &own)};

    CHECK(gate__codec_check(s.codec) == 0);
    s.body_max = 1 + fuzz_byte(&in);
    s.body_max += (size_t)fuzz_byte(&in) << 8;
    size_t step = 1 + fuzz_byte(&in) % 16u;
    s.bytes = in.at;
    s.len = in.left;
    walk(&s, 1);
    walk(&s, step);
    (void)goes_round(&s, s.bytes, s.len);
    return 0;
}
