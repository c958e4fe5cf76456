/* SPDX-License-Identifier: MIT */
#include "bench_hist.h"

#include <string.h>

unsigned bench_hist_index(uint64_t value)
{
    unsigned shift;

    if (value >> (BENCH_HIST_BITS + 1) == 0)
        return (unsigned)value;
    shift = 63 - (unsigned)__builtin_clzll(value) - BENCH_HIST_BITS;
    return (shift << BENCH_HIST_BITS) + (unsigned)(value >> shift);
}

uint64_t bench_hist_lower(unsigned index)
{
    unsigned shift = index >> BENCH_HIST_BITS;

    if (shift > 0)
        shift--; /* the two first groups count single values */
    return (uint64_t)(index - (shift << BENCH_HIST_BITS)) << shift;
}

uint64_t bench_hist_upper(unsigned index)
{
    return index + 1 < BENCH_HIST_BUCKETS ? bench_hist_lower(index + 1) - 1 : UINT64_MAX;
}

void bench_hist_clear(bench_hist *hist)
{
    memset(hist, 0, sizeof(*hist));
}

void bench_hist_add(bench_hist *hist, uint64_t value)
{
    if (hist->count == 0 || value < hist->min)
        hist->min = value;
    if (value > hist->max)
        hist->max = value;
    hist->count++;
    hist->sum += value;
    hist->buckets[bench_hist_index(value)]++;
}

uint64_t bench_hist_percentile(const bench_hist *hist, double percent)
{
    double wanted = (double)hist->count * percent / 100;
    uint64_t seen = 0;

    for (unsigned i = 0; i < BENCH_HIST_BUCKETS; i++) {
        seen += hist->buckets[i];
        if (seen > 0 && (double)seen >= wanted)
            return bench_hist_upper(i) < hist->max ? bench_hist_upper(i) : hist->max;
    }
    return hist->max;
}

uint64_t bench_hist_mean(const bench_hist *hist)
{
    return hist->count > 0 ? hist->sum / hist->count : 0;
}

uint64_t bench_hist_between(const bench_hist *hist, uint64_t from, uint64_t to)
{
    uint64_t count = 0;

    for (unsigned i = bench_hist_index(from); i < BENCH_HIST_BUCKETS; i++) {
        if (bench_hist_lower(i) >= to)
            break;
        if (bench_hist_lower(i) >= from)
            count += hist->buckets[i];
    }
    return count;
}
