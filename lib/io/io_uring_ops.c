/* SPDX-License-Identifier: MIT */
#include "io/io_uring.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/sock.h"

enum { ACCEPT_MAX = 64 }; /* connections taken in a turn: others wait for no more of them */

static struct gate__uring *self_of(gate_io *io)
{
    return (struct gate__uring *)io;
}

static gate_sock *sock_of_in(gate_op *op)
{
    return GATE__OWNER(op, gate_sock, in);
}

static gate_sock *sock_of_out(gate_op *op)
{
    return GATE__OWNER(op, gate_sock, out);
}

/* ---- Lists --------------------------------------------------------------------------------- */

void gate__op_list_push(gate__op_list *list, gate_op *op)
{
    op->next = NULL;
    *list->last = op;
    list->last = &op->next;
}

gate_op *gate__op_list_pop(gate__op_list *list)
{
    gate_op *op = list->first;

    list->first = op->next;
    if (!list->first)
        list->last = &list->first;
    return op;
}

/* Ops leave in about the order in which they came, so the way is short. */
static void unlist(gate__op_list *list, gate_op *op)
{
    gate_op **link = &list->first;

    while (*link != op)
        link = &(*link)->next;
    *link = op->next;
    if (!op->next)
        list->last = link;
}

/* ---- Beginning and ending ------------------------------------------------------------------ */

void gate__uring_begin(gate_op *op, uint8_t kind, unsigned flags, gate_op_done *done)
{
    assert(!gate__op_busy(op));
    op->kind = kind;
    op->state = 0;
    op->flags = (uint16_t)flags;
    op->done = done;
}

void gate__uring_end(struct gate__uring *self, gate_op *op, int result, unsigned flags)
{
    op->state |= OP_RESULT;
    op->aux = (uint32_t)result;
    op->flags = (uint16_t)flags;
    gate__uring_push(self, op);
}

/* The last thing that is done for an op: the callback may free it, or submit it again. */
static void complete(struct gate__uring *self, gate_op *op, int result, unsigned flags)
{
    op->kind = GATE_OP_NONE;
    op->done(&self->io, op, result, flags);
}

/* The kernel has nothing to do with the op any more. */
static void leave_ring(struct gate__uring *self, gate_op *op)
{
    op->state &= (uint8_t)~OP_KERNEL;
    self->in_kernel--;
    if (op->state & OP_CANCELLED)
        unlist(&self->cancel, op);
}

/* ---- Into the ring ------------------------------------------------------------------------- */

/* A result is an int, and so may be what one call takes. */
static unsigned send_len(const gate_op *op)
{
    return (unsigned)(op->len < INT_MAX ? op->len : INT_MAX);
}

static void prepare_recv(struct io_uring_sqe *sqe, gate_op *op)
{
    io_uring_prep_recv(sqe, sock_of_in(op)->fd, NULL, 0, 0);
    sqe->ioprio = op->flags & GATE_IO_STAY ? IORING_RECV_MULTISHOT : IORING_RECVSEND_POLL_FIRST;
    sqe->flags = IOSQE_BUFFER_SELECT;
}

static void prepare_send(struct io_uring_sqe *sqe, gate_op *op)
{
    io_uring_prep_send(sqe, sock_of_out(op)->fd, op->buf, send_len(op),
                       MSG_NOSIGNAL | (op->flags & GATE_IO_MOREOUT ? MSG_MORE : 0));
}

static void issue(struct gate__uring *self, gate_op *op)
{
    struct io_uring_sqe *sqe = gate__uring_sqe(self);

    if (!sqe) {
        gate__uring_push(self, op);
        return;
    }
    op->state |= OP_KERNEL;
    self->in_kernel++;
    switch (op->kind) {
    case GATE_OP_ACCEPT:
        io_uring_prep_multishot_accept(sqe, sock_of_in(op)->fd, NULL, NULL,
                                       SOCK_NONBLOCK | SOCK_CLOEXEC);
        break;
    case GATE_OP_RECV:
        prepare_recv(sqe, op);
        break;
    case GATE_OP_SEND:
        prepare_send(sqe, op);
        break;
    default: /* GATE_OP_CONNECT */
        io_uring_prep_poll_add(sqe, sock_of_out(op)->fd, POLLOUT);
        break;
    }
    io_uring_sqe_set_data(sqe, op);
}

