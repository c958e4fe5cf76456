/* SPDX-License-Identifier: MIT */
/* How a connection lingers behind its last reply, and what a server's stop makes of it. */
#include "rig.h"

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

static void test_a_large_raw_reply_lingers(void **state)
{
    (void)state;
    rig r;
    static const char lent[9 * 1024];
    rig_open(&r, gate_codec_raw());
    r.config.output_max = 1 << 20;
    rig_input(&r, "d0");
    gate__chunk *chunk = gate__chunk_borrow(lent, sizeof lent, NULL, NULL);
    assert_non_null(chunk);
    r.slots[0].answer = chunk;
    r.slots[0].answered = 1;
    r.conn.unread = 0; /* as if it had been answered at once */
    gate__conn_settle(&r.conn, &r.slots[0], r.now);
    const uint8_t *bytes;
    int more, last;
    assert_int_equal(gate__conn_output(&r.conn, &bytes, &more, &last), sizeof lent);
    assert_int_equal(last, GATE__LAST_END);
    gate__conn_sent(&r.conn, sizeof lent, r.now);
    assert_int_equal(gate__conn_wants(&r.conn), GATE__WANT_FIN);
    rig_close(&r);
}

/* ---- The server stops ---- */

static void idle(rig *r)
{
    rig_open(r, NULL);
    rig_input(r, "one\n");
    rig_flush(r);
    rig_pass(r, S);
}

static void assert_looks(const rig *r)
{
    assert_int_equal(gate__conn_wants(&r->conn), GATE__WANT_LOOK);
    assert_int_equal(r->conn.phase, GATE__OPEN);
}

static void test_stop_looks_for_a_last_request_and_closes_an_idle_connection(void **state)
{
    (void)state;
    rig r;
    idle(&r);
    gate__conn_stop(&r.conn, r.now + 9 * S, r.now);
    assert_looks(&r);
    rig_assert_deadline(&r, 9 * S);
    gate__conn_quiet(&r.conn, 1, r.now);
    rig_assert_closed(&r, GATE_CLOSE_STOPPED);
    rig_close(&r);
}

static void test_stop_answers_what_the_last_look_finds_and_looks_again(void **state)
{
    (void)state;
    rig r;
    idle(&r);
    gate__conn_stop(&r.conn, r.now + 9 * S, r.now);
    rig_input(&r, "two\nthr");
    rig_assert_seen(&r, " one two");
    assert_int_equal(gate__conn_wants(&r.conn), GATE__WANT_SEND | GATE__WANT_READ);
    rig_flush(&r);
    rig_input(&r, "ee\n");
    assert_looks(&r); /* the answer waits for that */
    rig_input(&r, "d0\n");
    rig_flush(&r);
    assert_int_equal(gate__conn_wants(&r.conn), GATE__WANT_READ);
    rig_answer(&r, 0, "D", 0);
    gate__conn_quiet(&r.conn, 1, r.now);
    rig_assert_ends(&r, GATE_CLOSE_STOPPED);
    rig_assert_sent(&r, "one\ntwo\nthree\nD");
    rig_close(&r);
}

static void test_stop_gives_who_was_just_answered_a_moment_for_the_next_request(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "one\n");
    rig_flush(&r);
    rig_pass(&r, S / 100);
    gate__conn_stop(&r.conn, r.now + 9 * S, r.now);
    assert_int_equal(gate__conn_wants(&r.conn), GATE__WANT_READ);
    rig_assert_deadline(&r, S / 20 - S / 100);
    rig_pass(&r, S / 20 - S / 100);
    assert_looks(&r);
    gate__conn_quiet(&r.conn, 1, r.now);
    rig_assert_closed(&r, GATE_CLOSE_STOPPED);
    rig_close(&r);
}

static void test_stop_without_an_idle_timeout_gives_that_moment_too(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    r.config.idle_ns = NEVER;
    rig_input(&r, "one\n");
    rig_flush(&r);
    rig_pass(&r, S);
    gate__conn_stop(&r.conn, r.now + 9 * S, r.now);
    rig_assert_deadline(&r, S / 20);
    rig_input(&r, "two\n");
    gate__conn_quiet(&r.conn, 0, r.now);
    rig_assert_ends(&r, GATE_CLOSE_STOPPED);
    rig_assert_sent(&r, "one\ntwo\n");
    rig_close(&r);
}

