/* SPDX-License-Identifier: MIT */

/*
 * The completing half of the backend: run() moves the world until one of this gate_io's operations
 * can be done, does those that can, and tells their owners. An operation is done at the moment of
 * its completion: between submitting and that the owner may still cancel it. But where completions
 * are held, they wait in a queue, as those of a ring do: then what is done is done, and the owner
 * learns of it later.
 *
 * A final completion frees its record before done runs, since done may free the socket and submit
 * again.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

enum { SPIN_DEFAULT = 1000, HELD_DEFAULT = 4 };

static sim__slot *slot_of(const sim__io *io, const sim__rec *rec)
{
    return sim__fd_slot(io->world, rec->sock->fd);
}

int sim__ready(const sim__io *io, const sim__rec *rec)
{
    const sim__slot *slot;

    if (rec->finished) {
        return 0;
    }
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
        return sim__conn_readable(slot->conn, slot->side) || (rec->op->flags & GATE_IO_NOWAIT) != 0;
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
    if (rec->sock != NULL && rec->result == 0 && !rec->finished && slot_of(io, rec) == NULL) {
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

/* ---- Telling the owners ---------------------------------------------------------------------- */

/* When it and what it is about have last moved: what its deadlines run from. */
static void note_moved(sim__io *io, const sim__rec *rec, int value)
{
    const sim__slot *slot = NULL;

    if (value >= 0 && rec->kind == GATE_OP_ACCEPT) {
        slot = sim__fd_slot(io->world, value);
    } else if (value >= 0 && rec->sock != NULL) {
        slot = slot_of(io, rec);
    }
    if (slot != NULL && slot->conn != NULL) {
        slot->conn->moved_ns = io->world->now_ns;
    }
}

static void deliver(sim__io *io, sim__rec *rec, sim__result result)
{
    gate_op *op = rec->op;
    gate_op_done *done = rec->done;

    sim__note(io->world, 2 + rec->kind, (uint64_t)(int64_t)result.value, result.flags);
    if (result.closed) {
        rec->sock->fd = -1;
    }
    if (rec->kind == GATE_OP_RECV || rec->kind == GATE_OP_ACCEPT) {
        op->buf = result.bytes;
    }
    note_moved(io, rec, result.value);
    rec->in_round = 0;
    if (result.flags & GATE_IO_MORE) {
        requeue(io, rec);
    } else {
        unlink_rec(io, rec);
        free(rec);
        op->kind = GATE_OP_NONE;
    }
    done(&io->base, op, result.value, result.flags);
    if (result.bytes != NULL) {
        memset(result.bytes, 0xa5, result.len);
        free(result.bytes);
    }
}

static size_t held_room(const sim_world *world)
{
    return world->knobs.held_room ? world->knobs.held_room : HELD_DEFAULT;
}

void sim__complete(sim__io *io, sim__rec *rec, sim__result result)
{
    sim_world *world = io->world;
    sim__held *held;

    /* Nothing overtakes. */
    if (!io->submitting && io->held == NULL &&
        !sim__chance(world, SIM_HELD, world->knobs.held_pct)) {
        io->delivered++;
        deliver(io, rec, result);
        return;
    }
    held = sim__alloc(sizeof(*held));
    *held = (sim__held){.rec = rec, .result = result};
    held->due_ns = world->now_ns + sim_rng_below(&world->order, world->knobs.held_max_ns);
    if (io->submitting && result.closed) {
        rec->sock->fd = -1; /* its owner sees that before the completion */
    }
    rec->finished = (result.flags & GATE_IO_MORE) == 0;
    rec->in_round = 0; /* as if it came later */
    *io->held_end = held;
    io->held_end = &held->next;
    io->held_len++;
    sim__at(world, held->due_ns, sim__nothing, NULL);
}

static int held_due(const sim__io *io)
{
    return io->held != NULL && io->held->due_ns <= io->world->now_ns;
}

static void deliver_held(sim__io *io)
{
    while (held_due(io) && !io->world->failed) {
        sim__held *held = io->held;
        sim__held one = *held;

        io->held = held->next;
        if (io->held == NULL) {
            io->held_end = &io->held;
        }
        io->held_len--;
        free(held);
        io->delivered++;
        if (intact(io, one.rec)) {
            deliver(io, one.rec, one.result);
        } else {
            free(one.result.bytes);
        }
    }
}

