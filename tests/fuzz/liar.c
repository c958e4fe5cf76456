/* SPDX-License-Identifier: MIT */
#include "liar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <gate/gate.h>

enum { FD = 7, CANCEL_IN = 1, CANCEL_OUT = 2, CANCEL_LOOKUP = 4, MS_NS = 1000000 };

static liar *of(gate_io *io)
{
    return (liar *)(void *)io;
}

/* ---- What is remembered ---- */

void liar_forget(liar *l)
{
    free(l->sent);
    free(l->said);
    l->sent = l->said = NULL;
    l->sent_len = l->said_len = 0;
    l->ended = l->said_end = 0;
}

static void remember(uint8_t **bytes, size_t *len, const void *more, size_t more_len)
{
    uint8_t *grown = realloc(*bytes, *len + more_len);

    CHECK(grown != NULL);
    memcpy(grown + *len, more, more_len);
    *bytes = grown;
    *len += more_len;
}

/* ---- Submitting ---- */

static void begin(gate_op *op, uint8_t kind, gate_op_done *done)
{
    CHECK(op->kind == GATE_OP_NONE);
    op->kind = kind;
    op->done = done;
}

static void begin_out(gate_io *io, gate_sock *sock, uint8_t kind, gate_op_done *done)
{
    liar *l = of(io);

    CHECK(l->out == NULL && (kind == GATE_OP_CONNECT) == (sock->fd < 0));
    begin(&sock->out, kind, done);
    l->sock = sock;
    l->out = &sock->out;
}

static void submit_connect(gate_io *io, gate_sock *sock, const gate__sockaddr *addr,
                           gate_op_done *done)
{
    CHECK(addr->len > 0 && of(io)->open == 0);
    begin_out(io, sock, GATE_OP_CONNECT, done);
}

static void submit_recv(gate_io *io, gate_sock *sock, unsigned flags, gate_op_done *done)
{
    liar *l = of(io);

    CHECK(l->in == NULL && sock->fd == FD && flags == 0);
    begin(&sock->in, GATE_OP_RECV, done);
    l->sock = sock;
    l->in = &sock->in;
}

static void submit_send(gate_io *io, gate_sock *sock, const void *buf, size_t len, unsigned flags,
                        gate_op_done *done)
{
    CHECK(len > 0 && (flags & ~(unsigned)GATE_IO_MOREOUT) == 0 && !of(io)->ended);
    begin_out(io, sock, GATE_OP_SEND, done);
    sock->out.buf = buf;
    sock->out.len = len;
}

static void submit_shutdown(gate_io *io, gate_sock *sock, gate_op_done *done)
{
    begin_out(io, sock, GATE_OP_SHUTDOWN, done);
}

static void submit_close(gate_io *io, gate_sock *sock, gate_op_done *done)
{
    CHECK(of(io)->in == NULL);
    begin_out(io, sock, GATE_OP_CLOSE, done);
}

static void cancel(gate_io *io, gate_sock *sock, gate_op *op)
{
    if (op->kind != GATE_OP_NONE)
        of(io)->cancelled |= op == &sock->in ? CANCEL_IN : CANCEL_OUT;
}

static void submit_resolve(gate_io *io, gate_resolve *resolve, gate_op_done *done)
{
    begin(&resolve->op, GATE_OP_RESOLVE, done);
    of(io)->lookup = resolve;
}

static void cancel_resolve(gate_io *io, gate_resolve *resolve)
{
    CHECK(of(io)->lookup == resolve);
    of(io)->cancelled |= CANCEL_LOOKUP;
}

/* ---- Completing: 0 when the op goes on waiting ---- */

/* What was to be cancelled may have been about to complete. */
static int is_cancelled(const liar *l, int which, uint8_t draw)
{
    return (l->cancelled & which) && draw % 4 != 3;
}

static int end_out(liar *l, int result)
{
    gate_op *op = l->out;

    l->out = NULL;
    l->cancelled &= ~CANCEL_OUT;
    op->kind = GATE_OP_NONE;
    op->done(&l->io, op, result, 0);
    return 1;
}

static int play_connect(liar *l, uint8_t draw)
{
    static const int errors[] = {-ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH, GATE_EPORTS, GATE_ESELF};

    if (draw % 16 == 15)
        return 0;
    if (draw % 16 > 9)
        return end_out(l, errors[draw % 16 - 10]);
    liar_forget(l);
    l->open++;
    l->sock->fd = FD;
    return end_out(l, 0);
}

static int play_send(liar *l, uint8_t draw)
{
    static const int errors[] = {-EPIPE, -ECONNRESET, -ENOBUFS, -EHOSTUNREACH};
    size_t len = l->out->len;

    if (draw % 16 == 15)
        return 0;
    if (draw % 16 > 10)
        return end_out(l, errors[draw % 16 - 11]);
    if (draw % 16 > 5)
        len = 1 + draw % len;
    remember(&l->sent, &l->sent_len, l->out->buf, len);
    return end_out(l, (int)len);
}

