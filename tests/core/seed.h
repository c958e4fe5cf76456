/* SPDX-License-Identifier: MIT */
#ifndef GATE_TESTS_SEED_H
#define GATE_TESTS_SEED_H

/* Random numbers that can be had again: the seed is printed, and GATE_SEED= sets it. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t seed_state;

static inline void seed_start(void)
{
    const char *given = getenv("GATE_SEED");
    struct timespec now;

    if (given != NULL) {
        seed_state = strtoull(given, NULL, 10);
    } else {
        (void)clock_gettime(CLOCK_REALTIME, &now);
        seed_state = (uint64_t)now.tv_sec * 1000000007 + (uint64_t)now.tv_nsec;
    }
    printf("GATE_SEED=%llu\n", (unsigned long long)seed_state);
    (void)fflush(stdout);
}

static inline uint64_t seed_next(void)
{
    seed_state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = seed_state;
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

/* From 0 to bound - 1. */
static inline size_t seed_below(size_t bound)
{
    return (size_t)(seed_next() % bound);
}

#endif
