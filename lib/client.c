/* SPDX-License-Identifier: MIT */
#include "client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "core/codec.h"
#include "core/sized.h"
#include "io/io_blocking.h"

enum { TIMEOUT_MS = 5000, NS_PER_MS = 1000000 };

/* A wait that ends this much after the deadline was not the kernel's lateness: this process, or the
 * machine, was stopped. What came meanwhile is read then, for this long at most. */
enum { STOPPED_NS = NS_PER_MS, CATCH_UP_NS = 2 * NS_PER_MS };

struct gate_client {
    gate_io *io;
    const gate_codec *codec;
    gate_sock sock;
    uint64_t deadline_ns; /* of the call under way */
    uint64_t catch_up_ns; /* until when it reads what came while the process was stopped */
    int result;           /* of the operation that completed last */
    const void *own;      /* the one-call client's request: what a socket that met itself reads */
    size_t own_len;
    gate__inbuf in; /* framed replies: what has come */
    uint16_t port;
    uint8_t kept;   /* the connection has served an exchange */
    uint8_t own_io; /* io has to be freed */
    char host[256];
    gate__io_blocking blocking; /* also says where a recv should put its bytes */
};

/* A call's reply: the caller's room and what is there. */
typedef struct reply_room {
    uint8_t *room;
    size_t size;
    size_t len;
} reply_room;

/* ---- Waiting for one operation ---- */

static gate_client *of_in(gate_op *op)
{
    return GATE__OWNER(op, gate_client, sock.in);
}

static gate_client *of_out(gate_op *op)
{
    return GATE__OWNER(op, gate_client, sock.out);
}

static void on_out(gate_io *io, gate_op *op, int result, unsigned flags)
{
    (void)io;
    (void)flags;
    of_out(op)->result = result;
}

/* The bytes are lent until this returns, so they are taken now. */
static void on_in(gate_io *io, gate_op *op, int result, unsigned flags)
{
    gate_client *client = of_in(op);
    (void)io;
    (void)flags;
    client->result = result;
    if (result <= 0)
        return;
    size_t len = (size_t)result;
    const gate__io_blocking *to = &client->blocking;
    if (to->into) {
        if (op->buf != to->into)
            memcpy(to->into, op->buf, len < to->into_len ? len : to->into_len);
    } else if (gate__inbuf_append(&client->in, op->buf, len, 0)) {
        client->result = -ENOMEM;
    }
}

/* No event that came before the deadline is still to be looked for, which the time alone does not
 * say: a turn that a signal has interrupted, such as SIGCONT after a long stop, has seen none. */
static int has_passed(const gate_io *io, uint64_t deadline_ns)
{
    return io->turn_ns >= deadline_ns && io->now_ns >= deadline_ns;
}

static void note_stop(gate_client *client, uint64_t begun_ns)
{
    uint64_t now_ns = client->io->now_ns, deadline_ns = client->deadline_ns;
    if (begun_ns < deadline_ns && now_ns >= deadline_ns && now_ns - deadline_ns > STOPPED_NS)
        client->catch_up_ns = now_ns + CATCH_UP_NS;
}

/* Runs until op is over: its result, or -ETIMEDOUT. */
static int await(gate_client *client, gate_op *op, uint64_t deadline_ns)
{
    gate_io *io = client->io;
    uint64_t begun_ns = io->now_ns;
    int late = 0;
    while (gate__op_busy(op)) {
        int rc = io->ops->run(io, late ? UINT64_MAX : deadline_ns);
        if (rc)
            return rc;
        if (!late && gate__op_busy(op) && has_passed(io, deadline_ns)) {
            late = 1;
            io->ops->cancel(io, &client->sock, op);
        }
    }
    note_stop(client, begun_ns);
    return late && client->result == -ECANCELED ? -ETIMEDOUT : client->result;
}

static void set_deadline(gate_client *client, uint32_t timeout_ms)
{
    client->io->ops->run(client->io, 0); /* nothing in flight: reads the time */
    uint64_t now_ns = client->io->now_ns;
    client->catch_up_ns = 0;
    client->deadline_ns =
        timeout_ms == GATE_NEVER ? UINT64_MAX : now_ns + (uint64_t)timeout_ms * NS_PER_MS;
}

/* Asked as well where nothing waits: a peer may always have more, or take more. */
static int is_over(const gate_client *client)
{
    return client->io->now_ns >= client->deadline_ns;
}

/* ---- Connecting ---- */

