/* SPDX-License-Identifier: MIT */
#include "swarm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/codec.h"

enum { PEERS_MAX = 8, REQUESTS_MAX = 12, BODY_MAX = 300, FIXED = 64, BODY_MIN = 8 };
enum { STREAM_SWARM = 77 };
enum { UNDECIDED, REPLIED, REJECTED, FORGOTTEN };
enum { HONEST, RESETS, STOPS_READING, CUTS_A_FRAME, SILENT };

static const uint64_t stop_ns = UINT64_C(600) * SIM_SECOND;

typedef struct ticket {
    struct exchange *with;
    gate_request *req;
    int index;
    int fate;
} ticket;

/* A connection as the test sees it. */
typedef struct exchange {
    struct swarm *swarm;
    sim_peer *peer;
    int id;
    int behaviour;
    int wanted;    /* requests it sends */
    int whole;     /* ... of which it sends the end */
    int delivered; /* requests that reached the handler */
    int streamed;  /* requests whose answers are in stream */
    int ended;     /* ... the last one of which ends the connection */
    size_t body_len[REQUESTS_MAX];
    size_t got_len[REQUESTS_MAX]; /* as delivered: raw may give a part */
    uint8_t fate[REQUESTS_MAX];
    ticket tickets[REQUESTS_MAX];
    uint8_t *stream; /* what the peer should receive */
    size_t stream_len;
} exchange;

typedef struct swarm {
    scene scene;
    sim_rng rng;
    gate_codec codec;
    const char *codec_name;
    int strict;
    int count;
    uint64_t handled;
    exchange links[PEERS_MAX];
} swarm;

static uint64_t below(swarm *all, uint64_t bound)
{
    return sim_rng_below(&all->rng, bound);
}

static int chance(swarm *all, uint32_t pct)
{
    return sim_rng_chance(&all->rng, pct);
}

/* ---- Payloads ------------------------------------------------------------------------------ */

/* Letters only, which no codec takes for its own. The last four are a sum over the others. */
static void make_body(const exchange *one, int index, uint8_t *body)
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

static void put(exchange *one, const uint8_t *bytes, size_t len)
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

/* Appends the frame around a body, or nothing for a body that the codec cannot carry. */
static void put_frame(exchange *one, const uint8_t *body, size_t len)
{
    gate_wrap wrap = {0};

    if (gate__codec_encode(&one->swarm->codec, body, len, &wrap) == 0) {
        put(one, wrap.head, wrap.head_len);
        put(one, body, len);
        put(one, wrap.tail, wrap.tail_len);
    }
}

static size_t make_answer(const exchange *one, int index, uint8_t *body)
{
    make_body(one, index, body);
    body[0] = one->fate[index] == REPLIED ? 'R' : 'X';
    return one->fate[index] == FORGOTTEN ? 0 : one->got_len[index];
}

/* Takes up the answers that are known by now, in order. */
static void extend_stream(exchange *one)
{
    uint8_t body[BODY_MAX];

    while (!one->ended && one->streamed < one->delivered &&
           one->fate[one->streamed] != UNDECIDED) {
        size_t len = make_answer(one, one->streamed, body);

        put_frame(one, len > 0 ? body : NULL, len);
        one->ended = one->fate[one->streamed] != REPLIED;
        one->streamed++;
    }
}

/* ---- The handler --------------------------------------------------------------------------- */

static exchange *sender(swarm *all, gate_request *req)
{
    char text[64];
    unsigned id;

    if (gate_request_peer(req, text, sizeof(text)) != 0 ||
        sscanf(text, "198.51.100.%u:", &id) != 1 || id == 0 || id > (unsigned)all->count) {
        return NULL; /* the connection broke while the request was on its way */
    }
    return &all->links[id - 1];
}

static void release(void *arg)
{
    free(arg);
}

