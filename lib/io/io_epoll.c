/* SPDX-License-Identifier: MIT */
#include "io/io_epoll.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/kernel.h"
#include "io/resolve.h"
#include "io/sock.h"

/* Ops tried in one turn; then events are looked for again. */
enum { QUEUE_MAX = 64 };

#define WAKE_EVENT UINT64_MAX

static struct gate__epoll *self_of(gate_io *io)
{
    return (struct gate__epoll *)io;
}

/* ---- The queue ----------------------------------------------------------------------------- */

void gate__epoll_push(struct gate__epoll *self, gate_op *op)
{
    if (op->state & OP_QUEUED)
        return;
    op->state |= OP_QUEUED;
    op->next = NULL;
    *self->last = op;
    self->last = &op->next;
}

/* What a completion sends or closes goes before the requests of others: an answer does not wait for
 * their handlers. */
static void push_first(struct gate__epoll *self, gate_op *op)
{
    op->state |= OP_QUEUED;
    op->next = self->first;
    if (!self->first)
        self->last = &op->next;
    self->first = op;
}

static gate_op *pop(struct gate__epoll *self)
{
    gate_op *op = self->first;

    self->first = op->next;
    if (!self->first)
        self->last = &self->first;
    op->state &= (uint8_t)~OP_QUEUED;
    if (op == self->round_end)
        self->round_end = NULL;
    return op;
}

static void begin(gate_op *op, uint8_t kind, unsigned flags, gate_op_done *done)
{
    assert(!gate__op_busy(op));
    op->kind = kind;
    op->state = 0;
    op->flags = (uint16_t)flags;
    op->done = done;
}

/* ---- Working the queue off ----------------------------------------------------------------- */

/* Ops that the completions submit are tried in the same turn, most of them without a wait; the
 * bound is for ops that never have to wait, so that others are heard as well. */
static void work_off(struct gate__epoll *self)
{
    for (int i = 0; i < QUEUE_MAX && self->first; i++)
        gate__epoll_try(self, pop(self));
}

static void take_lookups(struct gate__epoll *self)
{
    gate_op *op;

    while ((op = gate__lookups_take(&self->lookups)))
        gate__epoll_push(self, op);
}

static void take_retries(struct gate__epoll *self)
{
    gate_sock *sock;

    while ((sock = gate__retries_take(&self->retries, self->io.now_ns)))
        gate__epoll_push(self, &sock->out);
}

/* ---- Events -------------------------------------------------------------------------------- */

static void note_ready(struct gate__epoll *self, gate_sock *sock, uint32_t events)
{
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI))
        sock->state |= SOCK_HUNG_UP;
    if (events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        sock->state &= ~(uint32_t)SOCK_IN_BLOCKED;
        if (gate__op_busy(&sock->in))
            gate__epoll_push(self, &sock->in);
    }
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
        sock->state &= ~(uint32_t)SOCK_OUT_BLOCKED;
        if (gate__op_busy(&sock->out))
            gate__epoll_push(self, &sock->out);
    }
}

static void note_event(struct gate__epoll *self, const struct epoll_event *event)
{
    uint32_t fd = (uint32_t)event->data.u64;
    gate_sock *sock;

    if (event->data.u64 == WAKE_EVENT) {
        take_lookups(self);
        return;
    }
    sock = self->table[fd];
    if (sock && sock->state >> SOCK_GENERATION_SHIFT == event->data.u64 >> 32)
        note_ready(self, sock, event->events);
}

static int timeout_of(uint64_t deadline_ns)
{
    uint64_t now_ns, left_ms;

    if (deadline_ns == UINT64_MAX)
        return -1;
    now_ns = gate__clock_ns();
    if (deadline_ns <= now_ns)
        return 0;
    left_ms = (deadline_ns - now_ns - 1) / 1000000 + 1;
    return left_ms < INT_MAX ? (int)left_ms : INT_MAX;
}