/* ---- Accept -------------------------------------------------------------------------------- */

static int keep(struct gate__uring *self, gate_sock *sock, int fd)
{
    if (self->kept_count == self->sizes.completions)
        return 0;
    self->kept[self->kept_count++] = (gate__uring_kept){.sock = sock, .fd = fd};
    return 1;
}

static int take_kept(struct gate__uring *self, const gate_sock *sock)
{
    for (unsigned i = 0; i < self->kept_count; i++) {
        int fd = self->kept[i].fd;

        if (self->kept[i].sock != sock)
            continue;
        self->kept_count--;
        memmove(&self->kept[i], &self->kept[i + 1], (self->kept_count - i) * sizeof self->kept[0]);
        return fd;
    }
    return -1;
}

/* The first that was kept for an accept that is armed: its place, or kept_count. */
static unsigned find_kept(const struct gate__uring *self)
{
    unsigned i = 0;

    while (i < self->kept_count &&
           (self->kept[i].sock->in.kind != GATE_OP_ACCEPT ||
            (self->kept[i].sock->in.state & (OP_KERNEL | OP_CANCELLED)) != OP_KERNEL))
        i++;
    return i;
}

int gate__uring_tell_kept(struct gate__uring *self)
{
    unsigned i;

    while ((i = find_kept(self)) < self->kept_count && self->told < ACCEPT_MAX) {
        gate_sock *sock = self->kept[i].sock;

        self->told++;
        sock->in.done(&self->io, &sock->in, take_kept(self, sock), GATE_IO_MORE);
    }
    return i < self->kept_count;
}

static void on_accept(struct gate__uring *self, gate_op *op, const struct io_uring_cqe *cqe)
{
    int more = (cqe->flags & IORING_CQE_F_MORE) != 0;

    if (!more)
        leave_ring(self, op);
    if (cqe->res < 0) {
        complete(self, op, cqe->res, 0);
        return;
    }
    int later = (op->state & OP_CANCELLED) || self->kept_count || self->told == ACCEPT_MAX;
    if (!later || !keep(self, sock_of_in(op), cqe->res)) {
        self->told += self->told < ACCEPT_MAX;
        op->done(&self->io, op, cqe->res, GATE_IO_MORE);
    }
    if (more)
        return;
    if (op->state & OP_CANCELLED)
        complete(self, op, -ECANCELED, 0);
    else
        issue(self, op);
}

/* What was kept comes first; then what the kernel has queued, or the wait for it. */
static void try_accept(struct gate__uring *self, gate_op *op)
{
    gate_sock *sock = sock_of_in(op);

    for (; self->told < ACCEPT_MAX; self->told++) {
        int fd = take_kept(self, sock);

        if (fd < 0 && !(op->flags & GATE_IO_NOWAIT)) {
            issue(self, op);
            return;
        }
        if (fd < 0)
            fd = accept4(sock->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            complete(self, op, -errno, 0);
            return;
        }
        op->done(&self->io, op, fd, GATE_IO_MORE);
        if (op->state & OP_CANCELLED) {
            complete(self, op, -ECANCELED, 0);
            return;
        }
    }
    gate__uring_push(self, op);
}

void gate__uring_accept(gate_io *io, gate_sock *sock, unsigned flags, gate_op_done *done)
{
    struct gate__uring *self = self_of(io);

    gate__uring_begin(&sock->in, GATE_OP_ACCEPT, flags, done);
    if (self->kept_count || (flags & GATE_IO_NOWAIT))
        gate__uring_push(self, &sock->in);
    else
        issue(self, &sock->in);
}

/* ---- Recv ---------------------------------------------------------------------------------- */

static uint8_t *buffer(struct gate__uring *self, unsigned id)
{
    return self->buffers + (size_t)id * (self->sizes.buffer_size + GATE__URING_APART);
}

void gate__uring_give_back(struct gate__uring *self, unsigned id)
{
    io_uring_buf_ring_add(self->buffer_ring, buffer(self, id), self->sizes.buffer_size,
                          (unsigned short)id, io_uring_buf_ring_mask(self->sizes.buffers),
                          self->given_back++);
}

