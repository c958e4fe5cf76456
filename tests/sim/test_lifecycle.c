/* SPDX-License-Identifier: MIT */

/* Accepting under pressure, and stopping, at exact virtual times. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "desk.h"
#include "server.h"

static const uint64_t second = SIM_SECOND;

/* ---- Accepting ----------------------------------------------------------------------------- */

static void test_out_of_descriptors_accepting_pauses_and_resumes(void **state)
{
    static const sim_knobs knobs = {.descriptors_max = 2}; /* the listener and one more */
    desk all = {0};
    sim_peer *peers[3];

    (void)state;
    desk_open(&all, &knobs, gate_codec_line());
    for (int i = 0; i < 3; i++) {
        peers[i] = scene_peer(&all.scene, NULL);
        sim_peer_send(peers[i], "e1\n", 3);
        sim_in(all.scene.world, (uint64_t)(i + 1) * second, desk_close_peer, peers[i]);
    }
    scene_stop_in(&all.scene, 20 * second);
    scene_serve(&all.scene);
    for (int i = 0; i < 3; i++) {
        desk_got(peers[i], "e1\n");
        assert_int_equal(peers[i]->first_ns - all.scene.start_ns, (uint64_t)i * second);
    }
    assert_in_range(all.scene.stats.accept_pauses, 1, 2);
    assert_in_range(sim_fired(all.scene.world, SIM_EMFILE), 2, 50); /* not a spin */
    assert_int_equal(all.scene.paused, all.scene.stats.accept_pauses);
    assert_int_equal(all.scene.resumed, 0); /* whoever came last was the last of the episode */
    scene_close(&all.scene);
}

/* One that is served at once and leaves. */
static void connect_one(sim_world *world, void *arg)
{
    sim_peer *peer = scene_peer(arg, NULL);

    sim_peer_send(peer, "e1\n", 3);
    sim_in(world, second / 10, desk_close_peer, peer);
}

static void test_accepting_again_is_told_once_after_an_episode(void **state)
{
    static const sim_knobs knobs = {.descriptors_max = 2};
    desk all = {0};

    (void)state;
    desk_open(&all, &knobs, gate_codec_line());
    for (int i = 0; i < 2; i++) {
        sim_peer *peer = scene_peer(&all.scene, NULL);
        sim_peer_send(peer, "e1\n", 3);
        sim_in(all.scene.world, second, desk_close_peer, peer);
    }
    scene_stop_in(&all.scene, 20 * second);
    sim_at(all.scene.world, all.scene.start_ns + 5 * second, connect_one, &all.scene);
    sim_at(all.scene.world, all.scene.start_ns + 10 * second, connect_one, &all.scene);
    scene_serve(&all.scene);
    assert_int_equal(all.scene.paused, 1);
    assert_int_equal(all.scene.resumed, 1);
    scene_close(&all.scene);
}

static void serve_through_accept_error(int error, uint64_t delay_max_ns)
{
    sim_knobs knobs = {.accept = {.pct = 50, .count = 1, .errors = {error}}};
    desk all = {0};
    sim_peer *peers[20];
    int answered = 0;

    desk_open(&all, &knobs, NULL);
    for (int i = 0; i < 20; i++) {
        peers[i] = scene_peer(&all.scene, NULL);
        sim_peer_send(peers[i], "1", 1);
    }
    scene_stop_in(&all.scene, 60 * second);
    scene_serve(&all.scene);
    for (int i = 0; i < 20; i++) {
        if (!peers[i]->faulted) {
            desk_got(peers[i], "welcome to server!");
            assert_true(peers[i]->first_ns - peers[i]->connected_ns <= delay_max_ns);
            answered++;
        }
    }
    assert_true(answered > 0);
    assert_int_equal(all.scene.stats.accepted, answered);
    assert_int_equal(all.scene.stats.accept_errors, sim_fired(all.scene.world, SIM_ACCEPT_FAULT));
    assert_true(all.scene.stats.accept_errors > 0);
    scene_close(&all.scene);
}

