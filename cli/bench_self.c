/* SPDX-License-Identifier: MIT */
#include "bench_self.h"

enum { BUSY_PERCENT = 90, WAITED_PERCENT = 10 };

static int is_share(uint64_t part_ns, uint64_t whole_ns, unsigned percent)
{
    return whole_ns > 0 && (double)part_ns >= (double)whole_ns * percent / 100;
}

unsigned bench_self_limits(const bench_result *result)
{
    unsigned limits = 0;

    if (result->late > 0)
        limits |= BENCH_SELF_LATE;
    if (is_share(result->cpu_ns, result->elapsed_ns, BUSY_PERCENT))
        limits |= BENCH_SELF_BUSY;
    if (is_share(result->waited_ns, result->elapsed_ns, WAITED_PERCENT))
        limits |= BENCH_SELF_WAITED;
    return limits;
}
