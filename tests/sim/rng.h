/* SPDX-License-Identifier: MIT */
#ifndef GATE_SIM_RNG_H
#define GATE_SIM_RNG_H

/* Numbers that depend on a seed only. Each part of the simulator draws from a generator of its own,
 * so that one more draw in one part leaves what the others do as it was. */

#include <stdint.h>

typedef struct sim_rng {
    uint64_t state;
} sim_rng;

/* stream tells generators of one seed apart. */
void sim_rng_init(sim_rng *rng, uint64_t seed, uint64_t stream);

uint64_t sim_rng_next(sim_rng *rng);

/* From 0 to bound - 1; 0 for a bound of 0. */
uint64_t sim_rng_below(sim_rng *rng, uint64_t bound);

/* From low to high, both included. */
uint64_t sim_rng_range(sim_rng *rng, uint64_t low, uint64_t high);

/* 1 in pct of 100 draws. A pct of 0 draws nothing. */
int sim_rng_chance(sim_rng *rng, uint32_t pct);

#endif
