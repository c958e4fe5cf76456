/* SPDX-License-Identifier: MIT */
#include "io/io_blocking.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "io/kernel.h"
#include "io/resolve.h"
#include "io/sock.h"

/* How much later than its deadline a call may end because the kernel still has an earlier, longer
 * time-out. */
#define SLACK_NS UINT64_C(1000000)

/* Ticks of the kernel are at most 10 ms long: an eighth of this is two of them. */
#define COARSE_NS UINT64_C(160000000)

/* Between two tries of a connect that cannot be waited for. */
#define PAUSE_NS UINT64_C(1000000)

#define FOREVER UINT64_MAX

enum { SEGMENT_MIN = 536 }; /* bytes that every network takes in one segment */

enum { CANCELLED = 1 }; /* gate_op.state */

static gate__io_blocking *self_of(gate_io *io)
{
    return (gate__io_blocking *)io;
}

static gate_sock *sock_of_in(gate_op *op)
{
    return GATE__OWNER(op, gate_sock, in);
}

static gate_sock *sock_of_out(gate_op *op)
{
    return GATE__OWNER(op, gate_sock, out);
}

/* ---- Time ---------------------------------------------------------------------------------- */

/* Rounded up: a zero would mean for ever. */
static struct timeval timeval_of(uint64_t ns)
{
    uint64_t us = ns / 1000 + (ns % 1000 != 0);

    return (struct timeval){.tv_sec = (time_t)(us / 1000000),
                            .tv_usec = (suseconds_t)(us % 1000000)};
}

/* How long a wait can take that the kernel has been told to end after ns. The timers of sockets are
 * coarse: they end late by up to an eighth of their time, or by two ticks where that is more. */
static uint64_t longest(uint64_t ns)
{
    struct timespec tick = {.tv_nsec = 0};

    if (ns >= COARSE_NS)
        return ns + ns / 8;
    clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
    return ns + (ns / 8 > 2 * (uint64_t)tick.tv_nsec ? ns / 8 : 2 * (uint64_t)tick.tv_nsec);
}

/* May a call block as the time-out stands? */
static int fits(uint64_t current_ns, uint64_t left_ns)
{
    return left_ns == FOREVER ||
           (current_ns != FOREVER && longest(current_ns) <= left_ns + SLACK_NS);
}

/* Sets the socket's time-out to seven eighths of the time left, so that it ends in time. 1: a call
 * may block now. 0: so little time is left that none may. -errno: one might block beyond the
 * deadline. */
static int arm(int fd, int name, uint64_t *current_ns, uint64_t left_ns)
{
    uint64_t most_ns = left_ns - left_ns / 8;
    struct timeval most = timeval_of(most_ns);

    if (fits(*current_ns, left_ns))
        return 1;
    if (!fits(most_ns, left_ns))
        return 0;
    if (setsockopt(fd, SOL_SOCKET, name, &most, sizeof most))
        return -errno;
    *current_ns = most_ns;
    return 1;
}

static uint64_t time_until(gate__io_blocking *self, uint64_t deadline_ns)
{
    self->io.now_ns = gate__clock_ns();
    if (deadline_ns == FOREVER)
        return FOREVER;
    return deadline_ns > self->io.now_ns ? deadline_ns - self->io.now_ns : 0;
}

/* For a call that follows at once. */
static uint64_t time_left(gate__io_blocking *self, uint64_t deadline_ns)
{
    uint64_t left_ns = time_until(self, deadline_ns);

    self->io.turn_ns = self->io.now_ns;
    return left_ns;
}

/* ---- The calls: a result, or -EAGAIN when there is none yet, or -EINTR ---------------------- */

static int open_for_connect(gate__io_blocking *self, gate_sock *sock)
{
    int fd = gate__sock_open(self->addr.u.any.sa_family, 0);

    if (fd < 0)
        return fd;
    sock->fd = fd;
    self->send_timeout_ns = self->recv_timeout_ns = FOREVER;
    self->sent = 0;
    return 0;
}

/* The socket is one that blocks. */
static int connect_at_once(int fd, const gate__sockaddr *addr)
{
    int rc;

    fcntl(fd, F_SETFL, O_NONBLOCK);
    rc = gate__sock_connect(fd, addr);
    fcntl(fd, F_SETFL, 0);
    return rc;
}

/* Opens the socket at the first try. A connect that the clock or a signal interrupted goes on with
 * the next call. */
