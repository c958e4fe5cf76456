/* SPDX-License-Identifier: MIT */

/*
 * The library's threads, as fibers of the one thread that there is. A fiber goes on until it waits:
 * in run() of its gate_io, in pthread_join, or at its end. Then one of those that can go on is
 * drawn; where none can, time moves. So a server with workers runs here as it is written, with an
 * order of turns that the seed repeats.
 */

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "lib_calls.h"
#include "world.h"

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define SIM_ASAN
#endif
#if __has_feature(thread_sanitizer)
#define SIM_TSAN
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SIM_ASAN
#endif
#ifdef __SANITIZE_THREAD__
#define SIM_TSAN
#endif

/* More than what valgrind takes for a change of stacks; only what is touched becomes memory. */
enum { STACK_SIZE = 4 * 1024 * 1024 };

struct sim__fiber {
    ucontext_t context;
    void *(*routine)(void *);
    void *arg;
    sim__io *io; /* waits in its run() ... */
    uint64_t deadline_ns;
    const sim__fiber *joins; /* ... or for the end of that one */
    int done;
    int joined;
    const void *stack; /* what the sanitizers want to know */
    size_t stack_size;
    void *fake_stack;
    void *tsan;
};

/* ---- Sanitizers ---------------------------------------------------------------------------- */

#ifdef SIM_ASAN
void __sanitizer_start_switch_fiber(void **save, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *save, const void **bottom_old, size_t *size_old);
#endif
#ifdef SIM_TSAN
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
#endif

static sim__fiber *left; /* that ran before the switch */

static void before_switch(sim__fiber *from, sim__fiber *to)
{
    left = from;
#ifdef SIM_ASAN
    __sanitizer_start_switch_fiber(from->done ? NULL : &from->fake_stack, to->stack,
                                   to->stack_size);
#endif
#ifdef SIM_TSAN
    __tsan_switch_to_fiber(to->tsan, 0);
#else
    (void)to;
#endif
}

static void after_switch(sim__fiber *to)
{
#ifdef SIM_ASAN
    __sanitizer_finish_switch_fiber(to->fake_stack, &left->stack, &left->stack_size);
#else
    (void)to;
#endif
}

/* ---- Turns --------------------------------------------------------------------------------- */

static void switch_to(sim_world *world, sim__fiber *to)
{
    sim__fiber *from = world->fiber;

    if (from == to) {
        return;
    }
    world->fiber = to;
    before_switch(from, to);
    swapcontext(&from->context, &to->context);
    after_switch(from);
}

static int can_go_on(const sim_world *world, const sim__fiber *fiber)
{
    if (fiber->done) {
        return 0;
    }
    if (fiber->joins != NULL) {
        return fiber->joins->done;
    }
    return fiber->io == NULL || world->failed || fiber->deadline_ns <= world->now_ns ||
           sim__io_ready(fiber->io);
}

static size_t list_those_that_can(const sim_world *world, sim__fiber **list)
{
    size_t count = 0;

    for (size_t i = 0; i < world->fibers_len; i++) {
        if (can_go_on(world, world->fibers[i])) {
            list[count++] = world->fibers[i];
        }
    }
    return count;
}

/* Those that wait in run(); *deadline_ns becomes the nearest of theirs. */
static size_t list_waiting(const sim_world *world, sim__fiber **list, uint64_t *deadline_ns)
{
    size_t count = 0;

    *deadline_ns = UINT64_MAX;
    for (size_t i = 0; i < world->fibers_len; i++) {
        sim__fiber *fiber = world->fibers[i];

        if (!fiber->done && fiber->io != NULL) {
            list[count++] = fiber;
            if (fiber->deadline_ns < *deadline_ns) {
                *deadline_ns = fiber->deadline_ns;
            }
        }
    }
    return count;
}

