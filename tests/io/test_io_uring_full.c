/* SPDX-License-Identifier: MIT */

/* The io_uring backend where something is full: the submission queue before the loop runs, the room
 * for connections that nobody was told about, a thread's table of rings; and where it fails. */

#include "harness.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crowd.h"
#include "io/sock.h"
#include "ring.h"

/* ---- The submission queue ------------------------------------------------------------------ */

static void test_cancels_beyond_the_queue_are_not_lost(void **state)
{
    struct loop *loop = *state;

    resize(loop, &tiny);
    crowd_gather(CROWD);
    crowd_recv_all(loop, CROWD, GATE_IO_STAY); /* the ring is not enabled yet: none is taken */
    crowd_cancel_all(loop, CROWD);
    crowd_wait_finals(loop, CROWD);
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(crowd[i].result, -ECANCELED);
    crowd_disperse(loop, CROWD);
}

static int sent;

static void count_sent(gate_io *io, gate_op *op, int result, unsigned flags)
{
    (void)io, (void)op;
    assert_int_equal(result, 1);
    assert_int_equal(flags, 0);
    sent++;
}

static void test_sends_beyond_the_queue_are_not_lost(void **state)
{
    struct loop *loop = *state;
    char byte;

    resize(loop, &tiny);
    crowd_gather(CROWD);
    sent = 0;
    for (int i = 0; i < CROWD; i++)
        loop->io->ops->send(loop->io, &crowd[i].sock, "x", 1, 0, count_sent);
    assert_int_equal(sent, 0);
    for (int turns = 0; turns < 100 && sent < CROWD; turns++)
        run_turns(loop, 1);
    assert_int_equal(sent, CROWD);
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(recv(crowd[i].peer, &byte, 1, MSG_DONTWAIT), 1);
    crowd_disperse(loop, CROWD);
}

static void test_connect_cancelled_before_it_is_in_the_ring_closes(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    int fillers[2];

    resize(loop, &tiny);
    fill_queue(loop, fillers);
    crowd_gather(4);
    crowd_recv_all(loop, 4, GATE_IO_STAY);
    submit_connect(loop, end, &loop->addr);
    loop->io->ops->cancel(loop->io, &end->sock, &end->sock.out);
    assert_int_equal(wait_out(loop, end), -ECANCELED);
    assert_int_equal(end->sock.fd, -1);
    crowd_cancel_all(loop, 4);
    crowd_wait_finals(loop, 4);
    crowd_disperse(loop, 4);
    close(fillers[0]);
    close(fillers[1]);
}

/* ---- Kept connections ---------------------------------------------------------------------- */

enum { QUEUED = 7 };

static int told;

/* Ends the accept at its first connection; what the kernel has taken besides is kept. */
static void tell(gate_io *io, gate_op *op, int result, unsigned flags)
{
    gate_sock *sock = (gate_sock *)(void *)((char *)op - offsetof(gate_sock, in));

    if (!(flags & GATE_IO_MORE))
        return;
    io->ops->discard(io, result);
    told++;
    io->ops->cancel(io, sock, op);
}

static void listen_and_queue(struct loop *loop, struct end *end, int clients[QUEUED])
{
    gate__sockaddr addr;

    set_addr(&addr, "127.0.0.1", 0);
    assert_int_equal(loop->io->ops->listen(loop->io, &end->sock, &addr, 16, 0), 0);
    for (int i = 0; i < QUEUED; i++)
        clients[i] = plain_connect(&addr);
}

static void accept_until_told(struct loop *loop, struct end *end)
{
    loop->io->ops->accept(loop->io, &end->sock, 0, tell);
    for (int turns = 0; turns < 100 && gate__op_busy(&end->sock.in); turns++)
        run_turns(loop, 1);
    assert_false(gate__op_busy(&end->sock.in));
}

static void close_all(int *clients, int count)
{
    for (int i = 0; i < count; i++)
        close(clients[i]);
}

static void test_kept_connections_are_the_next_accepts_of_their_own_listener(void **state)
{
    struct loop *loop = *state;
    struct end *first = loop->ends[0], *second = loop->ends[1];
    int clients[2 * QUEUED];

    listen_and_queue(loop, first, clients);
    listen_and_queue(loop, second, clients + QUEUED);
    told = 0;
    accept_until_told(loop, first);
    accept_until_told(loop, second);
    assert_int_equal(told, 2);
    assert_int_equal(ring_of(loop)->kept_count, 2 * (QUEUED - 1));
    submit_accept(loop, second, GATE_IO_NOWAIT);
    assert_int_equal(wait_in(loop, second), -EAGAIN);
    assert_int_equal(second->accepted_count, QUEUED - 1);
    submit_close(loop, second);
    assert_int_equal(wait_out(loop, second), 0);
    assert_int_equal(ring_of(loop)->kept_count, QUEUED - 1);
    submit_accept(loop, first, 0);
    for (int turns = 0; turns < 100 && first->accepted_count < QUEUED - 1; turns++)
        run_turns(loop, 1);
    assert_int_equal(first->accepted_count, QUEUED - 1);
    assert_int_equal(ring_of(loop)->kept_count, 0);
    close_all(clients, 2 * QUEUED);
}

