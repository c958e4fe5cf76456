/* SPDX-License-Identifier: MIT */
#ifndef GATE_IO_IO_BLOCKING_H
#define GATE_IO_IO_BLOCKING_H

/*
 * gate_io for one client socket of a synchronous caller, who may keep it on the stack: no
 * descriptor but the socket's, no allocation (unless a name is looked up), and hardly a system call
 * more than a client written by hand. run() blocks in connect, send or recv itself; the kernel
 * watches the deadline (SO_SNDTIMEO, SO_RCVTIMEO) for seven eighths of the time left. The timers of
 * sockets are so coarse that the rest is waited for in ppoll, which is exact but costs a call more.
 *
 * One recv and one other op may be in flight, or a look-up. run() returns after one completion, at
 * the deadline with the op still in flight, or early after a signal. listen, adopt and accept give
 * -EOPNOTSUPP. wake() makes the next run() return at once; it does not end one that waits. There is
 * nothing to free. The time is read before a call that may wait, and when it has waited in vain.
 */

#include <stdatomic.h>

#include "io/io.h"

typedef struct gate__io_blocking {
    gate_io io;
    gate_op *in;  /* in flight */
    gate_op *out; /* in flight */
    gate_resolve *lookup;
    uint64_t send_timeout_ns; /* what the kernel has been told; UINT64_MAX: nothing */
    uint64_t recv_timeout_ns;
    /* Where the next recv puts its bytes, so that they need not be copied from buf. The owner sets
     * both before the recv is submitted; NULL or no room: into buf. */
    void *into;
    size_t into_len;
    int sent;      /* sends of this connection: 0, 1, or more */
    int unchecked; /* connect does not look whether the socket has met itself: its owner will */
    atomic_int woken;
    gate__sockaddr addr; /* what is being connected to */
    uint8_t buf[16 * 1024];
} gate__io_blocking;

/* Has an unchecked connect joined the socket to itself? One system call, or two. */
int gate__io_blocking_met_itself(const gate__io_blocking *self, const gate_sock *sock);

/* Makes self->io usable. Cannot fail. */
void gate__io_blocking_init(gate__io_blocking *self);

#endif
