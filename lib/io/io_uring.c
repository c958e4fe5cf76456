/* SPDX-License-Identifier: MIT */
#include "io/io_uring.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <unistd.h>

#include "io/resolve.h"
#include "io/sock.h"

/* Ops of the queue that one turn takes up; then completions are looked for again. */
enum { QUEUE_MAX = 64, SURELY_ALL = 16 };

/* What one waits for completions when the kernel has no memory to take submissions. */
enum { RETRY_NS = 1000000, SLOW_NS = 1000000 };

static struct gate__uring *self_of(gate_io *io)
{
    return (struct gate__uring *)io;
}

/* ---- The submission queue ------------------------------------------------------------------ */

static unsigned to_submit(struct gate__uring *self)
{
    struct io_uring_sq *sq = &self->ring.sq;

    io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
    return sq->sqe_tail - io_uring_smp_load_acquire(sq->khead);
}

static int enter(struct gate__uring *self, unsigned submit, unsigned wait, unsigned flags,
                 const struct __kernel_timespec *timeout)
{
    struct io_uring_getevents_arg arg = {.ts = (uint64_t)(uintptr_t)timeout};

    return io_uring_enter2((unsigned)self->enter_fd, submit, wait,
                           flags | self->enter_flags | IORING_ENTER_EXT_ARG, (sigset_t *)&arg,
                           sizeof arg);
}

/* In the middle of a turn the queue is only handed over: no completion is asked for. */
struct io_uring_sqe *gate__uring_sqe(struct gate__uring *self)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&self->ring);

    if (!sqe && self->running && !self->failed) {
        enter(self, to_submit(self), 0, 0, NULL);
        sqe = io_uring_get_sqe(&self->ring);
    }
    return sqe;
}

void gate__uring_push(struct gate__uring *self, gate_op *op)
{
    op->state |= OP_QUEUED;
    gate__op_list_push(&self->queue, op);
}

static void watch_wake(struct gate__uring *self)
{
    struct io_uring_sqe *sqe = gate__uring_sqe(self);

    self->wake_due = !sqe;
    if (!sqe)
        return;
    io_uring_prep_poll_multishot(sqe, self->wake_fd, POLLIN);
    sqe->user_data = GATE__URING_WAKE;
}

/* ---- The first turn ------------------------------------------------------------------------ */

/* Saves the look-up of the ring's descriptor in each call; a thread has room for a few. */
static void register_ring(struct gate__uring *self)
{
    struct io_uring_rsrc_update update = {.offset = UINT32_MAX,
                                          .data = (unsigned)self->ring.ring_fd};
    int count =
        io_uring_register((unsigned)self->ring.ring_fd, IORING_REGISTER_RING_FDS, &update, 1);

    if (count != 1)
        return;
    self->enter_fd = (int)update.offset;
    self->enter_flags = IORING_ENTER_REGISTERED_RING;
}