/* Better one over a limit than one that is dropped. */
static void test_connections_beyond_what_can_be_kept_are_told(void **state)
{
    struct loop *loop = *state;
    struct end *first = loop->ends[0], *second = loop->ends[1];
    int clients[2 * QUEUED];

    resize(loop, &tiny);
    listen_and_queue(loop, first, clients);
    listen_and_queue(loop, second, clients + QUEUED);
    told = 0;
    accept_until_told(loop, first);
    accept_until_told(loop, second);
    assert_int_equal(ring_of(loop)->kept_count, tiny.completions);
    assert_int_equal(told, 2 * QUEUED - (int)tiny.completions);
    close_all(clients, 2 * QUEUED);
}

/* ---- Rings --------------------------------------------------------------------------------- */

static void test_thread_may_run_more_loops_than_it_can_register(void **state)
{
    enum { LOOPS = 20 };
    struct loop *loop = *state;
    struct loop loops[LOOPS] = {0};

    (void)loop;
    for (int i = 0; i < LOOPS; i++) {
        assert_int_equal(gate__io_uring_open_sized(&loops[i].io, &tiny), 0);
        run_turns(&loops[i], 1);
        loops[i].io->ops->wake(loops[i].io);
        assert_int_equal(loops[i].io->ops->run(loops[i].io, UINT64_MAX), 0);
    }
    assert_int_equal(ring_of(&loops[LOOPS - 1])->enter_flags, 0);
    for (int i = 0; i < LOOPS; i++)
        loops[i].io->ops->free(loops[i].io);
}

/* As on machines whose kernel has pages of 64 KiB, and takes no ring of buffers elsewhere. */
static void test_buffers_begin_a_page_of_any_size(void **state)
{
    struct loop *loop = *state;
    const unsigned page = 65536;

    resize(loop, &(gate__uring_sizes){4, 8, 2, 64, page});
    assert_int_equal((uintptr_t)ring_of(loop)->buffer_ring % page, 0);
    crowd_gather(4);
    crowd_recv_all(loop, 4, 0);
    run_turns(loop, 1);
    for (int i = 0; i < 4; i++)
        plain_send(crowd[i].peer, "x", 1);
    crowd_wait_finals(loop, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(crowd[i].sum, 'x');
    crowd_disperse(loop, 4);
}

static void test_sizes_that_the_kernel_refuses_are_an_error(void **state)
{
    const gate__uring_sizes odd = {
        .submissions = 4, .completions = 8, .buffers = 3, .buffer_size = 64};
    gate_io *io;

    (void)state;
    assert_int_equal(gate__io_uring_open_sized(&io, &odd), -EINVAL);
}

/* The ring is taken away for a turn, as it would be if the kernel had no use for it any more. */
static void test_ring_that_fails_ends_what_waits_for_it_and_says_so_from_then_on(void **state)
{
    struct loop *loop = *state;
    struct gate__uring *ring = ring_of(loop);
    int fd, failure;

    run_turns(loop, 1);
    crowd_gather(1);
    crowd_recv_all(loop, 1, 0); /* waits in the loop's own queue until it is tried */
    fd = ring->enter_fd;
    ring->enter_fd = ring->enter_flags ? 15 : -1;
    failure = loop->io->ops->run(loop->io, 0);
    assert_true(failure < 0);
    ring->enter_fd = fd;
    assert_int_equal(crowd[0].result, failure);
    assert_int_equal(loop->io->ops->run(loop->io, 0), failure);
    close(crowd[0].sock.fd);
    close(crowd[0].peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER("io_uring", test_cancels_beyond_the_queue_are_not_lost),
        OVER("io_uring", test_sends_beyond_the_queue_are_not_lost),
        OVER("io_uring", test_connect_cancelled_before_it_is_in_the_ring_closes),
        OVER("io_uring", test_kept_connections_are_the_next_accepts_of_their_own_listener),
        OVER("io_uring", test_connections_beyond_what_can_be_kept_are_told),
        OVER("io_uring", test_thread_may_run_more_loops_than_it_can_register),
        OVER("io_uring", test_buffers_begin_a_page_of_any_size),
        OVER("io_uring", test_sizes_that_the_kernel_refuses_are_an_error),
        OVER("io_uring", test_ring_that_fails_ends_what_waits_for_it_and_says_so_from_then_on),
    };

    return RUN_OVER(tests);
}
