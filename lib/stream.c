/* SPDX-License-Identifier: MIT */
#include "stream.h"

#include <errno.h>
#include <stdlib.h>

enum { NS_PER_MS = 1000000 };
enum { EXPIRE_MAX = 32 }; /* timers of one turn: a request waits for no more of them */

static void update(gate__stream *stream);

static gate__stream *of_conn(gate__conn *conn)
{
    return GATE__OWNER(conn, gate__stream, conn);
}

/* Its connection knows the configuration, which is a part of what the streams share. */
static gate__streams *owner_of(const gate__stream *stream)
{
    return GATE__OWNER(stream->conn.config, gate__streams, config);
}

static uint64_t now(const gate__stream *stream)
{
    return owner_of(stream)->io->now_ns;
}

static gate_reason reason_of(int error)
{
    switch (-error) {
    case ECONNRESET:
    case EPIPE:
    case ETIMEDOUT:
    case ECONNABORTED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
    case ENOTCONN:
        return GATE_CLOSE_RESET;
    case ENOMEM:
    case ENOBUFS:
        return GATE_CLOSE_NO_MEMORY;
    default:
        return GATE_CLOSE_IO;
    }
}

int gate__stream_peer(gate__stream *stream, gate__sockaddr *addr)
{
    if (!gate__peer_known(&stream->peer)) {
        gate_io *io = owner_of(stream)->io;
        gate__sockaddr found;
        int rc = io->ops->peer(io, &stream->sock, &found);
        if (rc)
            return rc;
        gate__peer_set(&stream->peer, &found);
    }
    if (addr)
        gate__peer_get(&stream->peer, addr);
    return 0;
}

/* ---- Completions ---- */

static void on_recv(gate_io *io, gate_op *op, int result, unsigned flags)
{
    gate__stream *stream = GATE__OWNER(op, gate__stream, sock.in);
    int looking = stream->looking;
    stream->multishot = (flags & GATE_IO_MORE) != 0;
    stream->looking = 0;
    if (result > 0)
        stream->bytes_in += (uint64_t)result;
    if (result > 0)
        gate__conn_input(&stream->conn, op->buf, (size_t)result, flags & GATE_IO_FULL, io->now_ns);
    else if (result == 0)
        gate__conn_eof(&stream->conn, io->now_ns);
    else if (looking && result == -EAGAIN)
        gate__conn_quiet(&stream->conn, !io->ops->unacked(io, &stream->sock), io->now_ns);
    else if (result != -ECANCELED)
        gate__conn_abort(&stream->conn, reason_of(result));
    update(stream);
}

static void on_send(gate_io *io, gate_op *op, int result, unsigned flags)
{
    gate__stream *stream = GATE__OWNER(op, gate__stream, sock.out);
    if (flags & GATE_IO_CLOSED)
        stream->sock.fd = -1;
    if (result > 0)
        stream->bytes_out += (uint64_t)result;
    if (result >= 0)
        gate__conn_sent(&stream->conn, (size_t)result, io->now_ns);
    else if (result != -ECANCELED)
        gate__conn_abort(&stream->conn, reason_of(result));
    if (flags & GATE_IO_ENDED)
        gate__conn_fin(&stream->conn, io->now_ns);
    update(stream);
}

static void on_shutdown(gate_io *io, gate_op *op, int result, unsigned flags)
{
    gate__stream *stream = GATE__OWNER(op, gate__stream, sock.out);
    (void)flags;
    if (result == 0)
        gate__conn_fin(&stream->conn, io->now_ns);
    else if (result != -ECANCELED)
        gate__conn_abort(&stream->conn, reason_of(result));
    update(stream);
}

/* ---- Opening and closing ---- */

/* The address stays with the stream, so what it counts for is worked out again. */
static void discount(gate__stream *stream)
{
    gate__sockaddr addr;
    if (!stream->counted)
        return;
    gate__peer_get(&stream->peer, &addr);
    gate__limits_remove_source(owner_of(stream)->limits, gate__addr_source(&addr));
}

static void release(gate__stream *stream)
{
    gate__streams *streams = owner_of(stream);
    gate__timers_remove(&streams->timers, &stream->timer);
    gate__conn_free(&stream->conn);
    discount(stream);
    gate__peer_free(&stream->peer);
    *stream->link = stream->next;
    if (stream->next)
        stream->next->link = stream->link;
    streams->count--;
    gate__count_add(&streams->metrics.connections, (uint64_t)-1); /* before another has the place */
    if (streams->limits->count > 1)
        gate__limits_give(streams->limits);
    free(stream);
}

static void finish(gate__stream *stream)
{
    gate__streams *streams = owner_of(stream);
    gate__count_add(&streams->metrics.closed[stream->conn.reason], 1);
    release(stream);
    streams->closed(streams);
}

