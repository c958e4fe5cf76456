/* SPDX-License-Identifier: MIT */

/* The submitting half of the backend: what each call records, and what it must not be called with.
 * Nothing is done here, so nothing can complete; sim_run.c does it. */

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "gate/gate.h"
#include "world.h"

enum { SUM_MAX = 4096 };

static sim__io *self(gate_io *io)
{
    return (sim__io *)(void *)io;
}

/* Of the first bytes and the last ones, so that a long send in many small pieces stays cheap. */
uint64_t sim__sum(const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    size_t head = len < SUM_MAX ? len : SUM_MAX;
    uint64_t sum = len;

    for (size_t i = 0; i < head; i++) {
        sum = (sum ^ at[i]) * 0x100000001b3u;
    }
    for (size_t i = len - (len - head < SUM_MAX ? len - head : SUM_MAX); i < len; i++) {
        sum = (sum ^ at[i]) * 0x100000001b3u;
    }
    return sum;
}

static const char *kind_name(unsigned kind)
{
    static const char *const names[] = {"nothing", "accept",   "recv",  "connect",
                                        "send",    "shutdown", "close", "resolve"};

    return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "garbage";
}

/* NULL: refused, and the world has failed. */
static sim__rec *submit(gate_io *io, gate_op *op, unsigned kind, gate_op_done *done)
{
    sim__io *own = self(io);
    sim__rec *rec;

    if (gate__op_busy(op)) {
        sim_failed(own->world, "%s submitted while %s is in flight in its slot", kind_name(kind),
                   kind_name(op->kind));
        return NULL;
    }
    if (done == NULL) {
        sim_failed(own->world, "%s without a done", kind_name(kind));
        return NULL;
    }
    rec = sim__alloc(sizeof(*rec));
    rec->op = op;
    rec->done = done;
    rec->kind = (uint8_t)kind;
    rec->link = own->recs_end;
    *own->recs_end = rec;
    own->recs_end = &rec->next;
    own->recs_len++;
    op->kind = (uint8_t)kind;
    op->done = done;
    return rec;
}

/* The socket of an operation has to be open, this gate_io's, and not about to close. */
static int usable(gate_io *io, const gate_sock *sock, unsigned kind, int listener)
{
    sim_world *world = self(io)->world;
    const sim__slot *slot = sim__fd_slot(world, sock->fd);

    if (slot == NULL) {
        sim_failed(world, "%s on a closed socket (%d)", kind_name(kind), sock->fd);
    } else if (slot->owner != self(io)) {
        sim_failed(world, "%s on the socket of another gate_io", kind_name(kind));
    } else if (listener >= 0 && listener != (slot->listener != NULL)) {
        sim_failed(world, "%s on the wrong kind of socket", kind_name(kind));
    } else if (sock->out.kind == GATE_OP_CLOSE ||
               (sock->out.kind == GATE_OP_SEND && (sock->out.flags & GATE_IO_LAST) != 0)) {
        sim_failed(world, "%s on a socket that is being closed", kind_name(kind));
    } else {
        return 1;
    }
    return 0;
}

static sim__rec *submit_sock(gate_io *io, gate_sock *sock, gate_op *op, unsigned kind,
                             gate_op_done *done)
{
    sim__rec *rec = NULL;

    if (usable(io, sock, kind, kind == GATE_OP_CLOSE ? -1 : kind == GATE_OP_ACCEPT)) {
        rec = submit(io, op, kind, done);
    }
    if (rec != NULL) {
        rec->sock = sock;
    }
    return rec;
}

/* ---- Set-up calls -------------------------------------------------------------------------- */

static int do_listen(gate_io *io, gate_sock *sock, gate__sockaddr *addr, int backlog,
                     unsigned flags, const gate__rights *rights)
{
    sim_world *world = self(io)->world;
    sim__listener *listener;
    gate__sockaddr name = *addr;
    int result = sim__fault(world, SIM_LISTEN_FAULT, &world->knobs.listen);

    (void)rights;
    if (result == 0) {
        result = sim__listener_open(world, &name, backlog, flags, &listener);
    }
    if (result == 0) {
        result = sim__fd_open(world, self(io), NULL, 0, listener);
        if (result < 0) {
            sim__listener_close(listener);
        }
    }
    if (result < 0) {
        return result;
    }
    gate__sock_init(sock, result);
    *addr = name;
    return 0;
}