static int reply_borrowed(gate_request *req, const uint8_t *body, size_t len)
{
    uint8_t *copy = malloc(len);
    int rc;

    if (copy == NULL) {
        abort();
    }
    memcpy(copy, body, len);
    rc = gate_reply_borrowed(req, copy, len, release, copy);
    if (rc != 0) {
        free(copy);
    }
    return rc;
}

static int give(exchange *one, gate_request *req, int index, int fate)
{
    swarm *all = one->swarm;
    uint8_t body[BODY_MAX];
    size_t len;
    int rc;

    one->fate[index] = (uint8_t)fate;
    len = make_answer(one, index, body);
    if (fate == REJECTED) {
        rc = gate_reject(req, body, len);
    } else if (chance(all, 30)) {
        rc = reply_borrowed(req, body, len);
    } else {
        rc = gate_reply(req, body, len);
    }
    if (chance(all, 10) && gate_reply(req, body, len) != -EALREADY) {
        sim_failed(all->scene.world, "a second answer was taken");
    }
    return rc;
}

static void give_late(sim_world *world, void *arg)
{
    ticket *one = arg;
    int rc = give(one->with, one->req, one->index, one->fate);

    if (rc != 0 && rc != GATE_EGONE) {
        sim_failed(world, "a deferred answer failed: %s", gate_strerror(rc));
    }
    extend_stream(one->with);
}

static void defer(exchange *one, gate_request *req, int index, int fate)
{
    swarm *all = one->swarm;
    ticket *kept = &one->tickets[index];

    *kept = (ticket){.with = one, .req = req, .index = index, .fate = fate};
    if (gate_defer(req) != 0 || gate_defer(req) != -EALREADY) {
        sim_failed(all->scene.world, "a request was not deferred, or twice");
    }
    sim_in(all->scene.world, below(all, 2 * (uint64_t)SIM_SECOND), give_late, kept);
}

static void check_request(swarm *all, exchange *one, const uint8_t *body, size_t len)
{
    uint8_t expected[BODY_MAX];
    int index = one->delivered;
    int raw = strcmp(all->codec_name, "raw") == 0;

    if (index >= one->whole) {
        sim_failed(all->scene.world, "%s: request %d of connection %d was never sent whole",
                   all->codec_name, index, one->id);
        return;
    }
    make_body(one, index, expected);
    if ((raw ? len == 0 || len > one->body_len[index] : len != one->body_len[index]) ||
        memcmp(body, expected, len) != 0) {
        sim_failed(all->scene.world, "%s: request %d of connection %d came as \"%.*s\" (%zu)",
                   all->codec_name, index, one->id, (int)(len < 40 ? len : 40),
                   (const char *)body, len);
    }
}

static void handle(gate_request *req, const void *body, size_t len, void *user)
{
    swarm *all = user;
    exchange *one = sender(all, req);
    int index, fate;

    all->handled++;
    if (!all->scene.serving) {
        sim_failed(all->scene.world, "a handler ran while nothing served");
    }
    if (one == NULL) {
        gate_reject(req, NULL, 0);
        return;
    }
    check_request(all, one, body, len);
    if (all->scene.result != 0 || one->delivered >= REQUESTS_MAX) {
        return;
    }
    index = one->delivered++;
    one->got_len[index] = len;
    fate = chance(all, 4) ? REJECTED : REPLIED;
    if (chance(all, 2)) {
        one->fate[index] = FORGOTTEN;
    } else if (chance(all, 25)) {
        defer(one, req, index, fate);
    } else if (give(one, req, index, fate) != 0) {
        sim_failed(all->scene.world, "an answer was refused");
    }
    extend_stream(one);
}

/* ---- Drawing a seed ------------------------------------------------------------------------ */

static uint32_t some(swarm *all, uint32_t pct, uint32_t max)
{
    return chance(all, pct) ? 1 + (uint32_t)below(all, max) : 0;
}

