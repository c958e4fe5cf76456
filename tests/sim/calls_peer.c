/* SPDX-License-Identifier: MIT */

/* The peers that a client meets: honest ones, and those that are slow, silent, deaf or rude, or
 * lie. What one says is written down, so that a reply can be judged by it. */

#include <string.h>

#include "calls.h"

static uint64_t below(calls *all, uint64_t bound)
{
    return sim_rng_below(&all->rng, bound);
}

static uint32_t some(calls *all, uint32_t pct, uint32_t max)
{
    return sim_rng_chance(&all->rng, pct) ? 1 + (uint32_t)below(all, max) : 0;
}

static void say(line *one, const uint8_t *bytes, size_t len)
{
    if (one->peer->closed || one->end != STAYS || one->said_len + len > sizeof(one->said)) {
        return;
    }
    memcpy(one->said + one->said_len, bytes, len);
    one->said_len += len;
    sim_peer_send(one->peer, bytes, len);
}

static void close_line(line *one)
{
    if (!one->peer->closed && one->end == STAYS) {
        one->end = CLOSED;
        sim_peer_close(one->peer);
    }
}

static void reset_late(sim_world *world, void *arg)
{
    line *one = arg;

    (void)world;
    if (!one->peer->closed && !one->all->healed) {
        one->end = RESET;
        sim_peer_reset(one->peer);
    }
}

static void close_late(sim_world *world, void *arg)
{
    line *one = arg;

    (void)world;
    if (!one->all->healed) {
        close_line(one);
    }
}

/* ---- Answers ------------------------------------------------------------------------------- */

static void answer(line *one, const call *asked)
{
    say(one, asked->reply_wire, asked->reply_wire_len);
    if (one->all->until_close) {
        close_line(one);
    }
}

static void answer_late(sim_world *world, void *arg)
{
    line *one = arg;

    (void)world;
    answer(one, &one->all->calls[one->index - 1]);
}

static void cut(line *one, const call *asked)
{
    calls *all = one->all;

    one->cut = below(all, asked->reply_wire_len);
    say(one, asked->reply_wire, one->cut);
    if (one->act == CUTS) {
        close_line(one);
    } else {
        sim_in(all->world, below(all, 500 * SIM_MS), reset_late, one);
    }
}

static void say_more(line *one, const call *asked)
{
    say(one, asked->reply_wire, asked->reply_wire_len);
    one->dirty = 1;
    if (sim_rng_chance(&one->all->rng, 50)) {
        say(one, asked->reply_wire, asked->reply_wire_len);
    } else {
        say(one, (const uint8_t *)"more", 1 + below(one->all, 4));
    }
    if (one->all->until_close) {
        close_line(one);
    }
}

static void say_garbage(line *one)
{
    uint8_t bytes[40];
    size_t len = 1 + below(one->all, sizeof(bytes));

    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)below(one->all, 256);
    }
    one->dirty = 1;
    say(one, bytes, len);
    if (sim_rng_chance(&one->all->rng, 50)) {
        close_line(one);
    }
}

static void act(line *one, const call *asked)
{
    calls *all = one->all;

    one->act = all->healed || sim_rng_chance(&all->rng, 50) ? ANSWERS : (int)below(all, ACTS);
    if (one->act == ANSWERS) {
        answer(one, asked);
    } else if (one->act == ANSWERS_LATE) {
        sim_in(all->world, below(all, 3 * (uint64_t)SIM_SECOND), answer_late, one);
    } else if (one->act == SAYS_MORE) {
        say_more(one, asked);
    } else if (one->act == SAYS_GARBAGE) {
        say_garbage(one);
    } else if (one->act != SAYS_NOTHING) {
        cut(one, asked);
    }
}

/* ---- Requests ------------------------------------------------------------------------------ */

/* Whether the next request is there whole; what is there of it has to be right. */
static int has_request(line *one)
{
    calls *all = one->all;
    call *asked = &all->calls[one->index];
    size_t here = one->peer->got_len - one->used;
    size_t len = here < asked->request_wire_len ? here : asked->request_wire_len;

    asked->seen = len > asked->seen ? len : asked->seen;
    if (len > 0 && memcmp(one->peer->got + one->used, asked->request_wire, len) != 0) {
        sim_failed(all->world, "%s: request %d came damaged", all->codec_name, one->index);
    }
    if (here < asked->request_wire_len || (all->until_eof && !one->peer->eof)) {
        return 0;
    }
    one->used += asked->request_wire_len;
    if (++asked->ran > 1) {
        sim_failed(all->world, "%s: request %d was sent twice", all->codec_name, one->index);
    }
    return 1;
}

static void changed(sim_peer *peer, void *arg)
{
    line *one = arg;
    calls *all = one->all;

    while (one->index < one->last && has_request(one)) {
        act(one, &all->calls[one->index++]);
    }
    if (one->index == one->last && peer->got_len > one->used) {
        sim_failed(all->world, "%s: more came than was asked", all->codec_name);
    }
    if (peer->eof && !all->until_eof) {
        close_line(one);
    }
}

void calls_accepted(sim_peer *peer, void *arg)
{
    calls *all = arg;
    line *one = &all->lines[all->lines_count];

    if (all->lines_count == CALLS_LINES) {
        sim_failed(all->world, "a client connects too often");
        return;
    }
    all->lines_count++;
    *one = (line){.all = all, .peer = peer, .index = all->current};
    one->last = all->until_close ? all->current + 1 : all->count;
    peer->changed = changed;
    peer->arg = one;
    peer->stays = 1;
    if (all->healed) {
        return;
    }
    one->mood = sim_rng_chance(&all->rng, 85) ? NORMAL : 1 + (int)below(all, 2);
    peer->read_stopped = one->mood == DEAF;
    peer->read_max = some(all, 30, 100);
    peer->read_every_ns = some(all, 20, 20) * (uint64_t)SIM_MS;
    peer->send_max = some(all, 30, 50);
    peer->send_every_ns = some(all, 30, 20) * (uint64_t)SIM_MS;
    if (one->mood == LEAVES) {
        sim_in(all->world, below(all, (uint64_t)SIM_SECOND),
               sim_rng_chance(&all->rng, 50) ? reset_late : close_late, one);
    }
}
