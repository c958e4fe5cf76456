/* SPDX-License-Identifier: MIT */

/* A connection's deadlines, its lingering, and the end of its server. */

#include "rig.h"

/* ---- What the peer has to send ---- */

static void test_the_first_request_has_its_time_from_accept(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_assert_deadline(&r, 5 * S);
    for (int i = 0; i < 4; i++) { /* a byte a second moves nothing */
        rig_pass(&r, S);
        rig_input(&r, "1");
        rig_assert_deadline(&r, (uint64_t)(4 - i) * S);
    }
    rig_pass(&r, S - 1);
    assert_int_equal(gate__conn_wants(&r.conn), GATE__WANT_READ);
    rig_pass(&r, 1);
    rig_assert_closed(&r, GATE_CLOSE_TIMEOUT);
    rig_close(&r);
}

static void test_a_silent_peer_is_timed_out(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, gate_codec_raw());
    rig_pass(&r, 5 * S - 1);
    assert_int_equal(r.conn.phase, GATE__OPEN);
    rig_pass(&r, 1);
    rig_assert_closed(&r, GATE_CLOSE_TIMEOUT);
    rig_close(&r);
}

static void test_a_later_request_has_its_time_from_its_first_byte(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "one\n");
    rig_flush(&r);
    rig_assert_deadline(&r, 7 * S);
    rig_pass(&r, 6 * S);
    rig_input(&r, "t");
    rig_assert_deadline(&r, 5 * S);
    rig_pass(&r, 2 * S);
    rig_input(&r, "w");
    rig_assert_deadline(&r, 3 * S);
    rig_pass(&r, 3 * S);
    rig_assert_closed(&r, GATE_CLOSE_TIMEOUT);
    rig_close(&r);
}

static void test_the_start_of_the_next_request_in_the_same_read_starts_its_time(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_pass(&r, 4 * S);
    rig_input(&r, "one\ntw");
    rig_flush(&r);
    rig_assert_deadline(&r, 5 * S);
    rig_pass(&r, 4 * S);
    rig_input(&r, "o\nthr");
    rig_flush(&r);
    rig_assert_deadline(&r, 5 * S);
    rig_close(&r);
}

static void test_an_idle_connection_is_closed(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "one\n");
    rig_pass(&r, S);
    rig_flush(&r); /* idle from here */
    rig_assert_deadline(&r, 7 * S);
    rig_pass(&r, 7 * S - 1);
    assert_int_equal(r.conn.phase, GATE__OPEN);
    rig_pass(&r, 1);
    rig_assert_closed(&r, GATE_CLOSE_IDLE);
    rig_close(&r);
}

static void test_it_is_not_the_peers_turn_while_an_answer_is_due(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    r.config.handler_ns = NEVER;
    r.config.write_ns = NEVER;
    rig_input(&r, "d0\n");
    rig_assert_deadline(&r, NEVER);
    rig_pass(&r, 1000 * S);
    rig_answer(&r, 0, "A", 0);
    rig_assert_deadline(&r, NEVER);
    rig_pass(&r, 1000 * S);
    rig_flush(&r);
    rig_assert_deadline(&r, 7 * S);
    rig_close(&r);
}

static void test_a_begun_request_times_out_beside_an_unanswered_one(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    r.config.handler_ns = NEVER;
    rig_input(&r, "d0\npart");
    rig_assert_deadline(&r, 5 * S);
    rig_pass(&r, 5 * S);
    assert_int_equal(r.conn.phase, GATE__ENDING);
    rig_answer(&r, 0, "A", 0);
    rig_flush(&r);
    rig_assert_sent(&r, "A"); /* what was complete is answered */
    rig_assert_closed(&r, GATE_CLOSE_TIMEOUT);
    rig_close(&r);
}

static void test_a_blocked_peer_is_not_timed_out(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    r.config.output_max = 4;
    r.config.write_ns = NEVER;
    rig_input(&r, "one\ntwo\nthr");
    rig_assert_deadline(&r, NEVER);
    rig_pass(&r, 1000 * S);
    rig_flush(&r);
    rig_assert_seen(&r, " one two");
    rig_assert_deadline(&r, 5 * S); /* it could not finish "thr" before */
    rig_close(&r);
}

