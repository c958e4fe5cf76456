/* SPDX-License-Identifier: MIT */
#include "io/io_epoll.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/sock.h"

enum {
    ACCEPT_MAX = 64,   /* connections taken in a turn: others wait for no more of them */
    ACCEPT_SINGLY = 8, /* turns with one connection each */
    TABLE_MIN = 64
};

static gate_sock *sock_of_in(gate_op *op)
{
    return GATE__OWNER(op, gate_sock, in);
}

static gate_sock *sock_of_out(gate_op *op)
{
    return GATE__OWNER(op, gate_sock, out);
}

/* The last thing that is done for an op: the callback may free it, or submit it again. */
static void complete(struct gate__epoll *self, gate_op *op, int result, unsigned flags)
{
    op->kind = GATE_OP_NONE;
    op->done(&self->io, op, result, flags);
}

/* ---- Registration -------------------------------------------------------------------------- */

static int grow_table(struct gate__epoll *self, size_t fd)
{
    size_t size = self->table_size ? self->table_size : TABLE_MIN;
    gate_sock **table;

    while (size <= fd)
        size *= 2;
    table = realloc(self->table, size * sizeof *table);
    if (!table)
        return -ENOMEM;
    for (size_t i = self->table_size; i < size; i++)
        table[i] = NULL;
    self->table = table;
    self->table_size = size;
    return 0;
}

static int control(struct gate__epoll *self, gate_sock *sock, int command, uint32_t events)
{
    struct epoll_event event = {.events = events};

    event.data.u64 = (uint64_t)(sock->state >> SOCK_GENERATION_SHIFT) << 32 | (uint32_t)sock->fd;
    return epoll_ctl(self->epoll_fd, command, sock->fd, &event) ? -errno : 0;
}

static int add(struct gate__epoll *self, gate_sock *sock, uint32_t events)
{
    size_t fd = (size_t)sock->fd;
    uint32_t flags = sock->state & ((1U << SOCK_GENERATION_SHIFT) - 1);
    int rc = fd < self->table_size ? 0 : grow_table(self, fd);

    if (rc < 0)
        return rc;
    sock->state = ++self->generation << SOCK_GENERATION_SHIFT | flags;
    rc = control(self, sock, EPOLL_CTL_ADD, events);
    if (rc < 0)
        return rc;
    self->table[fd] = sock;
    self->watched++;
    return 0;
}

/* wanted: SOCK_WATCH_IN, or both. */
static int watch(struct gate__epoll *self, gate_sock *sock, uint32_t wanted)
{
    uint32_t events = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET;
    int rc;

    if ((sock->state & wanted) == wanted)
        return 0;
    if (wanted & SOCK_WATCH_OUT)
        events |= EPOLLOUT;
    if (sock->state & SOCK_WATCH_IN)
        rc = control(self, sock, EPOLL_CTL_MOD, events);
    else
        rc = add(self, sock, events);
    if (rc == 0)
        sock->state |= wanted;
    return rc;
}

static void unwatch(struct gate__epoll *self, gate_sock *sock)
{
    if (!(sock->state & SOCK_WATCH_IN))
        return;
    control(self, sock, EPOLL_CTL_DEL, 0);
    self->table[sock->fd] = NULL;
    self->watched--;
    sock->state = 0;
}

/* Closing ends the registration, unless a child has the descriptor too. */
static void close_sock(struct gate__epoll *self, gate_sock *sock)
{
    if (sock->state & SOCK_WATCH_IN) {
        self->table[sock->fd] = NULL;
        self->watched--;
    }
    sock->state = 0;
    gate__sock_close(&sock->fd);
}

/* ---- Accept -------------------------------------------------------------------------------- */

static void finish_accept(struct gate__epoll *self, gate_sock *sock, int result)
{
    unwatch(self, sock);
    complete(self, &sock->in, result, 0);
}

static void wait_accept(struct gate__epoll *self, gate_sock *sock)
{
    int rc = 0;

    if (sock->in.flags & GATE_IO_NOWAIT)
        rc = -EAGAIN;
    else if (!(sock->state & SOCK_WATCH_IN))
        rc = add(self, sock, EPOLLIN);
    if (rc < 0)
        finish_accept(self, sock, rc);
    else
        sock->state |= SOCK_WATCH_IN;
}

/* A listener that was the only thing to happen most often has a single connection; asking for
 * another costs as much as an accept, and the event will be there again if there is one. But after
 * some turns like that one looks whether there is a queue, and goes on taking all as long as there
 * are several. aux counts the turns. */
static int accept_quota(const struct gate__epoll *self, const gate_sock *sock)
{
    int alone = self->event_count == 1 && (sock->state & SOCK_WATCH_IN);

    return alone && sock->in.aux < ACCEPT_SINGLY ? 1 : ACCEPT_MAX;
}

/* The queue is empty. */
static void end_accepting(struct gate__epoll *self, gate_sock *sock, int taken)
{
    if (taken < 2)
        sock->in.aux = 0;
    wait_accept(self, sock);
}

static void try_accept(struct gate__epoll *self, gate_sock *sock)
{
    gate_op *op = &sock->in;
    int left = ACCEPT_MAX - self->told;
    int quota = accept_quota(self, sock);

    quota = quota < left ? quota : left;

    op->aux += op->aux < ACCEPT_SINGLY;
    for (int taken = 0; taken < quota; taken++) {
        gate__sockaddr peer;
        int fd = gate__sock_accept(sock->fd, &peer);

        if (fd == -EAGAIN) {
            end_accepting(self, sock, taken);
            return;
        }
        if (fd < 0) {
            finish_accept(self, sock, fd);
            return;
        }
        self->told++;
        op->buf = &peer;
        op->done(&self->io, op, fd, GATE_IO_MORE);
        if (op->state & OP_CANCELLED)
            return;
    }
    if (!(sock->state & SOCK_WATCH_IN))
        gate__epoll_push(self, op);
}