/* With ops to try, the events may come after them, but not twice running. 1: it has looked. */
static int look_for_events(struct gate__epoll *self, uint64_t deadline_ns)
{
    self->event_count = 0;
    self->skipped = self->first && !self->skipped;
    if (self->skipped)
        return 0;
    if (self->round == GATE__ROUND_OVER) {
        self->round = GATE__ROUND_FETCHING;
        self->round_ns = self->io.now_ns;
        self->round_left = self->watched;
    }
    self->event_count = epoll_wait(self->epoll_fd, self->events, GATE__EPOLL_EVENTS,
                                   self->first ? 0 : timeout_of(deadline_ns));
    if (self->event_count >= 0)
        return 1;
    self->event_count = 0;
    return errno == EINTR ? 0 : -errno;
}

/* The kernel reports what is ready in turn, so that after as many events as there are sockets all
 * that was ready at first has been reported. */
static void note_fetched(struct gate__epoll *self)
{
    size_t count = (size_t)self->event_count;

    if (self->round != GATE__ROUND_FETCHING)
        return;
    self->round_left -= count < self->round_left ? count : self->round_left;
    if (count == GATE__EPOLL_EVENTS && self->round_left)
        return;
    self->round = GATE__ROUND_TELLING;
    self->round_end = self->first ? GATE__OWNER(self->last, gate_op, next) : NULL;
}

static void end_round(struct gate__epoll *self)
{
    if (self->round != GATE__ROUND_TELLING || self->round_end)
        return;
    self->io.turn_ns = self->round_ns;
    self->round = GATE__ROUND_OVER;
}

static int run(gate_io *io, uint64_t deadline_ns)
{
    struct gate__epoll *self = self_of(io);
    int rc = look_for_events(self, gate__retries_until(&self->retries, deadline_ns));

    if (rc < 0)
        return rc;
    io->now_ns = gate__clock_ns();
    for (int i = 0; i < self->event_count; i++)
        note_event(self, &self->events[i]);
    take_retries(self);
    self->told = 0;
    if (rc > 0)
        note_fetched(self);
    work_off(self);
    end_round(self);
    if (self->first)
        self->skipped = 1;
    return 0;
}

/* The eventfd is edge-triggered and never read: each write is an edge. */
static void wake(gate_io *io)
{
    const uint64_t one = 1;
    int saved = errno;
    ssize_t ignored = write(self_of(io)->wake_fd, &one, sizeof one);

    (void)ignored;
    errno = saved;
}

/* ---- Submitting ---------------------------------------------------------------------------- */

static void submit_accept(gate_io *io, gate_sock *sock, unsigned flags, gate_op_done *done)
{
    begin(&sock->in, GATE_OP_ACCEPT, flags, done);
    gate__epoll_push(self_of(io), &sock->in);
}

static void submit_connect(gate_io *io, gate_sock *sock, const gate__sockaddr *addr,
                           gate_op_done *done)
{
    struct gate__epoll *self = self_of(io);
    int rc;

    begin(&sock->out, GATE_OP_CONNECT, 0, done);
    sock->state = 0;
    rc = gate__sock_start_connect(&sock->fd, addr);
    if (gate__retries_wanted(addr, rc)) {
        rc = gate__retries_add(&self->retries, sock, addr);
        if (rc == 0)
            return;
    }
    sock->out.aux = (uint32_t)rc;
    gate__epoll_push(self, &sock->out);
}

static void submit_recv(gate_io *io, gate_sock *sock, unsigned flags, gate_op_done *done)
{
    begin(&sock->in, GATE_OP_RECV, flags, done);
    if (!(sock->state & SOCK_IN_BLOCKED) || !(sock->state & SOCK_WATCH_IN) ||
        (flags & GATE_IO_NOWAIT))
        gate__epoll_push(self_of(io), &sock->in);
}

static void submit_send(gate_io *io, gate_sock *sock, const void *buf, size_t len, unsigned flags,
                        gate_op_done *done)
{
    begin(&sock->out, GATE_OP_SEND, flags, done);
    sock->out.buf = buf;
    sock->out.len = len;
    if (!(sock->state & SOCK_OUT_BLOCKED))
        push_first(self_of(io), &sock->out);
}

