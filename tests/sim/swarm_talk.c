/* SPDX-License-Identifier: MIT */

/* What the peers of a swarm say, and what they should hear. */

#include <stdlib.h>
#include <string.h>

#include "core/codec.h"
#include "swarm_parts.h"

/* Letters only, which no codec takes for its own. The last four are a sum over the others. */
void swarm__make_body(const exchange *one, int index, uint8_t *body)
{
    size_t len = one->body_len[index];
    sim_rng rng;
    uint32_t sum = 0;

    sim_rng_init(&rng, (uint64_t)one->id * 1000 + (uint64_t)index, len);
    body[0] = 'Q';
    body[1] = (uint8_t)('A' + one->id);
    body[2] = (uint8_t)('A' + index);
    for (size_t i = 3; i < len - 4; i++) {
        body[i] = (uint8_t)('a' + sim_rng_below(&rng, 26));
    }
    for (size_t i = 0; i < len - 4; i++) {
        sum = sum * 31 + body[i];
    }
    for (size_t i = len - 4; i < len; i++, sum /= 26) {
        body[i] = (uint8_t)('A' + sum % 26);
    }
}

void swarm__put_bytes(exchange *one, const uint8_t *bytes, size_t len)
{
    if (len == 0) {
        return;
    }
    one->stream = realloc(one->stream, one->stream_len + len);
    if (one->stream == NULL) {
        abort();
    }
    memcpy(one->stream + one->stream_len, bytes, len);
    one->stream_len += len;
}

void swarm__put_frame(exchange *one, const uint8_t *body, size_t len)
{
    gate_wrap wrap = {0};

    if (gate__codec_encode(&one->swarm->codec, body, len, &wrap) == 0) {
        swarm__put_bytes(one, wrap.head, wrap.head_len);
        swarm__put_bytes(one, body, len);
        swarm__put_bytes(one, wrap.tail, wrap.tail_len);
    }
}

size_t swarm__make_answer(const exchange *one, int index, uint8_t *body)
{
    swarm__make_body(one, index, body);
    body[0] = one->fate[index] == REPLIED ? 'R' : 'X';
    return one->fate[index] == FORGOTTEN ? 0 : one->got_len[index];
}

void swarm__extend_stream(exchange *one)
{
    uint8_t body[BODY_MAX];

    while (!one->ended && one->streamed < one->delivered && one->fate[one->streamed] != UNDECIDED) {
        size_t len = swarm__make_answer(one, one->streamed, body);

        swarm__put_frame(one, len > 0 ? body : NULL, len);
        one->ended = one->fate[one->streamed] != REPLIED;
        one->streamed++;
    }
}