static void disconnect(gate_client *client)
{
    gate_io *io = client->io;
    if (client->sock.fd < 0)
        return;
    io->ops->cancel(io, &client->sock, &client->sock.in);
    io->ops->cancel(io, &client->sock, &client->sock.out);
    while (gate__op_busy(&client->sock.in) || gate__op_busy(&client->sock.out))
        if (io->ops->run(io, UINT64_MAX))
            break;
    io->ops->close(io, &client->sock, on_out);
    await(client, &client->sock.out, UINT64_MAX);
    client->sock.fd = -1;
    gate__inbuf_consume(&client->in, client->in.len);
}

/* Each address gets an equal part of what time is left, so that the last is tried too. */
static int connect_any(gate_client *client, const gate__sockaddr *addrs, unsigned count)
{
    gate_io *io = client->io;
    int rc = GATE_ENAME;
    for (unsigned i = 0; i < count; i++) {
        uint64_t now_ns = io->now_ns, until = client->deadline_ns;
        if (now_ns >= until)
            return -ETIMEDOUT;
        if (until != UINT64_MAX)
            until = now_ns + (until - now_ns) / (count - i);
        gate__sock_init(&client->sock, -1);
        io->ops->connect(io, &client->sock, &addrs[i], on_out);
        rc = await(client, &client->sock.out, until);
        if (!rc)
            return 0;
        client->sock.fd = -1;
    }
    return rc;
}

typedef struct lookup {
    gate_resolve resolve;
    int result;
} lookup;

static void on_lookup(gate_io *io, gate_op *op, int result, unsigned flags)
{
    lookup *look = (lookup *)(void *)op; /* resolve and its op come first */
    (void)io;
    (void)flags;
    look->result = result;
}

static int connect_name(gate_client *client)
{
    gate_io *io = client->io;
    lookup look = {.resolve = {.host = client->host, .port = client->port}};
    int late = 0;
    io->ops->resolve(io, &look.resolve, on_lookup);
    while (gate__op_busy(&look.resolve.op)) {
        int rc = io->ops->run(io, late ? UINT64_MAX : client->deadline_ns);
        if (rc)
            return rc;
        if (!late && gate__op_busy(&look.resolve.op) && has_passed(io, client->deadline_ns)) {
            late = 1;
            io->ops->resolve_cancel(io, &look.resolve);
        }
    }
    if (late && look.result == -ECANCELED)
        return -ETIMEDOUT;
    return look.result ? look.result : connect_any(client, look.resolve.addrs, look.resolve.count);
}

static int connect_client(gate_client *client)
{
    client->kept = 0;
    gate__sockaddr addr; /* or a name: init_client has refused what is neither */
    return gate__addr_numeric(&addr, client->host, client->port) ? connect_name(client)
                                                                 : connect_any(client, &addr, 1);
}

/* ---- Sending ---- */

/* *sent is set once the kernel has taken a byte. */
static int send_bytes(gate_client *client, const uint8_t *bytes, size_t len, int more, int *sent)
{
    gate_io *io = client->io;
    while (len) {
        if (is_over(client))
            return -ETIMEDOUT;
        io->ops->send(io, &client->sock, bytes, len, more ? GATE_IO_MOREOUT : 0, on_out);
        int rc = await(client, &client->sock.out, client->deadline_ns);
        if (rc < 0)
            return rc;
        *sent = *sent || rc > 0;
        bytes += rc;
        len -= (size_t)rc;
    }
    return 0;
}

static int end_input(gate_client *client)
{
    gate_io *io = client->io;
    io->ops->shutdown(io, &client->sock, on_out);
    return await(client, &client->sock.out, client->deadline_ns);
}

static int send_request(gate_client *client, const gate_wrap *wrap, const uint8_t *body, size_t len,
                        int *sent)
{
    size_t behind = len + wrap->tail_len;
    int rc = send_bytes(client, wrap->head, wrap->head_len, behind > 0, sent);
    if (!rc)
        rc = send_bytes(client, body, len, wrap->tail_len > 0, sent);
    if (!rc)
        rc = send_bytes(client, wrap->tail, wrap->tail_len, 0, sent);
    if (!rc && client->codec->flags & GATE_CODEC_UNTIL_EOF) {
        *sent = 1; /* an empty request is all there: the peer may act on the end of input */
        rc = end_input(client);
    }
    return rc;
}

/* ---- Receiving ---- */

static int recv_until(gate_client *client, uint8_t *into, size_t len, uint64_t deadline_ns)
{
    gate_io *io = client->io;
    client->blocking.into = into;
    client->blocking.into_len = len;
    io->ops->recv(io, &client->sock, 0, on_in);
    return await(client, &client->sock.in, deadline_ns);
}

static int recv_some(gate_client *client, uint8_t *into, size_t len)
{
    if (is_over(client) && client->io->now_ns >= client->catch_up_ns)
        return -ETIMEDOUT;
    return recv_until(client, into, len, client->deadline_ns);
}

