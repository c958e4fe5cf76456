/* SPDX-License-Identifier: MIT */

/* The contract of io.h where something fails, or has to wait, that mostly does not. */

#include "far.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "io/io_epoll.h"
#include "io/sock.h"

#define DAY (86400 * 1000 * MS)

static const gate_io_ops *ops_of(const struct loop *loop)
{
    return loop->io->ops;
}

/* The other side takes what join_full has sent. */
static void drain(struct loop *loop, size_t len)
{
    char bytes[4096];

    while (len > 0) {
        size_t got = far_recv(loop, loop->peer, bytes, len < sizeof bytes ? len : sizeof bytes);

        assert_true(got > 0);
        len -= got;
    }
}

/* ends[0] knows that its peer is gone. */
static void join_and_lose(struct loop *loop)
{
    join(loop, "127.0.0.1");
    far_reset(loop, loop->peer);
    loop->peer = -1;
    submit_recv(loop, loop->ends[0]);
    assert_int_equal(wait_in(loop, loop->ends[0]), -ECONNRESET);
}

/* ---- A peer that is gone ------------------------------------------------------------------- */

static void test_shutdown_of_a_reset_connection_fails(void **state)
{
    struct loop *loop = *state;

    join_and_lose(loop);
    submit_shutdown(loop, loop->ends[0]);
    assert_int_equal(wait_out(loop, loop->ends[0]), -ENOTCONN);
}

static void test_last_send_to_a_closed_peer_leaves_the_socket_open(void **state)
{
    struct loop *loop = *state;

    join_and_lose(loop);
    submit_send(loop, loop->ends[0], "bye", 3, GATE_IO_LAST);
    assert_int_equal(wait_out(loop, loop->ends[0]), -EPIPE);
    assert_int_equal(loop->ends[0]->out.flags, 0);
    assert_true(loop->ends[0]->sock.fd >= 0);
}

/* ---- A send that waits --------------------------------------------------------------------- */

static void test_last_send_that_had_to_wait_closes(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    size_t held = join_full(loop);
    char got[8];

    submit_send(loop, end, "bye", 3, GATE_IO_LAST);
    assert_int_equal(ops_of(loop)->run(loop->io, 0), 0);
    run_for(loop, 5);
    assert_int_equal(end->out.finals, 0);
    drain(loop, held);
    assert_int_equal(wait_out(loop, end), 3);
    assert_int_equal(end->out.flags, GATE_IO_CLOSED);
    assert_int_equal(end->sock.fd, -1);
    assert_int_equal(far_recv(loop, loop->peer, got, sizeof got), 3);
    assert_memory_equal(got, "bye", 3);
}

static void test_send_behind_one_that_was_cancelled_waits_as_well(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    size_t held = join_full(loop);

    submit_send(loop, end, "one", 3, 0);
    run_for(loop, 5);
    ops_of(loop)->cancel(loop->io, &end->sock, &end->sock.out);
    assert_int_equal(wait_out(loop, end), -ECANCELED);
    submit_send(loop, end, "two", 3, 0);
    run_for(loop, 5);
    assert_int_equal(end->out.finals, 0);
    drain(loop, held);
    assert_int_equal(wait_out(loop, end), 3);
}

/* ---- Deadlines ----------------------------------------------------------------------------- */

static void test_run_without_a_deadline_waits_for_what_comes(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];

    join(loop, "127.0.0.1");
    for (int i = 0; i < 3; i++) {
        submit_recv(loop, end);
        if (i == 1)
            run_for(loop, 2);
        far_send(loop, loop->peer, "x", 1);
        for (int turns = 0; turns < 100 && !end->in.finals; turns++)
            assert_int_equal(ops_of(loop)->run(loop->io, UINT64_MAX), 0);
        assert_int_equal(end->in.result, 1);
    }
}

