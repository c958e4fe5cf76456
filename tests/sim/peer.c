/* SPDX-License-Identifier: MIT */

/* Scripted peers: ends of connections that belong to the test. A peer takes its turns as events:
 * when something about its connection is different, when the test asked, and when its pace allows
 * the next read or send. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

enum { STAY = 0, END_OUTPUT = 1, CLOSE = 2 };

static void take_turn(sim_world *world, void *arg);

sim_peer *sim__peer_new(sim_world *world, sim__conn *conn, int side)
{
    sim_peer *peer = sim__alloc(sizeof(*peer));

    peer->world = world;
    peer->conn = conn;
    peer->side = side;
    peer->next = world->peers;
    world->peers = peer;
    conn->end[side].peer = peer;
    sim_peer_kick(peer);
    return peer;
}

sim_peer *sim_peer_connect(sim_world *world, const gate__sockaddr *to, const char *from)
{
    gate__sockaddr name = sim_addr(from ? from : "198.51.100.1", world->next_port++);

    return sim__peer_new(world, sim__conn_open(world, to, &name), 0);
}

void sim_peer_kick(sim_peer *peer)
{
    if (!peer->queued && !peer->closed) {
        peer->queued = 1;
        sim__at(peer->world, peer->world->now_ns, take_turn, peer);
    }
}

static void append(uint8_t **bytes, size_t *len, size_t *room, const void *more, size_t more_len)
{
    if (*len + more_len > *room) {
        *room = 2 * (*len + more_len);
        *bytes = sim__grow(*bytes, *room);
    }
    if (more_len > 0) {
        memcpy(*bytes + *len, more, more_len);
    }
    *len += more_len;
}

static void leave(sim_peer *peer, int with_reset)
{
    if (peer->closed) {
        return;
    }
    peer->closed = 1;
    peer->outbox_len = 0;
    if (with_reset) {
        sim__conn_reset(peer->conn, peer->side);
    } else {
        sim__conn_close(peer->conn, peer->side);
    }
    peer->conn = NULL;
}

static void read_due(sim_world *world, void *arg)
{
    sim_peer *peer = arg;

    (void)world;
    peer->read_waits = 0;
    sim_peer_kick(peer);
}

static void send_due(sim_world *world, void *arg)
{
    sim_peer *peer = arg;

    (void)world;
    peer->send_waits = 0;
    sim_peer_kick(peer);
}

/* Has there be a turn at at_ns; one event at a time. */
static void await(sim_peer *peer, int *waits, uint64_t at_ns, sim_event *due)
{
    if (!*waits) {
        *waits = 1;
        sim__at(peer->world, at_ns, due, peer);
    }
}

static void read_some(sim_peer *peer)
{
    sim__flow *flow = &peer->conn->flow[!peer->side];
    size_t len = flow->seen;

    if (peer->read_stopped || len == 0) {
        return;
    }
    if (peer->world->now_ns < peer->read_next_ns) {
        await(peer, &peer->read_waits, peer->read_next_ns, read_due);
        return;
    }
    if (peer->read_max != 0 && len > peer->read_max) {
        len = peer->read_max;
    }
    if (peer->got_len == 0) {
        peer->first_ns = peer->world->now_ns;
    }
    append(&peer->got, &peer->got_len, &peer->got_room, flow->bytes + flow->head, len);
    sim__conn_recv(peer->conn, peer->side, peer->got + peer->got_len - len, len);
    peer->read_next_ns = peer->world->now_ns + peer->read_every_ns;
    if (flow->seen > 0) {
        await(peer, &peer->read_waits, peer->read_next_ns, read_due);
    }
}

static void send_some(sim_peer *peer)
{
    size_t len = peer->outbox_len;
    int sent;

    if (len == 0) {
        return;
    }
    if (peer->world->now_ns < peer->send_next_ns) {
        await(peer, &peer->send_waits, peer->send_next_ns, send_due);
        return;
    }
    if (peer->send_max != 0 && len > peer->send_max) {
        len = peer->send_max;
    }
    sent = sim__conn_send(peer->conn, peer->side, peer->outbox, len);
    if (sent < 0) {
        peer->outbox_len = 0;
        return;
    }
    memmove(peer->outbox, peer->outbox + sent, peer->outbox_len - (size_t)sent);
    peer->outbox_len -= (size_t)sent;
    peer->sent += (uint64_t)sent;
    peer->send_next_ns = peer->world->now_ns + peer->send_every_ns;
    /* Without room, the other side's next read gives a turn. */
    if (peer->outbox_len > 0 && sent > 0) {
        await(peer, &peer->send_waits, peer->send_next_ns, send_due);
    }
}

