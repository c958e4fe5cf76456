/* SPDX-License-Identifier: MIT */

/* The simulator itself: that it does what io/io.h promises, and that its clock, its faults and its
 * seeds work. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "echo.h"
#include "gate/gate.h"

static void test_echo_comes_back_whole(void **state)
{
    echo *all = echo_open(1, NULL);
    sim_peer *peer = sim_peer_connect(all->world, &all->addr, NULL);

    (void)state;
    sim_peer_send(peer, "hello", 5);
    echo_run(all, SIM_MS);
    assert_int_equal(peer->got_len, 5);
    assert_memory_equal(peer->got, "hello", 5);
    echo_close(all, &peer, 1);
}

/* Returns the hash. */
static uint64_t partial_run(uint64_t seed)
{
    sim_knobs knobs = {.recv_partial_pct = 50,
                       .send_partial_pct = 50,
                       .lend_one_pct = 30,
                       .full_pct = 30,
                       .recv_max = 700,
                       .send_max = 600,
                       .shuffle = 1,
                       .batch_max = 1,
                       .clog_pct = 5,
                       .clog_max_ns = 50 * SIM_MS,
                       .flow_max = 1000};
    echo *all = echo_open(seed, &knobs);
    sim_peer *peers[3];
    uint8_t bytes[5000];
    uint64_t hash;

    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    }
    for (size_t i = 0; i < 3; i++) {
        peers[i] = sim_peer_connect(all->world, &all->addr, NULL);
        sim_peer_send(peers[i], bytes + i, sizeof(bytes) - i);
    }
    echo_run(all, 1000 * (uint64_t)SIM_SECOND);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(peers[i]->got_len, sizeof(bytes) - i);
        assert_memory_equal(peers[i]->got, bytes + i, sizeof(bytes) - i);
    }
    for (int knob = SIM_RECV_PARTIAL; knob <= SIM_SEND_MAX; knob++) {
        assert_true(sim_fired(all->world, (sim_knob)knob) > 0);
    }
    assert_true(sim_fired(all->world, SIM_CLOG) > 0);
    assert_true(sim_fired(all->world, SIM_BATCH) > 0);
    hash = sim_hash(all->world);
    echo_close(all, peers, 3);
    return hash;
}

static void test_pieces_lose_no_byte(void **state)
{
    (void)state;
    partial_run(11);
}

static void test_one_seed_gives_one_history(void **state)
{
    uint64_t first = partial_run(21);

    (void)state;
    assert_true(first == partial_run(21));
    assert_true(first != partial_run(22));
}

static void test_latency_delays_each_way(void **state)
{
    sim_knobs knobs = {.latency_min_ns = 3 * SIM_MS, .latency_max_ns = 3 * SIM_MS};
    echo *all = echo_open(1, &knobs);
    uint64_t start = sim_now(all->world);
    sim_peer *peer = sim_peer_connect(all->world, &all->addr, NULL);

    (void)state;
    sim_peer_send(peer, "x", 1);
    echo_run(all, 100 * SIM_MS);
    assert_int_equal(peer->connected_ns - start, 6 * SIM_MS);
    assert_int_equal(peer->first_ns - start, 12 * SIM_MS);
    echo_close(all, &peer, 1);
}

typedef struct stamps {
    uint64_t at[8];
    int id[8];
    int count;
} stamps;

typedef struct mark {
    stamps *to;
    int id;
} mark;

static void stamp(sim_world *world, void *arg)
{
    mark *one = arg;

    one->to->at[one->to->count] = sim_now(world);
    one->to->id[one->to->count++] = one->id;
}

static void test_events_run_in_order_of_time_then_of_asking(void **state)
{
    sim_world *world = sim_open(1, NULL);
    stamps got = {.count = 0};
    mark marks[5] = {{&got, 0}, {&got, 1}, {&got, 2}, {&got, 3}, {&got, 4}};
    static const uint64_t delays[5] = {30, 10, 20, 10, 10};
    static const int order[5] = {1, 3, 4, 2, 0};
    uint64_t start = sim_now(world);

    (void)state;
    for (int i = 0; i < 5; i++) {
        sim_in(world, delays[i], stamp, &marks[i]);
    }
    sim_run_until(world, NULL, start + 1000);
    assert_int_equal(got.count, 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(got.id[i], order[i]);
        assert_int_equal(got.at[i], start + delays[order[i]]);
    }
    sim_close(world);
}