static void on_close(gate_io *io, gate_op *op, int result, unsigned flags)
{
    (void)io;
    (void)result; /* the descriptor is gone whatever close(2) says */
    (void)flags;
    finish(GATE__OWNER(op, gate__stream, sock.out));
}

/* A reply that the close would end, and that has not all been sent. */
static uint8_t is_cut(const gate__conn *conn)
{
    return conn->out.head && conn->config->codec->flags & GATE_CODEC_ONE_SHOT;
}

/* Whether it still has its descriptor says nothing about that: io.h, 8. */
static int in_flight(const gate_sock *sock)
{
    return gate__op_busy(&sock->in) || gate__op_busy(&sock->out);
}

static void tell_close(gate__stream *stream)
{
    const gate__log *log = &owner_of(stream)->log;
    if (!gate__log_wants(log, gate__log_close_level(stream->conn.reason)))
        return;
    (void)gate__stream_peer(stream, NULL);
    gate__log_close(log, &(gate__log_end){
                             .reason = stream->conn.reason,
                             .peer = &stream->peer,
                             .listener = stream->listener,
                             .duration_ns = now(stream) - stream->opened_ns,
                             .requests = stream->conn.exchanges,
                             .bytes_in = stream->bytes_in,
                             .bytes_out = stream->bytes_out,
                         });
}

static void begin_close(gate__stream *stream)
{
    gate_io *io = owner_of(stream)->io;
    gate_sock *sock = &stream->sock;
    stream->closing = 1;
    tell_close(stream);
    gate__timers_remove(&owner_of(stream)->timers, &stream->timer);
    io->ops->cancel(io, sock, &sock->in);
    io->ops->cancel(io, sock, &sock->out);
    if (!gate__op_busy(&sock->out)) {
        stream->cut = is_cut(&stream->conn);
        gate__conn_free(&stream->conn); /* others of this turn may want what it holds */
    }
}

static void close_stream(gate__stream *stream)
{
    gate_io *io = owner_of(stream)->io;
    gate_sock *sock = &stream->sock;
    if (!stream->closing)
        begin_close(stream);
    if (in_flight(sock))
        return;
    if (sock->fd < 0) {
        finish(stream);
        return;
    }
    if (stream->cut || is_cut(&stream->conn))
        io->ops->reset(io, sock);
    io->ops->close(io, sock, on_close);
}

/* Counts the source; a connection that may not stay is aborted with the reason. */
static void admit(gate__stream *stream)
{
    gate__streams *streams = owner_of(stream);
    gate__sockaddr addr;
    if (!streams->limits->source_max || gate__stream_peer(stream, &addr))
        return;
    int rc = gate__limits_add_source(streams->limits, gate__addr_source(&addr));
    stream->counted = rc == 1;
    if (rc != 1)
        gate__conn_abort(&stream->conn, rc ? GATE_CLOSE_NO_MEMORY : GATE_CLOSE_PEER_LIMIT);
}

gate__stream *gate__stream_open(gate__streams *streams, const gate_listener *listener, int fd,
                                const gate__sockaddr *peer)
{
    gate_io *io = streams->io;
    gate__stream *stream = malloc(sizeof *stream);
    if (!stream) {
        io->ops->discard(io, fd);
        return NULL;
    }
    *stream = (gate__stream){.next = streams->first, .link = &streams->first, .listener = listener};
    if (stream->next)
        stream->next->link = &stream->next;
    streams->first = stream;
    streams->count++;
    gate__count_add(&streams->metrics.accepted, 1);
    gate__count_add(&streams->metrics.connections, 1);
    stream->opened_ns = io->now_ns;
    gate__sock_init(&stream->sock, fd);
    if (peer)
        gate__peer_set(&stream->peer, peer);
    gate__conn_init(&stream->conn, &streams->config, io->now_ns);
    if (streams->drain_until != UINT64_MAX)
        gate__conn_stop(&stream->conn, streams->drain_until, io->now_ns);
    admit(stream);
    update(stream);
    return stream;
}

/* ---- The driver ---- */

static void set_timer(gate__stream *stream)
{
    uint64_t deadline = gate__conn_deadline(&stream->conn);
    if (deadline == UINT64_MAX)
        return; /* one that is still set finds nothing due */
    uint64_t expires_ms = deadline / NS_PER_MS + (deadline % NS_PER_MS != 0);
    if (!gate__timer_linked(&stream->timer) || expires_ms < stream->timer.expires_ms)
        gate__timers_insert(&owner_of(stream)->timers, &stream->timer, expires_ms);
}

