/* SPDX-License-Identifier: MIT */

/* Memory and threads that are not to be had: each allocation of a conversation fails in turn, alone
 * or with all that follow, and costs one connection at most. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scene.h"

enum { PEERS = 4, LARGE = 6000, KEPT_MAX = 4 * PEERS, AT_MAX = 2000 };

static const uint64_t second = SIM_SECOND;
static const char script[] = "eone\nbtwo\nl\ndthree\nefour\n";

typedef struct shop {
    scene scene;
    gate_request *kept[KEPT_MAX];
    size_t kept_len;
} shop;

static void answer_kept(sim_world *world, void *arg)
{
    shop *all = arg;

    for (size_t i = 0; i < all->kept_len && all->scene.server != NULL; i++) {
        if (all->kept[i] != NULL && gate_reply(all->kept[i], "three", 5) != -ENOMEM) {
            all->kept[i] = NULL;
        }
    }
    if (all->scene.server != NULL) {
        sim_in(world, 100 * SIM_MS, answer_kept, all);
    }
}

/* What cannot be answered for want of memory is left to the library. */
static void handle(gate_request *req, const void *body, size_t len, void *user)
{
    static const char large[LARGE];
    static const char two[] = "two";
    shop *all = user;
    char first = *(const char *)body;

    if (first == 'b') {
        gate_reply_borrowed(req, two, 3, NULL, NULL);
    } else if (first == 'l') {
        gate_reply(req, large, LARGE);
    } else if (first == 'd' && all->kept_len < KEPT_MAX && gate_defer(req) == 0) {
        all->kept[all->kept_len++] = req;
    } else {
        gate_reply(req, (const char *)body + 1, len - 1);
    }
}

static int was_served(const sim_peer *peer)
{
    const size_t before = strlen("one\ntwo\n");
    const char *rest = "\nthree\nfour\n";

    return peer->got_len == before + LARGE + strlen(rest) &&
           memcmp(peer->got, "one\ntwo\n", before) == 0 &&
           memcmp(peer->got + before + LARGE, rest, strlen(rest)) == 0;
}

static sim_peer *come(shop *all)
{
    sim_peer *peer = scene_peer(&all->scene, NULL);

    peer->send_max = 3;
    peer->send_every_ns = SIM_MS;
    sim_peer_send(peer, script, strlen(script));
    sim_peer_half_close(peer);
    return peer;
}

typedef struct latecomer {
    shop *shop;
    sim_peer *peer;
} latecomer;

static void come_late(sim_world *world, void *arg)
{
    latecomer *one = arg;

    sim_heal(world);
    one->peer = come(one->shop);
}

/* How many allocations failed. */
static uint64_t serve(uint64_t fails_at, uint64_t fails_for, uint32_t workers)
{
    const sim_knobs knobs = {.alloc_fails_at = fails_at, .alloc_fails_for = fails_for};
    shop all = {.kept_len = 0};
    const gate_options options = {.handler = handle,
                                  .user = &all,
                                  .codec = gate_codec_line(),
                                  .workers = workers,
                                  .peer_connections_max = 100};
    latecomer late = {&all, NULL};
    sim_peer *peers[PEERS];
    uint64_t failed, lost = 0;

    scene_open(&all.scene, fails_at, &knobs, &options, PEERS);
    if (all.scene.result == 0) {
        for (int i = 0; i < PEERS; i++) {
            peers[i] = come(&all);
        }
        sim_in(all.scene.world, 100 * SIM_MS, answer_kept, &all);
        sim_in(all.scene.world, 10 * second, come_late, &late);
        scene_stop_in(&all.scene, 20 * second);
        scene_serve(&all.scene);
    }
    failed = sim_fired(all.scene.world, SIM_ALLOC);
    if (all.scene.result == 0) {
        for (int i = 0; i < PEERS; i++) {
            lost += !was_served(peers[i]);
        }
        assert_true(lost <= failed);
        assert_true(was_served(late.peer));
    } else {
        assert_int_equal(all.scene.result, -ENOMEM);
        assert_true(failed > 0);
    }
    scene_close(&all.scene);
    return failed;
}

static void fail_each(uint64_t fails_for, uint32_t workers)
{
    uint64_t at = 1;

    while (serve(at, fails_for, workers) > 0) {
        at++;
        assert_true(at < AT_MAX);
    }
    assert_true(at > 20); /* that many does the conversation take at least */
}

static void test_each_allocation_may_fail(void **state)
{
    (void)state;
    fail_each(1, 1);
    fail_each(1, 3);
}

static void test_all_allocations_may_fail_from_any_on(void **state)
{
    (void)state;
    fail_each(UINT64_MAX, 1);
    fail_each(UINT64_MAX, 3);
}

static void test_a_failed_start_says_so_and_leaves_nothing(void **state)
{
    const gate_options options = {.handler = handle, .workers = 3};

    (void)state;
    for (uint64_t at = 1; at <= 4; at++) { /* the server, and a listener for each worker */
        const sim_knobs knobs = {.alloc_fails_at = at};
        scene all;

        scene_open(&all, at, &knobs, &options, 5);
        assert_int_equal(all.result, -ENOMEM);
        assert_null(all.server);
        assert_int_equal(sim_lib_bytes(all.world), 0);
        assert_int_equal(sim_descriptors(all.world), 0);
        scene_close(&all);
    }
}

static void test_a_loop_or_address_that_is_not_to_be_had_is_told(void **state)
{
    const gate_options options = {.handler = handle, .workers = 3};
    const sim_knobs knobs[] = {
        {.open = {.pct = 100, .count = 1, .errors = {EMFILE}}},
        {.listen = {.pct = 100, .count = 1, .errors = {EMFILE}}},
    };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        scene all;

        scene_open(&all, i, &knobs[i], &options, 5);
        assert_int_equal(all.result, -EMFILE);
        assert_null(all.server);
        scene_close(&all);
    }
}

static void test_a_thread_that_does_not_start_ends_the_server(void **state)
{
    const gate_options options = {.handler = handle, .workers = 3};
    const sim_knobs knobs = {.thread = {.pct = 100, .count = 1, .errors = {EAGAIN}}};
    scene all;

    (void)state;
    scene_open(&all, 1, &knobs, &options, 5);
    assert_int_equal(all.result, 0);
    scene_serve(&all);
    assert_int_equal(all.result, -EAGAIN);
    assert_int_equal(all.end_ns, all.start_ns);
    scene_close(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_allocation_may_fail),
        cmocka_unit_test(test_all_allocations_may_fail_from_any_on),
        cmocka_unit_test(test_a_failed_start_says_so_and_leaves_nothing),
        cmocka_unit_test(test_a_loop_or_address_that_is_not_to_be_had_is_told),
        cmocka_unit_test(test_a_thread_that_does_not_start_ends_the_server),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
