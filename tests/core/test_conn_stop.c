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
    assert_false(last);
    gate__conn_sent(&r.conn, sizeof lent, r.now);
    assert_int_equal(gate__conn_wants(&r.conn), GATE__WANT_FIN);
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
    gate__conn_stop(&r.conn, r.now + 9 * S, 1, r.now);
    rig_assert_closed(&r, GATE_CLOSE_STOPPED);
    rig_close(&r);
}

static void test_stop_lingers_where_the_peer_has_not_got_everything(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "one\n");
    rig_send(&r, SIZE_MAX);
    gate__conn_stop(&r.conn, r.now + 9 * S, 0, r.now);
    rig_assert_ends(&r, GATE_CLOSE_STOPPED);
    rig_close(&r);
}

static void test_stop_lets_the_first_request_come(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    gate__conn_stop(&r.conn, r.now + 2 * S, 1, r.now);
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
    gate__conn_stop(&r.conn, r.now + 2 * S, 1, r.now);
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
    gate__conn_stop(&r.conn, r.now + 9 * S, 1, r.now);
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
    gate__conn_stop(&r.conn, r.now + 9 * S, 1, r.now);
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
    gate__conn_stop(&r.conn, r.now + 2 * S, 1, r.now);
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
    gate__conn_stop(&r.conn, r.now + S / 4, 1, r.now);
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
        cmocka_unit_test(test_stop_closes_an_idle_connection_at_once),
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
