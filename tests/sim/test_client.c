/* SPDX-License-Identifier: MIT */

/* Single scenes of the client, and of what it and a server do to each other, in simulated time. */

#include "client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "desk.h"
#include "lib_calls.h"

enum { TIMEOUT_MS = 100 };

static uint8_t bulk[60000];

/* A world with a peer for each connection, and a client on it. */
typedef struct stage {
    sim_world *world;
    gate__sockaddr addr;
    sim_peer *peer; /* of the last connection */
    gate_client *client;
    size_t says; /* bytes of bulk */
    int deaf;
} stage;

static void take_part(sim_peer *peer, void *arg)
{
    stage *all = arg;

    all->peer = peer;
    peer->read_stopped = all->deaf;
    sim_peer_send(peer, bulk, all->says);
}

static void stage_open(stage *all, const sim_knobs *knobs, const gate_codec *codec)
{
    gate_client_options options = {.size = sizeof(options), .codec = codec};

    all->world = sim_open(1, knobs);
    all->addr = sim_addr("127.0.0.1", 7000);
    sim_peers_listen(all->world, &all->addr, 5, take_part, all);
    assert_int_equal(
        gate__client_open_on(&all->client, sim_io_open(all->world), "127.0.0.1", 7000, &options),
        0);
}

static void stage_close(stage *all)
{
    gate_client_close(all->client);
    sim_run_until(all->world, NULL, sim_now(all->world) + SIM_SECOND);
    sim_check_end(all->world);
    sim_close(all->world);
}

/* How long the call took. */
static uint64_t ask(stage *all, size_t len, int expected)
{
    static uint8_t reply[2 * sizeof(bulk)];
    uint64_t start_ns = sim_now(all->world);
    size_t reply_len = sizeof(reply);

    assert_int_equal(gate_client_call(all->client, bulk, len, reply, &reply_len, TIMEOUT_MS),
                     expected);
    return sim_now(all->world) - start_ns;
}

static void
test_peer_that_always_has_more_does_not_hold_the_client_beyond_its_deadline(void **state)
{
    const sim_knobs knobs = {.recv_max = 1, .turn_max_ns = 100000};
    stage all = {.says = sizeof(bulk)};

    (void)state;
    stage_open(&all, &knobs, gate_codec_raw());
    assert_in_range(ask(&all, 1, GATE_ELATE), TIMEOUT_MS * SIM_MS, (TIMEOUT_MS + 1) * SIM_MS);
    stage_close(&all);
}

static void test_peer_that_takes_a_little_at_a_time_does_not_either(void **state)
{
    const sim_knobs knobs = {.send_max = 1, .turn_max_ns = 100000};
    stage all = {.says = 0};

    (void)state;
    stage_open(&all, &knobs, gate_codec_raw());
    assert_in_range(ask(&all, sizeof(bulk), GATE_ELATE), TIMEOUT_MS * SIM_MS,
                    (TIMEOUT_MS + 1) * SIM_MS);
    stage_close(&all);
}

/* With this codec the end of what is sent says that the request is whole. */
static void test_request_that_was_cut_does_not_end_as_a_whole_one(void **state)
{
    const sim_knobs knobs = {.flow_max = 100};
    stage all = {.deaf = 1};

    (void)state;
    stage_open(&all, &knobs, gate_codec_eof());
    ask(&all, sizeof(bulk), GATE_ELATE);
    assert_int_equal(all.peer->got_len, 0);
    sim_run_until(all.world, NULL, sim_now(all.world) + SIM_SECOND);
    assert_true(all.peer->reset);
    assert_false(all.peer->eof);
    stage_close(&all);
}

/* So it is with a reply that ends with its connection. */
static void test_reply_that_was_cut_does_not_end_as_a_whole_one(void **state)
{
    desk all = {.reply_len = 200000,
                .options = {.write_timeout_ms = TIMEOUT_MS, .rate_min = GATE_NEVER}};
    sim_peer *peer;

    (void)state;
    desk_open(&all, NULL, gate_codec_raw());
    peer = scene_peer(&all.scene, NULL);
    peer->read_max = 1000;
    peer->read_every_ns = 10 * SIM_MS;
    sim_peer_send(peer, "b", 1);
    scene_stop_in(&all.scene, 20 * (uint64_t)SIM_SECOND);
    scene_serve(&all.scene);
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_WRITE_TIMEOUT], 1);
    assert_true(peer->got_len > 0 && peer->got_len < all.reply_len);
    assert_true(peer->reset);
    assert_false(peer->eof);
    scene_close(&all.scene);
}

static void test_call_without_a_limit_waits_for_an_hour(void **state)
{
    const uint64_t hour_ns = 3600 * (uint64_t)SIM_SECOND;
    stage all = {.says = 0};
    line said = {.text = "late\n"};
    char reply[8];
    size_t len = sizeof(reply);

    (void)state;
    stage_open(&all, NULL, gate_codec_line());
    sim_run_until(all.world, NULL, sim_now(all.world) + SIM_SECOND);
    said.peer = all.peer;
    sim_at(all.world, sim_now(all.world) + hour_ns, desk_send, &said);
    assert_int_equal(gate_client_call(all.client, "1", 1, reply, &len, (int)GATE_NEVER), 0);
    assert_int_equal(len, 4);
    assert_memory_equal(reply, "late", 4);
    assert_true(sim_now(all.world) > hour_ns);
    stage_close(&all);
}

/* ---- Two callers in one world -------------------------------------------------------------- */

static void *serve(void *arg)
{
    scene_serve(arg);
    return NULL;
}

static void test_client_and_server_take_turns_in_one_world(void **state)
{
    const sim_knobs knobs = {.latency_min_ns = 3 * SIM_MS, .latency_max_ns = 3 * SIM_MS};
    desk all = {.reply_len = 0};
    pthread_t server;
    gate_io *io;
    char reply[64];
    size_t len = sizeof(reply);
    uint64_t start_ns;

    (void)state;
    desk_open(&all, &knobs, gate_codec_raw());
    sim_lib_pthread_create(&server, NULL, serve, &all.scene);
    start_ns = sim_now(all.scene.world);
    io = sim_io_open(all.scene.world);
    assert_int_equal(gate__client_exchange_on(io, "127.0.0.1", gate_server_port(all.scene.server),
                                              "1", 1, reply, &len, 1000),
                     0);
    assert_int_equal(len, 18);
    assert_memory_equal(reply, "welcome to server!", 18);
    assert_int_equal(sim_now(all.scene.world) - start_ns, 12 * SIM_MS); /* two round trips */
    io->ops->free(io);
    scene_stop(&all.scene);
    sim_lib_pthread_join(server, NULL);
    scene_close(&all.scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_peer_that_always_has_more_does_not_hold_the_client_beyond_its_deadline),
        cmocka_unit_test(test_peer_that_takes_a_little_at_a_time_does_not_either),
        cmocka_unit_test(test_request_that_was_cut_does_not_end_as_a_whole_one),
        cmocka_unit_test(test_reply_that_was_cut_does_not_end_as_a_whole_one),
        cmocka_unit_test(test_call_without_a_limit_waits_for_an_hour),
        cmocka_unit_test(test_client_and_server_take_turns_in_one_world),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
