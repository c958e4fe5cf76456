/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_BENCH_SHOW_H
#define GATE_CLI_BENCH_SHOW_H

/* What gate-bench prints of a result. */

#include "bench_load.h"
#include "json.h"

/* What was run, the first answer, counts, what limited gate-bench itself, a table of percentiles
 * and a histogram, on stdout. */
void bench_show(const bench_plan *plan, const bench_result *result);

/* The members of the JSON object; result NULL: all of them null. */
void bench_show_json(json *object, const bench_plan *plan, const bench_result *result);

/* The last second in one line on stderr that the next one overwrites; progress_end clears it. */
void bench_show_progress(const bench_result *result, const bench_hist *second, uint64_t elapsed_ns);
void bench_show_progress_end(void);

enum { BENCH_TIME_MAX = 32 };

/* "1.23 ms" */
const char *bench_show_time(uint64_t ns, char text[BENCH_TIME_MAX]);

#endif
