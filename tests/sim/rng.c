/* SPDX-License-Identifier: MIT */
#include "rng.h"

/* The finaliser of splitmix64: a bijection that spreads each input bit over all output bits. */
static uint64_t mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

void sim_rng_init(sim_rng *rng, uint64_t seed, uint64_t stream)
{
    rng->state = mix(seed + mix(stream + 1));
}

uint64_t sim_rng_next(sim_rng *rng)
{
    rng->state += 0x9e3779b97f4a7c15u;
    return mix(rng->state);
}

uint64_t sim_rng_below(sim_rng *rng, uint64_t bound)
{
    return bound == 0 ? 0 : sim_rng_next(rng) % bound;
}

uint64_t sim_rng_range(sim_rng *rng, uint64_t low, uint64_t high)
{
    return high <= low ? low : low + sim_rng_below(rng, high - low + 1);
}

int sim_rng_chance(sim_rng *rng, uint32_t pct)
{
    return pct != 0 && sim_rng_below(rng, 100) < pct;
}
