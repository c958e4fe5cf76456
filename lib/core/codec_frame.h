/* SPDX-License-Identifier: MIT */
#ifndef GATE_CORE_CODEC_FRAME_H
#define GATE_CORE_CODEC_FRAME_H

/* What the built-in codecs share. Inline, since decode is the hot path. */

#include <gate/gate.h>

/* The answer "more bytes are needed, nobody knows how many". */
static inline int gate__frame_open(gate_frame *frame)
{
    frame->need = 0;
    return 0;
}

/* A whole frame of total bytes with this body in it. */
static inline int gate__frame_found(gate_frame *frame, size_t body, size_t body_len, size_t total)
{
    frame->need = total;
    frame->total = total;
    frame->body = body;
    frame->body_len = body_len;
    return 1;
}

/* A frame whose length is known: head bytes, body_len bytes of body, tail bytes. */
static inline int gate__frame_sized(gate_frame *frame, size_t len, size_t body_max, size_t head,
                                    uint64_t body_len, size_t tail)
{
    if (body_len > body_max || body_len > SIZE_MAX - head - tail)
        return GATE_ETOOBIG;
    size_t total = head + (size_t)body_len + tail;
    if (len < total) {
        frame->need = total;
        return 0;
    }
    return gate__frame_found(frame, head, (size_t)body_len, total);
}

#endif
