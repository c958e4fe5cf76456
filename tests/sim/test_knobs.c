/* SPDX-License-Identifier: MIT */

/* What the simulator does besides the network: held completions, steps, memory, time. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "echo.h"
#include "lib_calls.h"

static void test_held_completions_lose_nothing(void **state)
{
    const sim_knobs knobs = {
        .recv_max = 100, .held_pct = 60, .held_max_ns = 5 * SIM_MS, .held_room = 2};
    echo *all = echo_open(1, &knobs);
    sim_peer *peers[2];
    uint8_t bytes[3000];

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 11 + i / 256);
    }
    for (int i = 0; i < 2; i++) {
        peers[i] = sim_peer_connect(all->world, &all->addr, NULL);
        peers[i]->send_max = 100;
        sim_peer_send(peers[i], bytes, sizeof(bytes));
    }
    echo_run(all, SIM_SECOND);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(peers[i]->got_len, sizeof(bytes));
        assert_memory_equal(peers[i]->got, bytes, sizeof(bytes));
    }
    assert_true(sim_fired(all->world, SIM_HELD) > 20);
    echo_close(all, peers, 2);
}

static void note_result(gate_io *io, gate_op *op, int result, unsigned flags)
{
    (void)io;
    (void)flags;
    ((echo_link *)(void *)((char *)op - offsetof(echo_link, sock.out)))->last_result = result;
}

/* The bytes arrive, and then nobody can take the send back. */
static void test_what_is_done_while_held_is_done(void **state)
{
    echo *all = echo_open(3, NULL);
    sim_peer *peer = sim_peer_connect(all->world, &all->addr, NULL);
    echo_link *one;

    (void)state;
    echo_run(all, SIM_MS);
    one = all->links[0];
    sim_knobs_of(all->world)->held_pct = 100;
    sim_knobs_of(all->world)->held_max_ns = 1000 * (uint64_t)SIM_SECOND;
    all->io->ops->send(all->io, &one->sock, "abc", 3, 0, note_result);
    echo_run(all, SIM_MS);
    assert_int_equal(peer->got_len, 3);
    assert_true(gate__op_busy(&one->sock.out));
    all->io->ops->cancel(all->io, &one->sock, &one->sock.out);
    sim_heal(all->world);
    echo_run(all, SIM_MS);
    assert_true(gate__op_busy(&one->sock.out));
    echo_run(all, 1000 * (uint64_t)SIM_SECOND);
    assert_false(gate__op_busy(&one->sock.out));
    assert_int_equal(one->last_result, 3);
    echo_close(all, &peer, 1);
}

static void note_step(sim_world *world, void *arg)
{
    *(uint64_t *)arg = sim_steps(world);
}

static void test_a_step_is_met_exactly(void **state)
{
    echo *all = echo_open(1, NULL);
    uint64_t met = 0;
    sim_peer *peer;

    (void)state;
    sim_at_step(all->world, 7, note_step, &met);
    peer = sim_peer_connect(all->world, &all->addr, NULL);
    sim_peer_send(peer, "hello", 5);
    echo_run(all, SIM_MS);
    assert_true(sim_steps(all->world) > 7);
    assert_int_equal(met, 7);
    echo_close(all, &peer, 1);
}

static void test_memory_of_the_library_is_counted_and_refused(void **state)
{
    const sim_knobs knobs = {.alloc_fails_at = 2, .alloc_fails_for = 3};
    sim_world *world = sim_open(1, &knobs);
    void *kept = sim_lib_malloc(100);

    (void)state;
    assert_non_null(kept);
    assert_true(sim_lib_bytes(world) >= 100);
    assert_null(sim_lib_calloc(1, 100));
    assert_null(sim_lib_realloc(kept, 200));
    assert_null(sim_lib_aligned_alloc(64, 128));
    assert_int_equal(sim_fired(world, SIM_ALLOC), 3);
    kept = sim_lib_realloc(kept, 5000);
    assert_true(sim_lib_bytes(world) >= 5000);
    sim_lib_free(kept);
    sim_lib_free(NULL);
    assert_int_equal(sim_lib_bytes(world), 0);
    sim_check_end(world);
    sim_close(world);
}

