/* SPDX-License-Identifier: MIT */

/* What only a loop of many sockets can do: listeners, several ends in one turn, wake-ups from
 * elsewhere. */

#include "far.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "io/sock.h"
#include "names.h"

static const gate_io_ops *ops_of(const struct loop *loop)
{
    return loop->io->ops;
}

/* ends[0] listens; returns after the first accept had to wait. */
static void open_listener(struct loop *loop, const char *host, unsigned flags)
{
    set_addr(&loop->addr, host, 0);
    assert_int_equal(
        ops_of(loop)->listen(loop->io, &loop->ends[0]->sock, &loop->addr, 128, flags, NULL), 0);
}

static void wait_accepted(struct loop *loop, struct end *end, size_t count)
{
    for (int i = 0; i < 1000 && end->accepted_count < count; i++)
        assert_int_equal(ops_of(loop)->run(loop->io, time_of(loop) + 10 * MS), 0);
    assert_int_equal(end->accepted_count, count);
}

/* ---- Accept -------------------------------------------------------------------------------- */

static void test_accept_stays_armed(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    int clients[10];

    open_listener(loop, "127.0.0.1", 0);
    submit_accept(loop, end, 0);
    for (size_t i = 0; i < 10; i++) {
        clients[i] = far_connect(loop, &loop->addr);
        if (i % 4 == 3)
            wait_accepted(loop, end, i + 1);
    }
    wait_accepted(loop, end, 10);
    assert_int_equal(end->in.mores, 10);
    assert_int_equal(end->in.finals, 0);
    for (size_t i = 0; i < 10; i++)
        far_close(loop, clients[i]);
}