static void test_an_answer_without_bytes_starts_the_idle_time_too(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "d0\n");
    rig_pass(&r, 2 * S);
    rig_answer(&r, 0, "", 0);
    rig_assert_deadline(&r, 7 * S);
    rig_close(&r);
}

/* ---- What we have to send ---- */

static void test_a_reply_has_its_time_from_when_it_was_given(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_pass(&r, S);
    rig_input(&r, "123456\n");
    rig_assert_deadline(&r, 3 * S);
    rig_pass(&r, 2 * S);
    rig_send(&r, 4); /* bytes that are taken do not extend it */
    rig_assert_deadline(&r, S);
    rig_pass(&r, S - 1);
    assert_int_equal(r.conn.phase, GATE__OPEN);
    rig_pass(&r, 1);
    rig_assert_closed(&r, GATE_CLOSE_WRITE_TIMEOUT);
    rig_close(&r);
}

static void test_each_reply_has_a_time_of_its_own(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "d0\nd1\n");
    rig_answer(&r, 0, "AA", 0);
    rig_pass(&r, 2 * S);
    rig_answer(&r, 1, "BB", 0);
    rig_assert_deadline(&r, S);
    rig_send(&r, 2);
    rig_assert_deadline(&r, 3 * S);
    rig_pass(&r, 3 * S);
    rig_assert_closed(&r, GATE_CLOSE_WRITE_TIMEOUT);
    assert_int_equal(r.released, 1);
    rig_close(&r);
    assert_int_equal(r.released, 2);
}

/* ---- The handler ---- */

static void test_a_deferred_request_has_its_time_from_its_delivery(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "d0\n");
    rig_pass(&r, 3 * S);
    rig_input(&r, "d1\n");
    rig_assert_deadline(&r, S);
    rig_answer(&r, 0, "A", 0);
    rig_flush(&r);
    rig_assert_deadline(&r, 4 * S);
    rig_pass(&r, 4 * S - 1);
    assert_int_equal(r.left_gone, 0);
    rig_pass(&r, 1);
    assert_int_equal(r.left_gone, 1);
    assert_int_equal(r.conn.reason, GATE_CLOSE_HANDLER_TIMEOUT);
    rig_assert_sent(&r, "A");
    rig_close(&r);
}

static void test_a_handler_timeout_still_sends_the_earlier_answers(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "first\nd1\nheld\n");
    r.config.write_ns = NEVER;
    rig_pass(&r, 4 * S);
    rig_flush(&r);
    rig_assert_sent(&r, "first\n");
    assert_int_equal(r.left_gone, 1);
    assert_int_equal(r.left_answered, 1);
    assert_int_equal(r.conn.phase, GATE__LINGERING);
    rig_eof(&r);
    rig_assert_closed(&r, GATE_CLOSE_HANDLER_TIMEOUT);
    rig_close(&r);
}

static void test_a_handler_timeout_of_a_half_closed_peer_says_so(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, gate_codec_raw());
    rig_input(&r, "d0");
    rig_eof(&r);
    rig_pass(&r, 4 * S);
    rig_assert_closed(&r, GATE_CLOSE_HANDLER_TIMEOUT);
    rig_close(&r);
}

/* ---- Lingering ---- */

static void linger(rig *r)
{
    rig_open(r, NULL);
    rig_input(r, "xno\n");
    assert_int_equal(r->conn.phase, GATE__FLUSHING);
    assert_int_equal(gate__conn_wants(&r->conn), GATE__WANT_SEND);
    rig_flush(r);
    assert_int_equal(r->conn.phase, GATE__LINGERING);
    assert_int_equal(gate__conn_wants(&r->conn), GATE__WANT_READ);
    rig_assert_deadline(r, S);
}

static void test_lingering_ends_with_the_peer(void **state)
{
    (void)state;
    rig r;
    linger(&r);
    rig_input(&r, "more\n");
    rig_assert_seen(&r, " xno");
    rig_eof(&r);
    rig_assert_closed(&r, GATE_CLOSE_REJECTED);
    rig_close(&r);
}

