/* SPDX-License-Identifier: MIT */

/* The server and its peers, one situation a test, at exact virtual times. The simulated network has
 * no latency here unless a test asks for it, so times are exact. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "desk.h"

static const uint64_t second = SIM_SECOND;

/* ---- The tutorial's rules ------------------------------------------------------------------ */

static void test_one_is_welcomed(void **state)
{
    desk all = {0};
    sim_peer *peer = desk_serve_one(&all, NULL, NULL, "1", 0);

    (void)state;
    desk_got(peer, "welcome to server!");
    assert_true(peer->eof);
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_ANSWERED], 1);
    assert_int_equal(all.scene.end_ns - all.scene.start_ns, 20 * second);
    scene_close(&all.scene);
}

static void test_anything_else_is_rejected(void **state)
{
    desk all = {0};
    sim_peer *peer = desk_serve_one(&all, NULL, NULL, "2", 0);

    (void)state;
    desk_got(peer, "please go out!");
    assert_true(peer->eof);
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_REJECTED], 1);
    assert_int_equal(all.scene.stats.rejections, 1);
    scene_close(&all.scene);
}

static void test_silent_peer_times_out_at_five_seconds_exactly(void **state)
{
    desk all = {0};
    sim_peer *peer = desk_serve_one(&all, NULL, NULL, "", 0);

    (void)state;
    desk_got(peer, "");
    assert_true(peer->eof);
    assert_int_equal(peer->end_ns - peer->connected_ns, 5 * second);
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_TIMEOUT], 1);
    assert_int_equal(all.handled, 0);
    scene_close(&all.scene);
}

static void test_one_byte_a_second_extends_nothing(void **state)
{
    desk all = {0};
    sim_peer *peer;

    (void)state;
    desk_open(&all, NULL, gate_codec_line());
    peer = scene_peer(&all.scene, NULL);
    peer->send_max = 1;
    peer->send_every_ns = second;
    sim_peer_send(peer, "eternity\n", 9);
    scene_stop_in(&all.scene, 20 * second);
    scene_serve(&all.scene);
    assert_int_equal(peer->end_ns - peer->connected_ns, 5 * second);
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_TIMEOUT], 1);
    assert_int_equal(all.handled, 0);
    scene_close(&all.scene);
}

static void test_idle_connection_is_closed_after_its_reply(void **state)
{
    desk all = {.options = {.idle_timeout_ms = 3000}};
    sim_peer *peer = desk_serve_one(&all, NULL, gate_codec_line(), "e1\n", 0);

    (void)state;
    desk_got(peer, "e1\n");
    assert_int_equal(peer->end_ns - peer->connected_ns, 3 * second);
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_IDLE], 1);
    scene_close(&all.scene);
}

/* ---- Peers that end or break --------------------------------------------------------------- */

static void test_end_inside_a_frame_reaches_no_handler(void **state)
{
    desk all = {0};
    sim_peer *peer = desk_serve_one(&all, NULL, gate_codec_line(), "e1", 1);

    (void)state;
    desk_got(peer, "");
    assert_int_equal(all.handled, 0);
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_TRUNCATED], 1);
    assert_int_equal(peer->end_ns, peer->connected_ns);
    scene_close(&all.scene);
}

static void test_half_close_behind_the_request_is_answered(void **state)
{
    desk all = {0};
    sim_peer *peer = desk_serve_one(&all, NULL, gate_codec_line(), "e1\ne2\n", 1);

    (void)state;
    desk_got(peer, "e1\ne2\n");
    assert_true(peer->eof);
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_PEER], 1);
    scene_close(&all.scene);
}

static void test_half_close_waits_for_a_deferred_answer(void **state)
{
    desk all = {0};
    late one = {.desk = &all};
    sim_peer *peer;

    (void)state;
    desk_open(&all, NULL, gate_codec_line());
    peer = scene_peer(&all.scene, NULL);
    sim_peer_send(peer, "da\n", 3);
    sim_peer_half_close(peer);
    sim_in(all.scene.world, second, desk_answer_late, &one);
    scene_stop_in(&all.scene, 20 * second);
    scene_serve(&all.scene);
    desk_got(peer, "a\n");
    assert_int_equal(all.answer_result, 0);
    assert_int_equal(peer->end_ns - peer->connected_ns, second);
    scene_close(&all.scene);
}

