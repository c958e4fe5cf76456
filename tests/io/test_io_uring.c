/* SPDX-License-Identifier: MIT */

/* What the io_uring backend adds to the contract: rings that are too small for what goes on, ended
 * multishots, cancel races, and whose ring it is. */

#include "harness.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crowd.h"
#include "io/sock.h"
#include "ring.h"

/* ---- Too small ----------------------------------------------------------------------------- */

static void test_submissions_beyond_the_queue_are_not_lost(void **state)
{
    struct loop *loop = *state;

    resize(loop, &tiny);
    crowd_gather(CROWD);
    crowd_recv_all(loop, CROWD, GATE_IO_STAY); /* before the ring is even enabled */
    for (int i = 0; i < CROWD; i++)
        plain_send(crowd[i].peer, "x", 1);
    for (int i = 0; i < CROWD; i++)
        for (int turns = 0; turns < 1000 && !crowd[i].bytes; turns++)
            run_turns(loop, 1);
    crowd_cancel_all(loop, CROWD);
    crowd_wait_finals(loop, CROWD);
    crowd_recv_all(loop, CROWD, 0);
    run_turns(loop, 1);
    for (int i = 0; i < CROWD; i++)
        plain_send(crowd[i].peer, "y", 1);
    crowd_wait_finals(loop, CROWD);
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(crowd[i].sum, 'x' + 2 * 'y');
    crowd_disperse(loop, CROWD);
}

/* The kernel keeps what does not fit in its queue, and may end what stays armed. */
static void test_completions_beyond_the_queue_are_not_lost(void **state)
{
    struct loop *loop = *state;

    resize(loop, &(gate__uring_sizes){4, 4, 64, 64, 0});
    crowd_gather(CROWD);
    crowd_recv_all(loop, CROWD, GATE_IO_STAY);
    run_turns(loop, 2);
    for (int round = 0; round < 5; round++)
        for (int i = 0; i < CROWD; i++)
            plain_send(crowd[i].peer, "x", 1);
    for (int i = 0; i < CROWD; i++)
        close(crowd[i].peer);
    for (int turns = 0; turns < 1000; turns++) {
        int left = 0;

        run_turns(loop, 1);
        for (int i = 0; i < CROWD; i++) {
            left += !crowd[i].finals || crowd[i].result;
            if (crowd[i].finals && crowd[i].result > 0) /* ended, not at an end */
                crowd_stay(loop, &crowd[i]);
        }
        if (!left)
            break;
    }
    for (int i = 0; i < CROWD; i++) {
        assert_int_equal(crowd[i].result, 0);
        assert_int_equal(crowd[i].bytes, 5);
    }
    crowd_disperse(loop, CROWD);
}

static int sends_done[2]; /* with bytes, cancelled */

static void count_send(gate_io *io, gate_op *op, int result, unsigned flags)
{
    (void)io, (void)op, (void)flags;
    assert_true(result > 0 || result == -ECANCELED);
    sends_done[result < 0]++;
}

/* Each fills its socket at once; then all wait for room, and are cancelled. */
static void test_sends_beyond_the_queue_are_not_lost(void **state)
{
    static const char bytes[4 << 20];
    struct loop *loop = *state;

    resize(loop, &tiny);
    crowd_gather(CROWD);
    for (int round = 0; round < 2; round++) {
        sends_done[0] = sends_done[1] = 0;
        for (int i = 0; i < CROWD; i++)
            loop->io->ops->send(loop->io, &crowd[i].sock, bytes, sizeof bytes, 0, count_send);
        assert_int_equal(sends_done[0], 0);
        for (int turns = 0; turns < 1000 && sends_done[0] < CROWD && !round; turns++)
            run_turns(loop, 1);
        for (int i = 0; i < CROWD && round; i++)
            loop->io->ops->cancel(loop->io, &crowd[i].sock, &crowd[i].sock.out);
        for (int turns = 0; turns < 1000 && sends_done[round] < CROWD; turns++)
            run_turns(loop, 1);
        assert_int_equal(sends_done[round], CROWD);
    }
    crowd_disperse(loop, CROWD);
}

static void test_accepts_beyond_the_queue_are_not_lost(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    int clients[100];

    resize(loop, &tiny);
    set_addr(&loop->addr, "127.0.0.1", 0);
    assert_int_equal(loop->io->ops->listen(loop->io, &end->sock, &loop->addr, 128, 0), 0);
    submit_accept(loop, end, 0);
    run_turns(loop, 1);
    for (int i = 0; i < 100; i++)
        clients[i] = plain_connect(&loop->addr);
    for (int i = 0; i < 1000 && end->accepted_count < 100; i++)
        run_turns(loop, 1);
    assert_int_equal(end->accepted_count, 100);
    assert_int_equal(end->in.finals, 0);
    for (int i = 0; i < 100; i++)
        close(clients[i]);
}