static sim__fiber *choose(sim_world *world)
{
    for (;;) {
        sim__fiber *list[SIM__FIBERS_MAX];
        size_t count;
        uint64_t deadline_ns;
        int moved;

        sim__pump(world);
        count = list_those_that_can(world, list);
        if (count == 0) {
            count = list_waiting(world, list, &deadline_ns);
            moved = sim__wait(world, deadline_ns);
            world->progress++;
            if (moved >= 0) {
                continue;
            }
            /* One of them returns early. */
        }
        return list[sim_rng_below(&world->order, count)];
    }
}

void sim__fiber_await(sim__io *io, uint64_t deadline_ns)
{
    sim_world *world = io->world;
    sim__fiber *me = world->fiber;

    me->io = io;
    me->deadline_ns = deadline_ns;
    switch_to(world, choose(world));
    me->io = NULL;
}

/* ---- Threads ------------------------------------------------------------------------------- */

static void enter(void)
{
    sim_world *world = sim__current;
    sim__fiber *me = world->fiber;

    after_switch(me);
    me->routine(me->arg);
    me->done = 1;
    switch_to(world, choose(world));
    abort(); /* nobody chooses it again */
}

/* Kept for the next fiber with that index. */
static void *stack_of(size_t index)
{
    static void *stacks[SIM__FIBERS_MAX];

    if (stacks[index] == NULL) {
        stacks[index] = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
        if (stacks[index] == MAP_FAILED) {
            abort();
        }
    }
    return stacks[index];
}

static sim__fiber *add(sim_world *world)
{
    sim__fiber *fiber = sim__alloc(sizeof(*fiber));

    if (world->fibers_len == SIM__FIBERS_MAX) {
        abort();
    }
    world->fibers[world->fibers_len++] = fiber;
    return fiber;
}

/* The first one is the caller, on the stack that it has. */
static void add_caller(sim_world *world)
{
    world->fiber = add(world);
#ifdef SIM_TSAN
    world->fiber->tsan = __tsan_get_current_fiber();
#endif
}

int sim_lib_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*routine)(void *),
                           void *arg)
{
    sim_world *world = sim__current;
    sim__fiber *fiber;
    int fault;

    if (world == NULL || attr != NULL) {
        return pthread_create(thread, attr, routine, arg); /* not a worker's */
    }
    fault = sim__fault(world, SIM_THREAD_FAULT, &world->knobs.thread);
    if (fault != 0) {
        return -fault;
    }
    if (world->fibers_len == 0) {
        add_caller(world);
    }
    *thread = (pthread_t)world->fibers_len;
    fiber = add(world);
    fiber->routine = routine;
    fiber->arg = arg;
    fiber->stack = stack_of(*thread);
    fiber->stack_size = STACK_SIZE;
#ifdef SIM_TSAN
    fiber->tsan = __tsan_create_fiber(0);
#endif
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = stack_of(*thread);
    fiber->context.uc_stack.ss_size = STACK_SIZE;
    makecontext(&fiber->context, enter, 0);
    return 0;
}

static int all_joined(const sim_world *world)
{
    for (size_t i = 1; i < world->fibers_len; i++) {
        if (!world->fibers[i]->joined) {
            return 0;
        }
    }
    return 1;
}

static void free_all(sim_world *world)
{
    while (world->fibers_len > 0) {
        sim__fiber *fiber = world->fibers[--world->fibers_len];

#ifdef SIM_TSAN
        if (world->fibers_len > 0) {
            __tsan_destroy_fiber(fiber->tsan);
        }
#endif
        free(fiber);
    }
    world->fiber = NULL;
}

int sim_lib_pthread_join(pthread_t thread, void **result)
{
    sim_world *world = sim__current;
    sim__fiber *me;

    if (world == NULL || world->fibers_len <= thread) {
        return pthread_join(thread, result);
    }
    me = world->fiber;
    me->joins = world->fibers[thread];
    while (!me->joins->done) {
        switch_to(world, choose(world));
    }
    me->joins = NULL;
    world->fibers[thread]->joined = 1;
    if (result != NULL) {
        *result = NULL;
    }
    if (all_joined(world)) {
        free_all(world);
    }
    return 0;
}
