/* SPDX-License-Identifier: MIT */
#include "io/io_uring.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "io/kernel.h"
#include "io/sock.h"

/* What one recv takes at most bounds what a peer can put into memory before it is told to stop: the
 * kernel fills up to 32 of them for one socket in one go. */
static const gate__uring_sizes default_sizes = {
    .submissions = 1024, .completions = 4096, .buffers = 512, .buffer_size = 4096};

static struct gate__uring *self_of(gate_io *io)
{
    return (struct gate__uring *)io;
}

/* ---- Free ---------------------------------------------------------------------------------- */

/* Only a thread's own table of rings can be changed; another's is freed when it ends. */
static void unregister_ring(struct gate__uring *self)
{
    struct io_uring_rsrc_update update = {.offset = (uint32_t)self->enter_fd};

    if (self->enter_flags)
        io_uring_register((unsigned)self->ring.ring_fd, IORING_UNREGISTER_RING_FDS, &update, 1);
}

/* Some 10 ms after a ring is closed the kernel has each thread that entered it clean up, and for
 * that it interrupts whatever the thread waits in, as a signal would. The caller's later calls
 * shall not end with EINTR because of us, so this one waits for it instead. (It comes once if
 * nothing is left in the ring.) */
static void await_cleanup(void)
{
    const struct timespec limit = {.tv_nsec = 100000000};
    sigset_t none;

    sigemptyset(&none);
    sigtimedwait(&none, NULL, &limit);
}

static void close_ring(struct gate__uring *self)
{
    int entered = self->running && pthread_equal(self->owner, pthread_self());

    if (self->ring.ring_fd < 0)
        return;
    if (entered) {
        gate__uring_unwatch_wake(self);
        unregister_ring(self);
    }
    io_uring_queue_exit(&self->ring);
    if (entered)
        await_cleanup();
}

static void free_loop(gate_io *io)
{
    struct gate__uring *self = self_of(io);

    close_ring(self);
    while (self->kept_count > 0)
        close(self->kept[--self->kept_count].fd);
    if (self->wake_fd >= 0)
        close(self->wake_fd);
    free(self->buffer_ring);
    free(self->kept);
    free(self);
}

static const gate_io_ops uring_ops = {
    .name = "io_uring",
    .listen = gate__kernel_listen,
    .adopt = gate__kernel_adopt,
    .discard = gate__kernel_discard,
    .unacked = gate__kernel_unacked,
    .reset = gate__kernel_reset,
    .peer = gate__kernel_peer,
    .accept = gate__uring_accept,
    .connect = gate__uring_connect,
    .recv = gate__uring_recv,
    .send = gate__uring_send,
    .shutdown = gate__uring_shutdown,
    .close = gate__uring_close,
    .cancel = gate__uring_cancel,
    .resolve = gate__uring_resolve,
    .resolve_cancel = gate__uring_resolve_cancel,
    .run = gate__uring_run,
    .now = gate__kernel_now,
    .wake = gate__uring_wake,
    .free = free_loop,
};

/* ---- Open ---------------------------------------------------------------------------------- */

/* The thread that runs the loop may be another than the one that opens it, and so the ring starts
 * disabled. A kernel that does not know one of these flags (before 6.1) says EINVAL. */
static int set_up(struct gate__uring *self)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE |
                 IORING_SETUP_CLAMP,
        .cq_entries = self->sizes.completions,
    };
    int rc = io_uring_queue_init_params(self->sizes.submissions, &self->ring, &params);

    if (rc < 0) {
        self->ring.ring_fd = -1;
        return rc;
    }
    self->enter_fd = self->ring.ring_fd;
    /* Entries are used in their order. */
    for (unsigned i = 0; self->ring.sq.array && i < params.sq_entries; i++)
        self->ring.sq.array[i] = i;
    return 0;
}

struct maker {
    struct gate__uring *self;
    int rc;
};

static void *run_maker(void *arg)
{
    struct maker *maker = arg;

    maker->rc = set_up(maker->self);
    return NULL;
}

/* On a thread of its own that ends with that: see await_cleanup. The one that makes a ring counts
 * as having entered it. */
static int make_ring(struct gate__uring *self)
{
    struct maker maker = {.self = self};
    sigset_t all, before;
    pthread_t thread;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&thread, NULL, run_maker, &maker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return -error;
    pthread_join(thread, NULL);
    return maker.rc;
}

/* One piece of memory: the ring of buffers, which begins a page (of 64 KiB on some machines), then
 * the buffers, and one more that stays ours. */
static int make_buffers(struct gate__uring *self)
{
    size_t page = self->sizes.page ? self->sizes.page : (size_t)sysconf(_SC_PAGESIZE);
    size_t count = self->sizes.buffers, size = self->sizes.buffer_size;
    size_t ring_len = (count * sizeof(struct io_uring_buf) + page - 1) / page * page;
    size_t len = (ring_len + (count + 1) * (size + GATE__URING_APART) + page - 1) / page * page;
    struct io_uring_buf_reg reg = {.ring_entries = (uint32_t)count};
    int rc;

    self->buffer_ring = aligned_alloc(page, len);
    if (!self->buffer_ring)
        return -ENOMEM;
    self->buffers = (uint8_t *)self->buffer_ring + ring_len;
    reg.ring_addr = (uint64_t)(uintptr_t)self->buffer_ring;
    io_uring_buf_ring_init(self->buffer_ring);
    rc = io_uring_register_buf_ring(&self->ring, &reg, 0);
    if (rc < 0)
        return rc;
    for (unsigned id = 0; id < count; id++)
        gate__uring_give_back(self, id);
    return 0;
}

/* From now on the ring does what we use, whatever somebody else might ask of it: a process that has
 * given up opening files cannot do it through the ring either. */
static int restrict_ring(struct gate__uring *self)
{
    static const uint8_t ops[] = {IORING_OP_ACCEPT, IORING_OP_RECV, IORING_OP_SEND,
                                  IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL};
    enum { OPS = sizeof ops };
    struct io_uring_restriction allowed[OPS + 2] = {
        {.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
         .sqe_flags = IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS},
        {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_UNREGISTER_RING_FDS},
    };

    for (unsigned i = 0; i < OPS; i++)
        allowed[2 + i] =
            (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = ops[i]};
    return io_uring_register((unsigned)self->ring.ring_fd, IORING_REGISTER_RESTRICTIONS, allowed,
                             OPS + 2);
}

static int make_all(struct gate__uring *self)
{
    int rc = make_ring(self);

    if (rc < 0)
        return rc;
    self->kept = malloc(self->sizes.completions * sizeof self->kept[0]);
    if (!self->kept)
        return -ENOMEM;
    self->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->wake_fd < 0)
        return -errno;
    rc = make_buffers(self);
    return rc == 0 ? restrict_ring(self) : rc;
}

int gate__io_uring_open_sized(gate_io **io, const gate__uring_sizes *sizes)
{
    struct gate__uring *self = calloc(1, sizeof *self);
    int rc;

    if (!self)
        return -ENOMEM;
    self->io = (gate_io){.ops = &uring_ops, .now_ns = gate__clock_ns()};
    self->sizes = sizes ? *sizes : default_sizes;
    self->wake_fd = -1;
    self->ring.ring_fd = -1;
    self->wake_due = 1;
    self->queue.last = &self->queue.first;
    self->cancel.last = &self->cancel.first;
    rc = make_all(self);
    if (rc < 0) {
        free_loop(&self->io);
        return rc;
    }
    *io = &self->io;
    return 0;
}

int gate__io_uring_open(gate_io **io)
{
    return gate__io_uring_open_sized(io, NULL);
}