static void test_failed_accepts_cost_the_others_nothing(void **state)
{
    static const int passing[] = {ECONNABORTED, EINTR, EPROTO, EPERM, ENETDOWN, EHOSTUNREACH};

    (void)state;
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        serve_through_accept_error(passing[i], 0);
    }
}

static void test_accepting_goes_on_after_an_unknown_error(void **state)
{
    static const int pausing[] = {EIO, ENOMEM, ENOBUFS, ENFILE};

    (void)state;
    for (size_t i = 0; i < sizeof(pausing) / sizeof(pausing[0]); i++) {
        serve_through_accept_error(pausing[i], 10 * second);
    }
}

/* A server that can accept nobody at first. */
typedef struct refusals {
    scene scene;
    uint64_t errors; /* when accepting works again */
} refusals;

static void welcome(gate_request *req, const void *body, size_t len, void *user)
{
    (void)body;
    (void)len;
    (void)user;
    gate_reply(req, "welcome to server!", 18);
}

static void mend_accept(sim_world *world, void *arg)
{
    refusals *all = arg;
    gate_stats stats = {.size = sizeof(stats)};

    gate_server_stats(all->scene.server, &stats);
    all->errors = stats.accept_errors;
    sim_knobs_of(world)->accept.pct = 0;
}

/* One connection may fail, but a kernel that fails each of them is asked a few times a second. */
static void serve_where_accept_always_fails(int error)
{
    enum { PEERS = 300 };
    const sim_knobs knobs = {.accept = {.pct = 100, .count = 1, .errors = {error}}};
    const gate_options options = {.handler = welcome};
    refusals all = {0};
    sim_peer *peers[PEERS];
    int answered = 0;

    scene_open(&all.scene, 1, &knobs, &options, PEERS);
    for (int i = 0; i < PEERS; i++) {
        peers[i] = scene_peer(&all.scene, NULL);
        sim_peer_send(peers[i], "1", 1);
    }
    sim_in(all.scene.world, 2 * second, mend_accept, &all);
    scene_stop_in(&all.scene, 4 * second);
    scene_serve(&all.scene);
    assert_in_range(all.errors, 64, 64 + 2 * 20);
    assert_int_equal(all.scene.stats.accept_pauses, 1);
    for (int i = 0; i < PEERS; i++) {
        if (!peers[i]->faulted) {
            desk_got(peers[i], "welcome to server!");
            answered++;
        }
    }
    assert_int_equal(answered, PEERS - all.errors);
    scene_close(&all.scene);
}

static void test_accepting_pauses_where_it_always_fails(void **state)
{
    (void)state;
    serve_where_accept_always_fails(EPERM);
    serve_where_accept_always_fails(ECONNABORTED);
}

static void test_over_connections_max_the_next_waits(void **state)
{
    desk all = {.options = {.connections_max = 1}};
    sim_peer *first, *next;

    (void)state;
    desk_open(&all, NULL, gate_codec_line());
    first = scene_peer(&all.scene, NULL);
    next = scene_peer(&all.scene, NULL);
    sim_peer_send(first, "e1\n", 3);
    sim_peer_send(next, "e2\n", 3);
    sim_in(all.scene.world, 2 * second, desk_close_peer, first);
    scene_stop_in(&all.scene, 20 * second);
    scene_serve(&all.scene);
    assert_int_equal(first->first_ns, all.scene.start_ns);
    assert_int_equal(next->first_ns - all.scene.start_ns, 2 * second);
    desk_got(next, "e2\n");
    scene_close(&all.scene);
}