void sim__peer_arrival(sim_peer *peer)
{
    if (peer->connected == 1 && peer->read_every_ns == 0) {
        read_some(peer);
    }
    sim_peer_kick(peer);
}

static void notice_end(sim_peer *peer)
{
    const sim__conn *conn = peer->conn;

    if (conn->end[peer->side].dead && !peer->reset) {
        peer->reset = 1;
        peer->end_ns = peer->world->now_ns;
        leave(peer, 0);
        return;
    }
    if (conn->flow[!peer->side].end_seen && conn->flow[!peer->side].seen == 0 && !peer->eof &&
        !peer->read_stopped) {
        peer->eof = 1;
        peer->end_ns = peer->world->now_ns;
        if (!peer->stays) {
            leave(peer, 0);
        }
    }
}

static void take_turn(sim_world *world, void *arg)
{
    sim_peer *peer = arg;

    peer->queued = 0;
    if (peer->closed) {
        return;
    }
    if (peer->connected == 0) {
        peer->connected = peer->side == 1 ? 1 : peer->conn->connected;
        peer->connected_ns = world->now_ns;
        if (peer->connected < 0) {
            leave(peer, 0);
        }
    }
    if (peer->connected == 1) {
        read_some(peer);
        send_some(peer);
        if (peer->outbox_len == 0 && peer->closing == CLOSE) {
            leave(peer, 0);
        } else if (peer->outbox_len == 0 && peer->closing == END_OUTPUT) {
            sim__conn_end(peer->conn, peer->side);
        }
    }
    if (!peer->closed && peer->connected == 1) {
        notice_end(peer);
    }
    if (peer->changed != NULL) {
        peer->changed(peer, peer->arg);
    }
}

void sim_peer_send(sim_peer *peer, const void *bytes, size_t len)
{
    if (!peer->closed) {
        append(&peer->outbox, &peer->outbox_len, &peer->outbox_room, bytes, len);
        sim_peer_kick(peer);
    }
}

void sim_peer_half_close(sim_peer *peer)
{
    if (peer->closing == STAY) {
        peer->closing = END_OUTPUT;
        sim_peer_kick(peer);
    }
}

void sim_peer_close(sim_peer *peer)
{
    if (peer->closing != CLOSE) {
        peer->closing = CLOSE;
        sim_peer_kick(peer);
    }
}

void sim_peer_reset(sim_peer *peer)
{
    leave(peer, 1);
}

uint64_t sim_peer_accepted_ns(const sim_peer *peer)
{
    return peer->conn != NULL && peer->conn->end[!peer->side].open ? peer->conn->accepted_ns : 0;
}

uint64_t sim_peer_arrived(const sim_peer *peer, int *ended)
{
    const sim__flow *flow = peer->conn != NULL ? &peer->conn->flow[peer->side] : NULL;

    *ended = flow != NULL && flow->end_seen;
    return flow != NULL ? flow->taken + flow->seen : 0;
}

void sim_peers_listen(sim_world *world, gate__sockaddr *addr, int backlog,
                      void (*accepted)(sim_peer *peer, void *arg), void *arg)
{
    sim__listener *listener;

    if (sim__listener_open(world, addr, backlog, 0, &listener) != 0) {
        sim_failed(world, "a peers' listener found its address taken");
        return;
    }
    listener->accepted = accepted;
    listener->room = accepted != NULL ? listener->room : 0;
    listener->arg = arg;
}

void sim__peers_leave(sim_world *world)
{
    for (sim_peer *peer = world->peers; peer != NULL; peer = peer->next) {
        leave(peer, 1);
    }
}

void sim__peers_free(sim_world *world)
{
    while (world->peers != NULL) {
        sim_peer *peer = world->peers;

        world->peers = peer->next;
        free(peer->got);
        free(peer->outbox);
        free(peer);
    }
}