static int do_adopt(gate_io *io, gate_sock *sock, int fd, gate__sockaddr *addr)
{
    sim__slot *slot = sim__fd_slot(self(io)->world, fd);

    if (slot == NULL) {
        return -EBADF;
    }
    if (slot->listener == NULL) {
        return -EINVAL;
    }
    slot->owner = self(io);
    gate__sock_init(sock, fd);
    *addr = slot->listener->name;
    return 0;
}

static int do_same(gate_io *io, int fd, int other)
{
    const sim__slot *one = sim__fd_slot(self(io)->world, fd);
    const sim__slot *two = sim__fd_slot(self(io)->world, other);

    return one != NULL && two != NULL && one->listener != NULL && one->listener == two->listener;
}

static void do_pause(gate_io *io, uint64_t ns)
{
    sim_world *world = self(io)->world;

    world->now_ns += ns;
    sim__pump(world);
    io->now_ns = world->now_ns;
}

static uint64_t do_random(gate_io *io)
{
    return sim_seed(self(io)->world) * 0x9E3779B97F4A7C15u;
}

static void do_discard(gate_io *io, int fd)
{
    sim__io *own = self(io);
    const sim__slot *slot = sim__fd_slot(own->world, fd);

    if (slot == NULL || slot->owner != own) {
        sim_failed(own->world, "discard of a descriptor that is not open here (%d)", fd);
        return;
    }
    for (const sim__rec *rec = own->recs; rec != NULL && !own->world->failed; rec = rec->next) {
        if (rec->sock != NULL && rec->sock->fd == fd && !rec->finished) {
            sim_failed(own->world, "discard with %s in flight", kind_name(rec->kind));
        }
    }
    sim__fd_close(own->world, fd);
}

static int do_peer(gate_io *io, const gate_sock *sock, gate__sockaddr *addr)
{
    const sim__slot *slot = sim__fd_slot(self(io)->world, sock->fd);

    if (slot == NULL) {
        return -EBADF;
    }
    if (slot->conn == NULL) {
        return -ENOTCONN;
    }
    *addr = slot->conn->end[!slot->side].name;
    return 0;
}

static size_t do_unacked(gate_io *io, const gate_sock *sock)
{
    const sim__slot *slot = sim__fd_slot(self(io)->world, sock->fd);

    if (slot == NULL || slot->conn == NULL) {
        return 0;
    }
    return slot->conn->flow[slot->side].len - slot->conn->flow[slot->side].seen;
}

static void do_reset(gate_io *io, gate_sock *sock)
{
    sim__slot *slot = sim__fd_slot(self(io)->world, sock->fd);

    if (slot == NULL || slot->conn == NULL) {
        sim_failed(self(io)->world, "reset of what is no connection (%d)", sock->fd);
    } else {
        slot->reset = 1;
    }
}

static uint64_t do_now(gate_io *io)
{
    return io->now_ns = self(io)->world->now_ns;
}

/* ---- Operations ---------------------------------------------------------------------------- */

static void do_accept(gate_io *io, gate_sock *sock, unsigned flags, gate_op_done *done)
{
    sim__rec *rec = submit_sock(io, sock, &sock->in, GATE_OP_ACCEPT, done);

    if (rec != NULL) {
        sock->in.flags = (uint16_t)flags;
    }
}

static void do_connect(gate_io *io, gate_sock *sock, const gate__sockaddr *addr, gate_op_done *done)
{
    sim_world *world = self(io)->world;
    gate__sockaddr from = sim_addr("127.0.0.1", world->next_port++);
    sim__rec *rec;
    int fault;

    if (sim__fd_slot(world, sock->fd) != NULL) {
        sim_failed(world, "connect on an open socket");
        return;
    }
    rec = submit(io, &sock->out, GATE_OP_CONNECT, done);
    if (rec == NULL) {
        return;
    }
    rec->sock = sock;
    fault = sim__fault(world, SIM_CONNECT_FAULT, &world->knobs.connect);
    if (fault == 0) {
        sim__conn *conn = sim__conn_open(world, addr, &from);

        sock->fd = sim__fd_open(world, self(io), conn, 0, NULL);
        if (sock->fd < 0) {
            fault = sock->fd;
            sock->fd = -1;
            sim__conn_close(conn, 0);
        }
    }
    rec->result = fault;
}

