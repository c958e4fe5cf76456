/* SPDX-License-Identifier: MIT */
#ifndef GATE_IO_IO_EPOLL_H
#define GATE_IO_IO_EPOLL_H

/*
 * gate_io over epoll. Ops that can be tried stand in one queue; run() waits for events, turns each
 * into queue entries, then works the queue off: system call, completion.
 *
 * Try first, wait on EAGAIN: a socket is registered when a call on it first had to wait, which the
 * common one-shot exchange never does. Connections are edge-triggered and registered once for
 * input; output is added when a send or connect has to wait. Both calls report what is ready at
 * that moment, so nothing is lost between the EAGAIN and the registration. Listeners are level-
 * triggered while an accept waits, and taken out when it ends: accepting can then stop at any
 * point, and starts again without a record of what was missed. (EPOLLEXCLUSIVE is not used: where
 * workers share a descriptor, it may tell only one that has just stopped accepting.)
 *
 * Events carry the descriptor and a generation, never a pointer. A registration outlives close()
 * while a forked child still has the descriptor, and its events must not find the next socket of
 * that number, or freed memory.
 *
 * A connect that finds the queue of a Unix listener full waits in a list of its own: see retry.h.
 *
 * io_epoll.c has the loop, the events and the submits; io_epoll_try.c tries the ops.
 */

#include <sys/epoll.h>

#include "io/io.h"
#include "io/retry.h"

enum { GATE__EPOLL_EVENTS = 256 };        /* fetched in one turn */
enum { GATE__EPOLL_SCRATCH = 64 * 1024 }; /* what one recv takes */

/* gate_sock.state; the generation is above these. */
enum {
    SOCK_IN_BLOCKED = 1,  /* no input as of the last recv */
    SOCK_OUT_BLOCKED = 2, /* no room as of the last send, or connecting */
    SOCK_HUNG_UP = 4,     /* there is more behind a short read: the end, an error, urgent data */
    SOCK_WATCH_IN = 8,
    SOCK_WATCH_OUT = 16,
    SOCK_GENERATION_SHIFT = 8
};

/* gate_op.state */
enum { OP_QUEUED = 1, OP_CANCELLED = 2 };

struct gate__epoll {
    gate_io io;
    int epoll_fd;
    int wake_fd;
    gate_op *first; /* the queue */
    gate_op **last;
    gate_op *lookups;      /* names being looked up */
    gate__retries retries; /* connects that wait for room in a queue */
    gate_sock **table;     /* what is registered, by descriptor */
    size_t table_size;
    uint32_t generation;
    /* A round begins at round_ns and ends when all that was ready by then has been told. */
    uint64_t round_ns;
    int round;          /* GATE__ROUND_... */
    size_t round_left;  /* events that it may still have: one for each socket at most */
    gate_op *round_end; /* the last op of it in the queue */
    size_t watched;     /* sockets that are registered */
    int told;           /* connections that were accepted in this turn */
    int event_count;    /* of this turn */
    int skipped;        /* the last turn did not look for events */
    struct epoll_event events[GATE__EPOLL_EVENTS];
    uint8_t scratch[GATE__EPOLL_SCRATCH];
};

/* Puts an op in the queue, once. */
void gate__epoll_push(struct gate__epoll *self, gate_op *op);

/* Carries an op out, or its cancelling, as far as that goes without waiting. */
void gate__epoll_try(struct gate__epoll *self, gate_op *op);

#endif
