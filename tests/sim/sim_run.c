/* SPDX-License-Identifier: MIT */

/*
 * The completing half of the backend: run() moves the world until one of this gate_io's operations
 * can be done, does those that can, and tells their owners. An operation is done at the moment of
 * its completion, not before: between the two the owner may still cancel it.
 *
 * A final completion frees its record before done runs, since done may free the socket and submit
 * again.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gate/gate.h"
#include "world.h"

enum { LEND_MAX = 65536, SPIN_DEFAULT = 1000 };

static sim__slot *slot_of(const sim__io *io, const sim__rec *rec)
{
    return sim__fd_slot(io->world, rec->sock->fd);
}

static int ready(const sim__io *io, const sim__rec *rec)
{
    const sim__slot *slot;

    if (rec->cancelled) {
        return 1;
    }
    if (rec->kind == GATE_OP_RESOLVE) {
        return io->world->now_ns >= rec->due_ns;
    }
    slot = slot_of(io, rec);
    switch (rec->kind) {
    case GATE_OP_ACCEPT:
        return slot->listener->count > 0 || (rec->op->flags & GATE_IO_NOWAIT) != 0;
    case GATE_OP_CONNECT:
        return rec->result != 0 || slot->conn->connected != 0;
    case GATE_OP_RECV:
        return sim__conn_readable(slot->conn, slot->side);
    case GATE_OP_SEND:
        return sim__conn_writable(slot->conn, slot->side);
    default:
        return 1;
    }
}

/* The owner must have left everything as it was submitted. */
static int intact(const sim__io *io, const sim__rec *rec)
{
    const gate_op *op = rec->op;

    if (op->kind != rec->kind || op->done != rec->done) {
        sim_failed(io->world, "an op in flight was overwritten");
        return 0;
    }
    if (rec->sock != NULL && rec->result == 0 && slot_of(io, rec) == NULL) {
        sim_failed(io->world, "the socket of an op in flight was overwritten");
        return 0;
    }
    if (rec->kind == GATE_OP_SEND && sim__sum(op->buf, op->len) != rec->sum) {
        sim_failed(io->world, "bytes of a send in flight were changed");
        return 0;
    }
    return 1;
}

static void unlink_rec(sim__io *io, sim__rec *rec)
{
    *rec->link = rec->next;
    if (rec->next != NULL) {
        rec->next->link = rec->link;
    } else {
        io->recs_end = rec->link;
    }
    io->recs_len--;
}

/* One that stays armed goes behind the others, which a batch limit would starve else. */
static void requeue(sim__io *io, sim__rec *rec)
{
    unlink_rec(io, rec);
    rec->next = NULL;
    rec->link = io->recs_end;
    *io->recs_end = rec;
    io->recs_end = &rec->next;
    io->recs_len++;
}

static void complete(sim__io *io, sim__rec *rec, int result, unsigned flags)
{
    gate_op *op = rec->op;
    gate_op_done *done = rec->done;

    sim__note(io->world, 2 + rec->kind, (uint64_t)(int64_t)result, flags);
    if (flags & GATE_IO_MORE) {
        requeue(io, rec);
    } else {
        unlink_rec(io, rec);
        free(rec);
        op->kind = GATE_OP_NONE;
    }
    done(&io->base, op, result, flags);
}

/* ---- One operation of each kind ------------------------------------------------------------ */

static int no_room(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
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
        complete(io, rec, result, flags);
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
    gate_sock *sock = rec->sock;
    int result = rec->result;

    if (result == 0) {
        int connected = slot_of(io, rec)->conn->connected;

        result = connected == 1 ? 0 : connected;
    }
    if (result < 0 && sock->fd >= 0) {
        sim__fd_close(io->world, sock->fd);
        sock->fd = -1;
    }
    complete(io, rec, result, 0);
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
    rec->op->buf = bytes;
    complete(io, rec, (int)size, flags);
    memset(bytes, 0xa5, size);
    free(bytes);
}

