/* SPDX-License-Identifier: MIT */

/* Connections that a cancelled accept of io_uring had taken, and that nobody was told about. */

#include "harness.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crowd.h"
#include "io/io_uring.h"

static unsigned kept_count(const struct loop *loop)
{
    return ((const struct gate__uring *)(const void *)loop->io)->kept_count;
}

static int taken;

static void take_one(gate_io *io, gate_op *op, int result, unsigned flags)
{
    gate_sock *sock = (gate_sock *)(void *)((char *)op - offsetof(gate_sock, in));

    if (!(flags & GATE_IO_MORE))
        return;
    io->ops->discard(io, result);
    taken++;
    io->ops->cancel(io, sock, op);
}

/* The kernel has taken all three by the time that the first one is told. */
static void leave_two_kept(struct loop *loop, int clients[3])
{
    struct end *end = loop->ends[0];

    taken = 0;
    set_addr(&loop->addr, "127.0.0.1", 0);
    assert_int_equal(loop->io->ops->listen(loop->io, &end->sock, &loop->addr, 128, 0, NULL), 0);
    for (int i = 0; i < 3; i++)
        clients[i] = plain_connect(&loop->addr);
    loop->io->ops->accept(loop->io, &end->sock, 0, take_one);
    run_turns(loop, 5);
    assert_int_equal(taken, 1);
    assert_false(gate__op_busy(&end->sock.in));
    assert_int_equal(kept_count(loop), 2);
}

static void check_ended(const int clients[3])
{
    char byte;

    for (int i = 0; i < 3; i++) {
        ssize_t got = recv(clients[i], &byte, 1, MSG_DONTWAIT);

        assert_true(got == 0 || (got < 0 && errno != EAGAIN));
        close(clients[i]);
    }
}

static void test_connections_behind_a_cancelled_accept_end_with_the_listener(void **state)
{
    struct loop *loop = *state;
    int clients[3];

    leave_two_kept(loop, clients);
    submit_close(loop, loop->ends[0]);
    assert_int_equal(wait_out(loop, loop->ends[0]), 0);
    assert_int_equal(kept_count(loop), 0);
    check_ended(clients);
}

/* As where a loop has failed, and its listeners are closed without it. */
static void test_connections_behind_a_cancelled_accept_end_with_the_loop(void **state)
{
    struct loop *loop = *state;
    int clients[3];

    leave_two_kept(loop, clients);
    loop->io->ops->discard(loop->io, loop->ends[0]->sock.fd);
    loop->ends[0]->sock.fd = -1;
    loop->io->ops->free(loop->io);
    assert_int_equal(gate__io_uring_open(&loop->io), 0);
    check_ended(clients);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER("io_uring", test_connections_behind_a_cancelled_accept_end_with_the_listener),
        OVER("io_uring", test_connections_behind_a_cancelled_accept_end_with_the_loop),
    };

    return RUN_OVER(tests);
}