static void test_run_that_waits_for_both_returns_on_a_signal(void **state)
{
    const uint64_t now_ns = gate__clock_ns();
    const uint64_t deadlines[] = {now_ns + 60000 * MS, now_ns + 100 * DAY, UINT64_MAX};
    struct loop *loop = *state;
    struct end *end = loop->ends[0];

    join_full(loop);
    submit_recv(loop, end);
    submit_send(loop, end, "x", 1, 0);
    start_signals();
    for (size_t i = 0; i < 3; i++)
        for (int turns = 0; turns < 3; turns++)
            assert_int_equal(ops_of(loop)->run(loop->io, deadlines[i]), 0);
    stop_signals();
    assert_true(gate__clock_ns() < deadlines[0]);
    assert_int_equal(end->in.finals + end->out.finals, 0);
}

/* ---- Descriptors that the loop cannot watch ------------------------------------------------- */

/* As where the user has as many watches as the system allows. Returns what mend takes. */
static int spoil(struct loop *loop)
{
    struct gate__epoll *self = (struct gate__epoll *)(void *)loop->io;
    int whole = dup(self->epoll_fd);
    int other = open("/dev/null", O_RDONLY | O_CLOEXEC);

    assert_true(whole >= 0 && other >= 0);
    assert_int_equal(dup2(other, self->epoll_fd), self->epoll_fd);
    close(other);
    self->skipped = 0;
    return whole;
}

static void mend(struct loop *loop, int whole)
{
    struct gate__epoll *self = (struct gate__epoll *)(void *)loop->io;

    assert_int_equal(dup2(whole, self->epoll_fd), self->epoll_fd);
    close(whole);
}

static void test_ops_that_cannot_be_watched_fail(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    int whole;

    join_full(loop);
    whole = spoil(loop);
    submit_recv(loop, end);
    assert_int_equal(wait_in(loop, end), -EINVAL);
    mend(loop, whole);
    whole = spoil(loop);
    submit_send(loop, end, "x", 1, 0);
    assert_int_equal(wait_out(loop, end), -EINVAL);
    mend(loop, whole);
    assert_true(end->sock.fd >= 0);
}

static void test_connect_that_cannot_be_watched_fails(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    int whole, fillers[2];

    fill_queue(loop, fillers);
    whole = spoil(loop);
    submit_connect(loop, end, &loop->addr);
    assert_int_equal(wait_out(loop, end), -EINVAL);
    mend(loop, whole);
    assert_int_equal(end->sock.fd, -1);
    close(fillers[0]);
    close(fillers[1]);
}

static void test_accept_that_cannot_be_watched_fails(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    int whole;

    set_addr(&loop->addr, "127.0.0.1", 0);
    assert_int_equal(ops_of(loop)->listen(loop->io, &end->sock, &loop->addr, 16, 0, NULL), 0);
    whole = spoil(loop);
    submit_accept(loop, end, 0);
    assert_int_equal(wait_in(loop, end), -EINVAL);
    mend(loop, whole);
}

static void test_loop_that_cannot_wait_says_so(void **state)
{
    struct loop *loop = *state;
    int whole = spoil(loop);

    assert_int_equal(ops_of(loop)->run(loop->io, UINT64_MAX), -EINVAL);
    mend(loop, whole);
    assert_int_equal(ops_of(loop)->run(loop->io, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_ALL(test_shutdown_of_a_reset_connection_fails),
        OVER_ALL(test_last_send_to_a_closed_peer_leaves_the_socket_open),
        OVER_ALL(test_last_send_that_had_to_wait_closes),
        OVER_ALL(test_send_behind_one_that_was_cancelled_waits_as_well),
        OVER_ALL(test_run_without_a_deadline_waits_for_what_comes),
        OVER_KERNEL(test_run_that_waits_for_both_returns_on_a_signal),
        OVER("epoll", test_ops_that_cannot_be_watched_fail),
        OVER("epoll", test_connect_that_cannot_be_watched_fails),
        OVER("epoll", test_accept_that_cannot_be_watched_fails),
        OVER("epoll", test_loop_that_cannot_wait_says_so),
    };

    return RUN_OVER(tests);
}