static int play_out(liar *l, uint8_t draw)
{
    int kind = l->out->kind;

    if (is_cancelled(l, CANCEL_OUT, draw) && kind != GATE_OP_CLOSE && kind != GATE_OP_SHUTDOWN)
        return end_out(l, -ECANCELED);
    switch (kind) {
    case GATE_OP_CONNECT:
        return play_connect(l, draw);
    case GATE_OP_SEND:
        return play_send(l, draw);
    case GATE_OP_SHUTDOWN:
        l->ended = 1;
        return end_out(l, draw % 8 == 7 ? -ENOTCONN : 0);
    default: /* GATE_OP_CLOSE */
        l->open--;
        l->sock->fd = -1;
        return end_out(l, draw % 8 == 7 ? -EIO : 0);
    }
}

static int end_in(liar *l, const uint8_t *bytes, int result)
{
    gate_op *op = l->in;

    l->in = NULL;
    l->cancelled &= ~CANCEL_IN;
    op->kind = GATE_OP_NONE;
    op->buf = bytes;
    op->done(&l->io, op, result, 0);
    return 1;
}

/* The bytes are lent until the callback returns, and no longer. */
static int play_in(liar *l, uint8_t draw)
{
    static const int errors[] = {-ECONNRESET, -EPIPE, -ETIMEDOUT, -EHOSTUNREACH};
    const uint8_t *bytes;

    if (is_cancelled(l, CANCEL_IN, draw))
        return end_in(l, NULL, -ECANCELED);
    if (draw >= 248)
        return 0;
    if (draw >= 240)
        return end_in(l, NULL, errors[draw % 4]);
    size_t len = fuzz_bytes(l->script, draw, &bytes);
    if (len == 0) {
        l->said_end = 1;
        return end_in(l, NULL, 0);
    }
    remember(&l->said, &l->said_len, bytes, len);
    uint8_t *lent = fuzz_copy(bytes, len);
    (void)end_in(l, lent, (int)len);
    free(lent);
    return 1;
}

static int end_lookup(liar *l, int result)
{
    gate_resolve *lookup = l->lookup;

    l->lookup = NULL;
    l->cancelled &= ~CANCEL_LOOKUP;
    lookup->op.kind = GATE_OP_NONE;
    lookup->op.done(&l->io, &lookup->op, result, 0);
    return 1;
}

static int play_lookup(liar *l, uint8_t draw)
{
    static const int errors[] = {GATE_ENAME, GATE_ENAMELATER, -ENOMEM};

    if (is_cancelled(l, CANCEL_LOOKUP, draw))
        return end_lookup(l, -ECANCELED);
    if (draw % 16 == 15)
        return 0;
    if (draw % 16 > 11)
        return end_lookup(l, errors[draw % 16 - 12]);
    l->lookup->count = (uint16_t)(1 + draw % GATE_RESOLVE_MAX);
    for (uint16_t i = 0; i < l->lookup->count; i++)
        CHECK(gate__addr_numeric(&l->lookup->addrs[i], "127.0.0.1", l->lookup->port) == 0);
    return end_lookup(l, 0);
}

/* One op completes, or time comes to the deadline. Without a deadline nobody waits for ever. A turn
 * in which nothing completes may have been interrupted before it looked for events. */
static int run(gate_io *io, uint64_t deadline_ns)
{
    liar *l = of(io);
    int done = 0;

    CHECK(++l->turns < LIAR_TURNS_MAX);
    uint8_t draw = l->in || l->out || l->lookup ? fuzz_byte(l->script) : 0;
    if (l->out)
        done = play_out(l, draw);
    else if (l->in)
        done = play_in(l, draw);
    else if (l->lookup)
        done = play_lookup(l, draw);
    if (!done && deadline_ns != UINT64_MAX && deadline_ns > io->now_ns)
        io->now_ns = deadline_ns;
    else
        io->now_ns += draw % 2 * MS_NS;
    if (done || draw < 0xe0)
        io->turn_ns = io->now_ns;
    return 0;
}

/* Which a close here has no need to tell. */
static void reset(gate_io *io, gate_sock *sock)
{
    (void)io;
    CHECK(sock->fd >= 0);
}

static void free_io(gate_io *io)
{
    liar *l = of(io);

    CHECK(!l->in && !l->out && !l->lookup && l->open == 0);
    l->freed++;
}

static const gate_io_ops ops = {
    .name = "liar",
    .reset = reset,
    .connect = submit_connect,
    .recv = submit_recv,
    .send = submit_send,
    .shutdown = submit_shutdown,
    .close = submit_close,
    .cancel = cancel,
    .resolve = submit_resolve,
    .resolve_cancel = cancel_resolve,
    .run = run,
    .free = free_io,
};

void liar_init(liar *l, fuzz_input *script)
{
    *l = (liar){.io = {.ops = &ops, .now_ns = 1000 * (uint64_t)MS_NS}, .script = script};
}
