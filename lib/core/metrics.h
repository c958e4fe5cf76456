/* SPDX-License-Identifier: MIT */
#ifndef GATE_CORE_METRICS_H
#define GATE_CORE_METRICS_H

/* Counters of one worker. Only its thread writes them; any thread reads them, hence the atomics,
 * which cost no more than plain stores. */

#include <gate/gate.h>
#include <stdatomic.h>

typedef _Atomic uint64_t gate__count;

typedef struct gate__metrics {
    gate__count connections;
    gate__count accepted;
    gate__count requests;
    gate__count replies;
    gate__count rejections;
    gate__count bytes_in;
    gate__count bytes_out;
    gate__count accept_errors;
    gate__count accept_pauses;
    gate__count closed[GATE_CLOSE_COUNT];
} gate__metrics;

static inline void gate__count_add(gate__count *count, uint64_t n)
{
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline uint64_t gate__count_get(const gate__count *count)
{
    return atomic_load_explicit(count, memory_order_relaxed);
}

/* Adds one worker's counters to *stats. */
void gate__metrics_sum(const gate__metrics *metrics, gate_stats *stats);

#endif