static void keep(const char *message, void *arg)
{
    snprintf(arg, MESSAGE_MAX, "%s", message);
}

static void test_memory_that_is_left_is_told(void **state)
{
    sim_world *world = sim_open(1, NULL);
    void *kept = sim_lib_malloc(1);
    char message[MESSAGE_MAX] = "";

    (void)state;
    sim_on_fail(world, keep, message);
    sim_check_end(world);
    assert_non_null(strstr(message, "1 allocations left"));
    sim_lib_free(kept);
    sim_close(world);
}

static void test_time_that_is_spent_moves_nothing_else(void **state)
{
    sim_world *world = sim_open(1, NULL);
    uint64_t start = sim_now(world);
    uint64_t met = 0;

    (void)state;
    sim_in(world, SIM_MS, note_step, &met);
    sim_spend(world, SIM_SECOND);
    assert_int_equal(sim_now(world), start + SIM_SECOND);
    assert_int_equal(sim_spent(world), SIM_SECOND);
    assert_int_equal(met, 0);
    sim_run_until(world, NULL, start + 2 * (uint64_t)SIM_SECOND);
    assert_true(met > 0);
    sim_close(world);
}

static void test_a_connection_that_stands_still_is_told(void **state)
{
    echo *all = echo_open(1, NULL);
    uint64_t met;

    (void)state;
    sim_watch_lives(all->world, SIM_SECOND);
    sim_peer_connect(all->world, &all->addr, NULL);
    for (int i = 1; i <= 3; i++) { /* what a run finds, the next one says */
        sim_in(all->world, (uint64_t)i * SIM_SECOND, note_step, &met);
    }
    echo_run(all, SIM_SECOND);
    assert_string_equal(all->message, "");
    echo_run(all, 2 * (uint64_t)SIM_SECOND);
    assert_non_null(strstr(all->message, "outlived its deadlines"));
    echo_free(all);
}

/* Into a full window: that nothing of it goes out is told as late as if it were the first. */
static void test_a_send_that_stands_still_is_told(void **state)
{
    const sim_knobs knobs = {.flow_max = 3};
    echo *all = echo_open(1, &knobs);
    sim_peer *peer = sim_peer_connect(all->world, &all->addr, NULL);
    uint64_t met;

    (void)state;
    sim_watch_lives(all->world, SIM_SECOND);
    peer->read_stopped = 1;
    for (int i = 1; i <= 22; i++) {
        sim_in(all->world, (uint64_t)i * 100 * SIM_MS, note_step, &met);
    }
    echo_run(all, SIM_MS);
    all->io->ops->send(all->io, &all->links[0]->sock, "abc", 3, 0, note_result);
    echo_run(all, 900 * SIM_MS);
    assert_int_equal(all->links[0]->last_result, 3);
    all->io->ops->send(all->io, &all->links[0]->sock, "def", 3, 0, note_result);
    echo_run(all, SIM_SECOND);
    assert_string_equal(all->message, "");
    echo_run(all, 200 * SIM_MS);
    assert_non_null(strstr(all->message, "outlived its deadlines"));
    echo_free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_held_completions_lose_nothing),
        cmocka_unit_test(test_what_is_done_while_held_is_done),
        cmocka_unit_test(test_a_step_is_met_exactly),
        cmocka_unit_test(test_memory_of_the_library_is_counted_and_refused),
        cmocka_unit_test(test_memory_that_is_left_is_told),
        cmocka_unit_test(test_time_that_is_spent_moves_nothing_else),
        cmocka_unit_test(test_a_connection_that_stands_still_is_told),
        cmocka_unit_test(test_a_send_that_stands_still_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
