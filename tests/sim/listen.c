/* SPDX-License-Identifier: MIT */

/* Listeners with their queues, and the table of descriptors, of which the lowest free one is always
 * the next. */

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

enum { DESCRIPTORS_DEFAULT = 65536, BACKLOG_MAX = 4096, PORTS = 25000 };

/* A connection that finds the queue full tries again, as a client's kernel does. */
#define RETRY_NS ((uint64_t)SIM_SECOND)

gate__sockaddr sim_addr(const char *host, uint16_t port)
{
    gate__sockaddr addr = {.len = sizeof(addr.u.in4)};

    addr.u.in4.sin_family = AF_INET;
    addr.u.in4.sin_port = htons(port);
    if (inet_pton(AF_INET, host, &addr.u.in4.sin_addr) != 1) {
        abort();
    }
    return addr;
}

/* IPv4 and IPv6 keep the port at the same place. */
static uint16_t port_of(const gate__sockaddr *addr)
{
    return addr->u.any.sa_family == AF_UNIX ? 0 : ntohs(addr->u.in4.sin_port);
}

static int wildcard(const gate__sockaddr *addr)
{
    if (addr->u.any.sa_family == AF_INET) {
        return addr->u.in4.sin_addr.s_addr == INADDR_ANY;
    }
    return addr->u.any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&addr->u.in6.sin6_addr);
}

static int covers(const gate__sockaddr *name, const gate__sockaddr *to)
{
    int family = to->u.any.sa_family;

    if (name->u.any.sa_family == AF_INET6 && wildcard(name) && family != AF_UNIX) {
        return port_of(name) == port_of(to);
    }
    if (name->u.any.sa_family != family || port_of(name) != port_of(to)) {
        return 0;
    }
    if (family == AF_INET) {
        return wildcard(name) || name->u.in4.sin_addr.s_addr == to->u.in4.sin_addr.s_addr;
    }
    if (family == AF_INET6) {
        return memcmp(&name->u.in6.sin6_addr, &to->u.in6.sin6_addr, 16) == 0;
    }
    return name->len == to->len && memcmp(&name->u, &to->u, to->len) == 0;
}

/* One of those that share the address, drawn as the kernel's hash would. */
static sim__listener *find(sim_world *world, const gate__sockaddr *to)
{
    sim__listener *found = NULL;
    uint64_t count = 0;

    for (sim__listener *one = world->listeners; one != NULL; one = one->next) {
        if (covers(&one->name, to) && (++count == 1 || sim_rng_below(&world->net, count) == 0)) {
            found = one;
        }
    }
    return found;
}

static int taken(sim_world *world, const gate__sockaddr *addr, unsigned flags)
{
    for (sim__listener *one = world->listeners; one != NULL; one = one->next) {
        if ((covers(&one->name, addr) || covers(addr, &one->name)) &&
            !((flags & GATE_IO_JOIN) && one->flags != 0)) {
            return 1;
        }
    }
    return 0;
}

static int choose_port(sim_world *world, gate__sockaddr *addr)
{
    for (int tries = 0; tries < PORTS; tries++) {
        addr->u.in4.sin_port = htons(world->next_port++);
        if (world->next_port == 0) {
            world->next_port = 40000;
        }
        if (!taken(world, addr, 0)) {
            return 0;
        }
    }
    return -EADDRINUSE;
}

int sim__listener_open(sim_world *world, gate__sockaddr *addr, int backlog, unsigned flags,
                       sim__listener **out)
{
    sim__listener *listener;
    int result = 0;

    if (addr->u.any.sa_family != AF_UNIX && port_of(addr) == 0) {
        result = choose_port(world, addr);
    } else if (taken(world, addr, flags)) {
        result = -EADDRINUSE;
    }
    if (result != 0) {
        return result;
    }
    listener = sim__alloc(sizeof(*listener));
    listener->world = world;
    listener->name = *addr;
    listener->flags = flags & (GATE_IO_SHARED | GATE_IO_JOIN);
    listener->room = (backlog < 0 || backlog > BACKLOG_MAX ? BACKLOG_MAX : (size_t)backlog) + 1;
    listener->queue = sim__alloc(listener->room * sizeof(*listener->queue));
    listener->next = world->listeners;
    world->listeners = listener;
    *out = listener;
    return 0;
}

void sim__listener_close(sim__listener *listener)
{
    sim__listener **link = &listener->world->listeners;

    while (*link != listener) {
        link = &(*link)->next;
    }
    *link = listener->next;
    /* The first is the oldest. */
    if (listener->count > 0 && listener->queue[0]->queued_ns < listener->world->queue_lost_ns) {
        listener->world->queue_lost_ns = listener->queue[0]->queued_ns;
    }
    for (size_t i = 0; i < listener->count; i++) {
        sim__conn_reset(listener->queue[i], 1);
    }
    free(listener->queue);
    free(listener);
}