static void test_end_of_input_ends_the_request_of_eof(void **state)
{
    desk all = {0};
    sim_peer *peer = desk_serve_one(&all, NULL, gate_codec_eof(), "everything", 1);

    (void)state;
    desk_got(peer, "everything");
    scene_close(&all.scene);
}

/* ---- What a request waits for ---- */

typedef struct hurry {
    desk all;
    uint64_t before; /* closes before it came */
    uint64_t after;  /* ... and until it was answered */
    sim_peer *peer;
} hurry;

static uint64_t closes(const hurry *one)
{
    return one->all.scene.closed_by[0];
}

static void note_answer(sim_peer *peer, void *arg)
{
    hurry *one = arg;

    if (peer->got_len > 3 && one->after == 0) {
        one->after = closes(one);
    }
}

static void send_hurried(sim_world *world, void *arg)
{
    hurry *one = arg;

    (void)world;
    one->before = closes(one);
    one->peer->changed = note_answer;
    one->peer->arg = one;
    sim_peer_send(one->peer, "e1\n", 3);
}

/* A crowd whose time is up at the same moment; telling of each close takes a while. */
static void test_request_waits_for_a_bounded_number_of_closes(void **state)
{
    enum { CROWD = 1000, AT_MOST = 2 * 32 };
    hurry one = {.all = {.backlog = CROWD + 1}};

    (void)state;
    desk_open(&one.all, NULL, gate_codec_line());
    one.all.scene.close_ns = 10000;
    for (int i = 0; i < CROWD; i++) {
        scene_peer(&one.all.scene, NULL);
    }
    one.peer = scene_peer(&one.all.scene, NULL);
    sim_peer_send(one.peer, "e0\n", 3);
    sim_in(one.all.scene.world, 5 * (uint64_t)SIM_SECOND + 100000, send_hurried, &one);
    scene_stop_in(&one.all.scene, 20 * (uint64_t)SIM_SECOND);
    scene_serve(&one.all.scene);
    assert_in_range(one.before, 1, CROWD - 1);
    assert_in_range(one.after - one.before, 0, AT_MOST);
    scene_close(&one.all.scene);
}

static void stop_process(sim_world *world, void *arg)
{
    sim_stop_process(world, *(const uint64_t *)arg);
}

/* As by SIGSTOP, or on a machine that was suspended: what came in time is answered. */
static void test_process_that_was_stopped_over_a_deadline_answers_what_came_in_time(void **state)
{
    static const uint64_t long_ns = 60 * (uint64_t)SIM_SECOND;
    static const sim_knobs plain = {0};
    static const sim_knobs one_by_one = {.batch_max = 1};
    const sim_knobs *knobs[] = {&plain, &one_by_one};

    (void)state;
    for (int i = 0; i < 2; i++) {
        desk all = {0};
        sim_peer *peers[5];
        line text[5];

        desk_open(&all, knobs[i], gate_codec_line());
        for (int j = 0; j < 5; j++) {
            peers[j] = scene_peer(&all.scene, NULL);
            text[j] = (line){peers[j], "e1\n"};
            if (j > 0) { /* the last ones wait for their second request */
                sim_in(all.scene.world, 3 * (uint64_t)SIM_SECOND, desk_send, &text[j]);
            }
            if (j > 2) {
                sim_peer_send(peers[j], "e1\n", 3);
            }
        }
        sim_in(all.scene.world, 2 * (uint64_t)SIM_SECOND, stop_process,
               (void *)(uintptr_t)&long_ns);
        scene_stop_in(&all.scene, 70 * (uint64_t)SIM_SECOND);
        scene_serve(&all.scene);
        desk_got(peers[0], ""); /* which has sent nothing */
        assert_int_equal(peers[0]->end_ns - all.scene.start_ns, 62 * (uint64_t)SIM_SECOND);
        desk_got(peers[1], "e1\n");
        desk_got(peers[2], "e1\n");
        desk_got(peers[3], "e1\ne1\n");
        desk_got(peers[4], "e1\ne1\n");
        scene_close(&all.scene);
    }
}

