/* SPDX-License-Identifier: MIT */

/* A connection's deadlines. */

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
    rig_assert_ends(&r, GATE_CLOSE_TIMEOUT);
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
    rig_assert_ends(&r, GATE_CLOSE_IDLE);
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
    rig_eof(&r);
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

/* ---- Transfers are timed in slices of 1 MiB; here one takes 16 s at the least rate ---- */

enum { MIB = GATE__SLICE };

static void open_sliced(rig *r, const gate_codec *codec)
{
    rig_open(r, codec);
    r->config.slice_ns = 16 * S;
    r->config.body_max = 8 * MIB;
    r->config.output_max = 8 * MIB;
}

/* Defers a request, and answers it with so many bytes. */
static void queue_large(rig *r, size_t len)
{
    static const char large[5 * MIB];
    rig_input(r, "d\n");
    gate__pending *slot = &r->slots[r->slot_count - 1];
    assert_non_null(slot->answer = gate__chunk_borrow(large, len, NULL, NULL));
    slot->answered = 1;
    gate__conn_settle(&r->conn, slot, r->now);
}

static void send_large(rig *r, size_t len)
{
    gate__conn_sent(&r->conn, len, r->now);
}

static void test_who_never_reads_has_one_slice_at_any_size(void **state)
{
    (void)state;
    for (size_t mib = 1; mib <= 5; mib++) {
        rig r;
        open_sliced(&r, NULL);
        queue_large(&r, mib * MIB);
        rig_assert_deadline(&r, 19 * S);
        rig_pass(&r, 19 * S - 1);
        assert_int_equal(r.conn.phase, GATE__OPEN);
        rig_pass(&r, 1);
        rig_assert_closed(&r, GATE_CLOSE_WRITE_TIMEOUT);
        rig_close(&r);
    }
}

static void test_a_reader_over_the_rate_is_never_cut_and_one_under_it_is(void **state)
{
    (void)state;
    for (size_t kib = 40; kib <= 100; kib += 5) {
        rig r;
        open_sliced(&r, NULL);
        queue_large(&r, 5 * MIB);
        while (gate__conn_wants(&r.conn) & GATE__WANT_SEND && r.conn.out.bytes) {
            send_large(&r, r.conn.out.bytes < kib << 10 ? r.conn.out.bytes : kib << 10);
            rig_pass(&r, S);
        }
        if (kib >= 64)
            assert_int_equal(r.conn.reason, GATE_CLOSE_NONE);
        if (kib <= 50) /* 1 MiB in 19 s are 54 KiB/s */
            rig_assert_closed(&r, GATE_CLOSE_WRITE_TIMEOUT);
        rig_close(&r);
    }
}

static void test_bytes_and_replies_move_no_deadline_of_a_slice(void **state)
{
    (void)state;
    rig r;
    open_sliced(&r, NULL);
    queue_large(&r, 2 * MIB);
    for (uint64_t s = 1; s < 19; s++) {
        rig_pass(&r, S);
        send_large(&r, 50000);
        if (s < 4)
            rig_input(&r, "more\n");
        rig_assert_deadline(&r, (19 - s) * S);
    }
    send_large(&r,
               MIB - 18 * 50000); /* the slice is complete: the next one has its time from here */
    rig_assert_deadline(&r, 19 * S);
    rig_pass(&r, 18 * S);
    send_large(&r, MIB - 64);
    rig_assert_deadline(&r, S);
    rig_pass(&r, S);
    rig_assert_closed(&r, GATE_CLOSE_WRITE_TIMEOUT);
    rig_close(&r);
}

static void test_a_small_reply_has_what_its_bytes_take_besides(void **state)
{
    (void)state;
    rig r;
    open_sliced(&r, NULL);
    queue_large(&r, MIB / 16);
    rig_assert_deadline(&r, 4 * S);
    rig_close(&r);
}

/* A prefix of 4 bytes says how long the request is. */
static void start_large(rig *r, size_t len)
{
    uint8_t prefix[4] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                         (uint8_t)len};
    rig_bytes(r, prefix, 2);
    rig_assert_deadline(r, 5 * S); /* its length is not known yet */
    rig_bytes(r, prefix + 2, 2);
}

static void put_large(rig *r, size_t len)
{
    static const char large[5 * MIB];
    rig_bytes(r, large, len);
}

