/* SPDX-License-Identifier: MIT */

/* The contract of io.h for what comes before a connection, over each backend. */

#include "far.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/sock.h"
#include "names.h"

/* ---- Connect ------------------------------------------------------------------------------- */

static void test_connect_reaches_listener(void **state)
{
    struct loop *loop = *state;
    gate__sockaddr peer;

    join(loop, "127.0.0.1");
    assert_true(loop->ends[0]->sock.fd >= 0);
    assert_int_equal(loop->io->ops->peer(loop->io, &loop->ends[0]->sock, &peer), 0);
    assert_int_equal(gate__addr_port(&peer), gate__addr_port(&loop->addr));
}

static void test_connect_reaches_ipv6_listener(void **state)
{
    struct loop *loop = *state;

    join(loop, "::1");
}

static void test_connect_reaches_abstract_unix_listener(void **state)
{
    struct loop *loop = *state;
    char host[64];

    snprintf(host, sizeof host, "unix:@gate-test-%ld", (long)getpid());
    join(loop, host);
}

static void test_connect_refused_closes_descriptor(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    int bound = far_refuse(loop, &loop->addr);

    submit_connect(loop, end, &loop->addr);
    assert_int_equal(wait_out(loop, end), -ECONNREFUSED);
    assert_int_equal(end->sock.fd, -1);
    far_close(loop, bound);
}

static void test_connect_address_is_not_needed_after_submit(void **state)
{
    struct loop *loop = *state;
    gate__sockaddr addr;

    set_addr(&loop->addr, "127.0.0.1", 0);
    loop->listener = far_listen(loop, &loop->addr, 16);
    addr = loop->addr;
    submit_connect(loop, loop->ends[0], &addr);
    memset(&addr, 0xff, sizeof addr);
    assert_int_equal(wait_out(loop, loop->ends[0]), 0);
}

static void test_connect_stays_in_flight_at_deadline_and_can_be_cancelled(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    int fillers[2];

    fill_queue(loop, fillers);
    submit_connect(loop, end, &loop->addr);
    run_for(loop, 20);
    assert_int_equal(end->out.finals, 0);
    loop->io->ops->cancel(loop->io, &end->sock, &end->sock.out);
    assert_int_equal(end->out.finals, 0);
    assert_int_equal(wait_out(loop, end), -ECANCELED);
    assert_int_equal(end->sock.fd, -1);
    far_close(loop, fillers[0]);
    far_close(loop, fillers[1]);
}

/* Once the queue has room, the kernel's next attempt succeeds. */
static void test_connect_goes_on_after_deadline(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    int fillers[2];

    fill_queue(loop, fillers);
    submit_connect(loop, end, &loop->addr);
    run_for(loop, 5);
    assert_int_equal(end->out.finals, 0);
    far_close(loop, far_accept(loop, loop->listener));
    assert_int_equal(wait_out(loop, end), 0);
    far_close(loop, fillers[0]);
    far_close(loop, fillers[1]);
}

static void test_connect_without_descriptors_fails(void **state)
{
    struct loop *loop = *state;

    set_addr(&loop->addr, "127.0.0.1", 0);
    loop->listener = plain_listen(&loop->addr, 16);
    run_short(0);
    submit_connect(loop, loop->ends[0], &loop->addr);
    assert_int_equal(wait_out(loop, loop->ends[0]), -EMFILE);
    run_on();
    assert_int_equal(loop->ends[0]->sock.fd, -1);
    submit_connect(loop, loop->ends[0], &loop->addr);
    assert_int_equal(wait_out(loop, loop->ends[0]), 0);
}

static void test_connect_goes_on_after_a_signal(void **state)
{
    struct loop *loop = *state;
    uint64_t deadline = gate__clock_ns() + 10000 * MS;
    int fillers[2];

    fill_queue(loop, fillers);
    submit_connect(loop, loop->ends[0], &loop->addr);
    start_signals();
    for (int i = 0; i < 5; i++)
        assert_int_equal(loop->io->ops->run(loop->io, deadline), 0);
    stop_signals();
    assert_true(gate__clock_ns() < deadline);
    assert_int_equal(loop->ends[0]->out.finals, 0);
    close(fillers[0]);
    close(fillers[1]);
}

/* ---- A Unix listener whose queue is full --------------------------------------------------- */

/* The queue of a listener with backlog 0 has room for one. */
static int fill_unix_queue(struct loop *loop)
{
    char host[64];

    snprintf(host, sizeof host, "unix:@gate-test-%ld", (long)getpid());
    set_addr(&loop->addr, host, 0);
    loop->listener = plain_listen(&loop->addr, 0);
    return plain_connect(&loop->addr);
}