/* Two buffers for sixty sockets: the kernel says ENOBUFS to most of them. */
static void test_input_without_a_buffer_is_not_lost(void **state)
{
    struct loop *loop = *state;

    resize(loop, &(gate__uring_sizes){128, 256, 2, 64, 0});
    crowd_gather(CROWD);
    crowd_recv_all(loop, CROWD, 0);
    run_turns(loop, 2);
    for (int i = 0; i < CROWD; i++)
        plain_send(crowd[i].peer, "ab", 2);
    crowd_wait_finals(loop, CROWD);
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(crowd[i].sum, 'a' + 2 * 'b');
    crowd_disperse(loop, CROWD);
}

static int rounds_left;

static void end_again(gate_io *io, gate_op *op, int result, unsigned flags)
{
    gate_sock *sock = (gate_sock *)(void *)((char *)op - offsetof(gate_sock, out));

    (void)result, (void)flags;
    if (rounds_left-- > 0)
        io->ops->shutdown(io, sock, end_again);
}

static void test_ops_that_never_wait_do_not_keep_the_ring_from_its_turn(void **state)
{
    struct loop *loop = *state;

    crowd_gather(2);
    crowd_recv_all(loop, 1, GATE_IO_STAY);
    run_turns(loop, 1);
    rounds_left = 100000;
    loop->io->ops->shutdown(loop->io, &crowd[1].sock, end_again);
    plain_send(crowd[0].peer, "x", 1);
    for (int i = 0; i < 5; i++)
        assert_int_equal(loop->io->ops->run(loop->io, UINT64_MAX), 0);
    assert_int_equal(crowd[0].bytes, 1);
    assert_true(rounds_left > 0);
    rounds_left = 0;
    run_turns(loop, 1);
    crowd_cancel_all(loop, 1);
    crowd_wait_finals(loop, 1);
    crowd_disperse(loop, 2);
}

/* The kernel gives a buffer back itself where it can; a worker thread of its own cannot. */
static void test_buffer_that_came_with_no_input_goes_back(void **state)
{
    struct loop *loop = *state;
    struct io_uring_cqe cqe = {.flags = IORING_CQE_F_BUFFER};

    crowd_gather(1);
    crowd_recv_all(loop, 1, 0);
    run_turns(loop, 1);
    gate__uring_completed(ring_of(loop), &crowd[0].sock.in, &cqe);
    assert_int_equal(crowd[0].finals, 1);
    assert_int_equal(crowd[0].result, 0);
    assert_int_equal(ring_of(loop)->given_back, 1);
    loop->io->ops->discard(loop->io, crowd[0].sock.fd);
    close(crowd[0].peer);
    resize(loop, &tiny);
}

/* ---- What stays armed ---------------------------------------------------------------------- */

static void test_recv_that_stays_gives_all_bytes_in_order(void **state)
{
    struct loop *loop = *state;
    char text[5000];
    unsigned sum = 0;

    resize(loop, &tiny);
    crowd_gather(1);
    for (size_t i = 0; i < sizeof text; i++)
        sum += (unsigned char)(text[i] = (char)('a' + i % 26)) * (unsigned)(i + 1);
    crowd_recv_all(loop, 1, GATE_IO_STAY);
    run_turns(loop, 1);
    plain_send(crowd[0].peer, text, sizeof text);
    for (int i = 0; i < 1000 && crowd[0].bytes < sizeof text; i++) {
        run_turns(loop, 1);
        if (!gate__op_busy(&crowd[0].sock.in))
            crowd_stay(loop, &crowd[0]);
    }
    assert_int_equal(crowd[0].bytes, sizeof text);
    assert_int_equal(crowd[0].sum, sum);
    assert_true(crowd[0].mores > 0);
    assert_int_equal(crowd[0].fulls, sizeof text / tiny.buffer_size);
    plain_send(crowd[0].peer, "x", 1);
    run_turns(loop, 2);
    assert_int_equal(crowd[0].bytes, sizeof text + 1);
    assert_int_equal(crowd[0].fulls, sizeof text / tiny.buffer_size);
    crowd_cancel_all(loop, 1);
    run_turns(loop, 5);
    assert_int_equal(crowd[0].result, -ECANCELED);
    crowd_disperse(loop, 1);
}