static void submit_shutdown(gate_io *io, gate_sock *sock, gate_op_done *done)
{
    begin(&sock->out, GATE_OP_SHUTDOWN, 0, done);
    push_first(self_of(io), &sock->out);
}

static void submit_close(gate_io *io, gate_sock *sock, gate_op_done *done)
{
    assert(!gate__op_busy(&sock->in));
    begin(&sock->out, GATE_OP_CLOSE, 0, done);
    push_first(self_of(io), &sock->out);
}

/* Shutdown and close end by themselves. */
static void cancel(gate_io *io, gate_sock *sock, gate_op *op)
{
    if (!gate__op_busy(op) || op->kind == GATE_OP_SHUTDOWN || op->kind == GATE_OP_CLOSE)
        return;
    if (op->kind == GATE_OP_CONNECT)
        gate__retries_remove(&self_of(io)->retries, sock);
    op->state |= OP_CANCELLED;
    gate__epoll_push(self_of(io), op);
}

/* ---- Names --------------------------------------------------------------------------------- */

static void notify_loop(void *io)
{
    wake(io);
}

static void submit_resolve(gate_io *io, gate_resolve *resolve, gate_op_done *done)
{
    struct gate__epoll *self = self_of(io);
    gate_op *op = &resolve->op;
    int rc;

    begin(op, GATE_OP_RESOLVE, 0, done);
    rc = gate__lookups_add(&self->lookups, resolve, notify_loop, io);
    if (rc == 1)
        return;
    op->aux = (uint32_t)rc;
    gate__epoll_push(self, op);
}

static void cancel_resolve(gate_io *io, gate_resolve *resolve)
{
    struct gate__epoll *self = self_of(io);

    if (!gate__lookups_remove(&self->lookups, resolve))
        return;
    resolve->op.aux = (uint32_t)-ECANCELED;
    gate__epoll_push(self, &resolve->op);
}

/* ---- Open and free ------------------------------------------------------------------------- */

static void free_loop(gate_io *io)
{
    struct gate__epoll *self = self_of(io);

    if (self->wake_fd >= 0)
        close(self->wake_fd);
    if (self->epoll_fd >= 0)
        close(self->epoll_fd);
    free(self->table);
    free(self);
}

static const gate_io_ops epoll_ops = {
    .name = "epoll",
    .listen = gate__kernel_listen,
    .adopt = gate__kernel_adopt,
    .same = gate__kernel_same,
    .pause = gate__kernel_pause,
    .random = gate__kernel_random,
    .discard = gate__kernel_discard,
    .unacked = gate__kernel_unacked,
    .reset = gate__kernel_reset,
    .peer = gate__kernel_peer,
    .accept = submit_accept,
    .connect = submit_connect,
    .recv = submit_recv,
    .send = submit_send,
    .shutdown = submit_shutdown,
    .close = submit_close,
    .cancel = cancel,
    .resolve = submit_resolve,
    .resolve_cancel = cancel_resolve,
    .run = run,
    .now = gate__kernel_now,
    .wake = wake,
    .free = free_loop,
};

static int open_descriptors(struct gate__epoll *self)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = WAKE_EVENT};

    self->wake_fd = -1;
    self->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (self->epoll_fd < 0)
        return -errno;
    self->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->wake_fd < 0)
        return -errno;
    return epoll_ctl(self->epoll_fd, EPOLL_CTL_ADD, self->wake_fd, &event) ? -errno : 0;
}

int gate__io_epoll_open(gate_io **io)
{
    struct gate__epoll *self = malloc(sizeof *self);
    int rc;

    if (!self)
        return -ENOMEM;
    /* The events and the scratch buffer need no zeroes, and unused pages stay unused. */
    memset(self, 0, offsetof(struct gate__epoll, events));
    self->io = (gate_io){.ops = &epoll_ops, .now_ns = gate__clock_ns()};
    self->last = &self->first;
    rc = open_descriptors(self);
    if (rc < 0) {
        free_loop(&self->io);
        return rc;
    }
    *io = &self->io;
    return 0;
}
