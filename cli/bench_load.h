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
 * then what is measured; at the end nothing new begins, and what is under way is waited for.
 */

#include <gate/gate.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

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

typedef struct bench_result {
    bench_hist latency;
    uint64_t errors[BENCH_ERRORS];
    uint64_t connects; /* made while it was measured */
    uint64_t bytes_in; /* these two as well */
    uint64_t bytes_out;
    uint64_t elapsed_ns;  /* of what is measured, until the last answer */
    uint64_t cpu_ns;      /* this program's in that time */
    uint64_t watched_ns;  /* CPU of the watched process in that time */
    uint64_t watched_rss; /* its resident bytes at the end of it */
    uint32_t idle_open;   /* of the idle connections, at the end */
    int connect_error;    /* the last -errno of a connection that failed, or 0 */
} bench_result;

typedef struct bench_plan {
    struct sockaddr_storage addr;
    socklen_t addr_len;
    const gate_codec *codec;
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
    /* Called about once a second while it is measured, if it is not NULL. */
    void (*progress)(const bench_result *result, uint64_t elapsed_ns);
    void (*ready)(void); /* all connections stand; may be NULL */
} bench_plan;

/* Runs the plan. 0; -ENOMEM, -EMFILE, ...: this machine could not; -ETIMEDOUT or another -errno in
 * result->connect_error too: no connection to the server, nothing was measured. */
int bench_run(const bench_plan *plan, bench_result *result);

/* "connect", "timeout", ... */
const char *bench_error_name(bench_error error);

#endif
