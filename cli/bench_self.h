/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_BENCH_SELF_H
#define GATE_CLI_BENCH_SELF_H

/* Whether a result shows the server, or the limits of gate-bench and of the machine it runs on. */

#include "bench_load.h"

enum {
    BENCH_SELF_LATE = 1,  /* open loop: exchanges began late though a connection was free */
    BENCH_SELF_BUSY = 2,  /* its one thread had no time left: the server may be faster */
    BENCH_SELF_WAITED = 4 /* it had to wait for a CPU: other programs took it */
};

/* The bits of what was the case. Pure. */
unsigned bench_self_limits(const bench_result *result);

#endif
