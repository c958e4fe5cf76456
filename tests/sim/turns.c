/* SPDX-License-Identifier: MIT */
#include "turns.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "world.h"

enum { TEST = 0, BESIDE = 1 };

struct sim__turns {
    pthread_mutex_t lock;
    pthread_cond_t passed;
    pthread_t thread;
    int whose;
    int over[2];             /* never wants a turn again */
    uint64_t deadline_ns[2]; /* of the run() that it waits in */
    sim_beside_fn *fn;
    void *arg;
};

static void pass(sim__turns *turns)
{
    pthread_mutex_lock(&turns->lock);
    turns->whose = !turns->whose;
    pthread_cond_signal(&turns->passed);
    pthread_mutex_unlock(&turns->lock);
}

static void await(sim__turns *turns, int whose)
{
    pthread_mutex_lock(&turns->lock);
    while (turns->whose != whose) {
        pthread_cond_wait(&turns->passed, &turns->lock);
    }
    pthread_mutex_unlock(&turns->lock);
}

static void *run_beside(void *arg)
{
    sim__turns *turns = arg;

    await(turns, BESIDE);
    turns->fn(turns->arg);
    turns->over[BESIDE] = 1;
    pass(turns);
    return NULL;
}

void sim_beside(sim_world *world, sim_beside_fn *fn, void *arg)
{
    sim__turns *turns = sim__alloc(sizeof(*turns));

    *turns = (sim__turns){.deadline_ns = {UINT64_MAX, UINT64_MAX}, .fn = fn, .arg = arg};
    pthread_mutex_init(&turns->lock, NULL);
    pthread_cond_init(&turns->passed, NULL);
    world->turns = turns;
    if (pthread_create(&turns->thread, NULL, run_beside, turns) != 0) {
        fputs("sim: no thread\n", stderr);
        abort();
    }
}

void sim_beside_join(sim_world *world)
{
    sim__turns *turns = world->turns;

    turns->over[TEST] = 1;
    if (!turns->over[BESIDE]) {
        pass(turns);
    }
    pthread_join(turns->thread, NULL);
    pthread_cond_destroy(&turns->passed);
    pthread_mutex_destroy(&turns->lock);
    free(turns);
    world->turns = NULL;
}

int sim__turns_pass(sim__io *io, uint64_t *deadline_ns)
{
    sim_world *world = io->world;
    sim__turns *turns = world->turns;
    uint64_t steps = world->steps;
    uint64_t now_ns = world->now_ns;
    int me;

    if (turns == NULL || turns->over[!turns->whose]) {
        return 0;
    }
    me = turns->whose;
    turns->deadline_ns[me] = *deadline_ns;
    pass(turns);
    await(turns, me);
    if (!turns->over[!me] && turns->deadline_ns[!me] < *deadline_ns) {
        *deadline_ns = turns->deadline_ns[!me];
    }
    return world->steps != steps || world->now_ns != now_ns || world->failed || io->woken;
}
