/* SPDX-License-Identifier: MIT */
/*
 * What the library calls instead of liburing. The kernel posts completions only while a thread is
 * inside io_uring_enter (that is what deferred task work means), so requests can be changed before
 * the call and completions behind it, with the library looking at neither.
 *
 * A request that is to be refused is handed over as one that does nothing, so that nothing is lost
 * or left armed by the fault itself.
 */
#include "inject.h"

#include <errno.h>
#include <liburing.h>
#include <string.h>

#include "io/io_uring.h"

enum { RINGS_MAX = 16, DUE_MAX = 64, TAG_OURS = 7 };

/* A request whose end is to be changed. */
struct due {
    uint64_t user_data;
    int error;
    int from; /* only if it ends with this */
};

struct ring {
    struct io_uring *ring;
    int fd;
    unsigned submissions; /* looked at up to here */
    unsigned completions;
    struct due due[DUE_MAX];
    int due_count;
};

static struct ring rings[RINGS_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local struct ring *own; /* the one that this thread runs */

static struct ring *find(const struct io_uring *ring, int fd)
{
    struct ring *found = NULL;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < RINGS_MAX && !found; i++)
        if (rings[i].ring && (rings[i].ring == ring || rings[i].fd == fd))
            found = &rings[i];
    pthread_mutex_unlock(&lock);
    return found;
}

/* ---- Requests ------------------------------------------------------------------------------ */

static int kind_of_request(const struct io_uring_sqe *sqe)
{
    switch (sqe->opcode) {
    case IORING_OP_ACCEPT:
        return INJECT_ACCEPT;
    case IORING_OP_RECV:
        return INJECT_RECV;
    case IORING_OP_SEND:
        return INJECT_SEND;
    case IORING_OP_POLL_ADD:
        return sqe->user_data == GATE__URING_WAKE ? INJECT_WAKE : INJECT_CONNECT;
    case IORING_OP_ASYNC_CANCEL: /* one that belongs to an op */
        return sqe->user_data & GATE__URING_CANCEL ? INJECT_CANCEL : INJECT_NOTHING;
    default:
        return INJECT_NOTHING;
    }
}

static void add_due(struct ring *ring, uint64_t user_data, int from)
{
    if (ring->due_count < DUE_MAX)
        ring->due[ring->due_count++] =
            (struct due){.user_data = user_data, .error = inject_error(), .from = from};
}

static void refuse(struct ring *ring, struct io_uring_sqe *sqe)
{
    uint64_t user_data = sqe->user_data;
    if (sqe->opcode == IORING_OP_SEND)
        inject_end_connection(sqe->fd, inject_error());
    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = IORING_OP_NOP;
    sqe->user_data = user_data;
    add_due(ring, user_data, 0);
}

static void disarm(struct io_uring_sqe *sqe)
{
    if (sqe->opcode == IORING_OP_POLL_ADD)
        sqe->len = 0;
    else
        sqe->ioprio = 0;
}

static void change_requests(struct ring *ring)
{
    struct io_uring_sq *sq = &ring->ring->sq;
    for (; ring->submissions != sq->sqe_tail; ring->submissions++) {
        struct io_uring_sqe *sqe = &sq->sqes[ring->submissions & sq->ring_mask];
        int kind = kind_of_request(sqe);
        if (kind == INJECT_NOTHING)
            continue;
        if (inject_hits(kind, INJECT_REFUSE))
            refuse(ring, sqe);
        else if (inject_hits(kind, INJECT_SINGLE))
            disarm(sqe);
        else if (inject_hits(kind, INJECT_LITTLE))
            sqe->len = 1;
    }
}

/* ---- Completions --------------------------------------------------------------------------- */

static int kind_of_completion(const struct io_uring_cqe *cqe)
{
    if (cqe->res < 0 || !(cqe->flags & IORING_CQE_F_MORE))
        return INJECT_NOTHING;
    if (cqe->user_data == GATE__URING_WAKE)
        return INJECT_WAKE;
    const gate_op *op = (const gate_op *)(uintptr_t)cqe->user_data;
    return op->kind == GATE_OP_ACCEPT ? INJECT_ACCEPT : INJECT_RECV;
}