static int start(struct gate__uring *self)
{
    int rc;

    register_ring(self);
    /* The call of this name is not in every liburing. */
    rc = io_uring_register((unsigned)self->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    if (rc < 0)
        return rc;
    self->owner = pthread_self();
    self->running = 1;
    return 0;
}

/* ---- Submitting and waiting ---------------------------------------------------------------- */

static void tell_buffers(struct gate__uring *self)
{
    if (self->given_back)
        io_uring_buf_ring_advance(self->buffer_ring, self->given_back);
    self->given_back = 0;
}

static void timespec_of(struct __kernel_timespec *timeout, uint64_t ns)
{
    timeout->tv_sec = (long long)(ns / 1000000000);
    timeout->tv_nsec = (long long)(ns % 1000000000);
}

/* Hands the queue over, and waits for a completion unless there are ops to be taken up. Asking for
 * completions is also what makes the kernel post those that did not fit. 0: it was interrupted, and
 * has perhaps posted nothing; 1: not so. */
static int submit_and_wait(struct gate__uring *self, uint64_t deadline_ns)
{
    struct __kernel_timespec timeout;
    const struct __kernel_timespec *limit = NULL;
    unsigned wait = !self->queue.first && !self->kept_due;
    int rc;

    if (wait && deadline_ns != UINT64_MAX) {
        uint64_t now_ns = gate__clock_ns();

        timespec_of(&timeout, deadline_ns > now_ns ? deadline_ns - now_ns : 0);
        limit = &timeout;
        wait = deadline_ns > now_ns;
    }
    rc = enter(self, to_submit(self), wait, IORING_ENTER_GETEVENTS, limit);
    if (rc == -EAGAIN || rc == -EBUSY) {
        timespec_of(&timeout, RETRY_NS);
        rc = enter(self, 0, wait, IORING_ENTER_GETEVENTS, &timeout);
    }
    if (rc >= 0 || rc == -ETIME)
        return 1;
    return rc == -EINTR ? 0 : rc;
}

static void begin_round(struct gate__uring *self)
{
    if (self->round != GATE__ROUND_OVER)
        return;
    self->round = GATE__ROUND_FETCHING;
    self->round_ns = self->io.now_ns;
    self->round_left = self->in_kernel;
}

/* What has come is posted in its order, at least 20 in one turn (Linux 6.14 and later stop there,
 * and clear the flag all the same), so that fewer are all, and after as many completions as there
 * are requests all that had come at first has been posted. */
static int has_more(struct gate__uring *self)
{
    unsigned flags = IO_URING_READ_ONCE(*self->ring.sq.kflags);
    unsigned count = io_uring_cq_ready(&self->ring);

    self->round_left -= count < self->round_left ? count : self->round_left;
    return (count >= SURELY_ALL || (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))) &&
           self->round_left;
}

static void note_fetched(struct gate__uring *self, int more)
{
    if (self->round != GATE__ROUND_FETCHING || more)
        return;
    self->round = GATE__ROUND_TELLING;
    self->round_end = self->queue.first ? GATE__OWNER(self->queue.last, gate_op, next) : NULL;
}

static void end_round(struct gate__uring *self)
{
    if (self->round != GATE__ROUND_TELLING || self->round_end)
        return;
    self->io.turn_ns = self->round_ns;
    self->round = GATE__ROUND_OVER;
}

static int turn(struct gate__uring *self, uint64_t deadline_ns)
{
    int rc = self->running ? 0 : start(self);

    if (rc < 0)
        return rc;
    if (!pthread_equal(self->owner, pthread_self()))
        return -EEXIST;
    tell_buffers(self);
    if (self->wake_due)
        watch_wake(self);
    if (self->cancel_due)
        gate__uring_send_cancels(self);
    begin_round(self);
    return submit_and_wait(self, deadline_ns);
}

/* ---- Completions --------------------------------------------------------------------------- */

static void take_lookups(struct gate__uring *self)
{
    gate_op *op;

    while ((op = gate__lookups_take(&self->lookups)))
        gate__uring_end(self, op, (int)op->aux, 0);
}

static void take_retries(struct gate__uring *self)
{
    gate_sock *sock;

    while ((sock = gate__retries_take(&self->retries, self->io.now_ns)))
        gate__uring_end(self, &sock->out, (int)sock->out.aux, 0);
}

static void note(struct gate__uring *self, const struct io_uring_cqe *cqe)
{
    uint64_t tag = cqe->user_data & GATE__URING_TAGS;

    switch (tag) {
    case GATE__URING_WAKE:
        take_lookups(self);
        self->no_wake.moved |= cqe->res >= 0;
        self->no_wake.tried |= cqe->res < 0;
        if (self->no_wake.turns >= GATE__URING_STUCK_MAX && cqe->res < 0)
            self->failed = cqe->res;
        if (!(cqe->flags & IORING_CQE_F_MORE))
            self->wake_due = 1;
        break;
    case GATE__URING_CANCEL: /* it has failed, else there is none */
        self->no_cancel.tried = 1;
        if (self->no_cancel.turns >= GATE__URING_STUCK_MAX)
            self->failed = cqe->res;
        gate__uring_repeat_cancel(self, cqe->user_data - tag);
        break;
    default: /* GATE__URING_OP */
        gate__uring_completed(self, (gate_op *)(uintptr_t)cqe->user_data, cqe);
        break;
    }
}

