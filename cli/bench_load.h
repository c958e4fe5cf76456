/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_BENCH_LOAD_H
#define GATE_CLI_BENCH_LOAD_H

/*
 * The load that gate-bench puts on a server, from one thread over plain nonblocking sockets; only
 * the framing comes from the library, so that it is not measured against itself.
 *
 * Closed loop: each connection asks again as soon as it has its answer. Open loop (a rate): the
 * times at which exchanges begin are fixed in advance, and each latency counts from that time. If
 * the server is slow and no connection is free, the wait for one is part of the latency: nothing is
 * left out.
 *
 * Phases: connections that are kept open are made first; then the warm-up, which is not counted;
 * then what is measured; at the end nothing new begins, and what is under way is waited for, though
 * not longer than the time-out.
 */

#include <gate/gate.h>
#include <stdint.h>
#include <sys/types.h>

#include "bench_dial.h"
#include "bench_hist.h"

typedef enum bench_error {
    BENCH_CONNECT = 0, /* no connection */
    BENCH_TIMEOUT,     /* no whole answer in time */
    BENCH_CLOSED,      /* closed or reset without a whole answer */
    BENCH_FRAME,       /* an answer that does not fit the framing */
    BENCH_UNEXPECTED,  /* another answer than the expected one */
    BENCH_NOT_BEGUN,   /* open loop: no connection became free in time */
    BENCH_ERRORS
} bench_error;

enum { BENCH_FIRST_MAX = 256 };

/* The first answer that came, in the warm-up too. */
typedef struct bench_first {
    uint64_t len; /* of which the first BENCH_FIRST_MAX bytes are kept */
    int known;
    char bytes[BENCH_FIRST_MAX];
} bench_first;

typedef struct bench_result {
    bench_hist latency;
    uint64_t errors[BENCH_ERRORS];
    uint64_t connects; /* made while it was measured */
    uint64_t bytes_in; /* these two as well */
    uint64_t bytes_out;
    uint64_t elapsed_ns;  /* of what is measured, until the last exchange was over */
    uint64_t cpu_ns;      /* this program's in that time */
    uint64_t waited_ns;   /* in that time it could run and had no CPU */
    uint64_t late;        /* open loop: exchanges that began over BENCH_LATE_NS after their time
                              though a connection was free */
    uint64_t late_max_ns; /* how late such an exchange was at most */
    uint64_t under_way;   /* exchanges that an interruption cut short */
    uint64_t watched_ns;  /* CPU of the watched process in that time */
    uint64_t watched_rss; /* its resident bytes at the end of it */
    uint32_t idle_open;   /* of the idle connections, at the end */
    int connect_error;    /* the last -errno of a connection that failed, or 0 */
    int interrupted;      /* the signal that ended the run early, or 0 */
    bench_first first;
} bench_result;

#define BENCH_LATE_NS UINT64_C(1000000)

typedef struct bench_plan {
    bench_addr addr;
    char addr_text[BENCH_ADDR_TEXT];
    const gate_codec *codec;
    const char *framing; /* the name of the codec */
    const char *message;
    const char *expect; /* NULL: any answer will do */
    uint32_t connections;
    uint32_t idle; /* connections besides that are opened and say nothing */
    uint32_t pipeline;
    uint32_t sources;     /* 0: the kernel chooses the source address */
    uint64_t exchanges;   /* 0: no limit */
    uint64_t duration_ns; /* 0: no limit */
    uint64_t warm_up_ns;
    uint64_t timeout_ns;
    uint64_t rate; /* a second; 0: closed loop */
    int one_shot;  /* a connection for each exchange */
    pid_t watched; /* 0: none */
    int signals;   /* a descriptor that is readable when the run has to end, see
                             bench_signals.h; -1: none */
    /* Called about once a second while it is measured, if it is not NULL; second: the latencies
     * since the last time. */
    void (*progress)(const bench_result *result, const bench_hist *second, uint64_t elapsed_ns);
    void (*ready)(void); /* all connections stand; may be NULL */
} bench_plan;

/* Runs the plan. 0; -ENOMEM, -EMFILE, ...: this machine could not; -ETIMEDOUT or another -errno in
 * result->connect_error too: no connection to the server, nothing was measured. */
int bench_run(const bench_plan *plan, bench_result *result);

/* "connect", "timeout", ... */
const char *bench_error_name(bench_error error);

#endif