/* Ends what stays armed; its last completion comes while this is handed over. */
static void end(struct ring *ring, uint64_t user_data)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring->ring);
    if (!sqe)
        return;
    io_uring_prep_cancel64(sqe, user_data, 0);
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = TAG_OURS;
    ring->submissions = ring->ring->sq.sqe_tail;
    add_due(ring, user_data, -ECANCELED);
    io_uring_smp_store_release(ring->ring->sq.ktail, ring->ring->sq.sqe_tail);
    io_uring_enter2((unsigned)ring->fd, 1, 0, IORING_ENTER_GETEVENTS, NULL, _NSIG / 8);
}

static void change(struct ring *ring, struct io_uring_cqe *cqe)
{
    if (cqe->user_data == TAG_OURS) { /* nothing was found to end: means nothing to the library */
        *cqe = (struct io_uring_cqe){.user_data = GATE__URING_WAKE, .flags = IORING_CQE_F_MORE};
        return;
    }
    for (int i = 0; i < ring->due_count && !(cqe->flags & IORING_CQE_F_MORE); i++) {
        struct due *due = &ring->due[i];
        if (due->user_data != cqe->user_data)
            continue;
        if (cqe->res == due->from)
            cqe->res = -due->error;
        *due = ring->due[--ring->due_count];
        return;
    }
    int kind = kind_of_completion(cqe);
    if (kind != INJECT_NOTHING && inject_hits(kind, INJECT_END))
        end(ring, cqe->user_data);
}

static void change_completions(struct ring *ring)
{
    const struct io_uring_cq *cq = &ring->ring->cq;
    for (; ring->completions != io_uring_smp_load_acquire(cq->ktail); ring->completions++)
        change(ring, &cq->cqes[ring->completions & cq->ring_mask]);
}

/* ---- The calls ----------------------------------------------------------------------------- */

int inject_io_uring_enter2(unsigned fd, unsigned submit, unsigned wait, unsigned flags,
                           sigset_t *arg, size_t size)
{
    struct ring *ring = flags & IORING_ENTER_REGISTERED_RING ? own : find(NULL, (int)fd);
    int error = inject_fails(submit ? INJECT_SUBMIT : INJECT_WAIT);
    if (error)
        return -error;
    change_requests(ring);
    int rc = io_uring_enter2(fd, submit, wait, flags, arg, size);
    change_completions(ring);
    return rc;
}

/* The ring is not restricted to what the library asks of it, since more is asked here. */
int inject_io_uring_register(unsigned fd, unsigned what, const void *arg, unsigned count)
{
    int error = inject_fails(INJECT_io_uring_register);
    if (error || what == IORING_REGISTER_RESTRICTIONS)
        return -error;
    if (what == IORING_REGISTER_ENABLE_RINGS)
        own = find(NULL, (int)fd);
    return io_uring_register(fd, what, arg, count);
}

int inject_io_uring_register_buf_ring(struct io_uring *ring, struct io_uring_buf_reg *reg,
                                      unsigned flags)
{
    int error = inject_fails(INJECT_io_uring_register_buf_ring);
    return error ? -error : io_uring_register_buf_ring(ring, reg, flags);
}

int inject_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
                                      struct io_uring_params *params)
{
    int error = inject_fails(INJECT_io_uring_queue_init_params);
    int rc = error ? -error : io_uring_queue_init_params(entries, ring, params);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&lock);
    int i = 0;
    while (rings[i].ring)
        i++;
    rings[i] = (struct ring){.ring = ring, .fd = ring->ring_fd};
    pthread_mutex_unlock(&lock);
    return rc;
}

void inject_io_uring_queue_exit(struct io_uring *ring)
{
    struct ring *known = find(ring, -1);
    pthread_mutex_lock(&lock);
    known->ring = NULL;
    pthread_mutex_unlock(&lock);
    io_uring_queue_exit(ring);
}