static void test_reset_while_a_request_is_deferred(void **state)
{
    desk all = {0};
    late one = {.desk = &all};
    sim_peer *peer;

    (void)state;
    desk_open(&all, NULL, gate_codec_line());
    peer = scene_peer(&all.scene, NULL);
    sim_peer_send(peer, "d\n", 2);
    sim_in(all.scene.world, second, desk_reset, peer);
    sim_in(all.scene.world, 2 * second, desk_answer_late, &one);
    scene_stop_in(&all.scene, 20 * second);
    scene_serve(&all.scene);
    assert_int_equal(all.handled, 1);
    assert_int_equal(all.answer_result, GATE_EGONE);
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_RESET], 1);
    assert_int_equal(all.scene.closed_ns[GATE_CLOSE_RESET] - all.scene.start_ns, second);
    scene_close(&all.scene);
}

static void test_rejected_peer_gets_its_answer_with_input_unread(void **state)
{
    static const sim_knobs knobs = {.recv_max = 1024,
                                    .reset_loses_pct = 100,
                                    .latency_min_ns = SIM_MS,
                                    .latency_max_ns = SIM_MS};
    static const char much[5000];
    desk all = {0};
    sim_peer *peer;

    (void)state;
    desk_open(&all, &knobs, NULL);
    peer = scene_peer(&all.scene, NULL);
    peer->read_every_ns = 50 * SIM_MS;
    peer->read_next_ns = all.scene.start_ns + 500 * SIM_MS;
    sim_peer_send(peer, much, sizeof(much));
    scene_stop_in(&all.scene, 20 * second);
    scene_serve(&all.scene);
    desk_got(peer, "please go out!");
    assert_true(peer->eof);
    assert_false(peer->reset);
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_REJECTED], 1);
    scene_close(&all.scene);
}

static void test_dripping_into_the_drain_is_cut_off(void **state)
{
    static const sim_knobs knobs = {.recv_max = 1024};
    static const char much[5000];
    desk all = {0};
    sim_peer *peer;

    (void)state;
    desk_open(&all, &knobs, NULL);
    peer = scene_peer(&all.scene, NULL);
    peer->stays = 1;
    sim_peer_send(peer, much, 4000);
    for (int i = 0; i < 100; i++) {
        static line one = {.text = "x"};

        one.peer = peer;
        sim_in(all.scene.world, (uint64_t)i * 100 * SIM_MS, desk_send, &one);
    }
    scene_stop_in(&all.scene, 20 * second);
    scene_serve(&all.scene);
    desk_got(peer, "please go out!");
    assert_true(all.scene.closed_ns[GATE_CLOSE_REJECTED] - all.scene.start_ns <= 2 * second);
    scene_close(&all.scene);
}

static void test_unread_reply_meets_the_write_deadline(void **state)
{
    desk all = {.reply_len = 200000, .options = {.write_timeout_ms = 2000, .rate_min = GATE_NEVER}};
    sim_peer *peer;

    (void)state;
    desk_open(&all, NULL, gate_codec_line());
    peer = scene_peer(&all.scene, NULL);
    peer->read_stopped = 1;
    sim_peer_send(peer, "b\n", 2);
    scene_stop_in(&all.scene, 20 * second);
    scene_serve(&all.scene);
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_WRITE_TIMEOUT], 1);
    assert_int_equal(all.scene.closed_ns[GATE_CLOSE_WRITE_TIMEOUT] - all.scene.start_ns,
                     2 * second);
    scene_close(&all.scene);
}

/* 2 s, and 4 s for its bytes at the least rate; what the network takes meanwhile moves nothing. */
static void test_unread_reply_has_the_time_of_its_bytes_besides(void **state)
{
    desk all = {.reply_len = 200000, .options = {.write_timeout_ms = 2000, .rate_min = 50000}};
    sim_peer *peer;

    (void)state;
    desk_open(&all, NULL, gate_codec_line());
    peer = scene_peer(&all.scene, NULL);
    peer->read_stopped = 1;
    sim_peer_send(peer, "b\n", 2);
    scene_stop_in(&all.scene, 20 * second);
    scene_serve(&all.scene);
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_WRITE_TIMEOUT], 1);
    assert_in_range(all.scene.closed_ns[GATE_CLOSE_WRITE_TIMEOUT] - all.scene.start_ns, 6 * second,
                    6 * second + 2 * SIM_MS);
    scene_close(&all.scene);
}

/* Nothing moves from the request on, as the window is full already: all that starts the write
 * deadline is the answer. */