static void test_over_peer_connections_max_the_next_is_closed(void **state)
{
    desk all = {.options = {.peer_connections_max = 1}};
    sim_peer *first, *next, *other;

    (void)state;
    desk_open(&all, NULL, gate_codec_line());
    first = scene_peer(&all.scene, "192.0.2.1");
    next = scene_peer(&all.scene, "192.0.2.1");
    other = scene_peer(&all.scene, "192.0.2.2");
    sim_peer_send(first, "e1\n", 3);
    sim_peer_send(other, "e2\n", 3);
    scene_stop_in(&all.scene, 20 * second);
    scene_serve(&all.scene);
    desk_got(first, "e1\n");
    desk_got(other, "e2\n");
    desk_got(next, "");
    assert_int_equal(next->end_ns, all.scene.start_ns);
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_PEER_LIMIT], 1);
    scene_close(&all.scene);
}

/* ---- Stopping ------------------------------------------------------------------------------ */

static void connect_late(sim_world *world, void *arg)
{
    desk *all = arg;
    sim_peer *peer = scene_peer(&all->scene, NULL);

    (void)world;
    sim_peer_send(peer, "e3\n", 3);
}

/* Stopped at 3 s: the idle connection ends at once, the one inside a request is given its time, the
 * one in the queue is served, and a later one is refused. */
static void test_stop_drains(void **state)
{
    desk all = {.options = {.drain_timeout_ms = 4000, .idle_timeout_ms = 60000}};
    sim_peer *idle, *inside;
    line rest = {.text = "2\n"};

    (void)state;
    desk_open(&all, NULL, gate_codec_line());
    idle = scene_peer(&all.scene, NULL);
    inside = scene_peer(&all.scene, NULL);
    sim_peer_send(idle, "e1\n", 3);
    sim_peer_send(inside, "e", 1);
    rest.peer = inside;
    sim_in(all.scene.world, 4 * second, desk_send, &rest);
    scene_stop_in(&all.scene, 3 * second);
    sim_in(all.scene.world, 3 * second, connect_late, &all);
    scene_serve(&all.scene);
    desk_got(idle, "e1\n");
    assert_int_equal(idle->end_ns - all.scene.start_ns, 3 * second);
    desk_got(inside, "e2\n");
    assert_int_equal(inside->end_ns - all.scene.start_ns, 4 * second);
    assert_int_equal(all.handled, 3);
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_STOPPED], 3);
    assert_int_equal(all.scene.end_ns - all.scene.start_ns, 4 * second);
    scene_close(&all.scene);
}

/* Silent for long, and all ask at the moment of the stop; one is read before the stop is seen. */
static void test_stop_answers_what_has_arrived_on_silent_connections(void **state)
{
    enum { PEERS = 4 };
    static const sim_knobs one_by_one = {.batch_max = 1};
    desk all = {.options = {.timeout_ms = 60000}};
    sim_peer *peers[PEERS];
    line text[PEERS];

    (void)state;
    desk_open(&all, &one_by_one, gate_codec_line());
    for (int i = 0; i < PEERS; i++) {
        peers[i] = scene_peer(&all.scene, NULL);
        sim_peer_send(peers[i], "e1\n", 3);
        text[i] = (line){peers[i], "e2\n"};
        sim_in(all.scene.world, 3 * second, desk_send, &text[i]);
    }
    scene_stop_in(&all.scene, 3 * second);
    scene_serve(&all.scene);
    for (int i = 0; i < PEERS; i++) {
        desk_got(peers[i], "e1\ne2\n");
    }
    scene_close(&all.scene);
}

static void test_drain_deadline_cuts_the_rest(void **state)
{
    desk all = {.options = {.drain_timeout_ms = 2000, .timeout_ms = 60000}};
    late one = {.desk = &all};
    sim_peer *inside, *deferred;

    (void)state;
    desk_open(&all, NULL, gate_codec_line());
    inside = scene_peer(&all.scene, NULL);
    deferred = scene_peer(&all.scene, NULL);
    sim_peer_send(inside, "e", 1);
    sim_peer_send(deferred, "d\n", 2);
    scene_stop_in(&all.scene, 3 * second);
    sim_in(all.scene.world, 4 * second, desk_answer_late, &one);
    scene_serve(&all.scene);
    desk_got(inside, "");
    desk_got(deferred, "d\n");
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_DRAIN_TIMEOUT], 1);
    assert_int_equal(all.scene.end_ns - all.scene.start_ns, 5 * second);
    scene_close(&all.scene);
}

