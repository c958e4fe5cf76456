/* SPDX-License-Identifier: MIT */

/* Requests in, answers out, their order and their limits. How a connection ends:
 * test_conn_end.c; when: test_conn_time.c. */

#include "rig.h"

#include <string.h>

/* ---- Requests ---- */

static void test_requests_of_one_read_are_answered_in_order(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    assert_int_equal(gate__conn_wants(&r.conn), GATE__WANT_READ);
    rig_input(&r, "a\nb\r\n\nc");
    rig_assert_seen(&r, " a b ");
    assert_int_equal(gate__conn_wants(&r.conn), GATE__WANT_READ | GATE__WANT_SEND);
    rig_flush(&r);
    rig_assert_sent(&r, "a\nb\n\n");
    assert_int_equal(r.conn.phase, GATE__OPEN);
    assert_int_equal(gate__count_get(&r.metrics.bytes_in), 7);
    assert_int_equal(gate__count_get(&r.metrics.bytes_out), 5);
    rig_close(&r);
}

static void test_any_split_gives_the_same_requests(void **state)
{
    (void)state;
    static const char text[] = "one\ntwo\r\n\nthree\n";
    const size_t len = sizeof text - 1;
    for (size_t a = 1; a < len; a++) {
        for (size_t b = a + 1; b < len; b++) {
            rig r;
            rig_open(&r, NULL);
            rig_bytes(&r, text, a);
            rig_bytes(&r, text + a, b - a);
            rig_bytes(&r, text + b, len - b);
            rig_assert_seen(&r, " one two  three");
            assert_null(r.conn.in.data);
            rig_close(&r);
        }
    }
}

static void test_an_answered_connection_holds_no_memory(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "half");
    assert_non_null(r.conn.in.data);
    rig_input(&r, "\n");
    rig_flush(&r);
    assert_null(r.conn.in.data);
    assert_null(r.conn.out.head);
    rig_close(&r);
}

/* ---- Order ---- */

static void test_answers_leave_in_the_order_of_their_requests(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "d0\nd1\nd2\n");
    rig_answer(&r, 2, "C", 0);
    rig_answer(&r, 1, "B", 0);
    rig_flush(&r);
    rig_assert_sent(&r, "");
    assert_int_equal(r.left_answered, 0);
    rig_answer(&r, 0, "A", 0);
    rig_flush(&r);
    rig_assert_sent(&r, "ABC");
    assert_int_equal(r.left_answered, 3);
    assert_int_equal(r.released, 3);
    rig_close(&r);
}

static void test_an_answer_given_at_once_waits_for_earlier_requests(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "first\nd1\nsecond\n");
    rig_flush(&r);
    rig_assert_sent(&r, "first\n");
    assert_int_equal(r.conn.inflight, 2);
    assert_int_equal(r.conn.held, 7);
    rig_answer(&r, 0, "D\n", 0);
    assert_int_equal(r.conn.held, 0);
    rig_flush(&r);
    rig_assert_sent(&r, "first\nD\nsecond\n");
    assert_int_equal(r.conn.inflight, 0);
    rig_close(&r);
}

static void test_a_rejection_behind_a_pending_request_ends_after_it(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "d0\nxno\nlater\n");
    rig_assert_seen(&r, " d0 xno");
    assert_int_equal(r.conn.phase, GATE__ENDING);
    assert_int_equal(gate__conn_wants(&r.conn), 0);
    rig_input(&r, "much later\n");
    rig_answer(&r, 0, "D\n", 0);
    assert_int_equal(r.conn.phase, GATE__FLUSHING);
    rig_flush(&r);
    rig_assert_sent(&r, "D\nxno\n");
    assert_int_equal(r.conn.phase, GATE__LINGERING);
    rig_assert_seen(&r, " d0 xno");
    rig_eof(&r);
    rig_assert_closed(&r, GATE_CLOSE_REJECTED);
    rig_close(&r);
}

static void test_a_rejection_drops_the_requests_behind_it(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "d0\nd1\nd2\n");
    rig_answer(&r, 1, "B", 0);
    rig_answer(&r, 0, "A", GATE_CLOSE_REJECTED);
    assert_int_equal(r.conn.phase, GATE__FLUSHING);
    assert_int_equal(r.left_answered, 2); /* the second one's answer was there, and is given back */
    assert_int_equal(r.left_gone, 1);
    rig_flush(&r);
    assert_int_equal(r.released, 2);
    rig_close(&r);
    assert_int_equal(r.conn.reason, GATE_CLOSE_REJECTED);
}

