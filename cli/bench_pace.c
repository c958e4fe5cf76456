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

uint64_t bench_pace_span(uint64_t rate, uint64_t exchanges, uint64_t duration_ns)
{
    uint64_t span_ns = duration_ns > 0 ? duration_ns : UINT64_MAX;

    if (exchanges > 0 && bench_pace_at(rate, exchanges) < span_ns)
        span_ns = bench_pace_at(rate, exchanges);
    return span_ns;
}