static void test_drain_has_a_default_of_its_own(void **state)
{
    static const uint32_t timeouts[] = {1000, 60000, GATE_NEVER};

    (void)state;
    for (size_t i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
        desk all = {.options = {.timeout_ms = timeouts[i]}};
        sim_peer *peer;

        desk_open(&all, NULL, gate_codec_line());
        peer = scene_peer(&all.scene, NULL);
        sim_peer_send(peer, "d\n", 2); /* never answered */
        all.scene.drain_ns = 5 * second;
        scene_stop_in(&all.scene, second / 2);
        scene_serve(&all.scene);
        assert_int_equal(all.scene.end_ns - all.scene.start_ns,
                         timeouts[i] == 1000 ? second : 5 * second + second / 2);
        scene_close(&all.scene);
    }
}

/* The kernel takes a while to end the listener, in which the server waits and does not spin. */
static void test_the_end_of_a_drain_is_waited_for(void **state)
{
    static const sim_knobs knobs = {.held_pct = 100, .held_max_ns = 50 * SIM_MS, .spin_max = 20};
    desk all = {.options = {.drain_timeout_ms = 2000, .timeout_ms = 60000, .connections_max = 1}};
    sim_peer *peers[2];

    (void)state;
    desk_open(&all, &knobs, gate_codec_line());
    for (int i = 0; i < 2; i++) {
        peers[i] = scene_peer(&all.scene, NULL); /* the other one waits in the queue */
        sim_peer_send(peers[i], "e", 1);
    }
    scene_stop_in(&all.scene, second);
    scene_serve(&all.scene);
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_DRAIN_TIMEOUT], 1);
    assert_in_range(all.scene.end_ns - all.scene.start_ns, 3 * second, 3 * second + 200 * SIM_MS);
    scene_close(&all.scene);
}

static void test_stop_before_serve_serves_the_queue(void **state)
{
    desk all = {0};
    sim_peer *peer;

    (void)state;
    desk_open(&all, NULL, NULL);
    peer = scene_peer(&all.scene, NULL);
    sim_peer_send(peer, "1", 1);
    scene_stop(&all.scene);
    scene_stop(&all.scene);
    scene_serve(&all.scene);
    sim_run_until(all.scene.world, NULL, all.scene.end_ns + second);
    desk_got(peer, "welcome to server!");
    assert_int_equal(all.scene.end_ns, all.scene.start_ns);
    scene_close(&all.scene);
}

/* ---- Stopping with a descriptor that is gone before its close has been told --------------- */

static const sim_knobs at_once = {.at_once_pct = 100};

/* An empty answer closes at once, and the stop is seen in the same turn. */
static void test_stop_in_the_turn_of_a_close_waits_for_its_completion(void **state)
{
    desk all = {0};
    late one = {.desk = &all, .empty = 1};
    sim_peer *peer;

    (void)state;
    desk_open(&all, &at_once, gate_codec_eof());
    peer = scene_peer(&all.scene, NULL);
    sim_peer_send(peer, "d", 1);
    sim_peer_half_close(peer);
    sim_in(all.scene.world, second, desk_answer_late, &one);
    scene_stop_in(&all.scene, second);
    scene_serve(&all.scene);
    assert_int_equal(all.answer_result, 0);
    desk_got(peer, "");
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_ANSWERED], 1);
    assert_int_equal(sim_fired(all.scene.world, SIM_AT_ONCE), 2); /* the listener's as well */
    scene_close(&all.scene);
}

