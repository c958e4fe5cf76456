/* SPDX-License-Identifier: MIT */

/* The contract of io.h for one connected socket, over each backend. */

#include "far.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io/sock.h"

static char bulk[16 * 1024 * 1024];

/* What a Unix socket holds does not depend on windows and late acknowledgements. */
static void join_unix(struct loop *loop)
{
    char host[64];

    snprintf(host, sizeof host, "unix:@gate-test-%ld", (long)getpid());
    join(loop, host);
}

/* ---- Recv ---------------------------------------------------------------------------------- */

static void test_recv_lends_what_came(void **state)
{
    struct loop *loop = *state;

    join(loop, "127.0.0.1");
    far_send(loop, loop->peer, "hello", 5);
    submit_recv(loop, loop->ends[0]);
    assert_int_equal(wait_in(loop, loop->ends[0]), 5);
    assert_int_equal(loop->ends[0]->in.flags, 0);
    assert_memory_equal(loop->ends[0]->got, "hello", 5);
}

static void test_recv_stays_in_flight_at_deadline(void **state)
{
    struct loop *loop = *state;

    join(loop, "127.0.0.1");
    submit_recv(loop, loop->ends[0]);
    run_for(loop, 10);
    assert_int_equal(loop->ends[0]->in.finals, 0);
    far_send(loop, loop->peer, "1", 1);
    assert_int_equal(wait_in(loop, loop->ends[0]), 1);
}

static void test_recv_that_does_not_wait_ends_where_nothing_is_there(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];

    join(loop, "127.0.0.1");
    for (int i = 0; i < 3; i++) {
        submit_recv_flags(loop, end, GATE_IO_NOWAIT);
        assert_int_equal(wait_in(loop, end), -EAGAIN);
        far_send(loop, loop->peer, "hello", 5);
        submit_recv_flags(loop, end, GATE_IO_NOWAIT);
        assert_int_equal(wait_in(loop, end), 5);
    }
}

/* What came while a recv waited is there after its cancelling, though no turn has looked for it. */
static void test_recv_that_does_not_wait_misses_nothing_after_a_cancelled_one(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];

    join(loop, "127.0.0.1");
    submit_recv(loop, end);
    run_for(loop, 1);
    far_send(loop, loop->peer, "hello", 5);
    loop->io->ops->cancel(loop->io, &end->sock, &end->sock.in);
    if (wait_in(loop, end) == -ECANCELED) {
        submit_recv_flags(loop, end, GATE_IO_NOWAIT);
        assert_int_equal(wait_in(loop, end), 5);
    }
    assert_memory_equal(end->got, "hello", 5);
    far_end(loop, loop->peer);
    submit_recv_flags(loop, end, GATE_IO_NOWAIT);
    assert_int_equal(wait_in(loop, end), 0);
}

static void test_recv_after_recv_gets_what_came_later(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];

    join(loop, "127.0.0.1");
    for (int i = 0; i < 20; i++) {
        submit_recv(loop, end);
        if (i % 3 == 0)
            run_for(loop, 1);
        far_send(loop, loop->peer, "x", 1);
        assert_int_equal(wait_in(loop, end), 1);
    }
    assert_int_equal(end->got_len, 20);
}

static void test_recv_gives_all_bytes_then_end_of_input(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    int rc = 1;

    join(loop, "127.0.0.1");
    submit_recv(loop, end);
    run_for(loop, 1);
    far_send(loop, loop->peer, "bye", 3);
    far_end(loop, loop->peer);
    for (int i = 0; i < 4 && (rc = wait_in(loop, end)) > 0; i++)
        submit_recv(loop, end);
    assert_int_equal(rc, 0);
    assert_int_equal(end->got_len, 3);
    submit_recv(loop, end);
    assert_int_equal(wait_in(loop, end), 0);
}

static void test_recv_after_reset_fails(void **state)
{
    struct loop *loop = *state;

    join(loop, "127.0.0.1");
    far_reset(loop, loop->peer);
    loop->peer = -1;
    submit_recv(loop, loop->ends[0]);
    assert_int_equal(wait_in(loop, loop->ends[0]), -ECONNRESET);
}

static void test_peer_is_known_after_a_reset(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "::1"};
    struct loop *loop = *state;
    gate__sockaddr before, after;
    const gate_sock *sock = &loop->ends[0]->sock;

    for (size_t i = 0; i < 2; i++) {
        join(loop, hosts[i]);
        assert_int_equal(loop->io->ops->peer(loop->io, sock, &before), 0);
        far_reset(loop, loop->peer);
        loop->peer = -1;
        submit_recv(loop, loop->ends[0]);
        assert_int_equal(wait_in(loop, loop->ends[0]), -ECONNRESET);
        assert_int_equal(loop->io->ops->peer(loop->io, sock, &after), 0);
        assert_int_equal(after.len, before.len);
        assert_memory_equal(&after.u, &before.u, after.len);
        submit_close(loop, loop->ends[0]);
        assert_int_equal(wait_out(loop, loop->ends[0]), 0);
        far_close(loop, loop->listener);
        loop->listener = -1;
    }
}

