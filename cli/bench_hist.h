/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_BENCH_HIST_H
#define GATE_CLI_BENCH_HIST_H

/* Counts durations in buckets that grow with them: 128 to each power of two, and one for each
 * nanosecond below 256. So every 64-bit value has its bucket, and the bucket is never wider than
 * 1/128 of the value. */

#include <stdint.h>

enum {
    BENCH_HIST_BITS = 7, /* of a value, behind its leading one */
    BENCH_HIST_BUCKETS = (64 - BENCH_HIST_BITS + 1) << BENCH_HIST_BITS
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

/* Rounded down; 0 where there is none. */
uint64_t bench_hist_mean(const bench_hist *hist);

/* How many of the values lie in buckets that begin at from or later and below to. */
uint64_t bench_hist_between(const bench_hist *hist, uint64_t from, uint64_t to);

/* The bucket of a value, and the first and last value of a bucket. */
unsigned bench_hist_index(uint64_t value);
uint64_t bench_hist_lower(unsigned index);
uint64_t bench_hist_upper(unsigned index);

#endif