static int try_connect(gate__io_blocking *self, gate_sock *sock, uint64_t deadline_ns)
{
    uint64_t left_ns = time_left(self, deadline_ns);
    int rc = 0;

    if (sock->fd < 0)
        rc = left_ns ? open_for_connect(self, sock) : -EAGAIN;
    if (rc == 0 && left_ns)
        rc = arm(sock->fd, SO_SNDTIMEO, &self->send_timeout_ns, left_ns);
    if (rc < 0)
        return rc;
    rc = rc ? gate__sock_connect(sock->fd, &self->addr) : connect_at_once(sock->fd, &self->addr);
    if (rc == -EINPROGRESS || rc == -EALREADY)
        return -EAGAIN;
    return rc < 0 || self->unchecked ? rc : gate__sock_connected(sock->fd, &self->addr);
}

/* Nagle's delay cannot meet a connection's first segment, so a single small request need not pay
 * for the call that switches it off. */
static void spare_delay(gate__io_blocking *self, const gate_sock *sock)
{
    if (self->sent == 1 || sock->out.len > SEGMENT_MIN)
        gate__sock_nodelay(sock->fd, self->addr.u.any.sa_family);
    self->sent = self->sent == 0 && sock->out.len <= SEGMENT_MIN ? 1 : 2;
}

static int send_once(gate_sock *sock, int flags)
{
    const gate_op *op = &sock->out;
    size_t len = op->len < INT_MAX ? op->len : INT_MAX;
    ssize_t sent;

    flags |= MSG_NOSIGNAL | (op->flags & GATE_IO_MOREOUT ? MSG_MORE : 0);
    sent = send(sock->fd, op->buf, len, flags);
    return sent < 0 ? -errno : (int)sent;
}

/* Most sends need not wait, nor look at the clock. */
static int try_send(gate__io_blocking *self, gate_sock *sock, uint64_t deadline_ns, int may_wait)
{
    uint64_t left_ns;
    int rc;

    if (self->sent < 2)
        spare_delay(self, sock);
    rc = send_once(sock, MSG_DONTWAIT);
    if (rc != -EAGAIN || !may_wait)
        return rc;
    left_ns = time_left(self, deadline_ns);
    if (left_ns == 0)
        return -EAGAIN;
    rc = arm(sock->fd, SO_SNDTIMEO, &self->send_timeout_ns, left_ns);
    if (rc == 0)
        return -EAGAIN;
    return rc < 0 ? rc : send_once(sock, 0);
}

static int recv_once(gate__io_blocking *self, gate_sock *sock, int flags)
{
    int own = !self->into || self->into_len == 0;
    void *buf = own ? self->buf : self->into;
    size_t room = own ? sizeof self->buf : self->into_len;
    ssize_t got = recv(sock->fd, buf, room < INT_MAX ? room : INT_MAX, flags);

    sock->in.buf = buf;
    sock->in.len = room;
    return got < 0 ? -errno : (int)got;
}

/* The first recv of a client does wait, the next ones mostly find what they want. */
static int try_recv(gate__io_blocking *self, gate_sock *sock, uint64_t deadline_ns, int may_wait)
{
    uint64_t left_ns = may_wait ? time_left(self, deadline_ns) : 0;
    int rc = 0;

    if (left_ns == 0)
        return recv_once(self, sock, MSG_DONTWAIT);
    if (self->recv_timeout_ns != FOREVER && !fits(self->recv_timeout_ns, left_ns))
        rc = recv_once(self, sock, MSG_DONTWAIT);
    else
        rc = -EAGAIN;
    if (rc != -EAGAIN)
        return rc;
    rc = arm(sock->fd, SO_RCVTIMEO, &self->recv_timeout_ns, left_ns);
    return rc < 0 ? rc : recv_once(self, sock, rc ? 0 : MSG_DONTWAIT);
}

/* ---- Completions --------------------------------------------------------------------------- */

static void complete(gate__io_blocking *self, gate_op *op, int result, unsigned flags)
{
    if (op == self->in)
        self->in = NULL;
    else
        self->out = NULL;
    op->kind = GATE_OP_NONE;
    op->done(&self->io, op, result, flags);
}

static void end_connect(gate__io_blocking *self, gate_sock *sock, int result)
{
    if (result < 0 && sock->fd >= 0)
        gate__sock_close(&sock->fd);
    complete(self, &sock->out, result, 0);
}

static void end_send(gate__io_blocking *self, gate_sock *sock, int result)
{
    unsigned flags = 0;

    if (result >= 0 && (size_t)result == sock->out.len && (sock->out.flags & GATE_IO_LAST)) {
        gate__sock_close(&sock->fd);
        flags = GATE_IO_CLOSED;
    }
    complete(self, &sock->out, result, flags);
}

static void end_out(gate__io_blocking *self, gate_op *op, int result)
{
    if (op->kind == GATE_OP_CONNECT)
        end_connect(self, sock_of_out(op), result);
    else if (op->kind == GATE_OP_SEND)
        end_send(self, sock_of_out(op), result);
    else
        complete(self, op, result, 0);
}

