/* SPDX-License-Identifier: MIT */
#ifndef GATE_IO_RETRY_H
#define GATE_IO_RETRY_H

/*
 * The connects of a loop that wait for room in the queue of a Unix listener. The kernel refuses a
 * nonblocking one with EAGAIN and has no event for the moment when there is room, so they are tried
 * again: after a millisecond, and after up to 16 where that changes nothing.
 */

#include <stdint.h>

#include "io/io.h"

struct gate__retry;

/* All zero: none waits. */
typedef struct gate__retries {
    struct gate__retry *first; /* the one that has waited longest */
    uint64_t due_ns;           /* when to try again */
    uint64_t pause_ns;
} gate__retries;

/* Is this the result of a connect that has to wait? */
int gate__retries_wanted(const gate__sockaddr *addr, int result);

/* sock->out has begun to connect to *addr, which is copied. 0, -ENOMEM. */
int gate__retries_add(gate__retries *self, gate_sock *sock, const gate__sockaddr *addr);

/* Takes one out that is to be cancelled. 0: it was not there. */
int gate__retries_remove(gate__retries *self, const gate_sock *sock);

/* Until when the loop may wait, if it would wait until deadline_ns. */
uint64_t gate__retries_until(const gate__retries *self, uint64_t deadline_ns);

/* Tries those that are due, in order. The first one that has come to an end is taken out, its
 * result in sock->out.aux; NULL: none has. */
gate_sock *gate__retries_take(gate__retries *self, uint64_t now_ns);

#endif