static void do_recv(gate_io *io, gate_sock *sock, unsigned flags, gate_op_done *done)
{
    sim__rec *rec = submit_sock(io, sock, &sock->in, GATE_OP_RECV, done);

    if (rec != NULL) {
        sim__conn *conn = sim__fd_slot(self(io)->world, sock->fd)->conn;

        sock->in.flags = (uint16_t)flags;
        if (conn->accepted_ns == 0) { /* it may have waited for a place until now */
            conn->accepted_ns = conn->moved_ns = io->now_ns;
        }
    }
}

static void do_send(gate_io *io, gate_sock *sock, const void *buf, size_t len, unsigned flags,
                    gate_op_done *done)
{
    sim__rec *rec;

    if (len == 0 || buf == NULL) {
        sim_failed(self(io)->world, "send of nothing");
        return;
    }
    if ((flags & GATE_IO_LAST) && gate__op_busy(&sock->in)) {
        sim_failed(self(io)->world, "last send with a recv in flight");
        return;
    }
    rec = submit_sock(io, sock, &sock->out, GATE_OP_SEND, done);
    if (rec != NULL) {
        rec->sum = sim__sum(buf, len);
        rec->bytes = buf;
        sock->out.buf = buf;
        sock->out.len = len;
        sock->out.flags = (uint16_t)flags;
        sim__fd_slot(self(io)->world, sock->fd)->conn->moved_ns = self(io)->world->now_ns;
    }
    if (flags & (GATE_IO_LAST | GATE_IO_END)) {
        sim__maybe_at_once(self(io), rec);
    }
}

static void do_shutdown(gate_io *io, gate_sock *sock, gate_op_done *done)
{
    sim__maybe_at_once(self(io), submit_sock(io, sock, &sock->out, GATE_OP_SHUTDOWN, done));
}

static void do_close(gate_io *io, gate_sock *sock, gate_op_done *done)
{
    if (gate__op_busy(&sock->in)) {
        sim_failed(self(io)->world, "close with %s in flight", kind_name(sock->in.kind));
        return;
    }
    sim__maybe_at_once(self(io), submit_sock(io, sock, &sock->out, GATE_OP_CLOSE, done));
}

static int holds(const void *block, size_t size, const void *at)
{
    return (uintptr_t)at >= (uintptr_t)block && (uintptr_t)at - (uintptr_t)block < size;
}

void sim__freed(sim_world *world, const void *block, size_t size)
{
    for (const sim__io *io = world->ios; io != NULL && !world->failed; io = io->next) {
        for (const sim__rec *rec = io->recs; rec != NULL && !world->failed; rec = rec->next) {
            if (holds(block, size, rec->op)) {
                sim_failed(world, "freed with its %s in flight", kind_name(rec->kind));
            } else if (rec->kind == GATE_OP_SEND && holds(block, size, rec->bytes)) {
                sim_failed(world, "bytes of a send in flight were freed");
            }
        }
    }
}

static sim__rec *find(sim__io *io, const gate_op *op)
{
    sim__rec *rec = io->recs;

    while (rec != NULL && rec->op != op) {
        rec = rec->next;
    }
    return rec;
}

static void do_cancel(gate_io *io, gate_sock *sock, gate_op *op)
{
    sim__rec *rec = find(self(io), op);

    if (op != &sock->in && op != &sock->out) {
        sim_failed(self(io)->world, "cancel of an op that is not the socket's");
    } else if (rec != NULL) {
        rec->cancelled = 1;
    } else if (gate__op_busy(op)) {
        sim_failed(self(io)->world, "cancel of an op of another gate_io");
    }
}

/* ---- Names --------------------------------------------------------------------------------- */

void sim_resolves(sim_world *world, const char *host, int result, const gate__sockaddr *addrs,
                  size_t count, uint64_t delay_ns)
{
    sim__name *name = sim__alloc(sizeof(*name));

    name->host = sim__alloc(strlen(host) + 1);
    memcpy(name->host, host, strlen(host) + 1);
    name->result = result;
    name->delay_ns = delay_ns;
    while (name->count < count && name->count < GATE_RESOLVE_MAX) {
        name->addrs[name->count] = addrs[name->count];
        name->count++;
    }
    name->next = world->names;
    world->names = name;
}