static void test_connect_waits_for_room_in_the_queue_of_a_unix_listener(void **state)
{
    struct loop *loop = *state;
    int first = fill_unix_queue(loop);

    submit_connect(loop, loop->ends[0], &loop->addr);
    run_for(loop, 40);
    assert_int_equal(loop->ends[0]->out.finals, 0);
    close(plain_accept(loop->listener));
    assert_int_equal(wait_out(loop, loop->ends[0]), 0);
    close(first);
}

static void test_connects_that_wait_for_room_get_in_one_after_the_other(void **state)
{
    struct loop *loop = *state;
    int first = fill_unix_queue(loop);

    for (int i = 0; i < 2; i++)
        submit_connect(loop, loop->ends[i], &loop->addr);
    for (int i = 0; i < 2; i++) {
        run_for(loop, 5);
        assert_int_equal(loop->ends[i]->out.finals, 0);
        close(plain_accept(loop->listener));
        assert_int_equal(wait_out(loop, loop->ends[i]), 0);
    }
    close(first);
}

static void test_connect_that_waits_for_room_can_be_cancelled(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    int first = fill_unix_queue(loop);

    submit_connect(loop, end, &loop->addr);
    run_for(loop, 5);
    assert_int_equal(end->out.finals, 0);
    loop->io->ops->cancel(loop->io, &end->sock, &end->sock.out);
    assert_int_equal(wait_out(loop, end), -ECANCELED);
    assert_int_equal(end->sock.fd, -1);
    close(first);
}

static void test_connect_that_waits_for_room_ends_with_its_listener(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    int first = fill_unix_queue(loop);

    submit_connect(loop, end, &loop->addr);
    run_for(loop, 5);
    assert_int_equal(end->out.finals, 0);
    close(loop->listener);
    loop->listener = -1;
    assert_int_equal(wait_out(loop, end), -ECONNREFUSED);
    assert_int_equal(end->sock.fd, -1);
    close(first);
}

/* ---- A connection to itself ---------------------------------------------------------------- */

static void connect_to_port_of_its_own(const char *backend)
{
    static const char *const hosts[] = {"127.0.0.1", "::1"};
    void *state = (void *)(uintptr_t)backend;
    struct loop *loop;

    loop_setup(&state);
    loop = state;
    for (size_t i = 0; i < 2; i++) {
        set_addr(&loop->addr, hosts[i], 40000);
        submit_connect(loop, loop->ends[0], &loop->addr);
        assert_int_equal(wait_out(loop, loop->ends[0]), GATE_ESELF);
        assert_int_equal(loop->ends[0]->sock.fd, -1);
    }
    loop_teardown(&state);
}

static void ask_a_port_of_its_own(const char *backend)
{
    char reply[16];
    size_t len = sizeof reply;

    (void)backend;
    assert_int_equal(gate_client_exchange("127.0.0.1", 40000, "1", 1, reply, &len, 5000),
                     GATE_ESELF);
    assert_int_equal(len, 0);
}

static void test_client_that_asks_itself_is_told(void **state)
{
    struct loop *loop = *state;

    in_private_network(ask_a_port_of_its_own, loop->io->ops->name);
}

static void test_connect_to_itself_is_told(void **state)
{
    struct loop *loop = *state;

    in_private_network(connect_to_port_of_its_own, loop->io->ops->name);
}

static void connect_without_ports(const char *backend)
{
    void *state = (void *)(uintptr_t)backend;
    struct loop *loop;
    int first;

    loop_setup(&state);
    loop = state;
    set_addr(&loop->addr, "127.0.0.1", 39999);
    loop->listener = far_listen(loop, &loop->addr, 16);
    first = far_connect(loop, &loop->addr);
    submit_connect(loop, loop->ends[0], &loop->addr);
    assert_int_equal(wait_out(loop, loop->ends[0]), GATE_EPORTS);
    assert_int_equal(loop->ends[0]->sock.fd, -1);
    /* Out of reach, here where there is only the loopback, is another matter. */
    set_addr(&loop->addr, "192.0.2.1", 1);
    assert_int_equal(gate__sock_connect_code(&loop->addr, EADDRNOTAVAIL), -EADDRNOTAVAIL);
    close(first);
    loop_teardown(&state);
}

static void test_connect_without_free_port_is_told(void **state)
{
    struct loop *loop = *state;

    in_private_network(connect_without_ports, loop->io->ops->name);
}

/* ---- Names --------------------------------------------------------------------------------- */

struct look_up {
    gate_resolve resolve;
    int finals;
    int result;
};