sim__conn *sim__listener_pop(sim__listener *listener)
{
    sim__conn *conn = listener->queue[0];

    listener->count--;
    memmove(listener->queue, listener->queue + 1, listener->count * sizeof(*listener->queue));
    listener->world->progress++;
    return conn;
}

/* ---- The handshake ------------------------------------------------------------------------- */

/* Side 0 hears of it. */
static void established(sim_world *world, void *arg)
{
    sim__conn *conn = arg;

    world->progress++;
    if (conn->connected == 0) {
        conn->connected = conn->end[1].open || conn->end[1].dead ? 1 : -ECONNREFUSED;
    }
    if (conn->end[0].peer != NULL) {
        sim_peer_kick(conn->end[0].peer);
    }
    sim__conn_unref(conn);
}

void sim__syn(sim_world *world, void *arg)
{
    sim__conn *conn = arg;
    sim__listener *listener = find(world, &conn->end[1].name);

    world->progress++;
    if (!conn->end[0].open) {
        sim__conn_unref(conn);
        return;
    }
    if (listener != NULL && listener->count == listener->room) {
        sim__at(world, world->now_ns + RETRY_NS, sim__syn, conn);
        return;
    }
    if (listener != NULL) {
        conn->end[1].open = 1;
        conn->refs++;
        if (listener->accepted != NULL) {
            listener->accepted(sim__peer_new(world, conn, 1), listener->arg);
        } else {
            conn->queued_ns = world->now_ns;
            listener->queue[listener->count++] = conn;
        }
    }
    conn->flow[1].last_ns = world->now_ns + sim__latency(world);
    sim__at(world, conn->flow[1].last_ns, established, conn);
}

/* ---- Descriptors --------------------------------------------------------------------------- */

int sim__fd_open(sim_world *world, sim__io *owner, sim__conn *conn, int side,
                 sim__listener *listener)
{
    uint32_t max =
        world->knobs.descriptors_max ? world->knobs.descriptors_max : DESCRIPTORS_DEFAULT;
    size_t index = 0;

    while (index < world->slots_len &&
           (world->slots[index].conn != NULL || world->slots[index].listener != NULL)) {
        index++;
    }
    if (index >= max) {
        world->fired[SIM_EMFILE]++;
        return -EMFILE;
    }
    if (index == world->slots_len) {
        world->slots_len = world->slots_len ? world->slots_len * 2 : 16;
        world->slots = sim__grow(world->slots, world->slots_len * sizeof(*world->slots));
        memset(world->slots + index, 0, (world->slots_len - index) * sizeof(*world->slots));
    }
    world->slots[index] =
        (sim__slot){.conn = conn, .listener = listener, .side = side, .owner = owner};
    world->slots_used++;
    world->progress++;
    return SIM__FD_BASE + (int)index;
}

sim__slot *sim__fd_slot(sim_world *world, int fd)
{
    sim__slot *slot;

    if (fd < SIM__FD_BASE || (size_t)(fd - SIM__FD_BASE) >= world->slots_len) {
        return NULL;
    }
    slot = &world->slots[fd - SIM__FD_BASE];
    return slot->conn != NULL || slot->listener != NULL ? slot : NULL;
}

/* Frees the slot, and says what it held. */
static sim__slot take_slot(sim_world *world, int fd)
{
    sim__slot *slot = sim__fd_slot(world, fd);
    sim__slot kept = *slot;

    *slot = (sim__slot){0};
    world->slots_used--;
    world->progress++;
    return kept;
}

void sim__fd_reset(sim_world *world, int fd)
{
    sim__slot kept = take_slot(world, fd);

    sim__conn_reset(kept.conn, kept.side);
}

void sim__fd_close(sim_world *world, int fd)
{
    sim__slot kept = take_slot(world, fd);

    if (kept.listener != NULL) {
        sim__listener_close(kept.listener);
    } else if (kept.reset) {
        sim__conn_reset(kept.conn, kept.side);
    } else {
        sim__conn_close(kept.conn, kept.side);
    }
}

int sim_listen_fd(sim_world *world, gate__sockaddr *addr, int backlog)
{
    sim__listener *listener;
    int result = sim__listener_open(world, addr, backlog, 0, &listener);

    if (result == 0) {
        result = sim__fd_open(world, NULL, NULL, 0, listener);
    }
    return result;
}