static void test_recv_without_leave_to_stay_ends_at_once(void **state)
{
    struct loop *loop = *state;

    crowd_gather(1);
    crowd_recv_all(loop, 1, 0);
    plain_send(crowd[0].peer, "x", 1);
    crowd_wait_finals(loop, 1);
    assert_int_equal(crowd[0].mores, 0);
    crowd_disperse(loop, 1);
}

/* ---- Cancel -------------------------------------------------------------------------------- */

static void test_cancel_of_many_ends_each_once(void **state)
{
    struct loop *loop = *state;

    resize(loop, &tiny);
    crowd_gather(CROWD);
    for (int staying = 0; staying < 2; staying++) {
        crowd_recv_all(loop, CROWD, staying ? GATE_IO_STAY : 0);
        run_turns(loop, staying * 40); /* cancelled in the queue, or in the kernel */
        crowd_cancel_all(loop, CROWD);
        crowd_cancel_all(loop, CROWD);
        assert_int_equal(crowd_finals(CROWD), 0);
        crowd_wait_finals(loop, CROWD);
        for (int i = 0; i < CROWD; i++)
            assert_int_equal(crowd[i].result, -ECANCELED);
    }
    crowd_disperse(loop, CROWD);
}

/* Bytes and the cancelling meet at every stage; what was not received is still there. */
static void test_cancel_that_meets_input_loses_nothing(void **state)
{
    struct loop *loop = *state;
    size_t sent = 0;

    crowd_gather(1);
    for (int i = 0; i < 1000; i++) {
        crowd_recv_all(loop, 1, i & 1 ? GATE_IO_STAY : 0);
        if (i & 2)
            assert_int_equal(loop->io->ops->run(loop->io, 0), 0);
        plain_send(crowd[0].peer, "x", 1);
        sent++;
        if (i & 4)
            assert_int_equal(loop->io->ops->run(loop->io, 0), 0);
        if (i & 8)
            crowd_cancel_all(loop, 1);
        if (i & 16) {
            plain_send(crowd[0].peer, "x", 1);
            sent++;
        }
        crowd_cancel_all(loop, 1);
        crowd_wait_finals(loop, 1);
    }
    while (crowd[0].bytes < sent) {
        crowd_recv_all(loop, 1, 0);
        crowd_wait_finals(loop, 1);
    }
    assert_int_equal(crowd[0].bytes, sent);
    crowd_disperse(loop, 1);
}

/* Here it is made to look for something else, as where the kernel has just taken the op up. */
static void test_cancel_that_finds_nothing_is_repeated(void **state)
{
    struct loop *loop = *state;
    const struct io_uring_sq *sq = &ring_of(loop)->ring.sq;

    crowd_gather(2);
    crowd_recv_all(loop, 2, 0);
    run_turns(loop, 1);
    crowd_cancel_all(loop, 2);
    sq->sqes[(sq->sqe_tail - 1) & sq->ring_mask].addr += 8;
    crowd_wait_finals(loop, 2);
    assert_int_equal(crowd[1].result, -ECANCELED);
    crowd_disperse(loop, 2);
}

/* A request to cancel that finds nothing must not hit the next op at the same address. */
static void test_late_cancel_does_not_reach_the_next_op(void **state)
{
    struct loop *loop = *state;

    crowd_gather(1);
    crowd_recv_all(loop, 1, 0);
    run_turns(loop, 1);
    plain_send(crowd[0].peer, "x", 1);
    crowd_cancel_all(loop, 1);
    crowd_wait_finals(loop, 1);
    crowd_recv_all(loop, 1, 0);
    run_turns(loop, 3);
    if (crowd[0].finals == 0)
        plain_send(crowd[0].peer, "y", 1);
    crowd_wait_finals(loop, 1);
    assert_int_equal(crowd[0].result, 1);
    crowd_disperse(loop, 1);
}

/* ---- Whose ring it is ---------------------------------------------------------------------- */

static void *run_elsewhere(void *arg)
{
    gate_io *io = arg;

    return (void *)(intptr_t)io->ops->run(io, 0);
}

static void test_ring_belongs_to_the_thread_that_ran_it_first(void **state)
{
    struct loop *loop = *state;
    pthread_t thread;
    void *rc;

    crowd_gather(1);
    crowd_recv_all(loop, 1, 0);
    run_turns(loop, 1);
    assert_int_equal(pthread_create(&thread, NULL, run_elsewhere, loop->io), 0);
    assert_int_equal(pthread_join(thread, &rc), 0);
    assert_int_equal((intptr_t)rc, -EEXIST);
    plain_send(crowd[0].peer, "x", 1);
    crowd_wait_finals(loop, 1);
    crowd_disperse(loop, 1);
}