static void test_run_jumps_to_its_deadline(void **state)
{
    sim_world *world = sim_open(1, NULL);
    gate_io *io = sim_io_open(world);
    uint64_t start = sim_now(world);

    (void)state;
    assert_int_equal(io->ops->run(io, start + 12345), 0);
    assert_int_equal(io->now_ns, start + 12345);
    io->ops->wake(io);
    assert_int_equal(io->ops->run(io, UINT64_MAX), 0);
    assert_int_equal(io->now_ns, start + 12345);
    io->ops->free(io);
    sim_check_end(world);
    sim_close(world);
}

static void test_half_close_still_gets_the_echo(void **state)
{
    echo *all = echo_open(1, NULL);
    sim_peer *peer = sim_peer_connect(all->world, &all->addr, NULL);

    (void)state;
    sim_peer_send(peer, "bye", 3);
    sim_peer_half_close(peer);
    echo_run(all, SIM_MS);
    assert_int_equal(peer->got_len, 3);
    assert_true(peer->eof);
    assert_false(peer->reset);
    assert_int_equal(all->links[0]->last_result, 0);
    echo_close(all, NULL, 0);
}

static void test_closing_with_unread_input_resets(void **state)
{
    echo *all = echo_open(1, NULL);
    sim_peer *peer = sim_peer_connect(all->world, &all->addr, NULL);

    (void)state;
    echo_run(all, SIM_MS);
    all->io->ops->cancel(all->io, &all->links[0]->sock, &all->links[0]->sock.in);
    sim_peer_send(peer, "unread", 6);
    echo_run(all, SIM_MS);
    assert_int_equal(all->links[0]->last_result, -ECANCELED);
    assert_true(peer->reset);
    echo_close(all, NULL, 0);
}

static void test_bytes_for_a_closed_end_come_back_as_a_reset(void **state)
{
    echo *all = echo_open(1, NULL);
    sim_peer *peer = sim_peer_connect(all->world, &all->addr, NULL);

    (void)state;
    peer->stays = 1;
    echo_run(all, SIM_MS);
    all->io->ops->cancel(all->io, &all->links[0]->sock, &all->links[0]->sock.in);
    echo_run(all, SIM_MS);
    assert_true(peer->eof);
    assert_false(peer->reset);
    sim_peer_send(peer, "x", 1);
    echo_run(all, SIM_MS);
    assert_true(peer->reset);
    echo_close(all, NULL, 0);
}

static void test_cancel_can_lose_its_race(void **state)
{
    sim_knobs knobs = {.cancel_race_pct = 100, .latency_min_ns = SIM_MS, .latency_max_ns = SIM_MS};
    echo *all = echo_open(1, &knobs);
    sim_peer *peer = sim_peer_connect(all->world, &all->addr, NULL);
    uint64_t start = sim_now(all->world);

    (void)state;
    sim_peer_send(peer, "now", 3);
    sim_run_until(all->world, NULL, start + 3 * SIM_MS - 1);
    sim_run_until(all->world, NULL, start + 3 * SIM_MS); /* the bytes are there, unread */
    assert_int_equal(all->count, 1);
    all->io->ops->cancel(all->io, &all->links[0]->sock, &all->links[0]->sock.in);
    echo_run(all, 10 * SIM_MS);
    assert_int_equal(sim_fired(all->world, SIM_CANCEL_RACE), 1);
    assert_int_equal(peer->got_len, 3);
    echo_close(all, &peer, 1);
}

static void test_descriptors_are_reused_lowest_first(void **state)
{
    echo *all = echo_open(1, NULL);
    sim_peer *peers[4];
    int first;

    (void)state;
    for (int i = 0; i < 3; i++) {
        peers[i] = sim_peer_connect(all->world, &all->addr, NULL);
        echo_run(all, SIM_MS);
    }
    first = all->links[0]->sock.fd;
    assert_int_equal(all->links[1]->sock.fd, first + 1);
    sim_peer_reset(peers[0]);
    echo_run(all, SIM_MS);
    peers[3] = sim_peer_connect(all->world, &all->addr, NULL);
    echo_run(all, SIM_MS);
    assert_int_equal(all->links[0]->sock.fd, -1);
    assert_int_equal(all->links[3]->sock.fd, first);
    echo_close(all, peers, 4);
}

