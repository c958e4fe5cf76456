/* SPDX-License-Identifier: MIT */

/* The peers of a swarm: honest ones, and those that are not. */

#include <stdio.h>
#include <stdlib.h>

#include "core/codec.h"
#include "swarm_parts.h"

enum { BODY_MIN = 8, FIXED = 64, LIE_MAX = 400, ANNOUNCED_MAX = 16 << 20 };

static void close_when_done(sim_peer *peer, void *arg)
{
    exchange *one = arg;

    if (!peer->closed && peer->got_len >= one->stream_len &&
        (one->ended || one->streamed == one->wanted)) {
        sim_peer_close(peer);
    }
}

static void leave(exchange *one)
{
    sim_peer_reset(one->peer);
    for (int i = 0; i < one->extras_count; i++) {
        sim_peer_reset(one->extras[i]);
    }
}

static void leave_late(sim_world *world, void *arg)
{
    (void)world;
    leave(arg);
}

/* ---- What they send ------------------------------------------------------------------------ */

/* Announces much and sends little, or is no frame at all, or one of another's. */
static void put_lie(swarm *all, exchange *one)
{
    static const uint8_t nothing[ANNOUNCED_MAX];
    uint8_t garbage[LIE_MAX];
    gate_wrap wrap = {0};
    size_t len = 1 + swarm__below(all, LIE_MAX);
    uint8_t same = (uint8_t)(swarm__chance(all, 50) ? 0xff : '9');
    int kind = (int)swarm__below(all, 3);

    for (size_t i = 0; i < len; i++) {
        garbage[i] = kind == 1 ? same : (uint8_t)swarm__below(all, 256);
    }
    if (kind == 2 && all->options.request_max != 0 &&
        gate__codec_encode(&all->codec, nothing, ANNOUNCED_MAX, &wrap) == 0) {
        swarm__put_bytes(one, wrap.head, wrap.head_len);
        len = 1 + len / 100;
    }
    swarm__put_bytes(one, garbage, len);
}

/* Puts the peer's requests into one block, of which the last part may be missing. */
static void send_requests(swarm *all, exchange *one)
{
    uint8_t body[BODY_MAX];
    size_t len;

    for (int i = 0; i < one->whole; i++) {
        swarm__make_body(one, i, body);
        swarm__put_frame(one, body, one->body_len[i]);
        one->end[i] = one->stream_len;
    }
    if (one->behaviour == LIES) {
        put_lie(all, one);
    }
    len = one->stream_len;
    if (one->behaviour == CUTS_A_FRAME) {
        /* At least one byte: without a terminator even the smallest cut counts. */
        len -= 1 + swarm__below(all, 3);
        one->whole--;
    }
    sim_peer_send(one->peer, one->stream, len);
    free(one->stream);
    one->stream = NULL;
    one->stream_len = 0;
}

/* ---- Drawing them -------------------------------------------------------------------------- */

static int one_shot(const swarm *all)
{
    return (all->codec.flags & (GATE_CODEC_ONE_SHOT | GATE_CODEC_UNTIL_EOF)) != 0;
}

static void draw_requests(swarm *all, exchange *one)
{
    int fixed = all->codec_name[0] == 'f';

    one->wanted = one_shot(all) ? 1 : 1 + (int)swarm__below(all, REQUESTS_MAX);
    one->whole = one->wanted;
    for (int i = 0; i < one->wanted; i++) {
        size_t max = all->codec_name[0] == 'u' ? 255 : BODY_MAX;

        one->body_len[i] = fixed ? FIXED : BODY_MIN + swarm__below(all, max - BODY_MIN);
    }
    if (one->behaviour == SILENT || (one->behaviour == LIES && one_shot(all))) {
        one->whole = 0;
    }
}