static void test_recv_cancelled_loses_nothing(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];

    join(loop, "127.0.0.1");
    submit_recv(loop, end);
    run_for(loop, 1);
    loop->io->ops->cancel(loop->io, &end->sock, &end->sock.in);
    loop->io->ops->cancel(loop->io, &end->sock, &end->sock.in);
    assert_int_equal(end->in.finals, 0);
    assert_int_equal(wait_in(loop, end), -ECANCELED);
    far_send(loop, loop->peer, "1", 1);
    submit_recv(loop, end);
    assert_int_equal(wait_in(loop, end), 1);
}

/* What one recv takes at most. */
static int room_of(const char *backend)
{
    if (!strcmp(backend, "blocking"))
        return 16 * 1024;
    return !strcmp(backend, "io_uring") ? 4 * 1024 : 64 * 1024;
}

static void test_recv_says_when_more_may_be_there(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    int room = room_of(loop->io->ops->name);

    join_unix(loop);
    far_send(loop, loop->peer, bulk, (size_t)room + 1);
    submit_recv(loop, end);
    assert_int_equal(wait_in(loop, end), room);
    assert_int_equal(end->in.flags, GATE_IO_FULL);
    submit_recv(loop, end);
    assert_int_equal(wait_in(loop, end), 1);
    assert_int_equal(end->in.flags, 0);
}

static void test_cancel_of_idle_op_does_nothing(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];

    join(loop, "127.0.0.1");
    end->in = end->out = (struct outcome){0};
    loop->io->ops->cancel(loop->io, &end->sock, &end->sock.in);
    loop->io->ops->cancel(loop->io, &end->sock, &end->sock.out);
    assert_int_equal(loop->io->ops->run(loop->io, 0), 0);
    assert_int_equal(end->in.finals + end->out.finals, 0);
}

/* ---- Send ---------------------------------------------------------------------------------- */

static void test_send_goes_out(void **state)
{
    struct loop *loop = *state;
    char got[5];

    join(loop, "127.0.0.1");
    submit_send(loop, loop->ends[0], "hel", 3, GATE_IO_MOREOUT);
    assert_int_equal(wait_out(loop, loop->ends[0]), 3);
    submit_send(loop, loop->ends[0], "lo", 2, 0);
    assert_int_equal(wait_out(loop, loop->ends[0]), 2);
    assert_int_equal(loop->ends[0]->out.flags, 0);
    assert_int_equal(far_recv(loop, loop->peer, got, 5), 5);
    assert_memory_equal(got, "hello", 5);
}

/* SIGPIPE would end this program. */
static void test_send_to_closed_peer_is_an_error_and_no_signal(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];

    join(loop, "127.0.0.1");
    far_reset(loop, loop->peer);
    loop->peer = -1;
    submit_recv(loop, end);
    assert_int_equal(wait_in(loop, end), -ECONNRESET);
    submit_send(loop, end, "x", 1, 0);
    assert_int_equal(wait_out(loop, end), -EPIPE);
}

static size_t fill(struct loop *loop, struct end *end)
{
    size_t sent = 0;

    for (int i = 0; i < 100; i++) {
        submit_send(loop, end, bulk, 1024 * 1024, 0);
        run_for(loop, 10);
        if (!end->out.finals)
            return sent;
        assert_true(end->out.result > 0);
        sent += (size_t)end->out.result;
    }
    fail();
    return 0;
}

static void test_send_waits_for_room_and_can_be_short(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    size_t sent;
    char *taken = malloc(sizeof bulk);
    int rc;

    assert_non_null(taken);
    join_unix(loop);
    sent = fill(loop, end);
    assert_true(sent < sizeof bulk);
    assert_int_equal(far_recv(loop, loop->peer, taken, sent), sent);
    for (int i = 0; i < 100 && !end->out.finals; i++)
        run_for(loop, 10);
    rc = wait_out(loop, end);
    assert_true(rc > 0);
    assert_int_equal(far_recv(loop, loop->peer, taken, (size_t)rc), rc);
    free(taken);
}

static void test_send_cancelled_while_it_waits(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];

    join_unix(loop);
    fill(loop, end);
    loop->io->ops->cancel(loop->io, &end->sock, &end->sock.out);
    assert_int_equal(wait_out(loop, end), -ECANCELED);
}