static void test_lingering_has_a_deadline_that_bytes_do_not_extend(void **state)
{
    (void)state;
    rig r;
    linger(&r);
    rig_pass(&r, S / 2);
    rig_input(&r, "drip");
    rig_assert_deadline(&r, S / 2);
    rig_pass(&r, S / 2 - 1);
    assert_int_equal(r.conn.phase, GATE__LINGERING);
    rig_pass(&r, 1);
    rig_assert_closed(&r, GATE_CLOSE_REJECTED);
    rig_close(&r);
}

static void test_lingering_takes_only_so_many_bytes(void **state)
{
    (void)state;
    rig r;
    linger(&r);
    for (int i = 0; i < 10; i++)
        rig_input(&r, "0123456789");
    assert_int_equal(r.conn.phase, GATE__LINGERING);
    rig_input(&r, "1");
    rig_assert_closed(&r, GATE_CLOSE_REJECTED);
    rig_close(&r);
}

static void test_a_failure_while_lingering_keeps_the_reason(void **state)
{
    (void)state;
    rig r;
    linger(&r);
    gate__conn_abort(&r.conn, GATE_CLOSE_RESET);
    rig_assert_closed(&r, GATE_CLOSE_REJECTED);
    rig_close(&r);
}

static void test_a_peer_that_has_ended_needs_no_lingering(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "d0\n");
    rig_eof(&r);
    rig_answer(&r, 0, "A", GATE_CLOSE_REJECTED);
    rig_flush(&r);
    rig_assert_closed(&r, GATE_CLOSE_REJECTED);
    rig_close(&r);
}

/* ---- The server stops ---- */

static void test_stop_closes_an_idle_connection_at_once(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "one\n");
    rig_flush(&r);
    gate__conn_stop(&r.conn, r.now + 9 * S, r.now);
    rig_assert_closed(&r, GATE_CLOSE_STOPPED);
    rig_close(&r);
}

static void test_stop_lets_the_first_request_come(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    gate__conn_stop(&r.conn, r.now + 2 * S, r.now);
    rig_assert_deadline(&r, 2 * S);
    rig_input(&r, "one\ntwo\n");
    rig_assert_seen(&r, " one two");
    rig_send(&r, SIZE_MAX);
    rig_assert_sent(&r, "one\ntwo\n");
    assert_int_equal(r.conn.phase, GATE__FLUSHING);
    assert_int_equal(r.conn.reason, GATE_CLOSE_STOPPED);
    rig_close(&r);
}

static void test_stop_leaves_a_request_its_own_earlier_deadline(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_pass(&r, 4 * S);
    gate__conn_stop(&r.conn, r.now + 2 * S, r.now);
    rig_assert_deadline(&r, S);
    rig_pass(&r, S);
    rig_assert_closed(&r, GATE_CLOSE_TIMEOUT);
    rig_close(&r);
}

static void test_stop_waits_for_answers_and_sends_them(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "d0\nd1\n");
    gate__conn_stop(&r.conn, r.now + 9 * S, r.now);
    rig_answer(&r, 0, "A", 0);
    rig_flush(&r);
    assert_int_equal(r.conn.phase, GATE__OPEN);
    rig_answer(&r, 1, "B", 0);
    rig_flush(&r);
    rig_assert_sent(&r, "AB");
    assert_int_equal(r.conn.phase, GATE__LINGERING);
    rig_eof(&r);
    rig_assert_closed(&r, GATE_CLOSE_STOPPED);
    rig_close(&r);
}

static void test_stop_serves_what_a_blocked_connection_holds(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    r.config.output_max = 4;
    rig_input(&r, "one\ntwo\nsix\n");
    gate__conn_stop(&r.conn, r.now + 9 * S, r.now);
    assert_int_equal(r.conn.phase, GATE__OPEN);
    rig_flush(&r);
    rig_assert_sent(&r, "one\ntwo\nsix\n");
    assert_int_equal(r.conn.reason, GATE_CLOSE_STOPPED);
    rig_close(&r);
}