static void draw_pace(swarm *all, exchange *one)
{
    sim_peer *peer = one->peer;

    peer->send_max = swarm__some(all, 30, 50);
    peer->send_every_ns = swarm__some(all, 30, 20) * (uint64_t)SIM_MS;
    peer->read_max = swarm__some(all, 30, 100);
    peer->read_every_ns = swarm__some(all, 20, 20) * (uint64_t)SIM_MS;
    one->slow = peer->read_max != 0 || peer->read_every_ns != 0;
    one->pieces = peer->send_max != 0 || sim_knobs_of(all->scene.world)->flow_max != 0;
}

static void connect_extras(swarm *all, exchange *one, const char *from)
{
    one->extras_count = 1 + (int)swarm__below(all, EXTRAS_MAX);
    for (int i = 0; i < one->extras_count; i++) {
        one->extras[i] = scene_peer(&all->scene, from);
    }
}

static void draw_behaviour(swarm *all, exchange *one)
{
    static const swarm_event events[] = {
        [HONEST] = SWARM_PEER_HONEST,
        [RESETS] = SWARM_PEER_RESETS,
        [STOPS_READING] = SWARM_PEER_STOPS_READING,
        [CUTS_A_FRAME] = SWARM_PEER_CUTS_A_FRAME,
        [SILENT] = SWARM_PEER_SILENT,
        [GREEDY] = SWARM_PEER_GREEDY,
        [LIES] = SWARM_PEER_LIES,
    };

    one->behaviour = HONEST;
    if (!all->healed && swarm__chance(all, 30)) {
        one->behaviour = 1 + (int)swarm__below(all, LIES);
    }
    if (one_shot(all) && one->behaviour == CUTS_A_FRAME) {
        one->behaviour = SILENT; /* such a frame cannot be cut */
    }
    all->seen[events[one->behaviour]]++;
}

void swarm__draw_link(exchange *one)
{
    swarm *all = one->swarm;
    int until_eof = (all->codec.flags & GATE_CODEC_UNTIL_EOF) != 0;
    char from[32];

    draw_behaviour(all, one);
    draw_requests(all, one);
    snprintf(from, sizeof(from), "198.51.100.%d", one->id + 1);
    one->peer = scene_peer(&all->scene, from);
    send_requests(all, one);
    one->peer->changed = close_when_done;
    one->peer->arg = one;
    one->peer->read_stopped = one->behaviour == STOPS_READING;
    if (!all->healed) {
        draw_pace(all, one);
    }
    all->seen[SWARM_PEER_SLOW] += (uint64_t)one->slow;
    if (until_eof || (all->codec_name[0] != 'r' && swarm__chance(all, 40))) {
        sim_peer_half_close(one->peer);
    }
    if (one->behaviour == GREEDY) {
        connect_extras(all, one, from);
    }
    if (one->behaviour != HONEST) {
        sim_in(all->scene.world, swarm__below(all, 30 * (uint64_t)SIM_SECOND), leave_late, one);
    }
}

void swarm__note_stop(swarm *all)
{
    int until_eof = (all->codec.flags & GATE_CODEC_UNTIL_EOF) != 0;

    for (int i = 0; i < all->count && all->scene.stopped_ns == UINT64_MAX; i++) {
        exchange *one = &all->links[i];
        uint64_t bytes;
        int ended;

        if (one->peer == NULL) {
            continue;
        }
        bytes = sim_peer_arrived(one->peer, &ended);
        while (one->arrived < one->whole && one->end[one->arrived] <= bytes &&
               (ended || !until_eof)) {
            one->arrived++;
        }
    }
}

void swarm__heal_link(exchange *one)
{
    sim_peer *peer = one->peer;

    if (peer == NULL) {
        return;
    }
    if (one->behaviour != HONEST) {
        leave(one);
        return;
    }
    peer->send_max = 0;
    peer->send_every_ns = 0;
    peer->send_next_ns = 0;
    peer->read_max = 0;
    peer->read_every_ns = 0;
    peer->read_next_ns = 0;
    sim_peer_kick(peer);
}

void swarm__add_probe(swarm *all)
{
    exchange *one = &all->links[all->count++];

    one->swarm = all;
    one->id = all->count - 1;
    one->is_probe = 1;
    swarm__draw_link(one);
}
