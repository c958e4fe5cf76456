/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_BENCH_PACE_H
#define GATE_CLI_BENCH_PACE_H

/* When the exchanges of a rate are due, from the first one at 0. */

#include <stdint.h>

/* Nanoseconds from the start to exchange k; rate: a second, 1 to 10^9. */
uint64_t bench_pace_at(uint64_t rate, uint64_t k);

/* How many are due before so many nanoseconds have passed. */
uint64_t bench_pace_before(uint64_t rate, uint64_t span_ns);

#endif