static void submit_send(gate__stream *stream)
{
    gate_io *io = owner_of(stream)->io;
    const uint8_t *bytes;
    int more, last;
    size_t len = gate__conn_output(&stream->conn, &bytes, &more, &last);
    unsigned flags = more ? GATE_IO_MOREOUT : 0;
    if (last == GATE__LAST_END) {
        flags |= GATE_IO_END;
    } else if (last && !gate__op_busy(&stream->sock.in)) {
        if (gate__log_wants(&owner_of(stream)->log, gate__log_close_level(stream->conn.reason)))
            (void)gate__stream_peer(stream, NULL); /* the close is told when nobody can be asked */
        flags |= GATE_IO_LAST;
    }
    io->ops->send(io, &stream->sock, bytes, len, flags, on_send);
}

/* One read is all that a one-shot request takes, and nothing may be in flight at its last send.
 * Where only the end is awaited none stays either: on Linux 6.18 a recv that completes more than
 * once was seen to miss an end that comes right behind bytes. */
static unsigned recv_flags(const gate__stream *stream)
{
    const uint32_t kind = GATE_CODEC_ONE_SHOT | GATE_CODEC_UNTIL_EOF;
    if (stream->conn.phase == GATE__LINGERING)
        return 0;
    return (stream->conn.config->codec->flags & kind) == GATE_CODEC_ONE_SHOT ? 0 : GATE_IO_STAY;
}

/* What is in flight may have got something already, which comes first. */
static void look(gate__stream *stream)
{
    gate_io *io = owner_of(stream)->io;
    gate_sock *sock = &stream->sock;
    if (gate__op_busy(&sock->in)) {
        if (!stream->looking)
            io->ops->cancel(io, sock, &sock->in);
        return;
    }
    stream->looking = 1;
    io->ops->recv(io, sock, GATE_IO_NOWAIT, on_recv);
}

static void submit(gate__stream *stream, unsigned wants)
{
    gate_io *io = owner_of(stream)->io;
    gate_sock *sock = &stream->sock;
    if (wants & GATE__WANT_LOOK) {
        look(stream);
    } else if (wants & GATE__WANT_READ) {
        if (!gate__op_busy(&sock->in))
            io->ops->recv(io, sock, recv_flags(stream), on_recv);
    } else if (stream->multishot && gate__op_busy(&sock->in)) {
        stream->multishot = 0;
        io->ops->cancel(io, sock, &sock->in);
    }
    if (gate__op_busy(&sock->out))
        return;
    if (wants & GATE__WANT_SEND)
        submit_send(stream);
    else if (wants & GATE__WANT_FIN)
        io->ops->shutdown(io, sock, on_shutdown);
}

static void update(gate__stream *stream)
{
    unsigned wants = gate__conn_wants(&stream->conn);
    if (wants & GATE__WANT_CLOSE) {
        close_stream(stream);
        return;
    }
    submit(stream, wants);
    set_timer(stream);
}

void gate__streams_expire(gate__streams *streams)
{
    uint64_t now_ns = streams->io->turn_ns;
    gate__timer *timer;
    gate__timers_advance(&streams->timers, now_ns / NS_PER_MS);
    for (int i = 0; i < EXPIRE_MAX && (timer = gate__timers_pop(&streams->timers)); i++) {
        gate__stream *stream = GATE__OWNER(timer, gate__stream, timer);
        gate__conn_expire(&stream->conn, now_ns);
        update(stream);
    }
}

void gate__streams_stop(gate__streams *streams, uint64_t drain_deadline_ns)
{
    gate__stream *next;
    streams->drain_until = drain_deadline_ns;
    for (gate__stream *stream = streams->first; stream; stream = next) {
        next = stream->next;
        gate__conn_stop(&stream->conn, drain_deadline_ns, now(stream));
        update(stream);
    }
}

void gate__streams_discard(gate__streams *streams)
{
    for (gate__stream *stream = streams->first; stream; stream = stream->next)
        if (stream->sock.fd >= 0)
            streams->io->ops->discard(streams->io, stream->sock.fd);
}

void gate__streams_free(gate__streams *streams)
{
    while (streams->first)
        release(streams->first);
}

/* ---- Between connection and requests ---- */

void gate__stream_deliver(gate__conn *conn, const uint8_t *body, size_t len)
{
    gate__stream *stream = of_conn(conn);
    gate__requests_deliver(&owner_of(stream)->requests, conn, body, len);
}

uint64_t gate__stream_clock(gate__conn *conn)
{
    gate_io *io = owner_of(of_conn(conn))->io;
    return io->ops->now(io);
}

int gate__stream_conn_peer(gate__conn *conn, gate__sockaddr *addr)
{
    return gate__stream_peer(of_conn(conn), addr);
}

void gate__stream_leave(gate__conn *conn, gate__pending *pending)
{
    (void)conn;
    gate__requests_leave(pending);
}

void gate__stream_settled(gate__conn *conn, const gate__pending *answered)
{
    gate__stream *stream = of_conn(conn);
    gate__conn_settle(conn, answered, now(stream));
    update(stream);
}