static void draw_options(swarm *all, gate_options *options)
{
    static const char *const names[] = {"raw",  "line", "varint", "netstring", "eof",      "u8",
                                        "u16",  "u32",  "u16le",  "u32le",     "fixed:64",
                                        "delimiter:<>"};
    uint32_t timeout_ms = 3600000;

    all->codec_name = names[below(all, sizeof(names) / sizeof(names[0]))];
    if (gate_codec_parse(&all->codec, all->codec_name) != 0) {
        abort();
    }
    if (!all->strict) {
        timeout_ms = 1 + (uint32_t)below(all, 5000);
    }
    *options = (gate_options){
        .handler = handle,
        .user = all,
        .codec = &all->codec,
        .timeout_ms = timeout_ms,
        .drain_timeout_ms = 5000,
        .output_max = some(all, 30, 500),
        .connections_max = some(all, 20, 3),
        .inflight_max = some(all, 30, 3),
        .log_level = chance(all, 50) ? GATE_LOG_DEBUG : 0,
    };
}

static void close_when_done(sim_peer *peer, void *arg)
{
    exchange *one = arg;

    if (!peer->closed && peer->got_len >= one->stream_len &&
        (one->ended || one->streamed == one->wanted)) {
        sim_peer_close(peer);
    }
}

static void reset_late(sim_world *world, void *arg)
{
    (void)world;
    sim_peer_reset(((exchange *)arg)->peer);
}

/* Puts the peer's requests into one block, of which the last part may be missing. */
static void send_requests(swarm *all, exchange *one)
{
    uint8_t body[BODY_MAX];
    size_t len;

    for (int i = 0; i < one->wanted; i++) {
        make_body(one, i, body);
        put_frame(one, body, one->body_len[i]);
    }
    len = one->stream_len;
    if (one->behaviour == CUTS_A_FRAME) {
        /* At least one byte: without a terminator even the smallest cut counts. */
        len -= 1 + below(all, 3);
        one->whole--;
    }
    if (one->behaviour != SILENT) {
        sim_peer_send(one->peer, one->stream, len);
    }
    free(one->stream);
    one->stream = NULL;
    one->stream_len = 0;
}

static void draw_link(swarm *all, exchange *one, int one_shot)
{
    char from[32];
    int until_eof = (all->codec.flags & GATE_CODEC_UNTIL_EOF) != 0;
    int fixed = all->codec_name[0] == 'f';

    one->swarm = all;
    one->behaviour = chance(all, 70) ? HONEST : 1 + (int)below(all, SILENT);
    if (one_shot && one->behaviour == CUTS_A_FRAME) {
        one->behaviour = SILENT; /* such a frame cannot be cut */
    }
    one->wanted = one_shot ? 1 : 1 + (int)below(all, REQUESTS_MAX);
    one->whole = one->behaviour == SILENT ? 0 : one->wanted;
    for (int i = 0; i < one->wanted; i++) {
        size_t max = all->codec_name[0] == 'u' ? 255 : BODY_MAX;

        one->body_len[i] = fixed ? FIXED : BODY_MIN + below(all, max - BODY_MIN);
    }
    snprintf(from, sizeof(from), "198.51.100.%d", one->id + 1);
    one->peer = scene_peer(&all->scene, from);
    send_requests(all, one);
    one->peer->changed = close_when_done;
    one->peer->arg = one;
    one->peer->read_stopped = one->behaviour == STOPS_READING;
    one->peer->send_max = some(all, 30, 50);
    one->peer->send_every_ns = some(all, 30, 20) * (uint64_t)SIM_MS;
    one->peer->read_max = some(all, 30, 100);
    one->peer->read_every_ns = some(all, 20, 20) * (uint64_t)SIM_MS;
    if (until_eof || (all->codec_name[0] != 'r' && chance(all, 40))) {
        sim_peer_half_close(one->peer);
    }
    if (one->behaviour != HONEST) {
        sim_in(all->scene.world, below(all, 30 * (uint64_t)SIM_SECOND), reset_late, one);
    }
}

/* ---- Judging ------------------------------------------------------------------------------- */