static void test_a_large_request_has_time_for_each_slice(void **state)
{
    (void)state;
    rig r;
    open_sliced(&r, gate_codec_prefix_be(4));
    start_large(&r, 3 * MIB);
    rig_assert_deadline(&r, 21 * S);
    for (uint64_t s = 1; s <= 20; s++) {
        rig_pass(&r, S);
        put_large(&r, 50000);
        rig_assert_deadline(&r, (21 - s) * S); /* bytes move nothing */
    }
    put_large(&r, MIB - 4 - 20 * 50000);
    rig_assert_deadline(&r, 21 * S);
    rig_pass(&r, 20 * S);
    put_large(&r, MIB + MIB / 2);
    rig_pass(&r, 13 * S - 1);
    assert_int_equal(r.conn.phase, GATE__OPEN); /* half a slice and 4 bytes are left */
    rig_pass(&r, S / 100);
    rig_assert_closed(&r, GATE_CLOSE_TIMEOUT);
    rig_close(&r);
}

static void test_a_request_of_unknown_length_has_the_time_out_for_its_first_slice(void **state)
{
    (void)state;
    rig r;
    open_sliced(&r, gate_codec_eof());
    put_large(&r, 1);
    rig_pass(&r, 4 * S);
    put_large(&r, MIB - 2);
    rig_assert_deadline(&r, S);
    put_large(&r, 1);
    rig_assert_deadline(&r, 21 * S);
    rig_pass(&r, 20 * S);
    put_large(&r, MIB - 1);
    rig_assert_deadline(&r, S);
    rig_pass(&r, S);
    assert_int_equal(r.conn.reason, GATE_CLOSE_TIMEOUT);
    rig_close(&r);
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
    r.config.write_ns = NEVER;
    rig_input(&r, "first\nd1\nheld\n");
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

/* ---- Time itself ---- */

static void test_answers_that_have_left_change_no_times(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "d1\n");
    rig_answer(&r, 0, "one\n", 0); /* none is pending any more */
    rig_flush(&r);
    rig_input(&r, "zzz\nd2\nd3\n"); /* the slow one is not the others' fault */
    rig_flush(&r);
    rig_assert_deadline(&r, 4 * S);
    rig_close(&r);
}

static void test_a_slow_handler_spends_nobodys_time(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "one\nzzz\n"); /* both replies wait for the slow one */
    rig_assert_deadline(&r, 3 * S);
    rig_send(&r, SIZE_MAX);
    rig_assert_deadline(&r, 7 * S);
    rig_input(&r, "d0\nzzz\n");
    rig_assert_deadline(&r, 4 * S);
    rig_close(&r);
}

static void test_a_reply_has_its_own_time_behind_an_older_one(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "one\n");
    rig_pass(&r, 2 * S);
    rig_input(&r, "two\n");
    rig_assert_deadline(&r, S);
    rig_send(&r, 4);
    rig_assert_deadline(&r, 3 * S);
    rig_close(&r);
}

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
        cmocka_unit_test(test_who_never_reads_has_one_slice_at_any_size),
        cmocka_unit_test(test_a_reader_over_the_rate_is_never_cut_and_one_under_it_is),
        cmocka_unit_test(test_bytes_and_replies_move_no_deadline_of_a_slice),
        cmocka_unit_test(test_a_small_reply_has_what_its_bytes_take_besides),
        cmocka_unit_test(test_a_large_request_has_time_for_each_slice),
        cmocka_unit_test(test_a_request_of_unknown_length_has_the_time_out_for_its_first_slice),
        cmocka_unit_test(test_a_deferred_request_has_its_time_from_its_delivery),
        cmocka_unit_test(test_a_handler_timeout_still_sends_the_earlier_answers),
        cmocka_unit_test(test_a_handler_timeout_of_a_half_closed_peer_says_so),
        cmocka_unit_test(test_answers_that_have_left_change_no_times),
        cmocka_unit_test(test_a_slow_handler_spends_nobodys_time),
        cmocka_unit_test(test_a_reply_has_its_own_time_behind_an_older_one),
        cmocka_unit_test(test_never_is_never),
        cmocka_unit_test(test_a_deadline_far_away_does_not_wrap),
    };
    return cmocka_run_group_tests_name("conn_time", tests, NULL, NULL);
}
