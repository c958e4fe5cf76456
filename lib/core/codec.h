/* SPDX-License-Identifier: MIT */
#ifndef GATE_CORE_CODEC_H
#define GATE_CORE_CODEC_H

/* Framing: where a request ends. The interface and the built-in codecs' constructors are in
 * gate/gate.h; this is what the library adds for its own use. */

#include <gate/gate.h>

/* 0, or -EINVAL for a codec that cannot be used (no decode, another size, unknown flags). */
int gate__codec_check(const gate_codec *codec);

/* Fills a caller's struct of `size` bytes from one of ours. -EINVAL: NULL, or not a size. */
int gate__codec_fill(gate_codec *codec, size_t size, const gate_codec *made);

/* The default of request_max for this codec: 1024 for raw, the size for fixed, else 1 MiB. */
uint64_t gate__codec_request_max(const gate_codec *codec);

/* Does what decode has found lie inside the len bytes that it was given? */
static inline int gate__frame_fits(const gate_frame *frame, size_t len)
{
    return frame->total > 0 && frame->total <= len && frame->body <= frame->total &&
           frame->body_len <= frame->total - frame->body;
}

/* The only caller of codec->encode: an empty wrap where that is NULL or fails. A wrap over its room
 * is -EMSGSIZE, a result that is no code is -EBADMSG. */
int gate__codec_encode(const gate_codec *codec, const void *body, size_t len, gate_wrap *wrap);

#endif