static void finish_recv(sim__io *io, sim__rec *rec)
{
    sim_world *world = io->world;
    sim__slot *slot = slot_of(io, rec);
    sim__conn *conn = slot->conn;
    int result = sim__fault(world, SIM_RECV_FAULT, &world->knobs.recv);

    rec->op->buf = NULL;
    if (result != 0) {
        sim__conn_break(conn, slot->side, result);
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

static void finish_send(sim__io *io, sim__rec *rec)
{
    sim_world *world = io->world;
    gate_sock *sock = rec->sock;
    sim__slot *slot = slot_of(io, rec);
    sim__conn *conn = slot->conn;
    unsigned flags = 0;
    int result = sim__fault(world, SIM_SEND_FAULT, &world->knobs.send);

    if (result != 0) {
        sim__conn_break(conn, slot->side, result);
        complete(io, rec, result, 0);
        return;
    }
    result = sim__conn_send(conn, slot->side, rec->op->buf,
                            send_size(world, rec->op->len, sim__conn_room(conn, slot->side)));
    if ((rec->op->flags & GATE_IO_LAST) && result >= 0 && (size_t)result == rec->op->len &&
        !sim__chance(world, SIM_LAST_KEPT, world->knobs.last_kept_pct)) {
        sim__conn_end(conn, slot->side); /* before the reset that the close may be */
        sim__fd_close(world, sock->fd);
        sock->fd = -1;
        flags = GATE_IO_CLOSED;
    }
    complete(io, rec, result, flags);
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
    int result = sim__fault(world, SIM_CLOSE_FAULT, &world->knobs.close);

    sim__fd_close(world, rec->sock->fd);
    rec->sock->fd = -1;
    complete(io, rec, result, 0);
}

/* ---- run() --------------------------------------------------------------------------------- */

/* Whether a cancelled op gives what it has got all the same. */
static int wins_race(sim__io *io, sim__rec *rec)
{
    int has_result;

    if (rec->kind == GATE_OP_CLOSE || rec->kind == GATE_OP_SHUTDOWN) {
        return 1;
    }
    rec->cancelled = 0;
    has_result = ready(io, rec);
    rec->cancelled = 1;
    return has_result &&
           sim__chance(io->world, SIM_CANCEL_RACE, io->world->knobs.cancel_race_pct);
}

static void finish_cancelled(sim__io *io, sim__rec *rec)
{
    if (rec->kind == GATE_OP_CONNECT && rec->sock->fd >= 0) {
        sim__fd_close(io->world, rec->sock->fd);
        rec->sock->fd = -1;
    }
    rec->op->buf = NULL;
    complete(io, rec, -ECANCELED, 0);
}

static void finish(sim__io *io, sim__rec *rec)
{
    static void (*const finishers[])(sim__io *, sim__rec *) = {
        [GATE_OP_ACCEPT] = finish_accept, [GATE_OP_RECV] = finish_recv,
        [GATE_OP_CONNECT] = finish_connect, [GATE_OP_SEND] = finish_send,
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

static void shuffle(sim_world *world, sim__rec **batch, size_t len)
{
    for (size_t i = len; i > 1; i--) {
        size_t j = sim_rng_below(&world->order, i);
        sim__rec *kept = batch[i - 1];

        batch[i - 1] = batch[j];
        batch[j] = kept;
        world->fired[SIM_SHUFFLE] += j != i - 1;
    }
}

/* Does what can be done, at most once each. A record of the batch is freed by its own completion
 * only, so the pointers stay good; another's done may have made it wait again. */
static size_t finish_batch(sim__io *io)
{
    const sim_knobs *knobs = &io->world->knobs;
    sim__rec **batch = sim__alloc((io->recs_len + 1) * sizeof(sim__rec *));
    size_t len = 0;
    size_t finished = 0;

    for (sim__rec *rec = io->recs; rec != NULL; rec = rec->next) {
        if (!intact(io, rec)) {
            len = 0;
            break;
        }
        if (ready(io, rec)) {
            batch[len++] = rec;
        }
    }
    if (knobs->shuffle) {
        shuffle(io->world, batch, len);
    }
    for (size_t i = 0; i < len && !io->world->failed; i++) {
        if (knobs->batch_max != 0 && finished == knobs->batch_max) {
            io->world->fired[SIM_BATCH]++;
            break;
        }
        if (intact(io, batch[i]) && ready(io, batch[i])) {
            finish(io, batch[i]);
            finished++;
        }
    }
    free(batch);
    return finished;
}

static void watch_progress(sim__io *io)
{
    uint32_t max = io->world->knobs.spin_max ? io->world->knobs.spin_max : SPIN_DEFAULT;

    if (io->progress != io->world->progress) {
        io->progress = io->world->progress;
        io->idle_runs = 0;
    } else if (++io->idle_runs >= max) {
        sim_failed(io->world, "a spin: %u runs without time, bytes or descriptors moving", max);
    }
}

static void turn(sim__io *io, uint64_t deadline_ns)
{
    sim_world *world = io->world;
    int moved = 1;

    while (!world->failed) {
        uint64_t until_ns = deadline_ns;

        sim__pump(world);
        io->base.now_ns = world->now_ns;
        io->base.turn_ns = world->now_ns;
        if (finish_batch(io) > 0 || moved < 0) {
            return;
        }
        if (io->woken) {
            io->woken = 0;
            return;
        }
        if (deadline_ns <= world->now_ns || world->failed) {
            return;
        }
        if (sim__turns_pass(io, &until_ns)) {
            continue;
        }
        moved = sim__wait(world, until_ns);
        world->progress++;
    }
}

int sim__run(gate_io *base, uint64_t deadline_ns)
{
    sim__io *io = (sim__io *)(void *)base;
    sim_world *world = io->world;

    if (io->running) {
        sim_failed(world, "run inside run");
    }
    if (!world->failed) {
        io->running = 1;
        world->now_ns += sim_rng_below(&world->order, world->knobs.turn_max_ns);
        turn(io, deadline_ns);
        watch_progress(io);
        io->running = 0;
    }
    return world->failed ? -EIO : 0;
}

int sim_step(sim_world *world)
{
    uint64_t progress = world->progress;
    uint64_t hash = world->hash;

    for (sim__io *io = world->ios; io != NULL && !world->failed; io = io->next) {
        sim__run(&io->base, world->now_ns);
    }
    if (world->ios == NULL) {
        sim__pump(world);
    }
    if (world->failed || world->progress != progress || world->hash != hash) {
        return !world->failed;
    }
    if (world->heap_len == 0) {
        return 0;
    }
    if (world->heap[0].at_ns > world->now_ns) {
        world->now_ns = world->heap[0].at_ns;
        world->progress++;
    }
    return 1;
}

int sim_run_until(sim_world *world, const int *done, uint64_t until_ns)
{
    while (!(done != NULL && *done)) {
        if (world->now_ns >= until_ns || world->failed) {
            return 0;
        }
        if (world->heap_len > 0 && world->heap[0].at_ns > until_ns) {
            sim__at(world, until_ns, sim__nothing, NULL);
        }
        if (!sim_step(world)) {
            return 0;
        }
    }
    return 1;
}
