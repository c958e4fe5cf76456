/* SPDX-License-Identifier: MIT */

/* The handler of a swarm: it knows each request that may come, and answers at once, later, twice,
 * not at all, or slowly. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "swarm_parts.h"

enum { SLOW_MAX_NS = 20 * SIM_MS, AGAIN_NS = 10 * SIM_MS };

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
    len = swarm__make_answer(one, index, body);
    if (fate == REJECTED) {
        rc = gate_reject(req, body, len);
    } else if (!all->healed && swarm__chance(all, 30)) {
        rc = reply_borrowed(req, body, len);
    } else {
        rc = gate_reply(req, body, len);
    }
    if (rc == -ENOMEM && sim_fired(all->scene.world, SIM_ALLOC) > 0) {
        all->seen[SWARM_ANSWER_REFUSED]++;
        one->fate[index] = UNDECIDED;
    } else if (rc == -ENOBUFS && all->options.buffers_max != 0) {
        all->seen[SWARM_ANSWER_REFUSED]++;
        one->fate[index] = UNDECIDED;
    } else if (swarm__chance(all, 10)) {
        all->seen[SWARM_HANDLER_TWICE]++;
        if (gate_reply(req, body, len) != -EALREADY) {
            sim_failed(all->scene.world, "a second answer was taken");
        }
    }
    return rc;
}

/* ---- Later --------------------------------------------------------------------------------- */

static void give_late(sim_world *world, void *arg)
{
    ticket *one = arg;
    int rc;

    if (one->with->swarm->scene.server == NULL) {
        return;
    }
    rc = give(one->with, one->req, one->index, one->fate);
    if (one->with->fate[one->index] == UNDECIDED) {
        sim_in(world, AGAIN_NS, give_late, one);
        return;
    }
    if (rc != 0 && rc != GATE_EGONE) {
        sim_failed(world, "a deferred answer failed: %s", gate_strerror(rc));
    }
    swarm__extend_stream(one->with);
}

static void defer(exchange *one, gate_request *req, int index, int fate)
{
    swarm *all = one->swarm;
    ticket *kept = &one->tickets[index];

    all->seen[SWARM_HANDLER_DEFERS]++;
    *kept = (ticket){.with = one, .req = req, .index = index, .fate = fate};
    if (gate_defer(req) != 0 || gate_defer(req) != -EALREADY) {
        sim_failed(all->scene.world, "a request was not deferred, or twice");
    }
    if (!all->strict && swarm__chance(all, 10)) {
        all->seen[SWARM_HANDLER_SILENT]++;
    } else {
        sim_in(all->scene.world, swarm__below(all, 2 * (uint64_t)SIM_SECOND), give_late, kept);
    }
}

/* ---- At once ------------------------------------------------------------------------------- */

/* 0: garbage, of one that may send that. */
static int check_request(swarm *all, exchange *one, const uint8_t *body, size_t len)
{
    uint8_t expected[BODY_MAX];
    int index = one->delivered;
    int raw = strcmp(all->codec_name, "raw") == 0;

    if (index < one->whole) {
        swarm__make_body(one, index, expected);
    }
    if (index < one->whole && len > 0 && memcmp(body, expected, len < BODY_MAX ? len : 1) == 0 &&
        (raw ? len <= one->body_len[index] : len == one->body_len[index])) {
        return 1;
    }
    if (one->behaviour == LIES) {
        one->lied = 1;
    } else if (index >= one->whole) {
        sim_failed(all->scene.world, "%s: request %d of connection %d was never sent whole",
                   all->codec_name, index, one->id);
    } else {
        sim_failed(all->scene.world, "%s: request %d of connection %d came as \"%.*s\" (%zu)",
                   all->codec_name, index, one->id, (int)(len < 40 ? len : 40), (const char *)body,
                   len);
    }
    return 0;
}

static void take_liberties(swarm *all, gate_request *req)
{
    if (all->healed) {
        return;
    }
    if (swarm__chance(all, (uint32_t)all->slow_pct)) {
        all->seen[SWARM_HANDLER_SLOW]++;
        sim_spend(all->scene.world, swarm__below(all, SLOW_MAX_NS));
    }
    if (swarm__chance(all, (uint32_t)all->stop_pct)) {
        all->seen[SWARM_HANDLER_STOPS]++;
        swarm__note_stop(all);
        scene_stop(&all->scene);
    }
    if (gate_request_server(req) != all->scene.server) {
        sim_failed(all->scene.world, "a request is of another server");
    }
}

static void answer(exchange *one, gate_request *req, int index)
{
    swarm *all = one->swarm;
    int fate = swarm__chance(all, 4) ? REJECTED : REPLIED;
    int rc = 0;

    all->seen[SWARM_HANDLER_REJECTS] += fate == REJECTED;
    if (swarm__chance(all, 2)) {
        all->seen[SWARM_HANDLER_FORGETS]++;
        one->fate[index] = FORGOTTEN;
    } else if (!all->healed && swarm__chance(all, 25)) {
        defer(one, req, index, fate);
    } else {
        rc = give(one, req, index, fate);
        if (one->fate[index] == UNDECIDED && swarm__chance(all, 50)) {
            rc = give(one, req, index, fate);
        }
        if (one->fate[index] == UNDECIDED) {
            one->fate[index] = FORGOTTEN;
            rc = 0;
        }
    }
    if (rc != 0) {
        sim_failed(all->scene.world, "an answer was refused: %s", gate_strerror(rc));
    }
}

void swarm__handle(gate_request *req, const void *body, size_t len, void *user)
{
    swarm *all = user;
    exchange *one = sender(all, req);
    int index;

    all->handled++;
    if (!all->scene.serving) {
        sim_failed(all->scene.world, "a handler ran while nothing served");
    }
    take_liberties(all, req);
    if (one == NULL || !check_request(all, one, body, len)) {
        gate_reject(req, NULL, 0);
        return;
    }
    index = one->delivered++;
    one->got_len[index] = len;
    answer(one, req, index);
    swarm__extend_stream(one);
}
