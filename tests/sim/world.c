/* SPDX-License-Identifier: MIT */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The clock does not start at 0, so that a deadline somebody forgot to set is over. */
#define START_NS (UINT64_C(1000) * SIM_SECOND)

enum { EVENTS_MAX = 1000000 }; /* of one moment */
sim_world *sim__current;

enum { STREAM_NET = 1, STREAM_FAULTS = 2, STREAM_ORDER = 3 };

void *sim__alloc(size_t size)
{
    return sim__grow(NULL, size);
}

void *sim__grow(void *block, size_t size)
{
    void *grown = realloc(block, size);

    if (grown == NULL) {
        fputs("sim: out of memory\n", stderr);
        abort();
    }
    if (block == NULL) {
        memset(grown, 0, size);
    }
    return grown;
}

/* ---- Events -------------------------------------------------------------------------------- */

static int sooner(const sim__due *a, const sim__due *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->sequence < b->sequence;
}

static void swap(sim__due *a, sim__due *b)
{
    sim__due kept = *a;

    *a = *b;
    *b = kept;
}

static void push(sim_world *world, uint64_t at_ns, sim_event *fn, void *arg, int own)
{
    size_t i = world->heap_len++;

    if (world->heap_len > world->heap_room) {
        world->heap_room = world->heap_room ? world->heap_room * 2 : 64;
        world->heap = sim__grow(world->heap, world->heap_room * sizeof(*world->heap));
    }
    world->heap[i] = (sim__due){
        .at_ns = at_ns < world->now_ns ? world->now_ns : at_ns,
        .sequence = world->sequence++,
        .fn = fn,
        .arg = arg,
        .own = own,
    };
    while (i > 0 && sooner(&world->heap[i], &world->heap[(i - 1) / 2])) {
        swap(&world->heap[i], &world->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
}

void sim_at(sim_world *world, uint64_t at_ns, sim_event *fn, void *arg)
{
    push(world, at_ns, fn, arg, 0);
}

void sim__at(sim_world *world, uint64_t at_ns, sim_event *fn, void *arg)
{
    push(world, at_ns, fn, arg, 1);
}

void sim_in(sim_world *world, uint64_t delay_ns, sim_event *fn, void *arg)
{
    sim_at(world, world->now_ns + delay_ns, fn, arg);
}

static sim__due pop(sim_world *world)
{
    sim__due first = world->heap[0];
    size_t i = 0;

    world->heap[0] = world->heap[--world->heap_len];
    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= world->heap_len) {
            return first;
        }
        if (child + 1 < world->heap_len && sooner(&world->heap[child + 1], &world->heap[child])) {
            child++;
        }
        if (!sooner(&world->heap[child], &world->heap[i])) {
            return first;
        }
        swap(&world->heap[child], &world->heap[i]);
        i = child;
    }
}

void sim__nothing(sim_world *world, void *arg)
{
    (void)world;
    (void)arg;
}

void sim__pump(sim_world *world)
{
    size_t count = 0;

    while (world->heap_len > 0 && world->heap[0].at_ns <= world->now_ns && !world->failed) {
        sim__due due = pop(world);

        if (++count > EVENTS_MAX) {
            sim_failed(world, "a spin of events: time does not move");
        }
        sim__note(world, 1, due.at_ns, due.sequence);
        due.fn(world, due.arg);
    }
}

int sim__wait(sim_world *world, uint64_t limit_ns)
{
    uint64_t target = limit_ns;

    if (world->heap_len > 0 && world->heap[0].at_ns < limit_ns) {
        target = world->heap[0].at_ns;
    } else if (limit_ns == UINT64_MAX) {
        sim_failed(world, "waits without a deadline for something that cannot come");
        return 0;
    } else if (world->knobs.late_max_ns != 0) {
        world->fired[SIM_LATE]++;
        target += sim_rng_below(&world->order, world->knobs.late_max_ns);
    }
    if (target > world->now_ns + 1 && sim__chance(world, SIM_EARLY, world->knobs.early_pct)) {
        world->now_ns += 1 + sim_rng_below(&world->order, target - world->now_ns - 1);
        return -1;
    }
    world->now_ns = target;
    return 1;
}