/* ---- run() ----------------------------------------------------------------------------------- */

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

int sim__io_ready(const sim__io *io)
{
    if (io->woken || io->stopped || held_due(io)) {
        return 1;
    }
    for (const sim__rec *rec = io->recs; rec != NULL && io->held_len < held_room(io->world);
         rec = rec->next) {
        if (sim__ready(io, rec)) {
            return 1;
        }
    }
    return 0;
}

/* Does what can be done, at most once each. A record of the batch is freed by its own completion
 * only, so the pointers stay good; another's done may have made it wait again. */
static size_t finish_batch(sim__io *io)
{
    const sim_knobs *knobs = &io->world->knobs;
    size_t room = held_room(io->world);
    sim__rec **batch;
    size_t len = 0;
    size_t finished = 0;

    io->delivered = 0;
    deliver_held(io);
    batch = sim__alloc((io->recs_len + 1) * sizeof(sim__rec *));
    for (sim__rec *rec = io->recs; rec != NULL; rec = rec->next) {
        if (!intact(io, rec)) {
            len = 0;
            break;
        }
        if (sim__ready(io, rec)) {
            batch[len++] = rec;
        }
    }
    if (knobs->shuffle) {
        shuffle(io->world, batch, len);
    }
    for (size_t i = 0; i < len && io->held_len < room && !io->world->failed; i++) {
        if (knobs->batch_max != 0 && finished == knobs->batch_max) {
            io->world->fired[SIM_BATCH]++;
            break;
        }
        if (intact(io, batch[i]) && sim__ready(io, batch[i])) {
            sim__finish(io, batch[i]);
            finished++;
        }
    }
    free(batch);
    return io->delivered;
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

/* What was due when the last turn began has been seen to since. */
static void watch_lives(sim__io *io)
{
    sim_world *world = io->world;

    for (size_t i = 0; i < world->slots_len && world->life_max_ns != 0; i++) {
        const sim__slot *slot = &world->slots[i];

        if (slot->owner == io && slot->conn != NULL && slot->conn->accepted_ns != 0 &&
            io->base.turn_ns > slot->conn->moved_ns + world->life_max_ns) {
            sim_failed(world, "connection %zu outlived its deadlines: nothing moved for %.3f s", i,
                       (double)(io->base.turn_ns - slot->conn->moved_ns) / SIM_SECOND);
            return;
        }
    }
}

/* A batch may be too small for all that is ready at a time. What is held, or cannot be done since
 * others are, comes later. */
static void begin_round(sim__io *io)
{
    if (io->in_round) {
        return;
    }
    io->in_round = 1;
    io->round_ns = io->world->now_ns;
    for (sim__rec *rec = io->recs; rec != NULL; rec = rec->next) {
        rec->in_round = (uint8_t)sim__ready(io, rec);
    }
}

static void end_round(sim__io *io)
{
    for (const sim__rec *rec = io->recs; rec != NULL && io->held_len < held_room(io->world);
         rec = rec->next) {
        if (rec->in_round) {
            return;
        }
    }
    io->in_round = 0;
    io->base.turn_ns = io->round_ns;
}

/* 1: there was something to return for. */
static int take_stock(sim__io *io)
{
    size_t told;

    io->base.now_ns = io->world->now_ns;
    if (io->stopped) {
        io->stopped = 0;
        return 1;
    }
    begin_round(io);
    told = finish_batch(io);
    end_round(io);
    if (told > 0) {
        return 1;
    }
    if (io->woken) {
        io->woken = 0;
        return 1;
    }
    return 0;
}

static void turn(sim__io *io, uint64_t deadline_ns)
{
    sim_world *world = io->world;
    int moved = 1;

    while (!world->failed) {
        sim__pump(world);
        if (take_stock(io) || moved < 0) {
            return;
        }
        if (deadline_ns <= world->now_ns || world->failed) {
            return;
        }
        moved = sim__wait(world, deadline_ns);
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
        watch_lives(io);
        if (world->run_fn != NULL) {
            world->run_fn(world, world->run_arg);
        }
        if (world->fibers_len > 0) {
            sim__fiber_await(io, deadline_ns);
            take_stock(io);
        } else {
            turn(io, deadline_ns);
        }
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