/* A kept connection that has anything to read before it was asked has been closed by the peer, or
 * is out of step. */
static int is_fresh(gate_client *client)
{
    uint8_t byte;
    return !client->in.len && recv_until(client, &byte, 1, client->io->now_ns) == -ETIMEDOUT;
}

/* What a failed recv means once the request is out. */
static int sent_code(int rc, size_t got)
{
    switch (rc) {
    case -ETIMEDOUT:
        return GATE_ELATE;
    case -ECONNRESET:
    case -EPIPE:
    case 0:
        return got ? GATE_ETRUNCATED : GATE_ECLOSED;
    default:
        return GATE_EBROKEN;
    }
}

/* A connect can join the socket to itself where nobody listens. Looking for that after each connect
 * is a system call; a reply that repeats the request is the sign of it. */
static int met_itself(const gate_client *client, const void *bytes, size_t len)
{
    return client->own && len <= client->own_len && !memcmp(bytes, client->own, len) &&
           gate__io_blocking_met_itself(&client->blocking, &client->sock);
}

/* Of raw and eof: the reply is all that comes until the peer closes. */
static int recv_until_close(gate_client *client, reply_room *reply)
{
    uint8_t beyond[64]; /* shows whether a full room was enough */
    for (;;) {
        size_t room = reply->size - reply->len;
        int rc = room ? recv_some(client, reply->room + reply->len, room)
                      : recv_some(client, beyond, sizeof beyond);
        if (rc == 0)
            return reply->len ? 0 : GATE_ECLOSED;
        if (rc < 0)
            return sent_code(rc, reply->len);
        if ((size_t)rc > room) {
            reply->len = reply->size;
            return GATE_EROOM;
        }
        if (!reply->len && met_itself(client, reply->room, (size_t)rc))
            return GATE_ESELF;
        reply->len += (size_t)rc;
    }
}

static int take_frame(gate_client *client, const gate_frame *frame, reply_room *reply)
{
    if (!gate__frame_fits(frame, client->in.len))
        return GATE_EFRAME;
    reply->len = frame->body_len < reply->size ? frame->body_len : reply->size;
    if (reply->len)
        memcpy(reply->room, gate__inbuf_bytes(&client->in) + frame->body, reply->len);
    int rc = frame->body_len > reply->size ? GATE_EROOM : 0;
    gate__inbuf_consume(&client->in, frame->total);
    return rc;
}

/* *ended: the peer has ended its side. */
static int recv_frame(gate_client *client, reply_room *reply, int *ended)
{
    const gate_codec *codec = client->codec;
    gate_frame frame = {0};
    for (;;) {
        int rc = recv_some(client, NULL, 0);
        if (rc < 0)
            return rc == -ENOMEM ? GATE_EBROKEN : sent_code(rc, client->in.len);
        *ended = rc == 0;
        if (*ended && !(client->in.len && codec->flags & GATE_CODEC_UNTIL_EOF))
            return sent_code(0, client->in.len);
        frame = (gate_frame){.scanned = frame.scanned};
        rc = codec->decode(codec, gate__inbuf_bytes(&client->in), client->in.len, reply->size,
                           *ended, &frame);
        if (rc > 0)
            return take_frame(client, &frame, reply);
        if (rc < 0)
            return rc == GATE_ETOOBIG ? GATE_EROOM : GATE_EFRAME;
        if (*ended)
            return GATE_ETRUNCATED;
    }
}

static int recv_reply(gate_client *client, reply_room *reply, int *ended)
{
    if (!(client->codec->flags & GATE_CODEC_REPLY_UNTIL_CLOSE))
        return recv_frame(client, reply, ended);
    *ended = 1;
    return recv_until_close(client, reply);
}

/* ---- Calls ---- */

static int exchange(gate_client *client, const gate_wrap *wrap, const uint8_t *body, size_t len,
                    reply_room *reply)
{
    int sent = 0;
    int rc = send_request(client, wrap, body, len, &sent);
    if (rc && client->codec->flags & GATE_CODEC_UNTIL_EOF) /* a close would end the request */
        client->io->ops->reset(client->io, &client->sock);
    if (rc && !sent)
        return rc;
    if (rc && rc != -EPIPE && rc != -ECONNRESET)
        return sent_code(rc, 0);
    /* A peer that closed before it had read everything may have answered all the same. But the end
     * of what is read then says nothing: send has taken the reset that recv would have reported. */
    int was_reset = rc == -ECONNRESET;
    int ended = 0;
    rc = recv_reply(client, reply, &ended);
    return !rc && ended && was_reset ? GATE_ETRUNCATED : rc;
}