/* Of the name service. */
static void ask(sim_world *world, sim__rec *rec)
{
    gate_resolve *resolve = rec->resolve;
    const sim__name *name = world->names;

    resolve->job = rec;
    while (name != NULL && strcmp(name->host, resolve->host) != 0) {
        name = name->next;
    }
    rec->result = name != NULL ? name->result : GATE_ENAME;
    rec->due_ns = world->now_ns + (name != NULL ? name->delay_ns : 0);
    if (rec->result != 0) {
        return;
    }
    resolve->count = name->count;
    memcpy(resolve->addrs, name->addrs, sizeof(resolve->addrs));
    for (unsigned i = 0; i < name->count; i++) {
        if (resolve->addrs[i].u.any.sa_family != AF_UNIX) {
            resolve->addrs[i].u.in4.sin_port = htons(resolve->port);
        }
    }
}

static void do_resolve(gate_io *io, gate_resolve *resolve, gate_op_done *done)
{
    sim_world *world = self(io)->world;
    sim__rec *rec = submit(io, &resolve->op, GATE_OP_RESOLVE, done);

    if (rec == NULL) {
        return;
    }
    rec->resolve = resolve;
    rec->due_ns = world->now_ns;
    rec->result = gate__addr_numeric(&resolve->addrs[0], resolve->host, resolve->port);
    resolve->count = rec->result == 0;
    resolve->job = NULL;
    if (rec->result == 1) {
        ask(world, rec);
    }
    sim__at(world, rec->due_ns, sim__nothing, NULL);
}

/* A number's answer is there at once. */
static void do_resolve_cancel(gate_io *io, gate_resolve *resolve)
{
    sim__rec *rec = find(self(io), &resolve->op);

    if (rec != NULL && resolve->job != NULL) {
        rec->cancelled = 1;
    }
}

/* ---- The gate_io itself -------------------------------------------------------------------- */

static void do_wake(gate_io *io)
{
    self(io)->woken = 1;
}

static void do_free(gate_io *io)
{
    sim__io *own = self(io);
    sim_world *world = own->world;
    sim__io **link = &world->ios;

    if (own->recs != NULL && !world->failed) {
        sim_failed(world, "freed with %s in flight", kind_name(own->recs->kind));
    }
    while (own->recs != NULL) {
        sim__rec *rec = own->recs;

        own->recs = rec->next;
        free(rec);
    }
    while (own->held != NULL) {
        sim__held *held = own->held;

        own->held = held->next;
        free(held->result.bytes);
        free(held);
    }
    while (*link != own) {
        link = &(*link)->next;
    }
    *link = own->next;
    free(own);
}

static const gate_io_ops sim_ops = {
    .name = "sim",
    .listen = do_listen,
    .adopt = do_adopt,
    .same = do_same,
    .pause = do_pause,
    .random = do_random,
    .discard = do_discard,
    .unacked = do_unacked,
    .reset = do_reset,
    .peer = do_peer,
    .accept = do_accept,
    .connect = do_connect,
    .recv = do_recv,
    .send = do_send,
    .shutdown = do_shutdown,
    .close = do_close,
    .cancel = do_cancel,
    .resolve = do_resolve,
    .resolve_cancel = do_resolve_cancel,
    .run = sim__run,
    .now = do_now,
    .wake = do_wake,
    .free = do_free,
};

gate_io *sim_io_open(sim_world *world)
{
    sim__io *io = sim__alloc(sizeof(*io));

    io->base.ops = &sim_ops;
    io->base.now_ns = world->now_ns;
    io->world = world;
    io->recs_end = &io->recs;
    io->held_end = &io->held;
    io->next = world->ios;
    world->ios = io;
    return &io->base;
}

int sim_io_for(gate_io **io, uint32_t kind, void *world)
{
    sim_world *in = world;
    int fault = sim__fault(in, SIM_OPEN_FAULT, &in->knobs.open);

    (void)kind;
    if (fault == 0) {
        *io = sim_io_open(in);
    }
    return fault;
}
