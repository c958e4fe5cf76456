/* SPDX-License-Identifier: MIT */
/* The connection as a state machine: the input is a script. Its head is the configuration; then
 * comes one event after the other, each with its operands: the peer's bytes, time, answers, the end
 * of input, what was sent, a stop. What handlers do is drawn from it too, when they are called. */

#include <stdlib.h>
#include <string.h>

#include "conn_world.h"
#include "fuzz.h"

enum { EVENTS_MAX = 2000, ENDING_MAX = 4000 };

/* A send under way, whose bytes must not move. */
typedef struct sending {
    const uint8_t *bytes;
    uint8_t *copy; /* NULL: none is */
    size_t len;
    int last; /* the socket is closed behind it */
} sending;

typedef struct play {
    world w;
    sending send;
    int is_over; /* the peer has ended its side */
    int fin;     /* the end of our side is under way */
    int is_stopped;
} play;

static void input(play *p, fuzz_input *script)
{
    const uint8_t *bytes;
    uint8_t draw = fuzz_byte(script);
    size_t len = fuzz_bytes(script, 1 + draw % 64u, &bytes);

    if (p->is_over || !len || p->w.bytes_in + len > WORLD_INPUT_MAX)
        return;
    p->send.last = 0;
    uint8_t *copy = fuzz_copy(bytes, len);
    world_keep_input(&p->w, bytes, len);
    gate__conn_input(&p->w.conn, copy, len, draw >= 192, p->w.now);
    free(copy);
}

static void end_input(play *p)
{
    if (p->is_over)
        return;
    p->is_over = 1;
    gate__conn_eof(&p->w.conn, p->w.now);
}

static void start_send(play *p)
{
    int more;

    if (p->send.copy || !(gate__conn_wants(&p->w.conn) & GATE__WANT_SEND))
        return;
    p->send.len = gate__conn_output(&p->w.conn, &p->send.bytes, &more, &p->send.last);
    p->send.copy = fuzz_copy(p->send.bytes, p->send.len);
}

/* All of it, or the share that the script says. It may end after the connection was given up. */
static void finish_send(play *p, uint8_t share)
{
    sending *send = &p->send;

    if (!send->copy)
        return;
    CHECK(memcmp(send->bytes, send->copy, send->len) == 0);
    size_t len = share >= 128 ? send->len : send->len * share / 128;
    world_take_output(&p->w, send->copy, len);
    free(send->copy);
    send->copy = NULL;
    gate__conn_sent(&p->w.conn, len, p->w.now);
    CHECK(send->last != GATE__LAST_CLOSE || len < send->len || p->w.conn.phase == GATE__CLOSED);
}

/* Begins to end our side, or is done with that; in between the connection may be given up. */
static void finish(play *p)
{
    if (p->fin) {
        p->fin = 0;
        gate__conn_fin(&p->w.conn, p->w.now);
        CHECK(p->w.conn.phase >= GATE__LINGERING);
    } else if (gate__conn_wants(&p->w.conn) & GATE__WANT_FIN) {
        p->fin = 1;
    }
}

static void expire(play *p)
{
    gate__conn_expire(&p->w.conn, p->w.now);
    CHECK(gate__conn_deadline(&p->w.conn) > p->w.now);
}

static void pass_time(play *p, uint8_t draw)
{
    static const uint64_t steps[] = {0, 1, WORLD_MS, WORLD_S / 2, WORLD_S, 3 * WORLD_S};
    uint64_t deadline = gate__conn_deadline(&p->w.conn);

    if (draw % 8 < 6)
        p->w.now += steps[draw % 8];
    else if (deadline != UINT64_MAX && deadline > p->w.now)
        p->w.now = deadline - (draw % 8 == 7);
    /* Timers have a grain: an event may come when a deadline has passed, and before its timer. */
    if (draw < 192)
        expire(p);
}

static void stop(play *p, uint8_t draw)
{
    if (p->is_stopped)
        return;
    p->is_stopped = 1;
    gate__conn_stop(&p->w.conn, p->w.now + draw % 8 * WORLD_S, p->w.now);
}

/* The last look for a request finds nothing. */
static void find_nothing(play *p, int flushed)
{
    if (gate__conn_wants(&p->w.conn) & GATE__WANT_LOOK)
        gate__conn_quiet(&p->w.conn, flushed, p->w.now);
    CHECK(!(gate__conn_wants(&p->w.conn) & GATE__WANT_LOOK));
}

static void give_up(play *p)
{
    gate__conn_abort(&p->w.conn, GATE_CLOSE_RESET);
}

static void step(play *p, fuzz_input *script)
{
    uint8_t event = fuzz_byte(script);

    switch (event % 16) {
    case 0:
        end_input(p);
        break;
    case 1:
        stop(p, fuzz_byte(script));
        break;
    case 2:
        if (event >= 192)
            give_up(p);
        else
            find_nothing(p, event >= 96);
        break;
    case 3:
    case 4:
        pass_time(p, fuzz_byte(script));
        break;
    case 5:
    case 6:
        (void)world_settle(&p->w, fuzz_byte(script) % 4);
        break;
    case 7:
    case 8:
        start_send(p);
        break;
    case 9:
    case 10:
        finish_send(p, fuzz_byte(script));
        break;
    case 11:
        finish(p);
        break;
    default:
        input(p, script);
        break;
    }
    world_check(&p->w);
}

/* Everyone does what is asked of them. */
static void wind_up(play *p)
{
    for (int i = 0; i < ENDING_MAX && p->w.conn.phase != GATE__CLOSED; i++) {
        find_nothing(p, 1);
        start_send(p);
        finish_send(p, 255);
        world_check(&p->w);
        (void)world_settle(&p->w, 0);
        world_check(&p->w);
        finish(p);
        if (!p->w.slots && !p->w.conn.out.head)
            end_input(p);
        world_check(&p->w);
    }
    CHECK(p->w.conn.phase == GATE__CLOSED);
}

/* Nobody does anything, but time goes on. */
static void wait_out(play *p)
{
    for (int i = 0; i < ENDING_MAX && p->w.conn.phase != GATE__CLOSED; i++) {
        uint64_t deadline = gate__conn_deadline(&p->w.conn);
        if (deadline == UINT64_MAX) {
            finish(p);
        } else {
            p->w.now = deadline > p->w.now ? deadline : p->w.now;
            expire(p);
        }
        world_check(&p->w);
    }
    CHECK(p->w.conn.phase == GATE__CLOSED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static play p;
    fuzz_input script = {data, size};

    memset(&p, 0, sizeof(p));
    uint8_t ending = fuzz_byte(&script);
    world_open(&p.w, &script);
    for (int i = 0; i < EVENTS_MAX && script.left > 0; i++)
        step(&p, &script);
    if (ending % 4 == 1 && p.w.finite)
        wait_out(&p);
    else if (ending % 4 != 0)
        wind_up(&p);
    if (p.w.conn.phase == GATE__CLOSED)
        world_check_sent(&p.w);
    finish_send(&p, ending);
    world_close(&p.w);
    return 0;
}
