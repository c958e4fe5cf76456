/* SPDX-License-Identifier: MIT */
#ifndef GATE_IO_IO_URING_H
#define GATE_IO_IO_URING_H

/*
 * gate_io over io_uring (Linux 6.1 and later: deferred task work). Submits fill the submission
 * queue; run() hands all of it over and waits in one system call, then walks the completion queue.
 *
 * What goes through the ring: accept, and recv where it may stay, which remain armed; a send; and
 * whatever has to wait. Input lands in buffers that the kernel takes from a ring of them, and that
 * go back to it, all of a turn at once, when the callbacks have seen them.
 *
 * A recv that may not stay is tried first, outside of the ring: the request of a one-shot
 * connection is mostly there when that is accepted, and so needs no turn of its own.
 *
 * Shutdown does not go through it at all, since the kernel would give it to a worker thread of its
 * own. Nor does the end of a connection: a send with GATE_IO_LAST or GATE_IO_END is made at once,
 * with the end of our side in the same segment (gate__sock_send_last), and closed there. A send
 * linked to a close costs a segment more: a sixth of a whole exchange, and several times what the
 * calls cost.
 *
 * The kernel knows an op by its address. It may do so for as long as the op's request has not
 * completed, and the op is not completed before that. A request to cancel names an op too, but is
 * carried out while it is submitted, and no later op at the same address can be in the ring by
 * then. One that finds nothing (the op has completed, or the kernel was just about to carry it
 * out) is repeated if the op is still to be cancelled. So both may complete in any order.
 *
 * The ring belongs to the thread that calls run() first; only wake() and, afterwards, free() may
 * come from another.
 *
 * An accept that is cancelled may have taken connections that nobody has been told about. They are
 * kept for the listener's next accept, so that a limit on connections is a limit. One that stays
 * armed takes all that are queued at once: those beyond what others have to wait for in one turn
 * are kept for the next turns.
 *
 * io_uring.c has the loop, io_uring_ops.c the ops, io_uring_cancel.c their cancelling;
 * io_uring_open.c makes the ring.
 */

#include <liburing.h>
#include <pthread.h>

#include "io/io.h"
#include "io/retry.h"

/* gate_op.state */
enum {
    OP_KERNEL = 1,     /* its request is in the ring */
    OP_QUEUED = 2,     /* it is in the queue */
    OP_RESULT = 4,     /* it has ended: its result is in aux, its completion's flags in flags */
    OP_CANCELLED = 8,  /* and in the list of ops to cancel, if OP_KERNEL */
    OP_CANCEL_DUE = 16 /* the kernel has yet to be asked, or to be asked again */
};

/* The user_data of requests that are no op's; to CANCEL the address of the op is added, only to be
 * compared. */
enum { GATE__URING_OP = 0, GATE__URING_WAKE = 1, GATE__URING_CANCEL = 2, GATE__URING_TAGS = 3 };
_Static_assert(_Alignof(gate_op) > GATE__URING_TAGS, "an op's address has no tag's bit");

enum { GATE__URING_APART = 64 }; /* bytes between buffers: so they do not share the cache's sets */

/* How large to make the ring; counts are powers of 2. */
typedef struct gate__uring_sizes {
    unsigned submissions;
    unsigned completions;
    unsigned buffers;
    unsigned buffer_size;
    unsigned page; /* 0: as the kernel has them */
} gate__uring_sizes;

typedef struct gate__op_list {
    gate_op *first;
    gate_op **last;
} gate__op_list;

/* A connection that nobody has been told about yet. */
typedef struct gate__uring_kept {
    gate_sock *sock;
    int fd;
} gate__uring_kept;