static void test_recv_completes_while_a_send_waits(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    uint64_t deadline = time_of(loop) + 10000 * MS;

    join_unix(loop);
    submit_send(loop, end, bulk, sizeof bulk, 0);
    assert_in_range(wait_out(loop, end), 1, sizeof bulk - 1);
    submit_send(loop, end, bulk, sizeof bulk, 0);
    submit_recv(loop, end);
    far_send(loop, loop->peer, "1", 1);
    for (int i = 0; i < 10 && !end->in.finals; i++)
        assert_int_equal(loop->io->ops->run(loop->io, deadline), 0);
    assert_int_equal(end->in.result, 1);
    assert_int_equal(end->out.finals, 0);
    assert_true(time_of(loop) < deadline);
}

static uint64_t cpu_ns(void)
{
    struct timespec used;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000 * MS + (uint64_t)used.tv_nsec;
}

static void test_waiting_for_both_takes_no_time_of_the_processor(void **state)
{
    struct loop *loop = *state;
    uint64_t before;

    join_unix(loop);
    submit_recv(loop, loop->ends[0]);
    fill(loop, loop->ends[0]);
    before = cpu_ns();
    run_for(loop, 200);
    assert_true(cpu_ns() - before < 25 * MS);
}

static void test_send_completes_while_a_recv_waits(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];

    join(loop, "127.0.0.1");
    submit_recv(loop, end);
    submit_send(loop, end, "x", 1, 0);
    assert_int_equal(wait_out(loop, end), 1);
    assert_int_equal(end->in.finals, 0);
}

static void test_last_send_closes(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    char got[8];

    join(loop, "127.0.0.1");
    submit_send(loop, end, "bye", 3, GATE_IO_LAST);
    assert_int_equal(wait_out(loop, end), 3);
    assert_int_equal(end->out.flags, GATE_IO_CLOSED);
    assert_int_equal(end->sock.fd, -1);
    assert_int_equal(far_recv(loop, loop->peer, got, sizeof got), 3);
}

/* The close then resets the connection, and the reset must not overtake the bytes. */
static void test_last_send_arrives_where_input_is_unread(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    char got[3];

    join(loop, "127.0.0.1");
    far_send(loop, loop->peer, "more", 4);
    submit_send(loop, end, "bye", 3, GATE_IO_LAST);
    assert_int_equal(wait_out(loop, end), 3);
    assert_int_equal(far_recv(loop, loop->peer, got, 3), 3);
    assert_memory_equal(got, "bye", 3);
}

/* fd says nothing about the op: some backends give the descriptor up inside the submit. */
static void test_socket_without_its_descriptor_is_in_flight_until_it_is_told(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];

    for (int last = 0; last < 2; last++) {
        join(loop, "127.0.0.1");
        if (last)
            submit_send(loop, end, "bye", 3, GATE_IO_LAST);
        else
            submit_close(loop, end);
        assert_int_equal(end->sock.fd < 0, loop->at_once);
        assert_true(gate__op_busy(&end->sock.out));
        assert_int_equal(end->out.finals, 0);
        loop->io->ops->cancel(loop->io, &end->sock, &end->sock.in);
        run_for(loop, 1);
        assert_false(gate__op_busy(&end->sock.out));
        assert_int_equal(end->out.finals, 1);
        assert_int_equal(end->out.result, last ? 3 : 0);
        assert_int_equal(end->sock.fd, -1);
        far_close(loop, loop->peer);
        far_close(loop, loop->listener);
        loop->peer = loop->listener = -1;
    }
}

static void test_last_send_that_is_short_stays_open(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];

    join(loop, "127.0.0.1");
    submit_send(loop, end, bulk, sizeof bulk, GATE_IO_LAST);
    for (int i = 0; i < 100 && !end->out.finals; i++)
        run_for(loop, 10);
    assert_in_range(wait_out(loop, end), 1, sizeof bulk - 1);
    assert_int_equal(end->out.flags, 0);
    assert_true(end->sock.fd >= 0);
}

/* ---- Shutdown and close -------------------------------------------------------------------- */

static void test_shutdown_ends_our_side_only(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    char got[1];

    join(loop, "127.0.0.1");
    submit_shutdown(loop, end);
    loop->io->ops->cancel(loop->io, &end->sock, &end->sock.out);
    assert_int_equal(wait_out(loop, end), 0);
    assert_int_equal(far_recv(loop, loop->peer, got, 1), 0);
    far_send(loop, loop->peer, "still", 5);
    submit_recv(loop, end);
    assert_int_equal(wait_in(loop, end), 5);
}

static void test_close_tells_the_peer_and_frees_the_descriptor(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    char got[1];

    join(loop, "127.0.0.1");
    submit_close(loop, end);
    loop->io->ops->cancel(loop->io, &end->sock, &end->sock.out);
    assert_int_equal(wait_out(loop, end), 0);
    assert_int_equal(end->sock.fd, -1);
    assert_int_equal(far_recv(loop, loop->peer, got, 1), 0);
}