static void test_unread_late_answer_has_the_whole_write_time(void **state)
{
    const sim_knobs knobs = {.flow_max = 3};
    desk all = {.options = {.rate_min = GATE_NEVER}};
    late one = {.desk = &all};
    sim_peer *peer;

    (void)state;
    desk_open(&all, &knobs, gate_codec_line());
    sim_watch_lives(all.scene.world, 5 * second + SIM_MS);
    peer = scene_peer(&all.scene, NULL);
    peer->read_stopped = 1;
    sim_peer_send(peer, "e1\nda\n", 6);
    sim_in(all.scene.world, second, desk_answer_late, &one);
    scene_stop_in(&all.scene, 20 * second);
    scene_serve(&all.scene);
    assert_int_equal(all.answer_result, 0);
    assert_int_equal(all.scene.closed_ns[GATE_CLOSE_WRITE_TIMEOUT] - all.scene.start_ns,
                     6 * second);
    scene_close(&all.scene);
}

static void test_a_slow_reader_gets_all(void **state)
{
    desk all = {.reply_len = 200000};
    sim_peer *peer;

    (void)state;
    desk_open(&all, NULL, gate_codec_line());
    peer = scene_peer(&all.scene, NULL);
    peer->read_max = 5000;
    peer->read_every_ns = 50 * SIM_MS;
    sim_peer_send(peer, "b\n", 2);
    sim_peer_half_close(peer);
    scene_stop_in(&all.scene, 20 * second);
    scene_serve(&all.scene);
    assert_int_equal(peer->got_len, 200001);
    assert_true(peer->eof);
    scene_close(&all.scene);
}

/* So many bytes a second are read of a reply of some slices. Why the connection was closed. */
static int read_at(size_t rate, const sim_knobs *knobs)
{
    desk all = {.reply_len = 4000000};
    sim_peer *peer;
    int cut;

    desk_open(&all, knobs, gate_codec_line());
    peer = scene_peer(&all.scene, NULL);
    peer->read_max = rate / 10;
    peer->read_every_ns = 100 * SIM_MS;
    sim_peer_send(peer, "b\n", 2);
    sim_peer_half_close(peer);
    scene_stop_in(&all.scene, 200 * second);
    scene_serve(&all.scene);
    cut = all.scene.stats.closed[GATE_CLOSE_WRITE_TIMEOUT] == 1;
    assert_true(cut || (peer->eof && peer->got_len == 4000001));
    scene_close(&all.scene);
    return cut;
}

/* 1 MiB in 21 s are 50 KB/s: who has less is cut off, who has 64 KiB/s never is, however the bytes
 * are taken. */
static void test_a_reader_over_the_least_rate_gets_all_and_one_under_it_is_cut(void **state)
{
    const sim_knobs pieces = {.send_partial_pct = 50, .send_max = 20000, .flow_max = 100000};
    static const size_t slow[] = {10000, 30000, 45000, 48000};
    static const size_t fast[] = {66000, 70000, 100000, 300000};

    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_true(read_at(slow[i], NULL));
        assert_true(read_at(slow[i], &pieces));
        assert_false(read_at(fast[i], NULL));
        assert_false(read_at(fast[i], &pieces));
    }
}

/* Each reply is over output_max, so one of them at a time is made. */
static void test_pipelining_without_reading_stops_the_reading(void **state)
{
    desk all = {.reply_len = 1000, .options = {.output_max = 500, .write_timeout_ms = 2000}};
    sim_peer *peer;

    (void)state;
    desk_open(&all, NULL, gate_codec_line());
    peer = scene_peer(&all.scene, NULL);
    peer->read_stopped = 1;
    for (int i = 0; i < 10000; i++) {
        sim_peer_send(peer, "b\n", 2);
    }
    scene_stop_in(&all.scene, 20 * second);
    scene_serve(&all.scene);
    assert_in_range(all.handled, 65, 68); /* what the network holds, and one or two more */
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_WRITE_TIMEOUT], 1);
    scene_close(&all.scene);
}

/* ---- Answers ------------------------------------------------------------------------------- */

static void test_replies_keep_the_order_of_their_requests(void **state)
{
    desk all = {0};
    late first = {.desk = &all};
    late second_late = {.desk = &all, .index = 1};
    sim_peer *peer;

    (void)state;
    desk_open(&all, NULL, gate_codec_line());
    peer = scene_peer(&all.scene, NULL);
    sim_peer_send(peer, "dA\neB\ndC\neD\n", 12);
    sim_in(all.scene.world, second, desk_answer_late, &second_late);
    sim_in(all.scene.world, 2 * second, desk_answer_late, &first);
    scene_stop_in(&all.scene, 20 * second);
    scene_serve(&all.scene);
    desk_got(peer, "A\neB\nC\neD\n");
    assert_int_equal(peer->first_ns - peer->connected_ns, 2 * second);
    scene_close(&all.scene);
}