static void note_look_up(gate_io *io, gate_op *op, int result, unsigned flags)
{
    struct look_up *look_up = (struct look_up *)(void *)op;

    (void)io, (void)flags;
    assert_false(gate__op_busy(op));
    look_up->finals++;
    look_up->result = result;
}

static void start_look_up(struct loop *loop, struct look_up *look_up, const char *host)
{
    *look_up = (struct look_up){.resolve = {.host = host, .port = 80}};
    loop->io->ops->resolve(loop->io, &look_up->resolve, note_look_up);
    assert_int_equal(look_up->finals, 0);
}

static int finish_look_up(struct loop *loop, struct look_up *look_up)
{
    for (int i = 0; i < 100 && !look_up->finals; i++)
        loop->io->ops->run(loop->io, time_of(loop) + 100 * MS);
    assert_int_equal(look_up->finals, 1);
    return look_up->result;
}

static void test_resolve_of_a_number_asks_nobody(void **state)
{
    struct loop *loop = *state;
    struct look_up look_up;
    int asked = names_asked();

    start_look_up(loop, &look_up, "127.0.0.1");
    loop->io->ops->resolve_cancel(loop->io, &look_up.resolve);
    assert_int_equal(finish_look_up(loop, &look_up), 0);
    assert_int_equal(look_up.resolve.count, 1);
    assert_int_equal(names_asked(), asked);
    start_look_up(loop, &look_up, "");
    assert_int_equal(finish_look_up(loop, &look_up), -EINVAL);
}

static void test_resolve_gives_all_addresses(void **state)
{
    struct loop *loop = *state;
    struct look_up look_up;

    start_look_up(loop, &look_up, "two.test");
    assert_int_equal(finish_look_up(loop, &look_up), 0);
    assert_int_equal(look_up.resolve.count, 2);
    assert_int_equal(look_up.resolve.addrs[0].u.any.sa_family, AF_INET6);
    assert_int_equal(gate__addr_port(&look_up.resolve.addrs[1]), 80);
    start_look_up(loop, &look_up, "none.test");
    assert_int_equal(finish_look_up(loop, &look_up), GATE_ENAME);
    loop->io->ops->resolve_cancel(loop->io, &look_up.resolve); /* which is over */
    assert_int_equal(loop->io->ops->run(loop->io, 0), 0);
    assert_int_equal(look_up.finals, 1);
    names_wait_for_threads(0);
}

static void test_resolve_cancelled_does_not_wait_for_the_answer(void **state)
{
    struct loop *loop = *state;
    struct look_up *look_up = malloc(sizeof *look_up);
    int asked = names_asked();

    assert_non_null(look_up);
    start_look_up(loop, look_up, "slow.test");
    loop->io->ops->run(loop->io, time_of(loop) + 5 * MS);
    if (!loop->world)
        names_wait_for(asked + 1);
    assert_int_equal(look_up->finals, 0);
    loop->io->ops->resolve_cancel(loop->io, &look_up->resolve);
    assert_int_equal(look_up->finals, 0);
    assert_int_equal(finish_look_up(loop, look_up), -ECANCELED);
    free(look_up);
    if (loop->world)
        return; /* which has no threads */
    names_release();
    names_wait_for_threads(asked + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_ALL(test_connect_reaches_listener),
        OVER_ALL(test_connect_reaches_ipv6_listener),
        OVER_ALL(test_connect_reaches_abstract_unix_listener),
        OVER_ALL(test_connect_refused_closes_descriptor),
        OVER_ALL(test_connect_address_is_not_needed_after_submit),
        OVER_ALL(test_connect_stays_in_flight_at_deadline_and_can_be_cancelled),
        OVER_ALL(test_connect_goes_on_after_deadline),
        OVER_KERNEL(test_connect_without_descriptors_fails),
        OVER_KERNEL(test_connect_goes_on_after_a_signal),
        OVER_KERNEL(test_connect_waits_for_room_in_the_queue_of_a_unix_listener),
        OVER_KERNEL_LOOPS(test_connects_that_wait_for_room_get_in_one_after_the_other),
        OVER_KERNEL(test_connect_that_waits_for_room_can_be_cancelled),
        OVER_KERNEL(test_connect_that_waits_for_room_ends_with_its_listener),
        OVER_KERNEL(test_connect_to_itself_is_told),
        OVER_KERNEL(test_client_that_asks_itself_is_told),
        OVER_KERNEL(test_connect_without_free_port_is_told),
        OVER_ALL(test_resolve_of_a_number_asks_nobody),
        OVER_ALL(test_resolve_gives_all_addresses),
        OVER_ALL(test_resolve_cancelled_does_not_wait_for_the_answer),
    };

    return RUN_OVER(tests);
}
