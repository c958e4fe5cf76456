/* SPDX-License-Identifier: MIT */
#include "quota.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

enum { SHARD_SHIFT = 60 };

int gate__limits_init(gate__limits *limits, uint32_t connections_max, uint32_t source_max,
                      uint32_t count)
{
    limits->connections_max = connections_max;
    limits->source_max = source_max;
    limits->waiters = calloc(count, sizeof *limits->waiters);
    if (!limits->waiters)
        return -ENOMEM;
    limits->count = count;
    for (int i = 0; i < GATE__SHARDS; i++)
        pthread_mutex_init(&limits->shards[i].lock, NULL);
    return 0;
}

void gate__limits_free(gate__limits *limits)
{
    if (!limits->waiters)
        return;
    for (int i = 0; i < GATE__SHARDS; i++) {
        gate__sources_free(&limits->shards[i].table);
        pthread_mutex_destroy(&limits->shards[i].lock);
    }
    free(limits->waiters);
}

void gate__limits_join(gate__limits *limits, uint32_t worker, gate_io *io)
{
    limits->waiters[worker].io = io;
    if (worker)
        return;
    uint64_t secret = io->ops->random(io);
    for (int i = 0; i < GATE__SHARDS; i++)
        limits->shards[i].table.secret = secret;
}

/* ---- Places ---- */

static int take(gate__limits *limits)
{
    unsigned used = atomic_load(&limits->used);
    while (used < limits->connections_max)
        if (atomic_compare_exchange_weak(&limits->used, &used, used + 1))
            return 1;
    return 0;
}

static int stop_waiting(gate__limits *limits, gate__waiter *waiter)
{
    if (!atomic_exchange(&waiter->waiting, 0))
        return 0;
    atomic_fetch_sub(&limits->waiting, 1);
    return 1;
}

static void begin_waiting(gate__limits *limits, gate__waiter *waiter)
{
    if (!atomic_exchange(&waiter->waiting, 1))
        atomic_fetch_add(&limits->waiting, 1);
}

/* The place that was just taken, unless one is being granted: then that is on its way. */
static int keep(gate__limits *limits, gate__waiter *waiter)
{
    if (stop_waiting(limits, waiter))
        return 1;
    gate__limits_give(limits);
    return 0;
}

int gate__limits_claim(gate__limits *limits, uint32_t worker)
{
    gate__waiter *waiter = &limits->waiters[worker];
    if (atomic_exchange(&waiter->granted, 0)) {
        waiter->claimed = 0;
        return 1;
    }
    if (!waiter->claimed && take(limits))
        return 1;
    if (!waiter->claimed)
        begin_waiting(limits, waiter);
    waiter->claimed = 1;
    if (!take(limits) || !keep(limits, waiter))
        return 0;
    waiter->claimed = 0;
    return 1;
}

void gate__limits_cancel(gate__limits *limits, uint32_t worker)
{
    gate__waiter *waiter = &limits->waiters[worker];
    if (!waiter->claimed)
        return;
    waiter->claimed = 0;
    if (stop_waiting(limits, waiter))
        return;
    while (!atomic_exchange(&waiter->granted, 0)) /* it is about to be granted */
        sched_yield();
    gate__limits_give(limits);
}

/* The place is taken for one that waits. 0: none does any more. */
static int grant(gate__limits *limits)
{
    uint32_t first = atomic_fetch_add(&limits->next, 1) % limits->count;
    for (uint32_t i = 0; i < limits->count; i++) {
        gate__waiter *waiter = &limits->waiters[(first + i) % limits->count];
        if (!stop_waiting(limits, waiter))
            continue;
        atomic_store(&waiter->granted, 1);
        waiter->io->ops->wake(waiter->io);
        return 1;
    }
    return 0;
}

void gate__limits_give(gate__limits *limits)
{
    do
        atomic_fetch_sub(&limits->used, 1);
    while (atomic_load(&limits->waiting) && take(limits) && !grant(limits));
}

/* ---- Addresses ---- */

static unsigned shard_of(uint64_t source)
{
    return (unsigned)(source * 0xD1342543DE82EF95u >> SHARD_SHIFT);
}

int gate__limits_add_source(gate__limits *limits, uint64_t source)
{
    unsigned i = shard_of(source);
    pthread_mutex_lock(&limits->shards[i].lock);
    int rc = gate__sources_add(&limits->shards[i].table, source, limits->source_max);
    pthread_mutex_unlock(&limits->shards[i].lock);
    return rc;
}

void gate__limits_remove_source(gate__limits *limits, uint64_t source)
{
    if (!source)
        return;
    unsigned i = shard_of(source);
    pthread_mutex_lock(&limits->shards[i].lock);
    gate__sources_remove(&limits->shards[i].table, source);
    pthread_mutex_unlock(&limits->shards[i].lock);
}
