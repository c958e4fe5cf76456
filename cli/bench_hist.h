/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_BENCH_HIST_H
#define GATE_CLI_BENCH_HIST_H

/* Counts durations in buckets that grow with them: 128 to each power of two, and one for each
 * nanosecond below 256. So every 64-bit value has its bucket, and the bucket is never wider than
 * 1/128 of the value. */

#include <stdint.h>

enum {
    BENCH_HIST_BITS = 7, /* of a value, behind its leading one */
    BENCH_HIST_BUCKETS = (64 - BENCH_HIST_BITS + 1) << BENCH_HIST_BITS,
    BENCH_ROWS_FINE = 30,
    BENCH_ROWS_MAX = BENCH_ROWS_FINE + 64 - BENCH_HIST_BITS + 3
};

typedef struct bench_hist {
    uint64_t count;
    uint64_t sum;
    uint64_t min; /* with count 0 these two mean nothing */
    uint64_t max;
    uint64_t buckets[BENCH_HIST_BUCKETS];
} bench_hist;

void bench_hist_clear(bench_hist *hist);
void bench_hist_add(bench_hist *hist, uint64_t value);

/* The smallest value that `percent` of the values don't exceed, to within the bucket: its upper
 * end, but never over the largest value. 0 where there is none. */
uint64_t bench_hist_percentile(const bench_hist *hist, double percent);

/* The same for the smallest value that `rank` of the values don't exceed; rank is at most count. */
uint64_t bench_hist_ranked(const bench_hist *hist, double rank);

/* Rounded down; 0 where there is none. */
uint64_t bench_hist_mean(const bench_hist *hist);

/* A row of a table: the values from `from` to `to`, both included. */
typedef struct bench_row {
    uint64_t from;
    uint64_t to;
    uint64_t count;
} bench_row;

/* Rows are contiguous and hold every value: BENCH_ROWS_FINE or fewer between the percentiles 1 and
 * 99.9, where almost everything is, and one for each power of two outside. Returns how many. */
unsigned bench_hist_rows(const bench_hist *hist, bench_row rows[BENCH_ROWS_MAX]);

/* The bucket of a value, and the first and last value of a bucket. */
unsigned bench_hist_index(uint64_t value);
uint64_t bench_hist_lower(unsigned index);
uint64_t bench_hist_upper(unsigned index);

#endif