void sim_on_run(sim_world *world, sim_event *fn, void *arg)
{
    world->run_fn = fn;
    world->run_arg = arg;
}

/* ---- The world ----------------------------------------------------------------------------- */

static void die(const char *message, void *arg)
{
    (void)arg;
    fprintf(stderr, "%s\n", message);
    abort();
}

sim_world *sim_open(uint64_t seed, const sim_knobs *knobs)
{
    sim_world *world = sim__alloc(sizeof(*world));

    world->seed = seed;
    world->now_ns = START_NS;
    world->hash = seed;
    world->fail = die;
    world->next_port = 40000;
    world->queue_lost_ns = UINT64_MAX;
    world->below = sim__current;
    sim__current = world;
    if (knobs != NULL) {
        world->knobs = *knobs;
    }
    sim_rng_init(&world->net, seed, STREAM_NET);
    sim_rng_init(&world->faults, seed, STREAM_FAULTS);
    sim_rng_init(&world->order, seed, STREAM_ORDER);
    return world;
}

/* The simulator's own events hold connections, and let go of them by being executed. */
static void drain(sim_world *world)
{
    while (world->heap_len > 0) {
        sim__due due = pop(world);

        world->now_ns = due.at_ns;
        if (due.own) {
            due.fn(world, due.arg);
        }
    }
}

void sim_close(sim_world *world)
{
    if (world->ios != NULL) {
        sim_failed(world, "closed with a gate_io left");
        return;
    }
    for (size_t fd = 0; fd < world->slots_len; fd++) {
        if (world->slots[fd].conn != NULL || world->slots[fd].listener != NULL) {
            sim__fd_close(world, SIM__FD_BASE + (int)fd);
        }
    }
    while (world->listeners != NULL) {
        sim__listener_close(world->listeners);
    }
    sim__peers_leave(world);
    drain(world);
    sim__peers_free(world);
    while (world->names != NULL) {
        sim__name *name = world->names;

        world->names = name->next;
        free(name->host);
        free(name);
    }
    if (sim__current == world) {
        sim__current = world->below;
    }
    free(world->heap);
    free(world->slots);
    free(world);
}

void sim_on_fail(sim_world *world, sim_fail *fail, void *arg)
{
    world->fail = fail;
    world->fail_arg = arg;
}

void sim_failed(sim_world *world, const char *format, ...)
{
    char what[384];
    char line[512];
    va_list args;

    if (world->failed) {
        return; /* what follows from the first one is nothing new */
    }
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    world->failed = 1;
    snprintf(line, sizeof(line), "sim: %s (at %.6f s; replay with GATE_SEED=%llu)", what,
             (double)(world->now_ns - START_NS) / SIM_SECOND, (unsigned long long)world->seed);
    world->fail(line, world->fail_arg);
}

void sim_check_end(sim_world *world)
{
    if (world->slots_used != 0) {
        sim_failed(world, "%zu descriptors left open", world->slots_used);
    }
    if (world->ios != NULL) {
        sim_failed(world, "a gate_io was not freed");
    }
    if (world->lib_blocks != 0) {
        sim_failed(world, "%llu allocations left", (unsigned long long)world->lib_blocks);
    }
}

void sim_watch_lives(sim_world *world, uint64_t life_max_ns)
{
    world->life_max_ns = life_max_ns;
}

uint64_t sim_lib_bytes(const sim_world *world)
{
    return world->lib_bytes;
}

void sim_heal(sim_world *world)
{
    world->knobs = (sim_knobs){0};
}

void sim_stop_process(sim_world *world, uint64_t ns)
{
    world->now_ns += ns;
    for (sim__io *io = world->ios; io != NULL; io = io->next) {
        io->stopped = 1;
    }
}

