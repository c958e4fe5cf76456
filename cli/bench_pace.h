/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_BENCH_PACE_H
#define GATE_CLI_BENCH_PACE_H

/* When the exchanges of a rate are due, from the first one at 0. */

#include <stdint.h>

/* Nanoseconds from the start to exchange k; rate: a second, 1 to 10^9. */
uint64_t bench_pace_at(uint64_t rate, uint64_t k);

/* How many are due before so many nanoseconds have passed. */
uint64_t bench_pace_before(uint64_t rate, uint64_t span_ns);

/* How long a load lasts that makes so many exchanges (0: no limit) for so many nanoseconds (0: no
 * limit), whichever is over first: each exchange has its share of a second, the last one too, so
 * that a short load has the rate as well. UINT64_MAX: without end. */
uint64_t bench_pace_span(uint64_t rate, uint64_t exchanges, uint64_t duration_ns);

#endif