/* ---- Connections --------------------------------------------------------------------------- */

static void try_recv(struct gate__epoll *self, gate_sock *sock)
{
    gate_op *op = &sock->in;
    int rc;

    /* One that must not wait asks the kernel, whose events may not have been fetched yet. */
    if (!(sock->state & SOCK_IN_BLOCKED) || (op->flags & GATE_IO_NOWAIT)) {
        ssize_t got = recv(sock->fd, self->scratch, GATE__EPOLL_SCRATCH, 0);

        if (got < 0 && (errno != EAGAIN || (op->flags & GATE_IO_NOWAIT))) {
            complete(self, op, -errno, 0);
            return;
        }
        if (got < GATE__EPOLL_SCRATCH && !(sock->state & SOCK_HUNG_UP))
            sock->state |= SOCK_IN_BLOCKED;
        if (got >= 0) {
            op->buf = self->scratch;
            complete(self, op, (int)got, got == GATE__EPOLL_SCRATCH ? GATE_IO_FULL : 0);
            return;
        }
    }
    rc = watch(self, sock, SOCK_WATCH_IN);
    if (rc < 0)
        complete(self, op, rc, 0);
}

/* A result is an int, and so may be what one call takes. */
static size_t send_len(const gate_op *op)
{
    return op->len < INT_MAX ? op->len : INT_MAX;
}

static void wait_out(struct gate__epoll *self, gate_sock *sock)
{
    int rc;

    sock->state |= SOCK_OUT_BLOCKED;
    rc = watch(self, sock, SOCK_WATCH_IN | SOCK_WATCH_OUT);
    if (rc < 0)
        complete(self, &sock->out, rc, 0);
}

/* The last bytes wait for the end of our side, so that both leave in one segment: see
 * gate__sock_send_last. */
static void try_send(struct gate__epoll *self, gate_sock *sock)
{
    gate_op *op = &sock->out;
    unsigned ends = op->flags & (GATE_IO_LAST | GATE_IO_END);
    int flags = MSG_NOSIGNAL | (ends || op->flags & GATE_IO_MOREOUT ? MSG_MORE : 0);
    ssize_t sent = send(sock->fd, op->buf, send_len(op), flags);

    if (sent < 0 && errno == EAGAIN) {
        wait_out(self, sock);
        return;
    }
    if (sent < 0) {
        complete(self, op, -errno, 0);
        return;
    }
    if (!ends || (size_t)sent < op->len) {
        complete(self, op, (int)sent, 0);
        return;
    }
    shutdown(sock->fd, SHUT_WR);
    if (ends & GATE_IO_LAST)
        close_sock(self, sock);
    complete(self, op, (int)sent, ends & GATE_IO_LAST ? GATE_IO_CLOSED : GATE_IO_ENDED);
}

static void end_connect(struct gate__epoll *self, gate_sock *sock, int result)
{
    if (result < 0 && sock->fd >= 0)
        close_sock(self, sock);
    complete(self, &sock->out, result, 0);
}

/* aux holds what the call said at once. */
static void try_connect(struct gate__epoll *self, gate_sock *sock)
{
    int rc = (int)sock->out.aux;

    if (rc == 0)
        rc = gate__sock_finish_connect(sock->fd);
    else if (rc == -EINPROGRESS) {
        sock->out.aux = 0;
        sock->state |= SOCK_IN_BLOCKED | SOCK_OUT_BLOCKED;
        rc = watch(self, sock, SOCK_WATCH_IN | SOCK_WATCH_OUT);
        if (rc == 0)
            return;
    }
    end_connect(self, sock, rc);
}

/* ---- Any op -------------------------------------------------------------------------------- */

static void cancel_op(struct gate__epoll *self, gate_op *op)
{
    if (op->kind == GATE_OP_ACCEPT)
        finish_accept(self, sock_of_in(op), -ECANCELED);
    else if (op->kind == GATE_OP_CONNECT)
        end_connect(self, sock_of_out(op), -ECANCELED);
    else
        complete(self, op, -ECANCELED, 0);
}

void gate__epoll_try(struct gate__epoll *self, gate_op *op)
{
    if (op->state & OP_CANCELLED) {
        cancel_op(self, op);
        return;
    }
    switch (op->kind) {
    case GATE_OP_ACCEPT:
        try_accept(self, sock_of_in(op));
        break;
    case GATE_OP_RECV:
        try_recv(self, sock_of_in(op));
        break;
    case GATE_OP_CONNECT:
        try_connect(self, sock_of_out(op));
        break;
    case GATE_OP_SEND:
        try_send(self, sock_of_out(op));
        break;
    case GATE_OP_SHUTDOWN:
        complete(self, op, shutdown(sock_of_out(op)->fd, SHUT_WR) ? -errno : 0, 0);
        break;
    case GATE_OP_CLOSE:
        close_sock(self, sock_of_out(op));
        complete(self, op, 0, 0);
        break;
    default: /* GATE_OP_RESOLVE */
        complete(self, op, (int)op->aux, 0);
        break;
    }
}