void sim_spend(sim_world *world, uint64_t ns)
{
    world->now_ns += ns;
    world->spent_ns += ns;
}

uint64_t sim_spent(const sim_world *world)
{
    return world->spent_ns;
}

void sim_at_step(sim_world *world, uint64_t step, sim_event *fn, void *arg)
{
    world->step_at = step;
    world->step_fn = fn;
    world->step_arg = arg;
}

uint64_t sim_now(const sim_world *world)
{
    return world->now_ns;
}

uint64_t sim_seed(const sim_world *world)
{
    return world->seed;
}

sim_knobs *sim_knobs_of(sim_world *world)
{
    return &world->knobs;
}

uint64_t sim_fired(const sim_world *world, sim_knob knob)
{
    return world->fired[knob];
}

uint64_t sim_hash(const sim_world *world)
{
    return world->hash;
}

uint64_t sim_steps(const sim_world *world)
{
    return world->steps;
}

uint64_t sim_queue_lost_ns(const sim_world *world)
{
    return world->queue_lost_ns;
}

size_t sim_descriptors(const sim_world *world)
{
    return world->slots_used;
}

const char *sim_knob_name(sim_knob knob)
{
    static const char *const names[SIM_KNOB_COUNT] = {
        [SIM_RECV_PARTIAL] = "recv_partial",
        [SIM_RECV_MAX] = "recv_max",
        [SIM_LEND_ONE] = "lend_one",
        [SIM_FULL] = "full",
        [SIM_SEND_PARTIAL] = "send_partial",
        [SIM_SEND_MAX] = "send_max",
        [SIM_LAST_KEPT] = "last_kept",
        [SIM_CLOG] = "clog",
        [SIM_RESET_LOSES] = "reset_loses",
        [SIM_ACCEPT_FAULT] = "accept_fault",
        [SIM_CONNECT_FAULT] = "connect_fault",
        [SIM_RECV_FAULT] = "recv_fault",
        [SIM_SEND_FAULT] = "send_fault",
        [SIM_SHUTDOWN_FAULT] = "shutdown_fault",
        [SIM_CLOSE_FAULT] = "close_fault",
        [SIM_CANCEL_RACE] = "cancel_race",
        [SIM_MULTISHOT_END] = "multishot_end",
        [SIM_ACCEPT_END] = "accept_end",
        [SIM_SHUFFLE] = "shuffle",
        [SIM_BATCH] = "batch",
        [SIM_EARLY] = "early",
        [SIM_LATE] = "late",
        [SIM_EMFILE] = "emfile",
        [SIM_HELD] = "held",
        [SIM_OPEN_FAULT] = "open_fault",
        [SIM_LISTEN_FAULT] = "listen_fault",
        [SIM_THREAD_FAULT] = "thread_fault",
        [SIM_ALLOC] = "alloc",
        [SIM_AT_ONCE] = "at_once",
    };

    return names[knob];
}

void sim__note(sim_world *world, uint64_t a, uint64_t b, uint64_t c)
{
    const uint64_t values[] = {world->now_ns, a, b, c};

    world->steps++;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        world->hash = (world->hash ^ values[i]) * 0x100000001b3u;
        world->hash ^= world->hash >> 29;
    }
    if (world->steps == world->step_at) {
        world->step_fn(world, world->step_arg);
    }
}

int sim__chance(sim_world *world, sim_knob knob, uint32_t pct)
{
    if (!sim_rng_chance(&world->faults, pct)) {
        return 0;
    }
    world->fired[knob]++;
    return 1;
}

int sim__fault(sim_world *world, sim_knob knob, const sim_faults *faults)
{
    if (faults->count == 0 || !sim__chance(world, knob, faults->pct)) {
        return 0;
    }
    return -faults->errors[sim_rng_below(&world->faults, faults->count)];
}