static void test_close_resets_where_that_was_asked_for(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];

    for (int reset = 0; reset < 2; reset++) {
        join(loop, "127.0.0.1");
        submit_send(loop, end, "half", 4, 0);
        assert_int_equal(wait_out(loop, end), 4);
        if (reset)
            loop->io->ops->reset(loop->io, &end->sock);
        submit_close(loop, end);
        assert_int_equal(wait_out(loop, end), 0);
        assert_int_equal(far_sees_reset(loop, loop->peer), reset);
        far_close(loop, loop->peer);
        far_close(loop, loop->listener);
        loop->peer = loop->listener = -1;
    }
}

static void test_reset_does_nothing_to_a_unix_socket(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];

    join_unix(loop);
    loop->io->ops->reset(loop->io, &end->sock);
    submit_close(loop, end);
    assert_int_equal(wait_out(loop, end), 0);
    assert_int_equal(far_sees_reset(loop, loop->peer), 0);
}

static void test_socket_can_connect_again_after_close(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];

    join(loop, "127.0.0.1");
    for (int i = 0; i < 3; i++) {
        submit_recv(loop, end);
        run_for(loop, 1);
        far_send(loop, loop->peer, "1", 1);
        assert_int_equal(wait_in(loop, end), 1);
        submit_close(loop, end);
        assert_int_equal(wait_out(loop, end), 0);
        far_close(loop, loop->peer);
        submit_connect(loop, end, &loop->addr);
        assert_int_equal(wait_out(loop, end), 0);
        loop->peer = far_accept(loop, loop->listener);
    }
}

/* ---- The loop itself ----------------------------------------------------------------------- */

static void test_run_returns_at_its_deadline(void **state)
{
    struct loop *loop = *state;
    uint64_t deadline = time_of(loop) + 20 * MS;

    join(loop, "127.0.0.1");
    submit_recv(loop, loop->ends[0]);
    while (time_of(loop) < deadline)
        assert_int_equal(loop->io->ops->run(loop->io, deadline), 0);
    assert_int_equal(loop->io->ops->run(loop->io, deadline), 0);
    assert_true(loop->io->now_ns >= deadline);
}

static void test_wake_ends_the_next_run(void **state)
{
    struct loop *loop = *state;

    join(loop, "127.0.0.1");
    submit_recv(loop, loop->ends[0]);
    run_for(loop, 1);
    for (int i = 0; i < 3; i++) {
        errno = EDOM;
        loop->io->ops->wake(loop->io);
        assert_int_equal(errno, EDOM);
        assert_int_equal(loop->io->ops->run(loop->io, UINT64_MAX), 0);
        assert_int_equal(loop->ends[0]->in.finals, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_ALL(test_recv_lends_what_came),
        OVER_ALL(test_recv_stays_in_flight_at_deadline),
        OVER_ALL(test_recv_that_does_not_wait_ends_where_nothing_is_there),
        OVER_ALL(test_recv_that_does_not_wait_misses_nothing_after_a_cancelled_one),
        OVER_ALL(test_recv_after_recv_gets_what_came_later),
        OVER_ALL(test_recv_gives_all_bytes_then_end_of_input),
        OVER_ALL(test_recv_after_reset_fails),
        OVER_LOOPS(test_peer_is_known_after_a_reset),
        OVER_ALL(test_recv_cancelled_loses_nothing),
        OVER_ALL(test_recv_says_when_more_may_be_there),
        OVER_ALL(test_cancel_of_idle_op_does_nothing),
        OVER_ALL(test_send_goes_out),
        OVER_ALL(test_send_to_closed_peer_is_an_error_and_no_signal),
        OVER_ALL(test_send_waits_for_room_and_can_be_short),
        OVER_ALL(test_send_cancelled_while_it_waits),
        OVER_ALL(test_recv_completes_while_a_send_waits),
        OVER_KERNEL(test_waiting_for_both_takes_no_time_of_the_processor),
        OVER_ALL(test_send_completes_while_a_recv_waits),
        OVER_ALL(test_last_send_closes),
        OVER_ALL(test_last_send_arrives_where_input_is_unread),
        OVER_ALL(test_socket_without_its_descriptor_is_in_flight_until_it_is_told),
        OVER_ALL(test_last_send_that_is_short_stays_open),
        OVER_ALL(test_shutdown_ends_our_side_only),
        OVER_ALL(test_close_tells_the_peer_and_frees_the_descriptor),
        OVER_ALL(test_close_resets_where_that_was_asked_for),
        OVER_KERNEL(test_reset_does_nothing_to_a_unix_socket),
        OVER_ALL(test_socket_can_connect_again_after_close),
        OVER_ALL(test_run_returns_at_its_deadline),
        OVER_ALL(test_wake_ends_the_next_run),
    };

    return RUN_OVER(tests);
}
