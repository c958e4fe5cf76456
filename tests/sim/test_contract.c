/* SPDX-License-Identifier: MIT */

/* That the simulator notices each breach of the contract of io/io.h. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "echo.h"

/* Breaks the rule on an accepted, reading connection; what must be said. */
typedef struct breach {
    const char *name;
    void (*act)(echo *all, echo_link *one);
    const char *says;
} breach;

static void recv_twice(echo *all, echo_link *one)
{
    all->io->ops->recv(all->io, &one->sock, GATE_IO_STAY, echo_recv);
}

static void close_while_reading(echo *all, echo_link *one)
{
    all->io->ops->close(all->io, &one->sock, echo_closed);
}

static void last_while_reading(echo *all, echo_link *one)
{
    all->io->ops->send(all->io, &one->sock, "x", 1, GATE_IO_LAST, echo_sent);
}

static void change_sent_bytes(echo *all, echo_link *one)
{
    memcpy(one->bytes, "abc", 3);
    all->io->ops->send(all->io, &one->sock, one->bytes, 3, 0, echo_sent);
    one->bytes[1] = 'X';
    echo_run(all, SIM_MS);
}

static void use_closed(echo *all, echo_link *one)
{
    all->io->ops->cancel(all->io, &one->sock, &one->sock.in);
    echo_run(all, SIM_MS);
    all->io->ops->recv(all->io, &one->sock, GATE_IO_STAY, echo_recv);
}

static void overwrite_op(echo *all, echo_link *one)
{
    one->sock.in.kind = GATE_OP_NONE;
    echo_run(all, SIM_MS);
}

static void free_in_flight(echo *all, echo_link *one)
{
    gate_io *io = all->io;

    (void)one;
    all->io = sim_io_open(all->world);
    io->ops->free(io);
}

static void run_inside(sim_world *world, void *arg)
{
    gate_io *io = arg;

    (void)world;
    io->ops->run(io, 0);
}

static void run_in_run(echo *all, echo_link *one)
{
    (void)one;
    sim_in(all->world, 1, run_inside, all->io);
    echo_run(all, SIM_MS);
}

static void spin(echo *all, echo_link *one)
{
    (void)one;
    for (int i = 0; i < 1100; i++) {
        all->io->ops->run(all->io, 0);
    }
}

static void wait_forever(echo *all, echo_link *one)
{
    (void)one;
    all->io->ops->run(all->io, UINT64_MAX);
}

static void leave_descriptors(echo *all, echo_link *one)
{
    (void)one;
    sim_check_end(all->world);
}

static void test_breaches_are_noticed(void **state)
{
    static const breach breaches[] = {
        {"recv twice", recv_twice, "recv submitted while recv is in flight"},
        {"close while reading", close_while_reading, "close with recv in flight"},
        {"last while reading", last_while_reading, "last send with a recv in flight"},
        {"change sent bytes", change_sent_bytes, "bytes of a send in flight were changed"},
        {"use closed", use_closed, "recv on a closed socket"},
        {"overwrite op", overwrite_op, "an op in flight was overwritten"},
        {"free in flight", free_in_flight, "in flight"},
        {"run in run", run_in_run, "run inside run"},
        {"spin", spin, "a spin"},
        {"wait forever", wait_forever, "waits without a deadline"},
        {"leave descriptors", leave_descriptors, "2 descriptors left open"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(breaches) / sizeof(breaches[0]); i++) {
        echo *all = echo_open(i, NULL);

        sim_peer_connect(all->world, &all->addr, NULL);
        echo_run(all, SIM_MS);
        assert_int_equal(all->count, 1);
        assert_string_equal(all->message, "");
        breaches[i].act(all, all->links[0]);
        if (strstr(all->message, breaches[i].says) == NULL) {
            fail_msg("%s: said \"%s\"", breaches[i].name, all->message);
        }
        assert_non_null(strstr(all->message, "GATE_SEED="));
        assert_int_equal(all->io->ops->run(all->io, 0), -EIO);
        echo_free(all);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_breaches_are_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