static void test_the_drain_deadline_cuts_off(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "d0\npart");
    gate__conn_stop(&r.conn, r.now + 2 * S, r.now);
    rig_pass(&r, 2 * S - 1);
    assert_int_equal(r.conn.phase, GATE__OPEN);
    rig_pass(&r, 1);
    rig_assert_closed(&r, GATE_CLOSE_DRAIN_TIMEOUT);
    assert_int_equal(r.left_gone, 1);
    rig_close(&r);
}

static void test_the_drain_deadline_keeps_the_reason_of_one_that_lingers(void **state)
{
    (void)state;
    rig r;
    linger(&r);
    gate__conn_stop(&r.conn, r.now + S / 4, r.now);
    rig_pass(&r, S / 4);
    rig_assert_closed(&r, GATE_CLOSE_REJECTED);
    rig_close(&r);
}

/* ---- Time itself ---- */

static void test_never_is_never(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    r.config.timeout_ns = r.config.idle_ns = r.config.write_ns = NEVER;
    r.config.handler_ns = NEVER;
    gate__conn_init(&r.conn, &r.config, r.now);
    rig_assert_deadline(&r, NEVER);
    rig_input(&r, "one\nd0\npart");
    rig_assert_deadline(&r, NEVER);
    rig_answer(&r, 0, "A", 0);
    rig_pass(&r, 1000000000 * S);
    assert_int_equal(r.conn.phase, GATE__OPEN);
    rig_close(&r);
}

static void test_a_deadline_far_away_does_not_wrap(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    r.config.timeout_ns = NEVER - 1;
    gate__conn_init(&r.conn, &r.config, r.now);
    rig_assert_deadline(&r, NEVER);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_request_has_its_time_from_accept),
        cmocka_unit_test(test_a_silent_peer_is_timed_out),
        cmocka_unit_test(test_a_later_request_has_its_time_from_its_first_byte),
        cmocka_unit_test(test_the_start_of_the_next_request_in_the_same_read_starts_its_time),
        cmocka_unit_test(test_an_idle_connection_is_closed),
        cmocka_unit_test(test_it_is_not_the_peers_turn_while_an_answer_is_due),
        cmocka_unit_test(test_a_begun_request_times_out_beside_an_unanswered_one),
        cmocka_unit_test(test_a_blocked_peer_is_not_timed_out),
        cmocka_unit_test(test_an_answer_without_bytes_starts_the_idle_time_too),
        cmocka_unit_test(test_a_reply_has_its_time_from_when_it_was_given),
        cmocka_unit_test(test_each_reply_has_a_time_of_its_own),
        cmocka_unit_test(test_a_deferred_request_has_its_time_from_its_delivery),
        cmocka_unit_test(test_a_handler_timeout_still_sends_the_earlier_answers),
        cmocka_unit_test(test_a_handler_timeout_of_a_half_closed_peer_says_so),
        cmocka_unit_test(test_lingering_ends_with_the_peer),
        cmocka_unit_test(test_lingering_has_a_deadline_that_bytes_do_not_extend),
        cmocka_unit_test(test_lingering_takes_only_so_many_bytes),
        cmocka_unit_test(test_a_failure_while_lingering_keeps_the_reason),
        cmocka_unit_test(test_a_peer_that_has_ended_needs_no_lingering),
        cmocka_unit_test(test_stop_closes_an_idle_connection_at_once),
        cmocka_unit_test(test_stop_lets_the_first_request_come),
        cmocka_unit_test(test_stop_leaves_a_request_its_own_earlier_deadline),
        cmocka_unit_test(test_stop_waits_for_answers_and_sends_them),
        cmocka_unit_test(test_stop_serves_what_a_blocked_connection_holds),
        cmocka_unit_test(test_the_drain_deadline_cuts_off),
        cmocka_unit_test(test_the_drain_deadline_keeps_the_reason_of_one_that_lingers),
        cmocka_unit_test(test_never_is_never),
        cmocka_unit_test(test_a_deadline_far_away_does_not_wrap),
    };
    return cmocka_run_group_tests_name("conn_time", tests, NULL, NULL);
}
