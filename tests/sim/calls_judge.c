/* SPDX-License-Identifier: MIT */

/* Whether what a client says of a call is true. */

#include <errno.h>
#include <string.h>

#include "calls.h"

static const int codes[CALLS_CODES] = {
    0,           GATE_EROOM,   GATE_ETRUNCATED, GATE_ECLOSED,    GATE_ELATE,
    GATE_EFRAME, GATE_EBROKEN, GATE_ENAME,      GATE_ENAMELATER, GATE_EPORTS,
    GATE_ESELF,  -ETIMEDOUT,   -ECONNREFUSED,   -ENOMEM,         -EMFILE};

const char *calls_code_name(int index)
{
    return gate_strerror(codes[index]);
}

void calls_count_codes(const calls *all, calls_sums *sums)
{
    for (int i = 0; i < all->count; i++) {
        for (int code = 0; code < CALLS_CODES; code++) {
            sums->codes[code] += all->calls[i].rc == codes[code];
        }
    }
}

static void wrong(const caller *who, int rc, const char *what)
{
    calls *all = who->all;

    sim_failed(all->world, "%s: call %d: %s (\"%s\")", all->codec_name, all->current, what,
               gate_strerror(rc));
}

static const line *last_line(const calls *all)
{
    return all->lines_count > 0 ? &all->lines[all->lines_count - 1] : NULL;
}

/* Whether what the peer has said next is there as a whole frame. */
static int next_frame(const calls *all, const line *one, gate_frame *frame)
{
    return one->said_len > one->taken &&
           all->codec.decode(&all->codec, one->said + one->taken, one->said_len - one->taken,
                             CALLS_SAID, 0, frame) == 1;
}

/* Whether what the peer has said next is this reply, whole. */
static int said(calls *all, const uint8_t *reply, size_t len)
{
    line *one = &all->lines[all->lines_count - 1];
    const uint8_t *next = one->said + one->taken;
    gate_frame frame = {0};

    if (all->until_close) {
        return one->end == CLOSED && len == one->said_len && memcmp(reply, next, len) == 0;
    }
    if (!next_frame(all, one, &frame)) {
        return 0;
    }
    one->taken += frame.total;
    return len == frame.body_len && (len == 0 || memcmp(reply, next + frame.body, len) == 0);
}

/* What is there of a reply on an error: with a close for its end, what has come of it. */
static int is_start(const calls *all, const uint8_t *reply, size_t len, int rc)
{
    const line *one = last_line(all);

    if (!all->until_close) {
        return len == 0 || rc == GATE_EROOM;
    }
    return len == 0 || (one != NULL && len <= one->said_len && memcmp(reply, one->said, len) == 0);
}

/* What a client must say of a peer that has had the whole request, where nothing else is wrong. */
static int fits_act(const calls *all, const line *one, const call *asked, size_t room, int rc)
{
    int over = asked->reply_len > room;
    int cut_over = all->until_close ? one->cut > room : over;

    if (one->act == ANSWERS || one->act == ANSWERS_LATE) {
        return rc == (over ? GATE_EROOM : 0);
    }
    if (one->act == SAYS_NOTHING) {
        return rc == GATE_ELATE;
    }
    if (cut_over && rc == GATE_EROOM) {
        return 1;
    }
    if (one->act == CUTS_AND_RESETS) {
        return rc == GATE_ECLOSED || (one->cut > 0 && rc == GATE_ETRUNCATED);
    }
    if (one->cut == 0) {
        return rc == GATE_ECLOSED;
    }
    return rc == (all->until_close ? cut_over ? GATE_EROOM : 0 : GATE_ETRUNCATED);
}

/* Nobody can tell what a peer says unasked from the reply to the next request. So a call may take
 * some of it for its reply, and leave to the next one what is no reply, or a peer that has left. */
static int is_misled(const calls *all, int rc)
{
    const line *one = last_line(all);
    gate_frame frame = {0};

    return gate_outcome(rc) != GATE_NOT_SENT && one != NULL && one->dirty &&
           (one->end != STAYS || !next_frame(all, one, &frame));
}

static void judge_scripted(const caller *who, const uint8_t *reply, size_t len, size_t room, int rc)
{
    calls *all = who->all;
    const call *asked = &all->calls[all->current];
    const line *one = last_line(all);

    if (rc == 0 && (one == NULL || !said(all, reply, len))) {
        wrong(who, rc, "the peer did not say that, or not all of it");
    } else if (rc != 0 && !is_start(all, reply, len, rc)) {
        wrong(who, rc, "the peer did not say what is there of the reply");
    }
    if (all->strict && one != NULL && one->mood == NORMAL && !one->dirty &&
        (asked->ran != 1 || !fits_act(all, one, asked, room, rc))) {
        wrong(who, rc, "that is not what its peer did");
    }
    /* The first call behind the healing may still find what was broken before. */
    if (all->current == all->count - 1 && rc != 0 && !is_misled(all, rc)) {
        wrong(who, rc, "nothing goes wrong any more");
    }
}

static void judge_served(const caller *who, const uint8_t *reply, size_t len, size_t room, int rc)
{
    const calls *all = who->all;
    const call *asked = &all->calls[all->current];

    if (rc == 0 && (asked->ran != 1 || len != asked->reply_len ||
                    (len > 0 && memcmp(reply, asked->reply, len) != 0))) {
        wrong(who, rc, "the server did not answer that");
    }
    if (all->strict && !all->cut_raw && rc != (asked->reply_len > room ? GATE_EROOM : 0)) {
        wrong(who, rc, "the server has answered");
    }
}

void calls_judge_time(const caller *who, int rc, uint64_t start_ns, uint32_t timeout_ms)
{
    uint64_t took_ns = sim_now(who->all->world) - start_ns;
    uint64_t timeout_ns = timeout_ms * (uint64_t)SIM_MS;

    if (took_ns > timeout_ns + who->slack_ns) {
        wrong(who, rc, "it has outlived its deadline");
    }
    if (who->clean && took_ns < timeout_ns && (rc == GATE_ELATE || rc == -ETIMEDOUT)) {
        wrong(who, rc, "that was before its deadline");
    }
}

/* A failed call, and one that needs no connection any more, leaves none. */
static void judge_descriptors(const caller *who, int rc)
{
    size_t kept = rc == 0 && !who->all->until_close;

    if (who->descriptors != SIZE_MAX &&
        sim_descriptors(who->all->world) != who->descriptors + kept) {
        wrong(who, rc, "it has left a descriptor open, or closed a good one");
    }
}

void calls_judge(const caller *who, const uint8_t *reply, size_t len, size_t room)
{
    int rc = who->all->calls[who->all->current].rc;

    if (rc > 0 || len > room || reply[room] != CALLS_CANARY) {
        wrong(who, rc, "a result or a length that cannot be");
    } else if (who->descriptors != SIZE_MAX) {
        judge_scripted(who, reply, len, room, rc);
    } else {
        judge_served(who, reply, len, room, rc);
    }
    judge_descriptors(who, rc);
}

void calls_judge_outcomes(const caller *who)
{
    calls *all = who->all;

    for (all->current = 0; all->current < all->count; all->current++) {
        const call *one = &all->calls[all->current];

        if (gate_outcome(one->rc) == GATE_NOT_SENT && (one->seen > 0 || one->ran > 0)) {
            wrong(who, one->rc, "the request was sent all the same");
        }
    }
}