static void test_accept_out_of_descriptors_keeps_the_connection_queued(void **state)
{
    sim_knobs knobs = {.descriptors_max = 1};
    echo *all = echo_open(1, &knobs);
    sim_peer *peer = sim_peer_connect(all->world, &all->addr, NULL);

    (void)state;
    echo_run(all, SIM_MS);
    assert_int_equal(all->accept_result, -EMFILE);
    assert_true(all->accept_over);
    assert_int_equal(sim_fired(all->world, SIM_EMFILE), 1);
    sim_knobs_of(all->world)->descriptors_max = 0;
    all->io->ops->accept(all->io, &all->listener, 0, echo_accept);
    echo_run(all, SIM_MS);
    assert_int_equal(all->count, 1);
    assert_false(peer->reset);
    echo_close(all, &peer, 1);
}

static void test_full_queue_is_tried_again(void **state)
{
    sim_knobs knobs = {.accept = {.pct = 100, .count = 1, .errors = {EMFILE}}};
    echo *all = echo_open(1, &knobs);
    sim_peer *peers[6];

    (void)state;
    for (int i = 0; i < 6; i++) {
        peers[i] = sim_peer_connect(all->world, &all->addr, NULL);
    }
    echo_run(all, SIM_MS);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(peers[i]->connected, i < 5); /* the queue holds one more than asked */
    }
    sim_knobs_of(all->world)->accept.pct = 0;
    all->io->ops->accept(all->io, &all->listener, 0, echo_accept);
    echo_run(all, 2 * (uint64_t)SIM_SECOND);
    assert_int_equal(all->count, 6);
    echo_close(all, peers, 6);
}

static void test_faults_reach_the_completions(void **state)
{
    sim_knobs knobs = {.recv = {.pct = 100, .count = 1, .errors = {ETIMEDOUT}}};
    echo *all = echo_open(1, &knobs);
    sim_peer *peer = sim_peer_connect(all->world, &all->addr, NULL);

    (void)state;
    sim_peer_send(peer, "x", 1);
    echo_run(all, SIM_MS);
    assert_int_equal(all->links[0]->last_result, -ETIMEDOUT);
    assert_int_equal(sim_fired(all->world, SIM_RECV_FAULT), 1);
    assert_true(peer->reset);
    assert_true(peer->faulted);
    echo_close(all, NULL, 0);
}

/* ---- The other direction: connect, names --------------------------------------------------- */

typedef struct caller {
    gate_sock sock;
    gate_resolve resolve;
    int result;
    int done;
} caller;

static void on_connect(gate_io *io, gate_op *op, int result, unsigned flags)
{
    caller *one = (caller *)(void *)((char *)op - offsetof(caller, sock.out));

    (void)io;
    (void)flags;
    one->result = result;
    one->done = 1;
}

static void on_resolve(gate_io *io, gate_op *op, int result, unsigned flags)
{
    caller *one = (caller *)(void *)((char *)op - offsetof(caller, resolve.op));

    (void)io;
    (void)flags;
    one->result = result;
    one->done = 1;
}

static void greet(sim_peer *peer, void *arg)
{
    (void)arg;
    sim_peer_send(peer, "greetings", 9);
}

static void test_connect_reaches_a_peers_listener(void **state)
{
    sim_world *world = sim_open(1, NULL);
    gate_io *io = sim_io_open(world);
    gate__sockaddr addr = sim_addr("127.0.0.1", 0);
    caller one = {.sock = {.fd = -1}};

    (void)state;
    sim_peers_listen(world, &addr, 5, greet, NULL);
    io->ops->connect(io, &one.sock, &addr, on_connect);
    assert_false(one.done);
    assert_int_equal(sim_run_until(world, &one.done, sim_now(world) + SIM_MS), 1);
    assert_int_equal(one.result, 0);
    one.done = 0;
    io->ops->close(io, &one.sock, on_connect);
    assert_int_equal(sim_run_until(world, &one.done, sim_now(world) + SIM_MS), 1);
    assert_int_equal(one.sock.fd, -1);
    io->ops->free(io);
    sim_check_end(world);
    sim_close(world);
}