static void end_recv(gate__io_blocking *self, gate_op *op, int result)
{
    int full = result > 0 && (size_t)result == op->len;

    complete(self, op, result, full ? GATE_IO_FULL : 0);
}

/* ---- run ----------------------------------------------------------------------------------- */

static int try_out(gate__io_blocking *self, uint64_t deadline_ns, int may_wait)
{
    gate_op *op = self->out;
    gate_sock *sock = sock_of_out(op);

    if (op->state & CANCELLED)
        return -ECANCELED;
    switch (op->kind) {
    case GATE_OP_CONNECT:
        return try_connect(self, sock, deadline_ns);
    case GATE_OP_SEND:
        return try_send(self, sock, deadline_ns, may_wait);
    case GATE_OP_SHUTDOWN:
        return shutdown(sock->fd, SHUT_WR) ? -errno : 0;
    default: /* GATE_OP_CLOSE */
        gate__sock_close(&sock->fd);
        return 0;
    }
}

static int try_in(gate__io_blocking *self, uint64_t deadline_ns, int may_wait)
{
    if (self->in->state & CANCELLED)
        return -ECANCELED;
    if (self->in->kind == GATE_OP_ACCEPT)
        return -EOPNOTSUPP;
    if (self->in->flags & GATE_IO_NOWAIT)
        may_wait = 0;
    return try_recv(self, sock_of_in(self->in), deadline_ns, may_wait);
}

static int is_pending(int result)
{
    return result == -EAGAIN || result == -EINTR;
}

/* Tries what is in flight. 0: one op has completed; -EAGAIN, -EINTR. */
static int step(gate__io_blocking *self, uint64_t deadline_ns, int may_wait)
{
    int rc = -EAGAIN;

    if (self->out) {
        rc = try_out(self, deadline_ns, may_wait);
        if (!is_pending(rc)) {
            end_out(self, self->out, rc);
            return 0;
        }
    }
    if (!self->in)
        return rc;
    rc = try_in(self, deadline_ns, may_wait);
    if (is_pending(rc) && !(rc == -EAGAIN && (self->in->flags & GATE_IO_NOWAIT)))
        return rc;
    end_recv(self, self->in, rc);
    return 0;
}

static struct pollfd awaited(const gate__io_blocking *self)
{
    struct pollfd ready = {.fd = -1};

    if (self->in) {
        ready.fd = sock_of_in(self->in)->fd;
        ready.events = POLLIN;
    }
    if (self->out) {
        ready.fd = sock_of_out(self->out)->fd;
        ready.events |= POLLOUT;
    }
    return ready;
}

/* For what no call may block in: a recv and a send at a time, and the last part of the time. There
 * is no event for room in the queue of a Unix listener, whose connect is tried again. */
static int wait_ready(gate__io_blocking *self, uint64_t deadline_ns)
{
    struct pollfd ready = awaited(self);
    uint64_t left_ns = time_until(self, deadline_ns);
    int unwatched =
        self->out && self->out->kind == GATE_OP_CONNECT && self->addr.u.any.sa_family == AF_UNIX;
    struct timespec limit;

    if (unwatched && left_ns > PAUSE_NS)
        left_ns = PAUSE_NS;
    limit = (struct timespec){.tv_sec = (time_t)(left_ns / 1000000000),
                              .tv_nsec = (long)(left_ns % 1000000000)};
    return ppoll(&ready, !unwatched, left_ns == FOREVER ? NULL : &limit, NULL) < 0 ? -errno : 0;
}

static int run_lookup(gate__io_blocking *self, uint64_t deadline_ns)
{
    gate_resolve *resolve = self->lookup;
    gate_op *op = &resolve->op;

    if (resolve->job) {
        int rc;

        gate__resolve_wait(resolve, deadline_ns);
        time_left(self, deadline_ns);
        rc = gate__resolve_take(resolve);
        if (rc == -EAGAIN)
            return 0;
        op->aux = (uint32_t)rc;
    }
    self->lookup = NULL;
    op->kind = GATE_OP_NONE;
    op->done(&self->io, op, (int)op->aux, 0);
    return 0;
}

static int run(gate_io *io, uint64_t deadline_ns)
{
    gate__io_blocking *self = self_of(io);

    if (self->lookup)
        return run_lookup(self, deadline_ns);
    if (atomic_load_explicit(&self->woken, memory_order_relaxed)) {
        atomic_store(&self->woken, 0);
        return 0;
    }
    if (!self->in && !self->out)
        time_left(self, deadline_ns); /* a turn all the same: the caller wants the time */
    while (self->in || self->out) {
        int both = self->in && self->out;

        if (both)
            time_left(self, deadline_ns);
        if (step(self, deadline_ns, !both) != -EAGAIN)
            return 0;
        /* Only a try after the deadline shows that nothing came before it. */
        if (self->io.turn_ns >= deadline_ns || wait_ready(self, deadline_ns) < 0)
            return 0;
    }
    return 0;
}