static void test_stop_that_finds_the_end_of_input_has_its_reason(void **state)
{
    (void)state;
    rig r;
    idle(&r);
    gate__conn_stop(&r.conn, r.now + 9 * S, r.now);
    rig_eof(&r);
    gate__conn_quiet(&r.conn, 1, r.now); /* of no use any more */
    rig_assert_closed(&r, GATE_CLOSE_PEER);
    rig_close(&r);
}

/* Found by the simulator: it looked again and again. */
static void test_stop_that_finds_the_end_of_input_while_blocked_looks_no_more(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "one\n");
    gate__conn_stop(&r.conn, r.now + 9 * S, r.now);
    rig_send(&r, 2);
    assert_looks(&r);
    r.config.output_max = 1; /* as where memory has become tight */
    rig_send(&r, 1);
    assert_looks(&r);
    rig_eof(&r);
    assert_int_equal(gate__conn_wants(&r.conn), GATE__WANT_SEND);
    rig_flush(&r);
    rig_assert_closed(&r, GATE_CLOSE_PEER);
    rig_assert_sent(&r, "one\n");
    rig_close(&r);
}

/* An answer that is under way may be followed by a request at once. */
static void test_stop_does_not_end_behind_an_answer_that_may_have_left(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "one\n");
    gate__conn_stop(&r.conn, r.now + 9 * S, r.now);
    assert_int_equal(gate__conn_wants(&r.conn), GATE__WANT_SEND | GATE__WANT_READ);
    rig_flush(&r);
    assert_int_equal(r.last, GATE__LAST_NOT);
    rig_assert_deadline(&r, S / 20);
    rig_pass(&r, S / 20);
    assert_looks(&r);
    rig_close(&r);
}

static void test_stop_ends_with_the_rest_of_an_answer(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "one\n");
    gate__conn_stop(&r.conn, r.now + 9 * S, r.now);
    rig_send(&r, 2);
    assert_looks(&r);
    gate__conn_quiet(&r.conn, 1, r.now);
    rig_assert_ends(&r, GATE_CLOSE_STOPPED);
    assert_int_equal(r.last, GATE__LAST_END);
    rig_assert_sent(&r, "one\n");
    rig_close(&r);
}

static void test_stop_lingers_where_the_peer_has_not_got_everything(void **state)
{
    (void)state;
    rig r;
    idle(&r);
    gate__conn_stop(&r.conn, r.now + 9 * S, r.now);
    gate__conn_quiet(&r.conn, 0, r.now);
    rig_assert_ends(&r, GATE_CLOSE_STOPPED);
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
    gate__conn_quiet(&r.conn, 1, r.now);
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
    gate__conn_quiet(&r.conn, 1, r.now);
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
    rig_pass(&r, S / 20);
    gate__conn_quiet(&r.conn, 1, r.now);
    rig_assert_closed(&r, GATE_CLOSE_STOPPED);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lingering_ends_with_the_peer),
        cmocka_unit_test(test_lingering_has_a_deadline_that_bytes_do_not_extend),
        cmocka_unit_test(test_lingering_takes_only_so_many_bytes),
        cmocka_unit_test(test_a_failure_while_lingering_keeps_the_reason),
        cmocka_unit_test(test_a_peer_that_has_ended_needs_no_lingering),
        cmocka_unit_test(test_stop_looks_for_a_last_request_and_closes_an_idle_connection),
        cmocka_unit_test(test_stop_answers_what_the_last_look_finds_and_looks_again),
        cmocka_unit_test(test_stop_gives_who_was_just_answered_a_moment_for_the_next_request),
        cmocka_unit_test(test_stop_without_an_idle_timeout_gives_that_moment_too),
        cmocka_unit_test(test_stop_that_finds_the_end_of_input_has_its_reason),
        cmocka_unit_test(test_stop_that_finds_the_end_of_input_while_blocked_looks_no_more),
        cmocka_unit_test(test_stop_does_not_end_behind_an_answer_that_may_have_left),
        cmocka_unit_test(test_stop_ends_with_the_rest_of_an_answer),
        cmocka_unit_test(test_stop_lingers_where_the_peer_has_not_got_everything),
        cmocka_unit_test(test_stop_lets_the_first_request_come),
        cmocka_unit_test(test_stop_leaves_a_request_its_own_earlier_deadline),
        cmocka_unit_test(test_stop_waits_for_answers_and_sends_them),
        cmocka_unit_test(test_stop_serves_what_a_blocked_connection_holds),
        cmocka_unit_test(test_the_drain_deadline_cuts_off),
        cmocka_unit_test(test_the_drain_deadline_keeps_the_reason_of_one_that_lingers),
        cmocka_unit_test(test_a_large_raw_reply_lingers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