static void test_accepted_descriptors_are_ready_for_use(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    int client, nodelay = 0;
    socklen_t len = sizeof nodelay;

    open_listener(loop, "127.0.0.1", 0);
    client = far_connect(loop, &loop->addr);
    submit_accept(loop, end, 0);
    wait_accepted(loop, end, 1);
    assert_true(fcntl(end->accepted[0], F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(end->accepted[0], F_GETFD) & FD_CLOEXEC);
    assert_int_equal(getsockopt(end->accepted[0], IPPROTO_TCP, TCP_NODELAY, &nodelay, &len), 0);
    assert_true(nodelay);
    far_close(loop, client);
}

static void test_accept_takes_a_long_queue_in_turns(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    int clients[100];

    open_listener(loop, "127.0.0.1", 0);
    for (size_t i = 0; i < 100; i++)
        clients[i] = far_connect(loop, &loop->addr);
    submit_accept(loop, end, 0);
    wait_accepted(loop, end, 100);
    for (size_t i = 0; i < 100; i++)
        far_close(loop, clients[i]);
}

/* What others wait for in a turn is bounded, however long the queue is. */
static void test_accepts_of_a_turn_are_bounded(void **state)
{
    enum { MANY = 500, OF_A_TURN = 64 };
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    static int clients[MANY];
    size_t sum = 0;

    set_addr(&loop->addr, "127.0.0.1", 0);
    assert_int_equal(ops_of(loop)->listen(loop->io, &end->sock, &loop->addr, MANY, 0, NULL), 0);
    for (size_t i = 0; i < MANY; i++)
        clients[i] = far_connect(loop, &loop->addr);
    submit_accept(loop, end, 0);
    while (sum < MANY) {
        assert_int_equal(ops_of(loop)->run(loop->io, time_of(loop) + 1000 * MS), 0);
        assert_in_range(end->accepted_count, 0, OF_A_TURN);
        sum += end->accepted_count;
        while (end->accepted_count > 0)
            ops_of(loop)->discard(loop->io, end->accepted[--end->accepted_count]);
    }
    for (size_t i = 0; i < MANY; i++)
        far_close(loop, clients[i]);
}

static void test_accept_nowait_ends_with_the_queue(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    int clients[100];

    open_listener(loop, "127.0.0.1", 0);
    for (size_t i = 0; i < 100; i++)
        clients[i] = far_connect(loop, &loop->addr);
    submit_accept(loop, end, GATE_IO_NOWAIT);
    assert_int_equal(wait_in(loop, end), -EAGAIN);
    assert_int_equal(end->accepted_count, 100);
    for (size_t i = 0; i < 100; i++)
        far_close(loop, clients[i]);
}

static void test_accept_cancelled_leaves_the_queue_alone(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    uint64_t deadline;
    int client;

    open_listener(loop, "127.0.0.1", 0);
    submit_accept(loop, end, 0);
    run_for(loop, 1);
    ops_of(loop)->cancel(loop->io, &end->sock, &end->sock.in);
    assert_int_equal(wait_in(loop, end), -ECANCELED);
    client = far_connect(loop, &loop->addr);
    run_for(loop, 5);
    deadline = time_of(loop) + 10 * MS;
    assert_int_equal(ops_of(loop)->run(loop->io, deadline), 0);
    assert_true(time_of(loop) >= deadline); /* the waiting connection does not make it spin */
    assert_int_equal(end->accepted_count, 0);
    submit_accept(loop, end, 0);
    wait_accepted(loop, end, 1);
    far_close(loop, client);
}

static int cancelled_after;
static int after_cancel;
static int cancel_finals;

static void cancel_at_once(gate_io *io, gate_op *op, int result, unsigned flags)
{
    gate_sock *sock = (gate_sock *)(void *)((char *)op - offsetof(gate_sock, in));

    if (!(flags & GATE_IO_MORE)) {
        assert_int_equal(result, -ECANCELED);
        cancel_finals++;
        return;
    }
    io->ops->discard(io, result);
    after_cancel += cancelled_after++ > 0;
    io->ops->cancel(io, sock, op);
}

static void test_accept_cancelled_by_its_own_callback_stops_there(void **state)
{
    struct loop *loop = *state;
    int clients[3];

    open_listener(loop, "127.0.0.1", 0);
    for (size_t i = 0; i < 3; i++)
        clients[i] = far_connect(loop, &loop->addr);
    cancelled_after = after_cancel = cancel_finals = 0;
    ops_of(loop)->accept(loop->io, &loop->ends[0]->sock, 0, cancel_at_once);
    run_for(loop, 5);
    assert_int_equal(cancelled_after, 1);
    assert_int_equal(after_cancel, 0);
    assert_int_equal(cancel_finals, 1);
    submit_accept(loop, loop->ends[0], 0);
    wait_accepted(loop, loop->ends[0], 2);
    for (size_t i = 0; i < 3; i++)
        far_close(loop, clients[i]);
}

/* The connection is still queued, and no further event need come for it. The limit is lowered
 * before the accept, since io_uring heeds the one that it found then. */
static void test_accept_without_descriptors_ends_and_can_be_tried_again(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    struct rlimit before, none;
    int client, next;

    if (on_valgrind())
        skip(); /* it takes the connection, and drops it on finding no descriptor for it */
    open_listener(loop, "127.0.0.1", 0);
    run_for(loop, 1);
    client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    next = dup(client);
    assert_true(next >= 0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    submit_accept(loop, end, 0);
    run_for(loop, 1);
    assert_int_equal(connect(client, &loop->addr.u.any, loop->addr.len), 0);
    run_for(loop, 5);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(wait_in(loop, end), -EMFILE);
    submit_accept(loop, end, 0);
    wait_accepted(loop, end, 1);
    far_close(loop, client);
}

static void test_adopted_listener_accepts(void **state)
{
    struct loop *loop = *state;
    gate__sockaddr addr;
    int fd, client;

    set_addr(&loop->addr, "127.0.0.1", 0);
    fd = far_listen(loop, &loop->addr, 16);
    assert_int_equal(ops_of(loop)->adopt(loop->io, &loop->ends[0]->sock, fd, &addr), 0);
    assert_int_equal(gate__addr_port(&addr), gate__addr_port(&loop->addr));
    submit_accept(loop, loop->ends[0], 0);
    client = far_connect(loop, &addr);
    wait_accepted(loop, loop->ends[0], 1);
    far_close(loop, client);
}

/* As several workers do that were given one descriptor. */
static void test_listener_that_shares_its_socket_is_not_missed_by_the_other(void **state)
{
    struct loop *loop = *state;
    struct end *first = loop->ends[0], *second = loop->ends[1];
    gate__sockaddr addr;
    int client, fd;

    open_listener(loop, "127.0.0.1", 0);
    fd = dup(first->sock.fd);
    assert_true(fd >= 0);
    assert_int_equal(ops_of(loop)->adopt(loop->io, &second->sock, fd, &addr), 0);
    submit_accept(loop, first, 0);
    submit_accept(loop, second, 0);
    run_for(loop, 1);
    ops_of(loop)->cancel(loop->io, &first->sock, &first->sock.in);
    assert_int_equal(wait_in(loop, first), -ECANCELED);
    submit_close(loop, first);
    assert_int_equal(wait_out(loop, first), 0);
    client = far_connect(loop, &addr);
    wait_accepted(loop, second, 1);
    far_close(loop, client);
}

/* ---- Time ---------------------------------------------------------------------------------- */

static int late_fd;

/* As if the process had been stopped while it waits, and something had come meanwhile. */
static void send_and_take_long(int number)
{
    uint64_t end_ns = gate__clock_ns() + 20 * MS;

    (void)number;
    assert_int_equal(write(late_fd, "1", 1), 1);
    while (gate__clock_ns() < end_ns)
        ;
}

static void test_time_of_a_turn_is_not_later_than_what_it_has_told(void **state)
{
    const struct itimerval soon = {{0, 0}, {0, 2000}};
    struct sigaction before, action = {.sa_handler = send_and_take_long};
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    uint64_t deadline;

    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    for (int i = 0; i < 20; i++) {
        join(loop, "127.0.0.1");
        late_fd = loop->peer;
        submit_recv(loop, end);
        run_for(loop, 1);
        deadline = time_of(loop) + 10 * MS;
        assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
        while (!end->in.finals && loop->io->turn_ns < deadline)
            assert_int_equal(loop->io->ops->run(loop->io, deadline), 0);
        assert_int_equal(end->in.finals, 1); /* it has come before the deadline */
        submit_close(loop, end);
        assert_int_equal(wait_out(loop, end), 0);
        far_close(loop, loop->peer);
        far_close(loop, loop->listener);
        loop->peer = loop->listener = -1;
    }
    assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
}

/* More than one turn can fetch or take up. */
static void test_time_of_a_turn_waits_for_all_that_was_ready(void **state)
{
    enum { MANY = 450 }; /* two descriptors each, of the 1024 that many machines allow */
    struct loop *loop = *state;
    struct end *listener = loop->ends[0];
    static struct end *ends[MANY];
    static int clients[MANY];
    int told = 0;
    uint64_t sent_ns;

    open_listener(loop, "127.0.0.1", 0);
    submit_accept(loop, listener, 0);
    for (int i = 0; i < MANY; i++) {
        clients[i] = far_connect(loop, &loop->addr);
        wait_accepted(loop, listener, 1);
        assert_non_null(ends[i] = calloc(1, sizeof *ends[i]));
        gate__sock_init(&ends[i]->sock, listener->accepted[0]);
        listener->accepted_count = 0;
        submit_recv(loop, ends[i]);
    }
    run_for(loop, 1);
    for (int i = 0; i < MANY; i++)
        far_send(loop, clients[i], "1", 1);
    sent_ns = time_of(loop) + 1;
    while (loop->io->turn_ns < sent_ns)
        assert_int_equal(loop->io->ops->run(loop->io, sent_ns), 0);
    for (int i = 0; i < MANY; i++)
        told += ends[i]->in.finals;
    assert_int_equal(told, MANY);
    for (int i = 0; i < MANY; i++) {
        submit_close(loop, ends[i]);
        assert_int_equal(wait_out(loop, ends[i]), 0);
        far_close(loop, clients[i]);
        free(ends[i]);
    }
}

/* ---- Several sockets in one loop ----------------------------------------------------------- */

static void test_two_sockets_talk_in_one_loop(void **state)
{
    struct loop *loop = *state;
    struct end *server = calloc(1, sizeof *server);
    struct end *client = loop->ends[1];

    assert_non_null(server);
    open_listener(loop, "127.0.0.1", 0);
    submit_accept(loop, loop->ends[0], 0);
    submit_connect(loop, client, &loop->addr);
    assert_int_equal(wait_out(loop, client), 0);
    wait_accepted(loop, loop->ends[0], 1);
    gate__sock_init(&server->sock, loop->ends[0]->accepted[0]);
    loop->ends[0]->accepted_count = 0;
    for (int i = 0; i < 10; i++) {
        submit_recv(loop, server);
        submit_recv(loop, client);
        submit_send(loop, client, "1", 1, 0);
        assert_int_equal(wait_in(loop, server), 1);
        submit_send(loop, server, "welcome", 7, 0);
        assert_int_equal(wait_in(loop, client), 7);
        assert_int_equal(client->out.finals + server->out.finals, 2);
    }
    submit_recv(loop, client);
    submit_close(loop, server);
    assert_int_equal(wait_out(loop, server), 0);
    assert_int_equal(wait_in(loop, client), 0);
    free(server);
}

/* Two connections become readable in one turn; the first callback closes and frees the other. */
struct pair {
    gate_sock sock;
    struct pair *other;
    int *closed;
};

static void free_closed(gate_io *io, gate_op *op, int result, unsigned flags)
{
    struct pair *pair = (struct pair *)(void *)((char *)op - offsetof(struct pair, sock.out));

    (void)io, (void)flags;
    assert_int_equal(result, 0);
    ++*pair->closed;
    free(pair);
}

static void close_other(gate_io *io, gate_op *op, int result, unsigned flags)
{
    struct pair *pair = (struct pair *)(void *)((char *)op - offsetof(struct pair, sock.in));

    (void)flags;
    if (result > 0 && pair->other)
        io->ops->cancel(io, &pair->other->sock, &pair->other->sock.in);
    if (pair->other)
        pair->other->other = NULL;
    io->ops->close(io, &pair->sock, free_closed);
}

static struct pair *accept_pair(struct loop *loop, int *client, int *closed)
{
    struct pair *pair = calloc(1, sizeof *pair);

    assert_non_null(pair);
    *client = far_connect(loop, &loop->addr);
    gate__sock_init(&pair->sock, far_accept_for_loop(loop, loop->listener));
    pair->closed = closed;
    return pair;
}

static void test_socket_may_be_freed_in_the_turn_that_has_its_events(void **state)
{
    struct loop *loop = *state;
    struct pair *a, *b;
    int clients[2], closed = 0;

    set_addr(&loop->addr, "127.0.0.1", 0);
    loop->listener = far_listen(loop, &loop->addr, 16);
    a = accept_pair(loop, &clients[0], &closed);
    b = accept_pair(loop, &clients[1], &closed);
    a->other = b;
    b->other = a;
    ops_of(loop)->recv(loop->io, &a->sock, 0, close_other);
    ops_of(loop)->recv(loop->io, &b->sock, 0, close_other);
    run_for(loop, 1);
    far_send(loop, clients[0], "x", 1);
    far_send(loop, clients[1], "x", 1);
    for (int i = 0; i < 100 && closed < 2; i++)
        run_for(loop, 1);
    assert_int_equal(closed, 2);
    far_close(loop, clients[0]);
    far_close(loop, clients[1]);
}

/* A forked child may keep a descriptor that this process has closed, and with it the
 * registration; a duplicate does the same. */
static void test_events_of_a_closed_socket_do_not_reach_the_next_one(void **state)
{
    struct loop *loop = *state;
    struct end *old = loop->ends[0], *next = loop->ends[1];
    int kept, fd, fillers[2];

    join(loop, "127.0.0.1");
    far_close(loop, loop->listener);
    fill_queue(loop, fillers);
    submit_recv(loop, old);
    run_for(loop, 1);
    ops_of(loop)->cancel(loop->io, &old->sock, &old->sock.in);
    assert_int_equal(wait_in(loop, old), -ECANCELED);
    fd = old->sock.fd;
    kept = dup(fd);
    assert_true(kept >= 0);
    submit_close(loop, old);
    assert_int_equal(wait_out(loop, old), 0);
    free(old);
    loop->ends[0] = NULL;
    far_send(loop, loop->peer, "x", 1);
    run_for(loop, 1);

    submit_connect(loop, next, &loop->addr);
    run_for(loop, 1);
    assert_int_equal(next->sock.fd, fd);
    far_reset(loop, loop->peer);
    loop->peer = -1;
    run_for(loop, 5);
    assert_int_equal(next->out.finals, 0);
    close(kept);
    far_close(loop, fillers[0]);
    far_close(loop, fillers[1]);
}

static void test_time_stands_still_in_a_turn(void **state)
{
    struct loop *loop = *state;
    uint64_t before = time_of(loop);

    assert_int_equal(ops_of(loop)->run(loop->io, 0), 0);
    assert_in_range(loop->io->now_ns, before, time_of(loop));
}

/* ---- Wake ---------------------------------------------------------------------------------- */

static gate_io *to_wake;

static void *wake_it(void *arg)
{
    (void)arg;
    to_wake->ops->wake(to_wake);
    return NULL;
}

static void test_wake_from_a_thread_ends_a_run_that_waits(void **state)
{
    struct loop *loop = *state;
    pthread_t thread;

    to_wake = loop->io;
    for (int i = 0; i < 50; i++) {
        assert_int_equal(pthread_create(&thread, NULL, wake_it, NULL), 0);
        assert_int_equal(ops_of(loop)->run(loop->io, UINT64_MAX), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
}

static void wake_on_signal(int number)
{
    (void)number;
    to_wake->ops->wake(to_wake);
}

static void test_wake_from_a_signal_handler_ends_the_next_run(void **state)
{
    struct loop *loop = *state;
    struct sigaction action = {.sa_handler = wake_on_signal}, before;

    to_wake = loop->io;
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(ops_of(loop)->run(loop->io, UINT64_MAX), 0);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_KERNEL_LOOPS(test_accepts_of_a_turn_are_bounded),
        OVER_KERNEL_LOOPS(test_time_of_a_turn_is_not_later_than_what_it_has_told),
        OVER_LOOPS(test_time_of_a_turn_waits_for_all_that_was_ready),
        OVER_LOOPS(test_accept_stays_armed),
        OVER_KERNEL_LOOPS(test_accepted_descriptors_are_ready_for_use),
        OVER_LOOPS(test_accept_takes_a_long_queue_in_turns),
        OVER_LOOPS(test_accept_nowait_ends_with_the_queue),
        OVER_LOOPS(test_accept_cancelled_leaves_the_queue_alone),
        OVER_LOOPS(test_accept_cancelled_by_its_own_callback_stops_there),
        OVER_KERNEL_LOOPS(test_accept_without_descriptors_ends_and_can_be_tried_again),
        OVER_LOOPS(test_adopted_listener_accepts),
        OVER_KERNEL_LOOPS(test_listener_that_shares_its_socket_is_not_missed_by_the_other),
        OVER_LOOPS(test_two_sockets_talk_in_one_loop),
        OVER_LOOPS(test_socket_may_be_freed_in_the_turn_that_has_its_events),
        OVER_KERNEL_LOOPS(test_events_of_a_closed_socket_do_not_reach_the_next_one),
        OVER_LOOPS(test_time_stands_still_in_a_turn),
        OVER_KERNEL_LOOPS(test_wake_from_a_thread_ends_a_run_that_waits),
        OVER_LOOPS(test_wake_from_a_signal_handler_ends_the_next_run),
    };

    return RUN_OVER(tests);
}
