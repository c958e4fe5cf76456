/* SPDX-License-Identifier: MIT */
#include "listener.h"

#include <errno.h>
#include <stdlib.h>

/* That many errors of single connections running are not of single connections any more. */
enum { FAILED_MAX = 64 };

#define RETRY_NS UINT64_C(50000000)
/* Failures that are no further apart than this are one episode. */
#define CALM_NS UINT64_C(1000000000)

static void on_accept(gate_io *io, gate_op *op, int result, unsigned flags);

void gate__listeners_init(gate__listeners *listeners, gate__streams *streams,
                          uint32_t connections_max)
{
    *listeners = (gate__listeners){
        .streams = streams, .connections_max = connections_max, .retry_ns = UINT64_MAX};
}

/* A connection that was accepted while there was no place for it. Mostly there is one, and no
 * further accept is armed; one that was armed may have taken more. */
typedef struct gate__parked {
    struct gate__parked *next;
    const gate_listener *handle;
    int fd;
} gate__parked;

static int has_room(const gate__listeners *listeners)
{
    if (listeners->limits)
        return !listeners->parked;
    return listeners->streams->count < listeners->connections_max;
}

static void link_listener(gate__listeners *listeners, gate__listener *listener,
                          gate_listener *handle)
{
    listener->owner = listeners;
    listener->handle = handle;
    listener->next = listeners->first;
    listeners->first = listener;
    listeners->open++;
}

int gate__listeners_add(gate__listeners *listeners, gate_listener *handle,
                        const gate__listen_how *how)
{
    gate_io *io = listeners->streams->io;
    gate__listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return -ENOMEM;
    gate__sock_init(&listener->sock, -1);
    int rc =
        io->ops->listen(io, &listener->sock, &handle->addr, how->backlog, how->flags, how->rights);
    if (rc) {
        free(listener);
        return rc;
    }
    link_listener(listeners, listener, handle);
    return 0;
}

int gate__listeners_adopt(gate__listeners *listeners, gate_listener *handle, int fd)
{
    gate_io *io = listeners->streams->io;
    gate__listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return -ENOMEM;
    gate__sock_init(&listener->sock, -1);
    int rc = io->ops->adopt(io, &listener->sock, fd, &handle->addr);
    if (rc) {
        free(listener);
        return rc;
    }
    link_listener(listeners, listener, handle);
    return 0;
}

/* ---- Accepting ---- */

static void arm(gate__listener *listener)
{
    gate__listeners *listeners = listener->owner;
    gate_io *io = listeners->streams->io;
    if (listener->sock.fd < 0 || gate__op_busy(&listener->sock.in) ||
        gate__op_busy(&listener->sock.out) || !listeners->serving || !has_room(listeners))
        return;
    io->ops->accept(io, &listener->sock, listeners->draining ? GATE_IO_NOWAIT : 0, on_accept);
}

static void on_closed(gate_io *io, gate_op *op, int result, unsigned flags)
{
    gate__listener *listener = GATE__OWNER(op, gate__listener, sock.out);
    (void)io;
    (void)result;
    (void)flags;
    listener->sock.fd = -1;
    listener->owner->open--;
}

static void close_listener(gate__listener *listener)
{
    gate_io *io = listener->owner->streams->io;
    gate_sock *sock = &listener->sock;
    if (sock->fd < 0 || gate__op_busy(&sock->out))
        return;
    if (gate__op_busy(&sock->in)) {
        io->ops->cancel(io, sock, &sock->in); /* comes back here when it has ended */
        return;
    }
    gate__handle_leave(listener->handle);
    io->ops->close(io, sock, on_closed);
}

/* Without descriptors or memory, or for a reason that we don't know: waits a little. */
static void pause_accepting(gate__listeners *listeners, int error)
{
    gate_io *io = listeners->streams->io;
    int known = io->now_ns < listeners->starved_until_ns;
    listeners->retry_ns = io->now_ns + RETRY_NS;
    listeners->starved_until_ns = io->now_ns + CALM_NS;
    if (known)
        return;
    listeners->starved = 1;
    gate__count_add(&listeners->streams->metrics.accept_pauses, 1);
    gate__log_text(&listeners->streams->log, GATE_LOG_WARNING, "accept_pause",
                   "cannot accept for now, will try again", gate_strerror(error));
}

/* A connection was taken. The episode is over when that went well for a while: within it, each
 * connection that closes makes room for another one. */
static void note_accepted(gate__listeners *listeners)
{
    listeners->failed_in_turn = 0;
    if (!listeners->starved || listeners->streams->io->now_ns < listeners->starved_until_ns)
        return;
    listeners->starved = 0;
    gate__log_text(&listeners->streams->log, GATE_LOG_NOTICE, "accept_again", "accepting again",
                   NULL);
}

/* Errors of the one connection that was taken off the queue, accept(2): the next may be fine. */
static int is_passing(int error)
{
    switch (-error) {
    case ECONNABORTED:
    case EINTR:
    case EPROTO:
    case EPERM:
    case ENOPROTOOPT:
    case ENETDOWN:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EOPNOTSUPP:
        return 1;
    default:
        return 0;
    }
}

static void count_error(gate__listeners *listeners, int error)
{
    gate__count_add(&listeners->streams->metrics.accept_errors, 1);
    if (!is_passing(error) || ++listeners->failed_in_turn >= FAILED_MAX)
        pause_accepting(listeners, error);
}

