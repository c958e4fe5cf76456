/* SPDX-License-Identifier: MIT */
#include "echo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void keep_message(const char *message, void *arg)
{
    echo *all = arg;

    if (all->message[0] == '\0') {
        strncpy(all->message, message, MESSAGE_MAX - 1);
    }
}

static echo_link *link_of_in(gate_op *op)
{
    return (echo_link *)(void *)((char *)op - offsetof(echo_link, sock.in));
}

static echo_link *link_of_out(gate_op *op)
{
    return (echo_link *)(void *)((char *)op - offsetof(echo_link, sock.out));
}

void echo_closed(gate_io *io, gate_op *op, int result, unsigned flags)
{
    (void)io;
    (void)result;
    (void)flags;
    link_of_out(op)->closed = 1;
}

static void end_link(echo_link *one)
{
    if (!one->over) {
        one->over = 1;
        one->echo->io->ops->close(one->echo->io, &one->sock, echo_closed);
    }
}

void echo_sent(gate_io *io, gate_op *op, int result, unsigned flags)
{
    echo_link *one = link_of_out(op);

    assert_int_equal(flags, 0);
    one->last_result = result;
    if (result < 0) {
        end_link(one);
        return;
    }
    one->off += (size_t)result;
    if (one->off < one->len) {
        io->ops->send(io, &one->sock, one->bytes + one->off, one->len - one->off, 0, echo_sent);
    } else {
        io->ops->recv(io, &one->sock, GATE_IO_STAY, echo_recv);
    }
}

void echo_recv(gate_io *io, gate_op *op, int result, unsigned flags)
{
    echo_link *one = link_of_in(op);

    assert_false(flags & GATE_IO_MORE);
    one->last_result = result;
    if (result <= 0) {
        end_link(one);
        return;
    }
    memcpy(one->bytes, op->buf, (size_t)result);
    one->len = (size_t)result;
    one->off = 0;
    io->ops->send(io, &one->sock, one->bytes, one->len, 0, echo_sent);
}

void echo_accept(gate_io *io, gate_op *op, int result, unsigned flags)
{
    echo *all = (echo *)(void *)((char *)op - offsetof(echo, listener.in));
    echo_link *one;

    all->accept_result = result;
    all->accept_over = !(flags & GATE_IO_MORE);
    if (result < 0) {
        return;
    }
    one = calloc(1, sizeof(*one));
    assert_non_null(one);
    assert_true(all->count < LINKS_MAX);
    all->links[all->count++] = one;
    one->echo = all;
    gate__sock_init(&one->sock, result);
    io->ops->recv(io, &one->sock, GATE_IO_STAY, echo_recv);
}

static void on_listener_closed(gate_io *io, gate_op *op, int result, unsigned flags)
{
    echo *all = (echo *)(void *)((char *)op - offsetof(echo, listener.out));

    (void)io;
    (void)flags;
    assert_int_equal(result, 0);
    all->listener_closed = 1;
}

echo *echo_open(uint64_t seed, const sim_knobs *knobs)
{
    echo *all = calloc(1, sizeof(*all));

    assert_non_null(all);
    all->world = sim_open(seed, knobs);
    sim_on_fail(all->world, keep_message, all);
    all->io = sim_io_open(all->world);
    all->addr = sim_addr("127.0.0.1", PORT);
    assert_int_equal(all->io->ops->listen(all->io, &all->listener, &all->addr, 4, 0, NULL), 0);
    all->io->ops->accept(all->io, &all->listener, 0, echo_accept);
    return all;
}

void echo_run(echo *all, uint64_t ns)
{
    sim_run_until(all->world, NULL, sim_now(all->world) + ns);
}

void echo_free(echo *all)
{
    all->io->ops->free(all->io);
    sim_close(all->world);
    for (size_t i = 0; i < all->count; i++) {
        free(all->links[i]);
    }
    free(all);
}

/* Peers still open are reset, which ends their links. */
void echo_close(echo *all, sim_peer *const *peers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        sim_peer_reset(peers[i]);
    }
    echo_run(all, (uint64_t)SIM_SECOND);
    all->io->ops->cancel(all->io, &all->listener, &all->listener.in);
    echo_run(all, (uint64_t)SIM_SECOND);
    assert_true(all->accept_over);
    all->io->ops->close(all->io, &all->listener, on_listener_closed);
    echo_run(all, (uint64_t)SIM_SECOND);
    assert_true(all->listener_closed);
    assert_int_equal(sim_descriptors(all->world), 0);
    assert_string_equal(all->message, "");
    echo_free(all);
}
