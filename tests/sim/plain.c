/* SPDX-License-Identifier: MIT */
#include "plain.h"

#include "world.h"

/* On to the next event, without which what is waited for cannot come. */
static void move_on(sim_world *world)
{
    sim__wait(world, UINT64_MAX);
    sim__pump(world);
}

int sim_plain_connect(sim_world *world, const gate__sockaddr *addr)
{
    gate__sockaddr from = sim_addr("127.0.0.1", world->next_port++);
    sim__conn *conn = sim__conn_open(world, addr, &from);
    int fd = sim__fd_open(world, NULL, conn, 0, NULL);

    while (conn->connected == 0 && !world->failed) {
        move_on(world);
    }
    if (conn->connected != 1) {
        sim_failed(world, "a plain end was refused");
    }
    return fd;
}

int sim_plain_accept(sim_world *world, int listener)
{
    sim__listener *from = sim__fd_slot(world, listener)->listener;

    sim__pump(world);
    while (from->count == 0 && !world->failed) {
        move_on(world);
    }
    return sim__fd_open(world, NULL, sim__listener_pop(from), 1, NULL);
}

void sim_plain_send(sim_world *world, int fd, const void *bytes, size_t len)
{
    const sim__slot *slot = sim__fd_slot(world, fd);
    size_t sent = 0;

    while (sent < len && !world->failed) {
        int more =
            sim__conn_send(slot->conn, slot->side, (const uint8_t *)bytes + sent, len - sent);

        if (more < 0) {
            sim_failed(world, "a plain end could not send: %d", more);
        } else if (more == 0) {
            move_on(world);
        } else {
            sent += (size_t)more;
        }
    }
}

size_t sim_plain_recv(sim_world *world, int fd, void *bytes, size_t len)
{
    const sim__slot *slot = sim__fd_slot(world, fd);
    size_t got = 0;

    sim__pump(world);
    while (got < len && !world->failed) {
        int more;

        while (!sim__conn_readable(slot->conn, slot->side) && !world->failed) {
            move_on(world);
        }
        more = sim__conn_recv(slot->conn, slot->side, (uint8_t *)bytes + got, len - got);
        if (more <= 0) {
            break;
        }
        got += (size_t)more;
    }
    return got;
}

int sim_plain_was_reset(sim_world *world, int fd)
{
    const sim__slot *slot = sim__fd_slot(world, fd);

    return slot->conn->end[slot->side].dead;
}

void sim_plain_end(sim_world *world, int fd)
{
    const sim__slot *slot = sim__fd_slot(world, fd);

    sim__conn_end(slot->conn, slot->side);
}

void sim_plain_close(sim_world *world, int fd)
{
    sim__fd_close(world, fd);
}

void sim_plain_reset(sim_world *world, int fd)
{
    sim__fd_reset(world, fd);
}

void sim_plain_give(int fd, gate_io *io)
{
    sim__io *own = (sim__io *)(void *)io;

    sim__fd_slot(own->world, fd)->owner = own;
}