static void wake(gate_io *io)
{
    atomic_store(&self_of(io)->woken, 1);
}

/* ---- Submitting ---------------------------------------------------------------------------- */

static void begin(gate_op *op, uint8_t kind, unsigned flags, gate_op_done *done)
{
    assert(!gate__op_busy(op));
    op->kind = kind;
    op->state = 0;
    op->flags = (uint16_t)flags;
    op->done = done;
}

static void begin_in(gate_io *io, gate_op *op, uint8_t kind, unsigned flags, gate_op_done *done)
{
    assert(!self_of(io)->in);
    begin(op, kind, flags, done);
    self_of(io)->in = op;
}

static void begin_out(gate_io *io, gate_op *op, uint8_t kind, unsigned flags, gate_op_done *done)
{
    assert(!self_of(io)->out);
    begin(op, kind, flags, done);
    self_of(io)->out = op;
}

static int listen_on(gate_io *io, gate_sock *sock, gate__sockaddr *addr, int backlog,
                     unsigned flags, const gate__rights *rights)
{
    (void)io, (void)sock, (void)addr, (void)backlog, (void)flags, (void)rights;
    return -EOPNOTSUPP;
}

static int adopt(gate_io *io, gate_sock *sock, int fd, gate__sockaddr *addr)
{
    (void)io, (void)sock, (void)fd, (void)addr;
    return -EOPNOTSUPP;
}

static void submit_accept(gate_io *io, gate_sock *sock, unsigned flags, gate_op_done *done)
{
    begin_in(io, &sock->in, GATE_OP_ACCEPT, flags, done);
}

static void submit_connect(gate_io *io, gate_sock *sock, const gate__sockaddr *addr,
                           gate_op_done *done)
{
    begin_out(io, &sock->out, GATE_OP_CONNECT, 0, done);
    sock->fd = -1;
    self_of(io)->addr = *addr;
}

static void submit_recv(gate_io *io, gate_sock *sock, unsigned flags, gate_op_done *done)
{
    begin_in(io, &sock->in, GATE_OP_RECV, flags, done);
}

static void submit_send(gate_io *io, gate_sock *sock, const void *buf, size_t len, unsigned flags,
                        gate_op_done *done)
{
    begin_out(io, &sock->out, GATE_OP_SEND, flags, done);
    sock->out.buf = buf;
    sock->out.len = len;
}

static void submit_shutdown(gate_io *io, gate_sock *sock, gate_op_done *done)
{
    begin_out(io, &sock->out, GATE_OP_SHUTDOWN, 0, done);
}

static void submit_close(gate_io *io, gate_sock *sock, gate_op_done *done)
{
    assert(!gate__op_busy(&sock->in));
    begin_out(io, &sock->out, GATE_OP_CLOSE, 0, done);
}

/* Shutdown and close end by themselves. */
static void cancel(gate_io *io, gate_sock *sock, gate_op *op)
{
    (void)io, (void)sock;
    if (gate__op_busy(op) && op->kind != GATE_OP_SHUTDOWN && op->kind != GATE_OP_CLOSE)
        op->state |= CANCELLED;
}

static void submit_resolve(gate_io *io, gate_resolve *resolve, gate_op_done *done)
{
    assert(!self_of(io)->lookup);
    begin(&resolve->op, GATE_OP_RESOLVE, 0, done);
    resolve->op.aux = (uint32_t)gate__resolve_start(resolve, NULL, NULL);
    self_of(io)->lookup = resolve;
}

static void cancel_resolve(gate_io *io, gate_resolve *resolve)
{
    if (self_of(io)->lookup != resolve || !resolve->job)
        return;
    gate__resolve_abandon(resolve);
    resolve->op.aux = (uint32_t)-ECANCELED;
}

static void free_loop(gate_io *io)
{
    (void)io;
}

static const gate_io_ops blocking_ops = {
    .name = "blocking",
    .listen = listen_on,
    .adopt = adopt,
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

/* The buffer is left as it is, since it is large and needs no zeroes. */
int gate__io_blocking_met_itself(const gate__io_blocking *self, const gate_sock *sock)
{
    return gate__sock_connected(sock->fd, &self->addr) != 0;
}

void gate__io_blocking_init(gate__io_blocking *self)
{
    memset(self, 0, offsetof(gate__io_blocking, addr));
    self->io = (gate_io){.ops = &blocking_ops, .now_ns = gate__clock_ns()};
    self->send_timeout_ns = FOREVER;
    self->recv_timeout_ns = FOREVER;
}