static void *run_and_free(void *arg)
{
    gate_io *io = arg;
    int rc = io->ops->run(io, gate__clock_ns() + MS);

    io->ops->free(io);
    return (void *)(intptr_t)rc;
}

static void test_loop_may_run_and_end_on_another_thread_than_it_was_opened_on(void **state)
{
    struct loop *loop = *state;
    pthread_t thread;
    void *rc;
    gate_io *io;

    (void)loop;
    assert_int_equal(gate__io_uring_open(&io), 0);
    assert_int_equal(pthread_create(&thread, NULL, run_and_free, io), 0);
    assert_int_equal(pthread_join(thread, &rc), 0);
    assert_int_equal((intptr_t)rc, 0);
    assert_int_equal(gate__io_uring_open(&io), 0);
    assert_int_equal(pthread_create(&thread, NULL, run_elsewhere, io), 0);
    assert_int_equal(pthread_join(thread, &rc), 0);
    assert_int_equal((intptr_t)rc, 0);
    io->ops->free(io);
}

static void test_ring_refuses_what_is_not_used(void **state)
{
    struct loop *loop = *state;
    struct io_uring *ring = &ring_of(loop)->ring;
    struct io_uring_sqe *sqe;
    struct io_uring_cqe *cqe;

    run_turns(loop, 1);
    sqe = gate__uring_sqe(ring_of(loop));
    assert_non_null(sqe);
    io_uring_prep_nop(sqe);
    sqe->user_data = GATE__URING_CANCEL;
    io_uring_smp_store_release(ring->sq.ktail, ring->sq.sqe_tail);
    assert_int_equal(io_uring_enter((unsigned)ring->ring_fd, 1, 0, IORING_ENTER_GETEVENTS, NULL),
                     1);
    assert_int_equal(io_uring_peek_cqe(ring, &cqe), 0);
    assert_int_equal(cqe->res, -EACCES);
}

static void test_wake_is_told_once(void **state)
{
    struct loop *loop = *state;
    uint64_t deadline;

    for (int i = 0; i < 3; i++) {
        loop->io->ops->wake(loop->io);
        loop->io->ops->wake(loop->io);
        assert_int_equal(loop->io->ops->run(loop->io, UINT64_MAX), 0);
    }
    run_turns(loop, 2);
    deadline = gate__clock_ns() + 20 * MS;
    assert_int_equal(loop->io->ops->run(loop->io, deadline), 0);
    assert_true(gate__clock_ns() >= deadline);
}

static void test_wake_works_after_its_wait_was_ended(void **state)
{
    struct loop *loop = *state;

    run_turns(loop, 1);
    gate__uring_unwatch_wake(ring_of(loop));
    run_turns(loop, 2);
    loop->io->ops->wake(loop->io);
    assert_int_equal(loop->io->ops->run(loop->io, UINT64_MAX), 0);
    run_turns(loop, 1);
    loop->io->ops->wake(loop->io);
    assert_int_equal(loop->io->ops->run(loop->io, UINT64_MAX), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER("io_uring", test_submissions_beyond_the_queue_are_not_lost),
        OVER("io_uring", test_completions_beyond_the_queue_are_not_lost),
        OVER("io_uring", test_sends_beyond_the_queue_are_not_lost),
        OVER("io_uring", test_accepts_beyond_the_queue_are_not_lost),
        OVER("io_uring", test_input_without_a_buffer_is_not_lost),
        OVER("io_uring", test_ops_that_never_wait_do_not_keep_the_ring_from_its_turn),
        OVER("io_uring", test_buffer_that_came_with_no_input_goes_back),
        OVER("io_uring", test_recv_that_stays_gives_all_bytes_in_order),
        OVER("io_uring", test_recv_without_leave_to_stay_ends_at_once),
        OVER("io_uring", test_cancel_of_many_ends_each_once),
        OVER("io_uring", test_cancel_that_meets_input_loses_nothing),
        OVER("io_uring", test_cancel_that_finds_nothing_is_repeated),
        OVER("io_uring", test_late_cancel_does_not_reach_the_next_op),
        OVER("io_uring", test_ring_belongs_to_the_thread_that_ran_it_first),
        OVER("io_uring", test_loop_may_run_and_end_on_another_thread_than_it_was_opened_on),
        OVER("io_uring", test_ring_refuses_what_is_not_used),
        OVER("io_uring", test_wake_is_told_once),
        OVER("io_uring", test_wake_works_after_its_wait_was_ended),
    };

    return RUN_OVER(tests);
}
