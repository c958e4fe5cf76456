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

uint64_t bench_hist_ranked(const bench_hist *hist, double rank)
{
    uint64_t seen = 0;

    for (unsigned i = 0; i < BENCH_HIST_BUCKETS; i++) {
        seen += hist->buckets[i];
        if (seen > 0 && (double)seen >= rank)
            return bench_hist_upper(i) < hist->max ? bench_hist_upper(i) : hist->max;
    }
    return hist->max;
}

uint64_t bench_hist_percentile(const bench_hist *hist, double percent)
{
    return bench_hist_ranked(hist, (double)hist->count * percent / 100);
}

uint64_t bench_hist_mean(const bench_hist *hist)
{
    return hist->count > 0 ? hist->sum / hist->count : 0;
}

/* The bucket after those of the row that begins with bucket `at`; fine: from p1 to p99.9. */
static unsigned row_end(unsigned at, unsigned fine_from, unsigned fine_to)
{
    unsigned step = (fine_to - fine_from) / BENCH_ROWS_FINE + 1;
    unsigned group_end = ((at >> BENCH_HIST_BITS) + 1) << BENCH_HIST_BITS;

    if (at < fine_from)
        return group_end < fine_from ? group_end : fine_from;
    if (at > fine_to)
        return group_end;
    return at + step <= fine_to ? at + step : fine_to + 1;
}

unsigned bench_hist_rows(const bench_hist *hist, bench_row rows[BENCH_ROWS_MAX])
{
    unsigned fine_from = bench_hist_index(bench_hist_percentile(hist, 1));
    unsigned fine_to = bench_hist_index(bench_hist_percentile(hist, 99.9));
    unsigned last = bench_hist_index(hist->max), count = 0;

    if (hist->count == 0)
        return 0;
    for (unsigned at = bench_hist_index(hist->min), end; at <= last; at = end) {
        bench_row *row = &rows[count++];

        end = row_end(at, fine_from, fine_to);
        *row = (bench_row){.from = bench_hist_lower(at), .to = bench_hist_upper(end - 1)};
        for (unsigned i = at; i < end && i < BENCH_HIST_BUCKETS; i++)
            row->count += hist->buckets[i];
    }
    return count;
}