/* The last send of a late answer has closed, and the turn then comes to the drain's deadline. */
static void test_drain_deadline_in_the_turn_of_a_last_send_waits_for_its_completion(void **state)
{
    desk all = {.options = {.drain_timeout_ms = 2000,
                            .timeout_ms = 60000,
                            .log_level = GATE_LOG_ERROR}}; /* a close that is told is not joined */
    late one = {.desk = &all};
    sim_peer *peer;

    (void)state;
    desk_open(&all, &at_once, gate_codec_eof());
    peer = scene_peer(&all.scene, NULL);
    sim_peer_send(peer, "dX", 2);
    sim_peer_half_close(peer);
    scene_stop_in(&all.scene, second);
    sim_in(all.scene.world, 3 * second, desk_answer_late, &one);
    scene_serve(&all.scene);
    assert_int_equal(all.answer_result, 0);
    scene_settle(&all.scene, second);
    desk_got(peer, "X");
    assert_int_equal(sim_fired(all.scene.world, SIM_AT_ONCE), 2);
    scene_close(&all.scene);
}

static void echo(gate_request *req, const void *body, size_t len, void *user)
{
    (void)user;
    gate_reply(req, body, len);
}

static void free_port(sim_world *world, void *fd)
{
    gate_io *io = sim_io_open(world);
    gate__sockaddr addr;
    gate_sock sock;

    assert_int_equal(io->ops->adopt(io, &sock, *(int *)fd, &addr), 0);
    io->ops->discard(io, sock.fd);
    io->ops->free(io);
}

static void test_a_port_that_is_in_use_is_waited_for(void **state)
{
    static const uint64_t times_ms[] = {0, 5, 150, 400};
    gate_options mine = {.size = sizeof(mine), .handler = echo};

    (void)state;
    for (size_t i = 0; i < sizeof(times_ms) / sizeof(times_ms[0]); i++) {
        sim_world *world = sim_open(i + 1, NULL);
        gate__sockaddr addr = sim_addr("127.0.0.1", 9001);
        int fd = sim_listen_fd(world, &addr, 4);
        uint64_t start = sim_now(world), waited;
        gate_server *server;
        int rc;

        assert_int_equal(gate__server_open_on(&server, &mine, 0, sim_io_for, world), 0);
        sim_in(world, times_ms[i] * SIM_MS, free_port, &fd);
        rc = gate_server_listen(server, "127.0.0.1", 9001, 0);
        waited = sim_now(world) - start;
        assert_int_equal(rc, times_ms[i] < 200 ? 0 : -EADDRINUSE);
        assert_in_range(waited, times_ms[i] < 200 ? times_ms[i] * SIM_MS : 200 * SIM_MS,
                        205 * SIM_MS);
        if (rc != 0) {
            free_port(world, &fd);
        }
        gate_server_close(server);
        sim_close(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_out_of_descriptors_accepting_pauses_and_resumes),
        cmocka_unit_test(test_accepting_again_is_told_once_after_an_episode),
        cmocka_unit_test(test_failed_accepts_cost_the_others_nothing),
        cmocka_unit_test(test_accepting_goes_on_after_an_unknown_error),
        cmocka_unit_test(test_accepting_pauses_where_it_always_fails),
        cmocka_unit_test(test_over_connections_max_the_next_waits),
        cmocka_unit_test(test_over_peer_connections_max_the_next_is_closed),
        cmocka_unit_test(test_stop_drains),
        cmocka_unit_test(test_stop_answers_what_has_arrived_on_silent_connections),
        cmocka_unit_test(test_drain_deadline_cuts_the_rest),
        cmocka_unit_test(test_drain_has_a_default_of_its_own),
        cmocka_unit_test(test_the_end_of_a_drain_is_waited_for),
        cmocka_unit_test(test_stop_before_serve_serves_the_queue),
        cmocka_unit_test(test_stop_in_the_turn_of_a_close_waits_for_its_completion),
        cmocka_unit_test(test_drain_deadline_in_the_turn_of_a_last_send_waits_for_its_completion),
        cmocka_unit_test(test_a_port_that_is_in_use_is_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