/* ---- Backpressure ---- */

static void test_unsent_output_stops_reading_until_it_is_sent(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    r.config.output_max = 10;
    rig_input(&r, "12345\n67890\nnext\nlast\n");
    rig_assert_seen(&r, " 12345 67890");
    assert_int_equal(gate__conn_wants(&r.conn), GATE__WANT_SEND);
    rig_input(&r, "more\n"); /* a read that was under way already */
    rig_assert_seen(&r, " 12345 67890");
    rig_send(&r, 2);
    rig_assert_seen(&r, " 12345 67890");
    rig_send(&r, 1);
    rig_assert_seen(&r, " 12345 67890 next");
    rig_flush(&r);
    rig_assert_seen(&r, " 12345 67890 next last more");
    rig_assert_sent(&r, "12345\n67890\nnext\nlast\nmore\n");
    assert_int_equal(gate__conn_wants(&r.conn), GATE__WANT_READ);
    rig_close(&r);
}

static void test_answers_that_wait_their_turn_count_as_unsent(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    r.config.output_max = 10;
    rig_input(&r, "d0\n123456789\nnext\n");
    rig_assert_seen(&r, " d0 123456789");
    assert_int_equal(gate__conn_wants(&r.conn), 0);
    rig_answer(&r, 0, "", 0);
    rig_flush(&r);
    rig_assert_seen(&r, " d0 123456789 next");
    rig_assert_sent(&r, "123456789\nnext\n");
    rig_close(&r);
}

static void test_unanswered_requests_stop_reading_until_one_is_answered(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "d0\nd1\nd2\nd3\nd4\nd5\n");
    rig_assert_seen(&r, " d0 d1 d2 d3");
    assert_int_equal(gate__conn_wants(&r.conn), 0);
    rig_answer(&r, 1, "B", 0); /* out of turn: all four still wait */
    rig_assert_seen(&r, " d0 d1 d2 d3");
    rig_answer(&r, 0, "A", 0);
    rig_assert_seen(&r, " d0 d1 d2 d3 d4 d5");
    rig_close(&r);
    assert_int_equal(r.left_gone, 4);
}

/* A backend that reads ahead may still have much of it. */
static void test_input_that_comes_while_blocked_is_kept(void **state)
{
    (void)state;
    static char lines[4096];
    rig r;
    rig_open(&r, NULL);
    r.config.body_max = 10;
    rig_input(&r, "d0\nd1\nd2\nd3\n");
    memset(lines, '\n', sizeof lines);
    for (int i = 0; i < 512; i++)
        rig_bytes(&r, lines, sizeof lines);
    assert_int_equal(r.conn.phase, GATE__OPEN);
    assert_int_equal(r.conn.in.len, 512 * sizeof lines);
    rig_close(&r);
}

static void test_a_whole_request_is_delivered_where_it_was_read(void **state)
{
    (void)state;
    static const uint8_t read[] = "one\ntwo\npart";
    rig r;
    rig_open(&r, NULL);
    gate__conn_input(&r.conn, read, sizeof read - 1, 0, r.now);
    assert_ptr_equal(r.body, read + 4);
    assert_int_equal(r.conn.in.len, 4); /* only what is left is copied */
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_request_is_delivered_where_it_was_read),
        cmocka_unit_test(test_requests_of_one_read_are_answered_in_order),
        cmocka_unit_test(test_any_split_gives_the_same_requests),
        cmocka_unit_test(test_an_answered_connection_holds_no_memory),
        cmocka_unit_test(test_answers_leave_in_the_order_of_their_requests),
        cmocka_unit_test(test_an_answer_given_at_once_waits_for_earlier_requests),
        cmocka_unit_test(test_a_rejection_behind_a_pending_request_ends_after_it),
        cmocka_unit_test(test_a_rejection_drops_the_requests_behind_it),
        cmocka_unit_test(test_unsent_output_stops_reading_until_it_is_sent),
        cmocka_unit_test(test_answers_that_wait_their_turn_count_as_unsent),
        cmocka_unit_test(test_unanswered_requests_stop_reading_until_one_is_answered),
        cmocka_unit_test(test_input_that_comes_while_blocked_is_kept),
    };
    return cmocka_run_group_tests_name("conn", tests, NULL, NULL);
}
