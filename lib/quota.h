/* SPDX-License-Identifier: MIT */
#ifndef GATE_QUOTA_H
#define GATE_QUOTA_H

/*
 * The limits that hold over all workers of a server: how many connections are served, and how many
 * of one address.
 *
 * A worker takes a place before it reads from a connection, and gives it back when that has closed.
 * Without a place it notes that it waits. Whoever gives a place back then looks for one that waits,
 * in turn, takes the place for it and wakes it. No wake-up is lost: a worker notes that it waits
 * and tries again afterwards; the other one frees the place and looks for waiting ones afterwards.
 *
 * Addresses are counted in 16 tables with a lock each, only where peer_connections_max is set.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "core/sources.h"
#include "io/io.h"

enum { GATE__SHARDS = 16 };

typedef struct gate__waiter {
    gate_io *io; /* to be woken */
    int claimed; /* the worker's own: it waits, or was granted one */
    atomic_int waiting;
    atomic_int granted; /* a place was taken for it */
} gate__waiter;

typedef struct gate__limits {
    uint32_t connections_max;
    uint32_t source_max; /* 0: sources are not counted */
    uint32_t count;      /* of waiters: one for each worker */
    atomic_uint used;
    atomic_uint waiting;
    atomic_uint next; /* whose turn it is */
    gate__waiter *waiters;
    struct {
        pthread_mutex_t lock;
        gate__sources table;
    } shards[GATE__SHARDS];
} gate__limits;

/* For so many workers. 0, -ENOMEM. */
int gate__limits_init(gate__limits *limits, uint32_t connections_max, uint32_t source_max,
                      uint32_t count);
/* After the workers. */
void gate__limits_free(gate__limits *limits);
/* A worker's loop, and once a random number. Before any thread runs. */
void gate__limits_join(gate__limits *limits, uint32_t worker, gate_io *io);

/* 1: the worker has a place. 0: it will be woken when there is one for it, see gate__limits_claim,
 * which it then calls again. */
int gate__limits_claim(gate__limits *limits, uint32_t worker);
/* It does not want one any more. */
void gate__limits_cancel(gate__limits *limits, uint32_t worker);
void gate__limits_give(gate__limits *limits);

/* As gate__sources_add and gate__sources_remove. */
int gate__limits_add_source(gate__limits *limits, uint64_t source);
void gate__limits_remove_source(gate__limits *limits, uint64_t source);

#endif
