/* SPDX-License-Identifier: MIT */

/*
 * Connections: two bounded flows of bytes. What one end sends takes a latency to be seen by the
 * other; within a flow nothing overtakes, the end and the reset included. A reset that arrives
 * before the end destroys what its receiver has not read, as it may with real ones. So does, at
 * the sender, closing with unread input, or bytes that arrive at a closed end: both answer with a
 * reset.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

enum { FLOW_DEFAULT = 65536 };
enum { DATA, END, RESET };

typedef struct arrival {
    sim__conn *conn;
    int from;
    int what;
    size_t len;
} arrival;

uint64_t sim__latency(sim_world *world)
{
    const sim_knobs *knobs = &world->knobs;
    uint64_t ns = sim_rng_range(&world->net, knobs->latency_min_ns, knobs->latency_max_ns);

    if (sim__chance(world, SIM_CLOG, knobs->clog_pct)) {
        ns += sim_rng_below(&world->net, knobs->clog_max_ns);
    }
    return ns;
}

sim__conn *sim__conn_open(sim_world *world, const gate__sockaddr *to, const gate__sockaddr *from)
{
    sim__conn *conn = sim__alloc(sizeof(*conn));

    conn->world = world;
    conn->refs = 2; /* side 0 and the event under way */
    conn->end[0].name = *from;
    conn->end[0].open = 1;
    conn->end[1].name = *to;
    sim__at(world, world->now_ns + sim__latency(world), sim__syn, conn);
    return conn;
}

void sim__conn_unref(sim__conn *conn)
{
    if (--conn->refs == 0) {
        free(conn->flow[0].bytes);
        free(conn->flow[1].bytes);
        free(conn);
    }
}

/* Tells an end that something about it is different. A descriptor's owner looks by itself. */
static void tell(sim__conn *conn, int side)
{
    if (conn->end[side].peer != NULL) {
        sim_peer_kick(conn->end[side].peer);
    }
}

static void empty(sim__flow *flow)
{
    flow->head = 0;
    flow->len = 0;
    flow->seen = 0;
}

static void arrive(sim_world *world, void *arg);

static void schedule(sim__conn *conn, int from, int what, size_t len)
{
    sim_world *world = conn->world;
    sim__flow *flow = &conn->flow[from];
    arrival *one = sim__alloc(sizeof(*one));
    uint64_t at_ns = world->now_ns + sim__latency(world);

    *one = (arrival){.conn = conn, .from = from, .what = what, .len = len};
    flow->last_ns = at_ns > flow->last_ns ? at_ns : flow->last_ns;
    conn->refs++;
    sim__at(world, flow->last_ns, arrive, one);
}

static void kill_end(sim__conn *conn, int side, int error)
{
    sim__end *end = &conn->end[side];

    if (end->open && !end->dead) {
        end->dead = 1;
        end->err = error;
        empty(&conn->flow[!side]);
    }
}

static void arrive_data(sim__conn *conn, int from, size_t len)
{
    sim__flow *flow = &conn->flow[from];

    /* A reset may have destroyed the bytes meanwhile. */
    len = len < flow->len - flow->seen ? len : flow->len - flow->seen;
    if (!conn->end[!from].open && !conn->end[!from].dead && len > 0) {
        conn->end[!from].dead = 1;
        empty(flow);
        schedule(conn, !from, RESET, 0);
        return;
    }
    flow->seen += len;
    if (conn->end[!from].peer != NULL) {
        sim__peer_arrival(conn->end[!from].peer);
    }
}

/* Behind the end of the input it destroys nothing, as on Linux: all of it has come. */
static void arrive_reset(sim__conn *conn, int side)
{
    if (conn->end[side].open && conn->flow[!side].end_seen) {
        conn->end[side].dead = 1;
    } else {
        kill_end(conn, side, -ECONNRESET);
    }
}

static void arrive(sim_world *world, void *arg)
{
    arrival one = *(arrival *)arg;
    sim__conn *conn = one.conn;

    free(arg);
    world->progress++;
    if (one.what == DATA) {
        arrive_data(conn, one.from, one.len);
    } else if (one.what == END) {
        conn->flow[one.from].end_seen = !conn->flow[one.from].cut;
    } else {
        arrive_reset(conn, !one.from);
    }
    tell(conn, !one.from);
    sim__conn_unref(conn);
}