static void test_silent_handler_meets_its_deadline(void **state)
{
    desk all = {.options = {.handler_timeout_ms = 1500}};
    late one = {.desk = &all};
    sim_peer *peer;

    (void)state;
    desk_open(&all, NULL, gate_codec_line());
    peer = scene_peer(&all.scene, NULL);
    sim_peer_send(peer, "d\n", 2);
    sim_in(all.scene.world, 8 * second, desk_answer_late, &one);
    scene_stop_in(&all.scene, 20 * second);
    scene_serve(&all.scene);
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_HANDLER_TIMEOUT], 1);
    assert_int_equal(peer->end_ns - peer->connected_ns, 1500 * (uint64_t)SIM_MS);
    assert_int_equal(all.answer_result, GATE_EGONE);
    scene_close(&all.scene);
}

static void test_forgotten_request_is_answered_empty_and_closed(void **state)
{
    desk all = {0};
    sim_peer *peer = desk_serve_one(&all, NULL, gate_codec_line(), "f\ne2\n", 0);

    (void)state;
    desk_got(peer, "\n");
    assert_true(peer->eof);
    assert_int_equal(all.handled, 1);
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_UNANSWERED], 1);
    scene_close(&all.scene);
}

static void test_requests_behind_a_rejection_are_not_handled(void **state)
{
    desk all = {0};
    sim_peer *peer = desk_serve_one(&all, NULL, gate_codec_line(), "e1\nX\ne3\n", 0);

    (void)state;
    desk_got(peer, "e1\nplease go out!\n");
    assert_int_equal(all.handled, 2);
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_REJECTED], 1);
    scene_close(&all.scene);
}

static void test_frame_over_the_limit_ends_the_connection(void **state)
{
    desk all = {.options = {.request_max = 4}};
    sim_peer *peer = desk_serve_one(&all, NULL, gate_codec_line(), "e123\ne1234\n", 0);

    (void)state;
    desk_got(peer, "e123\n");
    assert_true(peer->eof);
    assert_int_equal(all.handled, 1);
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_TOO_BIG], 1);
    scene_close(&all.scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_is_welcomed),
        cmocka_unit_test(test_anything_else_is_rejected),
        cmocka_unit_test(test_silent_peer_times_out_at_five_seconds_exactly),
        cmocka_unit_test(test_one_byte_a_second_extends_nothing),
        cmocka_unit_test(test_idle_connection_is_closed_after_its_reply),
        cmocka_unit_test(test_end_inside_a_frame_reaches_no_handler),
        cmocka_unit_test(test_half_close_behind_the_request_is_answered),
        cmocka_unit_test(test_half_close_waits_for_a_deferred_answer),
        cmocka_unit_test(test_end_of_input_ends_the_request_of_eof),
        cmocka_unit_test(test_reset_while_a_request_is_deferred),
        cmocka_unit_test(test_request_waits_for_a_bounded_number_of_closes),
        cmocka_unit_test(test_process_that_was_stopped_over_a_deadline_answers_what_came_in_time),
        cmocka_unit_test(test_rejected_peer_gets_its_answer_with_input_unread),
        cmocka_unit_test(test_dripping_into_the_drain_is_cut_off),
        cmocka_unit_test(test_unread_reply_meets_the_write_deadline),
        cmocka_unit_test(test_unread_reply_has_the_time_of_its_bytes_besides),
        cmocka_unit_test(test_unread_late_answer_has_the_whole_write_time),
        cmocka_unit_test(test_a_slow_reader_gets_all),
        cmocka_unit_test(test_a_reader_over_the_least_rate_gets_all_and_one_under_it_is_cut),
        cmocka_unit_test(test_pipelining_without_reading_stops_the_reading),
        cmocka_unit_test(test_replies_keep_the_order_of_their_requests),
        cmocka_unit_test(test_silent_handler_meets_its_deadline),
        cmocka_unit_test(test_forgotten_request_is_answered_empty_and_closed),
        cmocka_unit_test(test_requests_behind_a_rejection_are_not_handled),
        cmocka_unit_test(test_frame_over_the_limit_ends_the_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