static void greet_and_end(sim_peer *peer, void *arg)
{
    greet(peer, arg);
    sim_peer_half_close(peer);
}

static void on_bytes(gate_io *io, gate_op *op, int result, unsigned flags)
{
    caller *one = (caller *)(void *)((char *)op - offsetof(caller, sock.in));

    (void)io;
    (void)flags;
    one->result = result;
    one->done = 1;
}

/* What a send, made to fail with EPIPE, and the recv behind it give. */
static void fail_send(void (*accepted)(sim_peer *, void *), int expected, int expected_bytes)
{
    sim_world *world = sim_open(1, NULL);
    gate_io *io = sim_io_open(world);
    gate__sockaddr addr = sim_addr("127.0.0.1", 0);
    caller one = {.sock = {.fd = -1}};

    sim_peers_listen(world, &addr, 5, accepted, NULL);
    io->ops->connect(io, &one.sock, &addr, on_connect);
    sim_run_until(world, NULL, sim_now(world) + SIM_MS);
    assert_int_equal(one.result, 0);
    sim_knobs_of(world)->send = (sim_faults){.pct = 100, .count = 1, .errors = {EPIPE}};
    io->ops->send(io, &one.sock, "x", 1, 0, on_connect);
    sim_run_until(world, NULL, sim_now(world) + SIM_MS);
    assert_int_equal(one.result, expected);
    io->ops->recv(io, &one.sock, 0, on_bytes);
    sim_run_until(world, NULL, sim_now(world) + SIM_MS);
    assert_int_equal(one.result, expected_bytes);
    io->ops->close(io, &one.sock, on_connect);
    sim_run_until(world, NULL, sim_now(world) + SIM_MS);
    io->ops->free(io);
    sim_check_end(world);
    sim_close(world);
}

/* So what has come is not taken for all where it is not. */
static void test_send_fails_with_epipe_only_where_all_has_come(void **state)
{
    (void)state;
    fail_send(greet, -ECONNRESET, 0);
    fail_send(greet_and_end, -EPIPE, 9);
}

static void test_names_answer_after_their_delay(void **state)
{
    sim_world *world = sim_open(1, NULL);
    gate_io *io = sim_io_open(world);
    gate__sockaddr addr = sim_addr("192.0.2.7", 1);
    caller one = {.resolve = {.host = "gate.example", .port = 80}};
    uint64_t start = sim_now(world);

    (void)state;
    sim_resolves(world, "gate.example", 0, &addr, 1, 40 * SIM_MS);
    io->ops->resolve(io, &one.resolve, on_resolve);
    assert_int_equal(sim_run_until(world, &one.done, start + SIM_SECOND), 1);
    assert_int_equal(sim_now(world) - start, 40 * SIM_MS);
    assert_int_equal(one.result, 0);
    assert_int_equal(one.resolve.count, 1);
    assert_int_equal(ntohs(one.resolve.addrs[0].u.in4.sin_port), 80);
    io->ops->free(io);
    sim_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo_comes_back_whole),
        cmocka_unit_test(test_pieces_lose_no_byte),
        cmocka_unit_test(test_one_seed_gives_one_history),
        cmocka_unit_test(test_latency_delays_each_way),
        cmocka_unit_test(test_events_run_in_order_of_time_then_of_asking),
        cmocka_unit_test(test_run_jumps_to_its_deadline),
        cmocka_unit_test(test_half_close_still_gets_the_echo),
        cmocka_unit_test(test_closing_with_unread_input_resets),
        cmocka_unit_test(test_bytes_for_a_closed_end_come_back_as_a_reset),
        cmocka_unit_test(test_cancel_can_lose_its_race),
        cmocka_unit_test(test_descriptors_are_reused_lowest_first),
        cmocka_unit_test(test_accept_out_of_descriptors_keeps_the_connection_queued),
        cmocka_unit_test(test_full_queue_is_tried_again),
        cmocka_unit_test(test_faults_reach_the_completions),
        cmocka_unit_test(test_connect_reaches_a_peers_listener),
        cmocka_unit_test(test_send_fails_with_epipe_only_where_all_has_come),
        cmocka_unit_test(test_names_answer_after_their_delay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
