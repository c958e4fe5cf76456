/* SPDX-License-Identifier: MIT */

/* Whether what a swarm has seen keeps the rules. */

#include <string.h>

#include "swarm_parts.h"

/* ---- One exchange -------------------------------------------------------------------------- */

/* Whether more of a raw request could come after the read that was taken for all of it. Its sender
 * breaks raw's rule, and the close that follows the answer may meet that rest with a reset. */
static int broke_raw(const exchange *one)
{
    return one->swarm->codec_name[0] == 'r' && one->got_len[0] < one->body_len[0] && one->pieces;
}

/* It was still open when the drain's time was over. */
static int was_cut(const exchange *one)
{
    const scene *seen = &one->swarm->scene;

    return scene_was_cut(seen) &&
           (one->peer->end_ns == 0 || one->peer->end_ns >= seen->stopped_ns + seen->drain_ns);
}

/* Whether it may have been cut short for a reason of its own. A slow one may lose the end of a
 * conversation that the server ends, to the cap of what the server waits for. */
static int is_excused(const exchange *one)
{
    return one->peer == NULL || one->behaviour != HONEST || one->peer->faulted || broke_raw(one) ||
           was_cut(one) || (one->slow && (one->ended || one->swarm->early));
}

/* Requests that are to be answered: those behind a rejection are not. */
static int owed(const exchange *one)
{
    return one->ended ? one->streamed : one->delivered;
}

static int is_short(const exchange *one)
{
    return one->streamed < owed(one) || one->peer->got_len != one->stream_len ||
           (!one->ended && one->delivered < (one->swarm->early ? one->arrived : one->wanted));
}

/* How many may be: what else the counters of the server have a reason for. */
static uint64_t allowed(const swarm *all, const gate_stats *stats)
{
    uint64_t count = sim_fired(all->scene.world, SIM_ALLOC);

    if (all->options.buffers_max != 0) {
        count += stats->closed[GATE_CLOSE_NO_MEMORY];
    }
    if (!all->strict) {
        count += stats->closed[GATE_CLOSE_TIMEOUT] + stats->closed[GATE_CLOSE_IDLE] +
                 stats->closed[GATE_CLOSE_WRITE_TIMEOUT] +
                 stats->closed[GATE_CLOSE_HANDLER_TIMEOUT];
    }
    return count;
}

static void judge_each(swarm *all, const gate_stats *stats)
{
    uint64_t left = allowed(all, stats);

    for (int i = 0; i < all->count; i++) {
        const exchange *one = &all->links[i];

        if (is_excused(one) || !is_short(one)) {
            continue;
        }
        if (left == 0 || one->is_probe) {
            sim_failed(all->scene.world,
                       "%s: connection %d sent %d requests, %d were handled, %d answered, and it "
                       "got %zu of %zu bytes",
                       all->codec_name, one->id, one->wanted, one->delivered, one->streamed,
                       one->peer->got_len, one->stream_len);
            return;
        }
        left--;
    }
}

/* ---- All of them --------------------------------------------------------------------------- */

void swarm__judge_liveness(swarm *all)
{
    gate_stats stats = {.size = sizeof(stats)};

    gate_server_stats(all->scene.server, &stats);
    judge_each(all, &stats);
}

static void check_bytes(swarm *all, const exchange *one)
{
    const sim_peer *peer = one->peer;

    if (peer == NULL || one->lied) {
        return;
    }
    if (peer->got_len > one->stream_len ||
        (peer->got_len > 0 && memcmp(peer->got, one->stream, peer->got_len) != 0)) {
        sim_failed(all->scene.world, "%s: connection %d got bytes that are not its answers",
                   all->codec_name, one->id);
    }
}

static void count_drain(swarm *all, const exchange *one)
{
    if (!all->early || is_excused(one)) {
        return;
    }
    if (allowed(all, &all->scene.stats) > 0) {
        all->excused += (uint64_t)owed(one);
        return;
    }
    all->requests += (uint64_t)owed(one);
    all->answers += one->peer->got_len == one->stream_len ? (uint64_t)one->streamed : 0;
}

void swarm__judge(swarm *all)
{
    const scene *seen = &all->scene;

    for (int i = 0; i < all->count; i++) {
        check_bytes(all, &all->links[i]);
        count_drain(all, &all->links[i]);
    }
    if (seen->result == 0) {
        judge_each(all, &seen->stats);
    }
    if (seen->stats.requests != all->handled) {
        sim_failed(seen->world, "%llu requests counted, %llu handled",
                   (unsigned long long)seen->stats.requests, (unsigned long long)all->handled);
    }
    /* All peers have left long before the server is stopped. */
    if (!all->early && seen->result == 0 &&
        (seen->stats.closed[GATE_CLOSE_STOPPED] != 0 ||
         seen->stats.closed[GATE_CLOSE_DRAIN_TIMEOUT] != 0)) {
        sim_failed(seen->world, "%s: a connection outlived its peer", all->codec_name);
    }
    if (all->options.buffers_max != 0 && sim_fired(seen->world, SIM_ALLOC) == 0 &&
        sim_fired(seen->world, SIM_RECV_FAULT) + sim_fired(seen->world, SIM_SEND_FAULT) == 0) {
        all->seen[SWARM_OVER_BUDGET] += seen->stats.closed[GATE_CLOSE_NO_MEMORY];
    }
    all->seen[SWARM_DRAIN_CUT] += (uint64_t)scene_was_cut(seen);
}

static int stays(const swarm *all, const sim_peer *peer)
{
    uint64_t accepted_ns = sim_peer_accepted_ns(peer);

    return accepted_ns != 0 && sim_now(all->scene.world) > accepted_ns + all->tick_ns;
}

/* One address keeps no more connections than it may; the others are closed at once. */
static void check_greedy(swarm *all, const exchange *one)
{
    uint32_t most = all->options.peer_connections_max;
    uint32_t count;

    if (one->extras_count == 0 || most == 0) {
        return;
    }
    count = (uint32_t)stays(all, one->peer);
    for (int i = 0; i < one->extras_count; i++) {
        count += (uint32_t)stays(all, one->extras[i]);
    }
    if (count > most) {
        sim_failed(all->scene.world, "%u connections of one address, which may have %u", count,
                   most);
    }
}

/* Nothing that a peer sends extends the time of its first request. */
void swarm__watch(swarm *all)
{
    uint64_t now_ns = sim_now(all->scene.world);
    uint64_t limit_ns = all->options.timeout_ms * (uint64_t)SIM_MS + all->tick_ns;

    scene_check(&all->scene);
    for (int i = 0; i < all->count && all->slow_pct == 0; i++) {
        const exchange *one = &all->links[i];
        uint64_t accepted_ns =
            one->peer != NULL && one->delivered == 0 ? sim_peer_accepted_ns(one->peer) : 0;

        if (accepted_ns != 0 && !one->lied && now_ns > accepted_ns + limit_ns) {
            sim_failed(all->scene.world, "%s: connection %d had no request after %.3f s",
                       all->codec_name, one->id, (double)(now_ns - accepted_ns) / SIM_SECOND);
            return;
        }
        check_greedy(all, one);
    }
}