static void lend(struct gate__uring *self, gate_op *op, const struct io_uring_cqe *cqe)
{
    unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    unsigned flags = cqe->flags & IORING_CQE_F_MORE ? GATE_IO_MORE : 0;

    if ((cqe->flags & IORING_CQE_F_SOCK_NONEMPTY) || (unsigned)cqe->res == self->sizes.buffer_size)
        flags |= GATE_IO_FULL;
    op->buf = buffer(self, id);
    if (flags & GATE_IO_MORE)
        op->done(&self->io, op, cqe->res, flags);
    else
        complete(self, op, cqe->res, flags);
    gate__uring_give_back(self, id);
}

/* The kernel was out of buffers, or something got in between: nothing is lost yet. */
static int is_passing(int result)
{
    return result == -ENOBUFS || result == -EAGAIN || result == -EINTR;
}

static void on_recv(struct gate__uring *self, gate_op *op, const struct io_uring_cqe *cqe)
{
    if (!(cqe->flags & IORING_CQE_F_MORE))
        leave_ring(self, op);
    if (cqe->flags & IORING_CQE_F_BUFFER && cqe->res > 0) {
        lend(self, op, cqe);
        return;
    }
    if (cqe->flags & IORING_CQE_F_BUFFER) /* was taken for nothing */
        gate__uring_give_back(self, cqe->flags >> IORING_CQE_BUFFER_SHIFT);
    self->starved |= is_passing(cqe->res);
    if (!is_passing(cqe->res))
        complete(self, op, cqe->res, 0);
    else if (op->state & OP_CANCELLED)
        complete(self, op, -ECANCELED, 0);
    else
        issue(self, op);
}

/* A recv that does not stay is tried before the ring has to wait for it. */
static void try_recv(struct gate__uring *self, gate_op *op)
{
    uint8_t *into = buffer(self, self->sizes.buffers);
    ssize_t got = recv(sock_of_in(op)->fd, into, self->sizes.buffer_size, MSG_DONTWAIT);

    if (got < 0 && errno == EAGAIN && !(op->flags & GATE_IO_NOWAIT)) {
        issue(self, op);
        return;
    }
    op->buf = into;
    complete(self, op, got < 0 ? -errno : (int)got,
             got == (ssize_t)self->sizes.buffer_size ? GATE_IO_FULL : 0);
}

void gate__uring_recv(gate_io *io, gate_sock *sock, unsigned flags, gate_op_done *done)
{
    gate__uring_begin(&sock->in, GATE_OP_RECV, flags, done);
    if (flags & GATE_IO_STAY)
        issue(self_of(io), &sock->in);
    else
        gate__uring_push(self_of(io), &sock->in);
}

/* ---- Send ---------------------------------------------------------------------------------- */

/* All of it is out, and our side is ended: the flags of its completion. */
static unsigned end_last(gate_sock *sock)
{
    if (!(sock->out.flags & GATE_IO_LAST))
        return GATE_IO_ENDED;
    gate__sock_close(&sock->fd);
    return GATE_IO_CLOSED;
}

static int ends(const gate_op *op, int sent)
{
    return (op->flags & (GATE_IO_LAST | GATE_IO_END)) && sent >= 0 && (size_t)sent == op->len;
}

static void on_send(struct gate__uring *self, gate_op *op, const struct io_uring_cqe *cqe)
{
    unsigned flags = 0;

    leave_ring(self, op);
    if (cqe->res == -EAGAIN || cqe->res == -EINTR) {
        if (op->state & OP_CANCELLED)
            complete(self, op, -ECANCELED, 0);
        else
            issue(self, op);
        return;
    }
    if (ends(op, cqe->res)) {
        shutdown(sock_of_out(op)->fd, SHUT_WR);
        flags = end_last(sock_of_out(op));
    }
    complete(self, op, cqe->res, flags);
}

