/* SPDX-License-Identifier: MIT */

/* Servers with several workers, which take turns as the seed says. */

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "scene.h"

enum { WORKERS = 3, PEERS = 60 };

static const uint64_t second = SIM_SECOND;

static void echo(gate_request *req, const void *body, size_t len, void *user)
{
    (void)user;
    gate_reply(req, body, len);
}

static const gate_options options = {
    .handler = echo, .workers = WORKERS, .log_level = GATE_LOG_DEBUG, .timeout_ms = 60000};

/* Opens a server whose peers stay in their connections behind the first reply. */
static void open_busy(scene *all, uint64_t seed, sim_peer **peers)
{
    gate_options mine = options;

    mine.codec = gate_codec_line();
    scene_open(all, seed, NULL, &mine, PEERS);
    for (int i = 0; i < PEERS; i++) {
        peers[i] = scene_peer(all, NULL);
        sim_peer_send(peers[i], "hello\n", 6);
    }
}

static void check_replies(sim_peer *const *peers)
{
    for (int i = 0; i < PEERS; i++) {
        assert_int_equal(peers[i]->got_len, 6);
        assert_memory_equal(peers[i]->got, "hello\n", 6);
    }
}

static void test_workers_share_the_connections_of_a_port(void **state)
{
    sim_peer *peers[PEERS];
    scene all;

    (void)state;
    open_busy(&all, 1, peers);
    scene_stop_in(&all, second);
    scene_serve(&all);
    check_replies(peers);
    assert_int_equal(all.stats.accepted, PEERS);
    for (int i = 0; i < WORKERS; i++) {
        assert_in_range(all.closed_by[i], 1, PEERS - WORKERS);
    }
    scene_close(&all);
}

static void test_a_stop_reaches_every_worker_at_once(void **state)
{
    sim_peer *peers[PEERS];
    scene all;

    (void)state;
    open_busy(&all, 2, peers);
    scene_stop_in(&all, second);
    scene_serve(&all);
    assert_int_equal(all.stats.closed[GATE_CLOSE_STOPPED], PEERS);
    assert_int_equal(all.end_ns, all.stopped_ns);
    scene_close(&all);
}

/* Only one of them has such a connection. */
static void test_the_last_worker_ends_the_server(void **state)
{
    gate_options mine = options;
    sim_peer *peer;
    scene all;

    (void)state;
    mine.codec = gate_codec_line();
    mine.drain_timeout_ms = 3000;
    scene_open(&all, 3, NULL, &mine, PEERS);
    peer = scene_peer(&all, NULL);
    sim_peer_send(peer, "hel", 3);
    scene_stop_in(&all, second);
    scene_serve(&all);
    assert_int_equal(all.stats.closed[GATE_CLOSE_DRAIN_TIMEOUT], 1);
    assert_int_equal(all.end_ns, all.stopped_ns + 3 * second);
    scene_close(&all);
}

static uint64_t history(uint64_t seed)
{
    sim_peer *peers[PEERS];
    uint64_t hash;
    scene all;

    open_busy(&all, seed, peers);
    scene_stop_in(&all, second);
    scene_serve(&all);
    check_replies(peers);
    hash = sim_hash(all.world);
    scene_close(&all);
    return hash;
}

static void test_one_seed_gives_one_order_of_turns(void **state)
{
    uint64_t first = history(4);

    (void)state;
    assert_true(first == history(4));
    assert_true(first != history(5));
}

/* The queue of one worker waits for a place that another one gives back. */
static void test_a_limit_holds_over_all_workers_and_strands_nobody(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        sim_peer *peers[PEERS];
        gate_options mine = options;
        scene all;

        mine.codec = gate_codec_line();
        mine.workers = (uint32_t)(2 + seed % 2);
        mine.connections_max = (uint32_t)(1 + seed % 3);
        mine.exchanges_max = 1;
        scene_open(&all, seed, NULL, &mine, PEERS);
        all.connections_max = mine.connections_max;
        for (int i = 0; i < PEERS; i++) {
            peers[i] = scene_peer(&all, NULL);
            sim_peer_send(peers[i], "hello\n", 6);
        }
        scene_stop_in(&all, 30 * second);
        scene_serve(&all);
        check_replies(peers);
        for (int i = 0; i < PEERS; i++) {
            assert_in_range(peers[i]->end_ns - all.start_ns, 0, 29 * second);
        }
        scene_close(&all);
    }
}

/* Those who stay hold their places; everybody else waits, and is served once they go. */
static void test_idle_workers_keep_no_place_from_others(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        sim_peer *peers[8];
        gate_options mine = options;
        scene all;

        mine.codec = gate_codec_line();
        mine.connections_max = 8;
        scene_open(&all, seed, NULL, &mine, 8);
        all.connections_max = 8;
        for (int i = 0; i < 8; i++) {
            peers[i] = scene_peer(&all, NULL);
            sim_peer_send(peers[i], "hello\n", 6);
        }
        scene_stop_in(&all, second);
        scene_serve(&all);
        for (int i = 0; i < 8; i++) {
            assert_int_equal(peers[i]->got_len, 6);
            assert_in_range(peers[i]->first_ns - all.start_ns, 0, second / 2);
        }
        scene_close(&all);
    }
}

static void test_a_limit_of_one_address_holds_over_all_workers(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        sim_peer *peers[PEERS];
        gate_options mine = options;
        scene all;
        int served = 0;

        mine.codec = gate_codec_line();
        mine.peer_connections_max = 16;
        scene_open(&all, seed, NULL, &mine, PEERS);
        for (int i = 0; i < PEERS; i++) {
            peers[i] = scene_peer(&all, NULL);
            sim_peer_send(peers[i], "hello\n", 6);
        }
        scene_stop_in(&all, second);
        scene_serve(&all);
        for (int i = 0; i < PEERS; i++) {
            served += peers[i]->got_len == 6;
        }
        assert_int_equal(served, 16);
        assert_int_equal(all.stats.closed[GATE_CLOSE_PEER_LIMIT], PEERS - 16);
        scene_close(&all);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_workers_share_the_connections_of_a_port),
        cmocka_unit_test(test_a_stop_reaches_every_worker_at_once),
        cmocka_unit_test(test_the_last_worker_ends_the_server),
        cmocka_unit_test(test_one_seed_gives_one_order_of_turns),
        cmocka_unit_test(test_a_limit_holds_over_all_workers_and_strands_nobody),
        cmocka_unit_test(test_idle_workers_keep_no_place_from_others),
        cmocka_unit_test(test_a_limit_of_one_address_holds_over_all_workers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