static void on_accept_error(gate__listener *listener, int error)
{
    if (error != -ECANCELED && error != -EAGAIN)
        count_error(listener->owner, error);
}

/* The last place is taken, or accepting pauses: that holds for every listener. */
static void cancel_all(gate__listeners *listeners)
{
    gate_io *io = listeners->streams->io;
    for (gate__listener *listener = listeners->first; listener; listener = listener->next)
        io->ops->cancel(io, &listener->sock, &listener->sock.in);
}

static void open_stream(gate__listeners *listeners, const gate_listener *handle, int fd,
                        const gate__sockaddr *peer)
{
    if (gate__stream_open(listeners->streams, handle, fd, peer)) {
        note_accepted(listeners);
        return;
    }
    if (listeners->limits)
        gate__limits_give(listeners->limits);
    count_error(listeners, -ENOMEM);
}

static void park(gate__listeners *listeners, const gate_listener *handle, int fd)
{
    gate_io *io = listeners->streams->io;
    gate__parked **link = &listeners->parked;
    gate__parked *parked = malloc(sizeof *parked);
    if (!parked) {
        io->ops->discard(io, fd);
        if (!listeners->parked) /* then nobody would take what is granted */
            gate__limits_cancel(listeners->limits, listeners->index);
        count_error(listeners, -ENOMEM);
        return;
    }
    while (*link)
        link = &(*link)->next;
    *parked = (gate__parked){.handle = handle, .fd = fd};
    *link = parked;
}

static void take_connection(gate__listener *listener, int fd, const gate__sockaddr *peer)
{
    gate__listeners *listeners = listener->owner;
    gate__limits *limits = listeners->limits;
    if (!limits || (!listeners->parked && gate__limits_claim(limits, listeners->index)))
        open_stream(listeners, listener->handle, fd, peer);
    else
        park(listeners, listener->handle, fd);
}

static void on_accept(gate_io *io, gate_op *op, int result, unsigned flags)
{
    gate__listener *listener = GATE__OWNER(op, gate__listener, sock.in);
    gate__listeners *listeners = listener->owner;
    (void)io;
    if (result < 0)
        on_accept_error(listener, result);
    else
        take_connection(listener, result, op->buf);
    int paused = listeners->retry_ns != UINT64_MAX;
    if (paused || !has_room(listeners))
        cancel_all(listeners);
    if (flags & GATE_IO_MORE)
        return;
    if (!listeners->serving || (listeners->draining && result == -EAGAIN))
        close_listener(listener);
    else if (!paused)
        arm(listener);
}

static void arm_all(gate__listeners *listeners)
{
    for (gate__listener *listener = listeners->first; listener; listener = listener->next)
        arm(listener);
}

void gate__listeners_claim(gate__listeners *listeners)
{
    gate__parked *parked;
    while ((parked = listeners->parked) &&
           gate__limits_claim(listeners->limits, listeners->index)) {
        gate__parked one = *parked;
        listeners->parked = one.next;
        free(parked);
        open_stream(listeners, one.handle, one.fd, NULL);
    }
    if (!parked && listeners->open && listeners->retry_ns == UINT64_MAX)
        arm_all(listeners);
}

/* What has no place any more will get none. */
static void discard_parked(gate__listeners *listeners)
{
    gate_io *io = listeners->streams->io;
    if (listeners->limits)
        gate__limits_cancel(listeners->limits, listeners->index);
    while (listeners->parked) {
        gate__parked *parked = listeners->parked;
        listeners->parked = parked->next;
        io->ops->discard(io, parked->fd);
        free(parked);
    }
}

void gate__listeners_serve(gate__listeners *listeners)
{
    listeners->serving = 1;
    arm_all(listeners);
}

void gate__listeners_drain(gate__listeners *listeners)
{
    gate_io *io = listeners->streams->io;
    listeners->draining = 1;
    for (gate__listener *listener = listeners->first; listener; listener = listener->next) {
        io->ops->cancel(io, &listener->sock, &listener->sock.in); /* armed again with NOWAIT */
        arm(listener);
    }
}

void gate__listeners_close(gate__listeners *listeners)
{
    listeners->serving = 0;
    discard_parked(listeners);
    for (gate__listener *listener = listeners->first; listener; listener = listener->next)
        close_listener(listener);
}

void gate__listeners_resume(gate__listeners *listeners)
{
    listeners->retry_ns = UINT64_MAX;
    if (listeners->open)
        arm_all(listeners);
}

static void discard(gate__listener *listener)
{
    gate_io *io = listener->owner->streams->io;
    if (listener->sock.fd < 0)
        return;
    io->ops->discard(io, listener->sock.fd);
    listener->sock.fd = -1;
    listener->owner->open--;
}

void gate__listeners_discard(gate__listeners *listeners)
{
    discard_parked(listeners);
    for (gate__listener *listener = listeners->first; listener; listener = listener->next)
        discard(listener);
}

void gate__listeners_undo(gate__listeners *listeners)
{
    gate__listener *listener = listeners->first;
    discard(listener);
    listeners->first = listener->next;
    free(listener);
}

void gate__listeners_free(gate__listeners *listeners)
{
    while (listeners->first) {
        gate__listener *listener = listeners->first;
        listeners->first = listener->next;
        free(listener);
    }
}