/* After a callback that took long: what has been submitted does not wait for the others. */
static void hand_over(struct gate__uring *self, uint64_t *last_ns)
{
    if (self->io.now_ns - *last_ns < SLOW_NS)
        return;
    *last_ns = self->io.now_ns;
    enter(self, to_submit(self), 0, 0, NULL); /* a failure shows at the turn's end */
}

static void end_turn(gate__uring_stuck *stuck)
{
    if (stuck->moved)
        stuck->turns = 0;
    else if (stuck->tried && stuck->turns < GATE__URING_STUCK_MAX)
        stuck->turns++;
    stuck->moved = stuck->tried = 0;
}

/* What a callback submits may complete and be posted at once: it has its turn in the next walk. */
static void walk(struct gate__uring *self)
{
    const struct io_uring_cq *cq = &self->ring.cq;
    unsigned head = *cq->khead;
    unsigned count = io_uring_cq_ready(&self->ring);
    uint64_t last_ns = self->io.now_ns;

    for (unsigned i = 0; i < count; i++) {
        note(self, &cq->cqes[(head + i) & cq->ring_mask]);
        hand_over(self, &last_ns);
    }
    io_uring_cq_advance(&self->ring, count);
    end_turn(&self->no_buffer);
    end_turn(&self->no_cancel);
    end_turn(&self->no_wake);
}

static void work_off(struct gate__uring *self)
{
    for (int i = 0; i < QUEUE_MAX && self->queue.first; i++) {
        gate_op *op = gate__op_list_pop(&self->queue);

        if (op == self->round_end)
            self->round_end = NULL;
        gate__uring_try(self, op);
    }
}

int gate__uring_run(gate_io *io, uint64_t deadline_ns)
{
    struct gate__uring *self = self_of(io);
    uint64_t until_ns = gate__retries_until(&self->retries, deadline_ns);
    int rc = self->failed ? self->failed : turn(self, until_ns);

    io->now_ns = gate__clock_ns();
    int more = rc <= 0 || has_more(self);
    self->starved = 0;
    self->told = 0;
    if (rc >= 0) {
        gate__uring_tell_kept(self);
        walk(self);
        self->kept_due = gate__uring_tell_kept(self);
    } else if (rc != -EEXIST) { /* that is about the calling thread */
        self->failed = rc;
    }
    take_retries(self);
    note_fetched(self, more || self->starved);
    work_off(self);
    end_round(self);
    return rc < 0 ? rc : 0;
}

/* The counter is never read: each write is an event for the ring's wait. */
void gate__uring_wake(gate_io *io)
{
    const uint64_t one = 1;
    int saved = errno;
    ssize_t ignored = write(self_of(io)->wake_fd, &one, sizeof one);

    (void)ignored;
    errno = saved;
}

void gate__uring_unwatch_wake(struct gate__uring *self)
{
    struct io_uring_sqe *sqe = gate__uring_sqe(self);
    struct __kernel_timespec timeout;

    if (!sqe)
        return;
    io_uring_prep_cancel64(sqe, GATE__URING_WAKE, 0);
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    timespec_of(&timeout, RETRY_NS);
    enter(self, to_submit(self), 1, IORING_ENTER_GETEVENTS, &timeout);
}

/* ---- Names --------------------------------------------------------------------------------- */

static void notify_loop(void *io)
{
    gate__uring_wake(io);
}

void gate__uring_resolve(gate_io *io, gate_resolve *resolve, gate_op_done *done)
{
    struct gate__uring *self = self_of(io);
    int rc;

    gate__uring_begin(&resolve->op, GATE_OP_RESOLVE, 0, done);
    rc = gate__lookups_add(&self->lookups, resolve, notify_loop, io);
    if (rc != 1)
        gate__uring_end(self, &resolve->op, rc, 0);
}

void gate__uring_resolve_cancel(gate_io *io, gate_resolve *resolve)
{
    struct gate__uring *self = self_of(io);

    if (gate__lookups_remove(&self->lookups, resolve))
        gate__uring_end(self, &resolve->op, -ECANCELED, 0);
}