/* Whether more of a raw request could come after the read that was taken for all of it. Its sender
 * breaks raw's rule, and the close that follows the answer may meet that rest with a reset. */
static int broke_raw(swarm *all, const exchange *one)
{
    return all->codec_name[0] == 'r' && one->got_len[0] < one->body_len[0] &&
           (one->peer->send_max != 0 || sim_knobs_of(all->scene.world)->flow_max != 0);
}

static void judge(swarm *all, const exchange *one)
{
    const sim_peer *peer = one->peer;
    int slow = peer->read_every_ns != 0 || peer->read_max != 0;

    if (peer->got_len > one->stream_len ||
        (peer->got_len > 0 && memcmp(peer->got, one->stream, peer->got_len) != 0)) {
        sim_failed(all->scene.world, "%s: connection %d got bytes that are not its answers",
                   all->codec_name, one->id);
        return;
    }
    /* A slow one may lose the end of a conversation that the server ends, to the drain's cap. */
    if (!all->strict || one->behaviour != HONEST || peer->faulted || (slow && one->ended) ||
        broke_raw(all, one)) {
        return;
    }
    if (!one->ended && one->delivered != one->wanted) {
        sim_failed(all->scene.world, "%s: %d of %d requests of connection %d reached the handler",
                   all->codec_name, one->delivered, one->wanted, one->id);
    } else if (peer->got_len != one->stream_len) {
        sim_failed(all->scene.world, "%s: connection %d got %zu of %zu reply bytes",
                   all->codec_name, one->id, peer->got_len, one->stream_len);
    }
}

static void judge_all(swarm *all)
{
    const scene *seen = &all->scene;

    for (int i = 0; i < all->count; i++) {
        judge(all, &all->links[i]);
    }
    if (seen->stats.requests != all->handled) {
        sim_failed(seen->world, "%llu requests counted, %llu handled",
                   (unsigned long long)seen->stats.requests, (unsigned long long)all->handled);
    }
    /* All peers have left long before the server is stopped. */
    if (all->strict && (seen->stats.closed[GATE_CLOSE_STOPPED] != 0 ||
                        seen->stats.closed[GATE_CLOSE_DRAIN_TIMEOUT] != 0)) {
        sim_failed(seen->world, "%s: a connection outlived its peer", all->codec_name);
    }
    if (seen->end_ns > seen->start_ns + stop_ns + 6 * (uint64_t)SIM_SECOND) {
        sim_failed(seen->world, "draining took longer than its deadline");
    }
}

uint64_t swarm_run(uint64_t seed, sim_fail *fail, void *arg, swarm_sums *sums)
{
    swarm all = {.strict = 0};
    sim_knobs knobs = {0};
    gate_options options;
    uint64_t hash;
    int one_shot;

    sim_rng_init(&all.rng, seed, STREAM_SWARM);
    all.strict = chance(&all, 75);
    sim_knobs_draw(&knobs, &all.rng);
    draw_options(&all, &options);
    one_shot = (all.codec.flags & (GATE_CODEC_ONE_SHOT | GATE_CODEC_UNTIL_EOF)) != 0;
    scene_open(&all.scene, seed, &knobs, &options, 1 + (int)below(&all, 8));
    sim_on_fail(all.scene.world, fail, arg);
    all.count = 1 + (int)below(&all, PEERS_MAX);
    for (int i = 0; i < all.count; i++) {
        all.links[i].id = i;
        draw_link(&all, &all.links[i], one_shot);
    }
    scene_stop_in(&all.scene, stop_ns);
    scene_serve(&all.scene);
    judge_all(&all);
    hash = sim_hash(all.scene.world);
    sums->steps += sim_steps(all.scene.world);
    for (int knob = 0; knob < SIM_KNOB_COUNT; knob++) {
        sums->fired[knob] += sim_fired(all.scene.world, (sim_knob)knob);
    }
    scene_close(&all.scene);
    for (int i = 0; i < all.count; i++) {
        free(all.links[i].stream);
    }
    return hash;
}