static int init_client(gate_client *client, gate_io *io, const char *addr, uint16_t port,
                       const gate_codec *codec)
{
    gate__sockaddr numeric;
    if (!addr)
        return -EINVAL;
    int rc = gate__addr_numeric(&numeric, addr, port);
    if (rc < 0)
        return rc;
    memset(client, 0, offsetof(gate_client, host));
    gate__sock_init(&client->sock, -1);
    if (!io) {
        gate__io_blocking_init(&client->blocking);
        io = &client->blocking.io;
    }
    client->io = io;
    client->codec = codec ? codec : gate_codec_raw();
    client->port = port;
    memcpy(client->host, addr, strlen(addr) + 1);
    return gate__codec_check(client->codec);
}

static void free_client(gate_client *client)
{
    disconnect(client);
    gate__inbuf_consume(&client->in, client->in.len);
    if (client->own_io)
        client->io->ops->free(client->io);
}

static int check_call(const void *request, size_t request_len, const void *room,
                      const size_t *reply_len, int timeout_ms)
{
    return (!request && request_len) || !reply_len || (!room && *reply_len) || timeout_ms < -1
               ? -EINVAL
               : 0;
}

/* -1 becomes GATE_NEVER. */
static uint32_t timeout_or_default(int timeout_ms)
{
    return timeout_ms ? (uint32_t)timeout_ms : TIMEOUT_MS;
}

int gate__client_exchange_on(gate_io *io, const char *addr, uint16_t port, const void *request,
                             size_t request_len, void *room, size_t *reply_len, int timeout_ms)
{
    gate_client client;
    int rc = check_call(request, request_len, room, reply_len, timeout_ms);
    if (rc)
        return rc;
    reply_room reply = {.room = room, .size = *reply_len};
    *reply_len = 0;
    rc = init_client(&client, io, addr, port, NULL);
    if (rc)
        return rc;
    client.blocking.unchecked = 1;
    client.own = io ? NULL : request;
    client.own_len = request_len;
    set_deadline(&client, timeout_or_default(timeout_ms));
    rc = connect_client(&client);
    if (!rc)
        rc = exchange(&client, &(gate_wrap){0}, request, request_len, &reply);
    free_client(&client);
    *reply_len = reply.len;
    return rc;
}

int gate_client_exchange(const char *addr, uint16_t port, const void *request, size_t request_len,
                         void *room, size_t *reply_len, int timeout_ms)
{
    return gate__client_exchange_on(NULL, addr, port, request, request_len, room, reply_len,
                                    timeout_ms);
}

int gate__client_open_on(gate_client **client, gate_io *io, const char *addr, uint16_t port,
                         const gate_client_options *options)
{
    gate_client_options known = {.size = sizeof known};
    if (!client)
        return -EINVAL;
    *client = NULL;
    int rc = options ? gate__sized_read(&known, sizeof known, options,
                                        GATE__SIZE_THROUGH(gate_client_options, timeout_ms))
                     : 0;
    if (rc)
        return rc;
    gate_client *made = malloc(sizeof *made);
    if (!made)
        return -ENOMEM;
    rc = init_client(made, io, addr, port, known.codec);
    if (!rc) {
        set_deadline(made, known.timeout_ms ? known.timeout_ms : TIMEOUT_MS);
        rc = connect_client(made);
    }
    if (rc) {
        free(made);
        return rc;
    }
    made->own_io = io != NULL;
    *client = made;
    return 0;
}

int gate_client_open(gate_client **client, const char *addr, uint16_t port,
                     const gate_client_options *options)
{
    return gate__client_open_on(client, NULL, addr, port, options);
}

int gate_client_call(gate_client *client, const void *request, size_t request_len, void *room,
                     size_t *reply_len, int timeout_ms)
{
    gate_wrap wrap;
    int rc = check_call(request, request_len, room, reply_len, timeout_ms);
    if (rc || !client)
        return -EINVAL;
    reply_room reply = {.room = room, .size = *reply_len};
    *reply_len = 0;
    rc = gate__codec_encode(client->codec, request, request_len, &wrap);
    if (rc)
        return rc;
    set_deadline(client, timeout_or_default(timeout_ms));
    if (client->sock.fd >= 0 && client->kept && !is_fresh(client))
        disconnect(client);
    rc = client->sock.fd < 0 ? connect_client(client) : 0;
    if (!rc)
        rc = exchange(client, &wrap, request, request_len, &reply);
    client->kept = 1;
    if (rc || client->codec->flags & GATE_CODEC_ONE_SHOT)
        disconnect(client);
    *reply_len = reply.len;
    return rc;
}

void gate_client_close(gate_client *client)
{
    if (!client)
        return;
    free_client(client);
    free(client);
}
