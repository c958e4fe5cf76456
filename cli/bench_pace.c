/* SPDX-License-Identifier: MIT */
#include "bench_pace.h"

#define SECOND UINT64_C(1000000000)

uint64_t bench_pace_at(uint64_t rate, uint64_t k)
{
    return k / rate * SECOND + k % rate * SECOND / rate;
}

uint64_t bench_pace_before(uint64_t rate, uint64_t span_ns)
{
    return span_ns / SECOND * rate + (span_ns % SECOND * rate + SECOND - 1) / SECOND;
}