void gate__uring_send(gate_io *io, gate_sock *sock, const void *buf, size_t len, unsigned flags,
                      gate_op_done *done)
{
    struct gate__uring *self = self_of(io);
    gate_op *op = &sock->out;
    int sent;

    gate__uring_begin(op, GATE_OP_SEND, flags, done);
    op->buf = buf;
    op->len = len;
    if (!(flags & (GATE_IO_LAST | GATE_IO_END))) {
        issue(self, op);
        return;
    }
    sent = gate__sock_send_last(sock->fd, buf, send_len(op));
    if (sent == -EAGAIN)
        issue(self, op);
    else
        gate__uring_end(self, op, sent, ends(op, sent) ? end_last(sock) : 0);
}

/* ---- Connect ------------------------------------------------------------------------------- */

static void end_connect(struct gate__uring *self, gate_op *op, int result)
{
    gate_sock *sock = sock_of_out(op);

    if (result < 0 && sock->fd >= 0)
        gate__sock_close(&sock->fd);
    complete(self, op, result, 0);
}

static void on_connect(struct gate__uring *self, gate_op *op, const struct io_uring_cqe *cqe)
{
    leave_ring(self, op);
    end_connect(self, op, cqe->res < 0 ? cqe->res : gate__sock_finish_connect(sock_of_out(op)->fd));
}

void gate__uring_connect(gate_io *io, gate_sock *sock, const gate__sockaddr *addr,
                         gate_op_done *done)
{
    struct gate__uring *self = self_of(io);
    int rc;

    gate__uring_begin(&sock->out, GATE_OP_CONNECT, 0, done);
    rc = gate__sock_start_connect(&sock->fd, addr);
    if (gate__retries_wanted(addr, rc)) {
        rc = gate__retries_add(&self->retries, sock, addr);
        if (rc == 0)
            return;
    }
    if (rc == -EINPROGRESS)
        issue(self, &sock->out);
    else
        gate__uring_end(self, &sock->out, rc, 0);
}

/* ---- Shutdown and close -------------------------------------------------------------------- */

void gate__uring_shutdown(gate_io *io, gate_sock *sock, gate_op_done *done)
{
    gate__uring_begin(&sock->out, GATE_OP_SHUTDOWN, 0, done);
    gate__uring_end(self_of(io), &sock->out, shutdown(sock->fd, SHUT_WR) ? -errno : 0, 0);
}

void gate__uring_close(gate_io *io, gate_sock *sock, gate_op_done *done)
{
    struct gate__uring *self = self_of(io);
    int fd;

    assert(!gate__op_busy(&sock->in));
    gate__uring_begin(&sock->out, GATE_OP_CLOSE, 0, done);
    while (self->kept_count && (fd = take_kept(self, sock)) >= 0)
        close(fd);
    gate__sock_close(&sock->fd);
    gate__uring_end(self, &sock->out, 0, 0);
}

/* ---- Any op -------------------------------------------------------------------------------- */

void gate__uring_try(struct gate__uring *self, gate_op *op)
{
    int rc = op->state & OP_CANCELLED ? -ECANCELED : self->failed;

    op->state &= (uint8_t)~OP_QUEUED;
    if (op->state & OP_RESULT) {
        if (op->kind == GATE_OP_CONNECT && (int)op->aux == 0)
            end_connect(self, op, gate__sock_finish_connect(sock_of_out(op)->fd));
        else if (op->kind == GATE_OP_CONNECT)
            end_connect(self, op, (int)op->aux);
        else
            complete(self, op, (int)op->aux, op->flags);
    } else if (rc < 0 && op->kind == GATE_OP_CONNECT) {
        end_connect(self, op, rc);
    } else if (rc < 0) {
        complete(self, op, rc, 0);
    } else if (op->kind == GATE_OP_ACCEPT) {
        try_accept(self, op);
    } else if (op->kind == GATE_OP_RECV && !(op->flags & GATE_IO_STAY)) {
        try_recv(self, op);
    } else {
        issue(self, op);
    }
}

void gate__uring_completed(struct gate__uring *self, gate_op *op, const struct io_uring_cqe *cqe)
{
    switch (op->kind) {
    case GATE_OP_ACCEPT:
        on_accept(self, op, cqe);
        break;
    case GATE_OP_RECV:
        on_recv(self, op, cqe);
        break;
    case GATE_OP_SEND:
        on_send(self, op, cqe);
        break;
    default: /* GATE_OP_CONNECT */
        on_connect(self, op, cqe);
        break;
    }
}