size_t sim__conn_room(const sim__conn *conn, int side)
{
    uint32_t max = conn->world->knobs.flow_max;
    size_t room = max ? max : FLOW_DEFAULT;
    size_t len = conn->flow[side].len;

    return len < room ? room - len : 0;
}

int sim__conn_readable(const sim__conn *conn, int side)
{
    const sim__flow *flow = &conn->flow[!side];

    return flow->seen > 0 || flow->end_seen || conn->end[side].dead;
}

int sim__conn_writable(const sim__conn *conn, int side)
{
    return conn->end[side].dead || conn->flow[side].ended || sim__conn_room(conn, side) > 0;
}

static int take_error(sim__end *end, int after)
{
    int error = end->err;

    end->err = 0;
    return error ? error : after;
}

static void append(sim__flow *flow, const void *bytes, size_t len)
{
    if (flow->head + flow->len + len > flow->room) {
        if (flow->head > 0) {
            memmove(flow->bytes, flow->bytes + flow->head, flow->len);
            flow->head = 0;
        }
        if (flow->len + len > flow->room) {
            flow->room = 2 * (flow->len + len);
            flow->bytes = sim__grow(flow->bytes, flow->room);
        }
    }
    memcpy(flow->bytes + flow->head + flow->len, bytes, len);
    flow->len += len;
}

int sim__conn_send(sim__conn *conn, int side, const void *bytes, size_t len)
{
    size_t room = sim__conn_room(conn, side);

    if (conn->end[side].dead || conn->flow[side].ended) {
        return take_error(&conn->end[side], -EPIPE);
    }
    len = len < room ? len : room;
    if (len == 0) {
        return 0;
    }
    append(&conn->flow[side], bytes, len);
    schedule(conn, side, DATA, len);
    conn->world->progress++;
    return (int)len;
}

int sim__conn_recv(sim__conn *conn, int side, void *bytes, size_t len)
{
    sim__flow *flow = &conn->flow[!side];

    if (flow->seen == 0) {
        return conn->end[side].dead ? take_error(&conn->end[side], 0) : 0;
    }
    len = len < flow->seen ? len : flow->seen;
    memcpy(bytes, flow->bytes + flow->head, len);
    flow->head += len;
    flow->len -= len;
    flow->seen -= len;
    flow->taken += len;
    conn->world->progress++;
    tell(conn, !side);
    return (int)len;
}

int sim__conn_end(sim__conn *conn, int side)
{
    if (conn->end[side].dead) {
        return -ENOTCONN;
    }
    if (!conn->flow[side].ended) {
        conn->flow[side].ended = 1;
        schedule(conn, side, END, 0);
    }
    return 0;
}

static void leave(sim__conn *conn, int side)
{
    conn->end[side].open = 0;
    conn->end[side].peer = NULL;
    conn->world->progress++;
    sim__conn_unref(conn);
}

void sim__conn_close(sim__conn *conn, int side)
{
    if (conn->flow[!side].seen > 0) {
        sim__conn_reset(conn, side);
        return;
    }
    sim__conn_end(conn, side);
    leave(conn, side);
}

void sim__conn_reset(sim__conn *conn, int side)
{
    if (!conn->end[side].dead) {
        sim__flow *flow = &conn->flow[side];

        if (flow->len > flow->seen &&
            sim__chance(conn->world, SIM_RESET_LOSES, conn->world->knobs.reset_loses_pct)) {
            flow->len = flow->seen;
            flow->cut = 1;
        }
        conn->end[side].dead = 1;
        empty(&conn->flow[!side]);
        schedule(conn, side, RESET, 0);
    }
    leave(conn, side);
}

void sim__conn_blame(sim__conn *conn)
{
    for (int side = 0; side < 2; side++) {
        if (conn->end[side].peer != NULL) {
            conn->end[side].peer->faulted = 1;
        }
    }
}

void sim__conn_break(sim__conn *conn, int side)
{
    sim__conn_blame(conn);
    if (!conn->end[side].dead) {
        arrive_reset(conn, side);
        schedule(conn, side, RESET, 0);
    }
    conn->end[side].err = 0;
}