struct gate__uring {
    gate_io io;
    struct io_uring ring;
    struct io_uring_buf_ring *buffer_ring;
    uint8_t *buffers;
    gate__uring_sizes sizes;
    int given_back; /* buffers that the kernel has yet to be told of */
    int wake_fd;
    int wake_due; /* the wait for it has to be submitted */
    int enter_fd; /* what io_uring_enter takes */
    unsigned enter_flags;
    /* A round begins at round_ns and ends when all that had come by then has been told. */
    uint64_t round_ns;
    int round;             /* GATE__ROUND_... */
    int starved;           /* input waits for a buffer */
    unsigned round_left;   /* completions that it may still have: one for each request at most */
    unsigned in_kernel;    /* ops whose request is in the ring: as many can have something */
    gate_op *round_end;    /* the last op of it in the queue */
    int running;           /* the ring is enabled */
    pthread_t owner;       /* and this thread's */
    int failed;            /* -errno: the ring is of no use any more */
    gate__op_list queue;   /* to be submitted, tried or completed by run() */
    gate__op_list cancel;  /* in the ring, to be cancelled */
    int cancel_due;        /* some of them have OP_CANCEL_DUE */
    gate_op *lookups;      /* names being looked up */
    gate__retries retries; /* connects that wait for room in a Unix listener's queue */
    gate__uring_kept *kept;
    unsigned kept_count;
    int kept_due;  /* some of them are for an accept that is armed */
    unsigned told; /* connections of this turn that an armed accept was told of */
};

/* The default sizes where `sizes` is NULL. -ENOSYS, -EPERM, -ENOMEM, -EINVAL, ...: there is no
 * io_uring here, or an older one. */
int gate__io_uring_open_sized(gate_io **io, const gate__uring_sizes *sizes);

/* ---- The loop ---- */

/* The next free submission, zeroed; NULL: none for now. */
struct io_uring_sqe *gate__uring_sqe(struct gate__uring *self);
void gate__uring_push(struct gate__uring *self, gate_op *op);
int gate__uring_run(gate_io *io, uint64_t deadline_ns);
void gate__uring_wake(gate_io *io);
/* Takes the last request out of the ring, before that is closed. */
void gate__uring_unwatch_wake(struct gate__uring *self);
void gate__uring_resolve(gate_io *io, gate_resolve *resolve, gate_op_done *done);
void gate__uring_resolve_cancel(gate_io *io, gate_resolve *resolve);

/* ---- The ops ---- */

void gate__op_list_push(gate__op_list *list, gate_op *op);
gate_op *gate__op_list_pop(gate__op_list *list);

void gate__uring_begin(gate_op *op, uint8_t kind, unsigned flags, gate_op_done *done);
/* The op has ended without the ring; run() completes it. */
void gate__uring_end(struct gate__uring *self, gate_op *op, int result, unsigned flags);
/* Carries out what an op in the queue is there for. */
void gate__uring_try(struct gate__uring *self, gate_op *op);
/* Tells armed accepts of what was kept for them, as many as a turn may have. 1: there are more. */
int gate__uring_tell_kept(struct gate__uring *self);
/* What the ring says about an op. */
void gate__uring_completed(struct gate__uring *self, gate_op *op, const struct io_uring_cqe *cqe);
/* Submits the cancelling of the ops for which it is due, as far as there is room. */
void gate__uring_send_cancels(struct gate__uring *self);
/* The kernel did not find the op; it may be no more. */
void gate__uring_repeat_cancel(struct gate__uring *self, uint64_t address);
/* The kernel may have the buffer again, once it is told (at the next turn). */
void gate__uring_give_back(struct gate__uring *self, unsigned id);

void gate__uring_accept(gate_io *io, gate_sock *sock, unsigned flags, gate_op_done *done);
void gate__uring_connect(gate_io *io, gate_sock *sock, const gate__sockaddr *addr,
                         gate_op_done *done);
void gate__uring_recv(gate_io *io, gate_sock *sock, unsigned flags, gate_op_done *done);
void gate__uring_send(gate_io *io, gate_sock *sock, const void *buf, size_t len, unsigned flags,
                      gate_op_done *done);
void gate__uring_shutdown(gate_io *io, gate_sock *sock, gate_op_done *done);
void gate__uring_close(gate_io *io, gate_sock *sock, gate_op_done *done);
void gate__uring_cancel(gate_io *io, gate_sock *sock, gate_op *op);

#endif
