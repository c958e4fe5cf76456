/* SPDX-License-Identifier: MIT */

/* What becomes of an operation of each kind, once it can be done: its effect on the network, and
 * its result. */

#include <errno.h>
#include <string.h>

#include "gate/gate.h"
#include "world.h"

enum { LEND_MAX = 65536 };

static sim__slot *slot_of(const sim__io *io, const sim__rec *rec)
{
    return sim__fd_slot(io->world, rec->sock->fd);
}

static void complete(sim__io *io, sim__rec *rec, int value, unsigned flags)
{
    sim__complete(io, rec, (sim__result){.value = value, .flags = flags});
}

/* With the descriptor gone. */
static void complete_closed(sim__io *io, sim__rec *rec, int value, unsigned flags)
{
    sim__fd_close(io->world, rec->sock->fd);
    sim__complete(io, rec, (sim__result){.value = value, .flags = flags, .closed = 1});
}

static int no_room(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

/* With the address of whoever connected, where this backend learns it with the descriptor. */
static void complete_accept(sim__io *io, sim__rec *rec, int fd, unsigned flags)
{
    sim__result result = {.value = fd, .flags = flags};
    const sim__slot *slot = sim__fd_slot(io->world, fd);

    if (io->world->knobs.accept_named) {
        result.len = sizeof(gate__sockaddr);
        result.bytes = sim__alloc(result.len);
        memcpy(result.bytes, &slot->conn->end[!slot->side].name, result.len);
    }
    sim__complete(io, rec, result);
}

static void finish_accept(sim__io *io, sim__rec *rec)
{
    sim_world *world = io->world;
    sim__listener *listener = slot_of(io, rec)->listener;
    unsigned flags = GATE_IO_MORE;
    int result;

    if (listener->count == 0) {
        complete(io, rec, rec->cancelled ? -ECANCELED : -EAGAIN, 0);
        return;
    }
    result = sim__fault(world, SIM_ACCEPT_FAULT, &world->knobs.accept);
    if (result == 0) {
        result = sim__fd_open(world, io, listener->queue[0], 1, NULL);
    }
    if (result >= 0) {
        sim__listener_pop(listener);
        if (!rec->cancelled && sim__chance(world, SIM_ACCEPT_END, world->knobs.accept_end_pct)) {
            flags = 0;
        }
        complete_accept(io, rec, result, flags);
        return;
    }
    if (!no_room(result)) {
        sim__conn *conn = sim__listener_pop(listener);

        sim__conn_blame(conn);
        sim__conn_reset(conn, 1);
    }
    complete(io, rec, result, 0);
}

static void finish_connect(sim__io *io, sim__rec *rec)
{
    int result = rec->result;

    if (result == 0) {
        int connected = slot_of(io, rec)->conn->connected;

        result = connected == 1 ? 0 : connected;
    }
    if (result < 0 && rec->sock->fd >= 0) {
        complete_closed(io, rec, result, 0);
    } else {
        complete(io, rec, result, 0);
    }
}

/* How much of `len` bytes this recv gives. */
static size_t recv_size(sim_world *world, size_t len)
{
    const sim_knobs *knobs = &world->knobs;
    size_t size = len < LEND_MAX ? len : LEND_MAX;

    if (knobs->recv_max != 0 && size > knobs->recv_max) {
        world->fired[SIM_RECV_MAX]++;
        size = knobs->recv_max;
    }
    if (size > 1 && sim__chance(world, SIM_RECV_PARTIAL, knobs->recv_partial_pct)) {
        size = 1 + sim_rng_below(&world->faults, size - 1);
    }
    return size > 1 && sim__chance(world, SIM_LEND_ONE, knobs->lend_one_pct) ? 1 : size;
}

/* The bytes are lent in a block of exactly their size, which is gone when done returns. */
static void lend(sim__io *io, sim__rec *rec, sim__conn *conn, int side)
{
    sim_world *world = io->world;
    size_t seen = conn->flow[!side].seen;
    size_t size = recv_size(world, seen);
    uint8_t *bytes = sim__alloc(size);
    unsigned flags = size < seen ? GATE_IO_FULL : 0;

    sim__conn_recv(conn, side, bytes, size);
    if (flags == 0 && sim__chance(world, SIM_FULL, world->knobs.full_pct)) {
        flags = GATE_IO_FULL;
    }
    if (world->knobs.recv_multishot && (rec->op->flags & GATE_IO_STAY) &&
        (rec->cancelled ||
         !sim__chance(world, SIM_MULTISHOT_END, world->knobs.multishot_end_pct))) {
        flags |= GATE_IO_MORE;
    }
    sim__complete(io, rec,
                  (sim__result){.value = (int)size, .flags = flags, .bytes = bytes, .len = size});
}

static void finish_recv(sim__io *io, sim__rec *rec)
{
    sim_world *world = io->world;
    sim__slot *slot = slot_of(io, rec);
    sim__conn *conn = slot->conn;
    int result = sim__fault(world, SIM_RECV_FAULT, &world->knobs.recv);

    if (!sim__conn_readable(conn, slot->side)) {
        complete(io, rec, rec->cancelled ? -ECANCELED : -EAGAIN, 0);
        return;
    }
    if (result != 0) {
        sim__conn_break(conn, slot->side);
    } else if (conn->flow[!slot->side].seen > 0) {
        lend(io, rec, conn, slot->side);
        return;
    } else {
        result = sim__conn_recv(conn, slot->side, NULL, 0);
    }
    complete(io, rec, result, 0);
}

static size_t send_size(sim_world *world, size_t len, size_t room)
{
    const sim_knobs *knobs = &world->knobs;
    size_t size = len < room ? len : room;

    if (knobs->send_max != 0 && size > knobs->send_max) {
        world->fired[SIM_SEND_MAX]++;
        size = knobs->send_max;
    }
    if (size > 1 && sim__chance(world, SIM_SEND_PARTIAL, knobs->send_partial_pct)) {
        size = 1 + sim_rng_below(&world->faults, size - 1);
    }
    return size;
}

/* EPIPE is how a send tells of a reset behind the peer's end, as on Linux: all of the peer's output
 * is there then. Before that end a reset is ECONNRESET. */
static int send_fault(const sim__conn *conn, int side)
{
    int result = sim__fault(conn->world, SIM_SEND_FAULT, &conn->world->knobs.send);

    return result == -EPIPE && !conn->flow[!side].end_seen ? -ECONNRESET : result;
}

static void finish_send(sim__io *io, sim__rec *rec)
{
    sim_world *world = io->world;
    sim__slot *slot = slot_of(io, rec);
    sim__conn *conn = slot->conn;
    int result = send_fault(conn, slot->side);

    if (result != 0) {
        sim__conn_break(conn, slot->side);
        complete(io, rec, result, 0);
        return;
    }
    result = sim__conn_send(conn, slot->side, rec->op->buf,
                            send_size(world, rec->op->len, sim__conn_room(conn, slot->side)));
    if (!(rec->op->flags & (GATE_IO_LAST | GATE_IO_END)) || result < 0 ||
        (size_t)result < rec->op->len ||
        sim__chance(world, SIM_LAST_KEPT, world->knobs.last_kept_pct)) {
        complete(io, rec, result, 0);
        return;
    }
    sim__conn_end(conn, slot->side); /* before the reset that a close may be */
    if (rec->op->flags & GATE_IO_LAST) {
        complete_closed(io, rec, result, GATE_IO_CLOSED);
    } else {
        complete(io, rec, result, GATE_IO_ENDED);
    }
}

static void finish_shutdown(sim__io *io, sim__rec *rec)
{
    sim_world *world = io->world;
    sim__slot *slot = slot_of(io, rec);
    int result = sim__fault(world, SIM_SHUTDOWN_FAULT, &world->knobs.shutdown);

    if (result != 0) {
        sim__conn_blame(slot->conn);
    } else {
        result = sim__conn_end(slot->conn, slot->side);
    }
    complete(io, rec, result, 0);
}

/* A close that fails has closed. */
static void finish_close(sim__io *io, sim__rec *rec)
{
    sim_world *world = io->world;

    complete_closed(io, rec, sim__fault(world, SIM_CLOSE_FAULT, &world->knobs.close), 0);
}

/* ---- Cancelled ones -------------------------------------------------------------------------- */

/* Whether a cancelled op gives what it has got all the same; one that stays armed does once. */
static int wins_race(sim__io *io, sim__rec *rec)
{
    int has_result;

    if (rec->raced) {
        return 0;
    }
    if (rec->kind == GATE_OP_CLOSE || rec->kind == GATE_OP_SHUTDOWN) {
        return 1;
    }
    rec->cancelled = 0;
    has_result = sim__ready(io, rec);
    rec->cancelled = 1;
    rec->raced =
        has_result && sim__chance(io->world, SIM_CANCEL_RACE, io->world->knobs.cancel_race_pct);
    return rec->raced;
}

static void finish_cancelled(sim__io *io, sim__rec *rec)
{
    if (rec->kind == GATE_OP_CONNECT && rec->sock->fd >= 0) {
        complete_closed(io, rec, -ECANCELED, 0);
    } else {
        complete(io, rec, -ECANCELED, 0);
    }
}

void sim__maybe_at_once(sim__io *io, sim__rec *rec)
{
    if (rec != NULL && sim__ready(io, rec) &&
        sim__chance(io->world, SIM_AT_ONCE, io->world->knobs.at_once_pct)) {
        io->submitting = 1;
        sim__finish(io, rec);
        io->submitting = 0;
    }
}

void sim__finish(sim__io *io, sim__rec *rec)
{
    static void (*const finishers[])(sim__io *, sim__rec *) = {
        [GATE_OP_ACCEPT] = finish_accept,     [GATE_OP_RECV] = finish_recv,
        [GATE_OP_CONNECT] = finish_connect,   [GATE_OP_SEND] = finish_send,
        [GATE_OP_SHUTDOWN] = finish_shutdown, [GATE_OP_CLOSE] = finish_close,
    };

    if (rec->cancelled && !wins_race(io, rec)) {
        finish_cancelled(io, rec);
    } else if (rec->kind == GATE_OP_RESOLVE) {
        complete(io, rec, rec->result, 0);
    } else {
        finishers[rec->kind](io, rec);
    }
}
