/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_BENCH_FAIL_H
#define GATE_CLI_BENCH_FAIL_H

/* --fail-if: conditions on a result, such as p99>5ms, errors>0 or rate<1000. */

#include "args.h"
#include "bench_load.h"

typedef struct bench_fail {
    const char *text;
    char what;      /* 'p'ercentile, 'm'ean, 'l'east, 'g'reatest, 'e'rrors, 'r'ate */
    double percent; /* of a percentile */
    int sign;       /* 1: over the value, -1: under it */
    int or_equal;
    double value; /* ns, or a number */
} bench_fail;

/* 0, or an exit code after a report. */
int bench_fail_parse(bench_fail *fails, const args_list *list);

/* 1: the condition holds. In percentiles and max a failed exchange counts as one that took
 * infinitely long; where no exchange was answered every condition on a time holds. */
int bench_fail_holds(const bench_fail *fail, const bench_result *result);

/* Of a result, all failed exchanges; and the answered ones per second. */
uint64_t bench_errors(const bench_result *result);
double bench_rate(const bench_result *result);

#endif
