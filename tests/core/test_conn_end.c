/* SPDX-License-Identifier: MIT */

/* What ends a connection: its peer, its codec, its last exchange, an abort. */

#include "rig.h"

#include <errno.h>
#include <string.h>

/* ---- The end of input ---- */

static void test_a_peer_that_ends_between_requests_is_closed_at_once(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_eof(&r);
    rig_assert_closed(&r, GATE_CLOSE_PEER);
    rig_close(&r);
    rig_open(&r, NULL);
    rig_input(&r, "one\n");
    rig_flush(&r);
    rig_eof(&r);
    rig_assert_closed(&r, GATE_CLOSE_PEER);
    rig_close(&r);
}

static void test_an_end_inside_a_request_drops_it(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "one\ntw");
    rig_eof(&r);
    rig_flush(&r);
    rig_assert_sent(&r, "one\n");
    rig_assert_seen(&r, " one");
    rig_assert_closed(&r, GATE_CLOSE_TRUNCATED);
    rig_close(&r);
}

static void test_a_half_closed_peer_still_gets_its_answers(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "d0\nd1\n");
    rig_eof(&r);
    assert_int_equal(r.conn.phase, GATE__ENDING);
    rig_answer(&r, 1, "B", 0);
    rig_answer(&r, 0, "A", 0);
    rig_flush(&r);
    rig_assert_sent(&r, "AB");
    assert_int_equal(r.last, GATE__LAST_CLOSE);
    rig_assert_closed(&r, GATE_CLOSE_PEER);
    rig_close(&r);
}

static void test_an_end_behind_blocked_requests_does_not_lose_them(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    r.config.output_max = 4;
    rig_input(&r, "aaa\nbbb\nccc\n");
    rig_assert_seen(&r, " aaa");
    rig_eof(&r);
    assert_int_equal(r.conn.phase, GATE__OPEN);
    rig_flush(&r);
    rig_assert_sent(&r, "aaa\nbbb\nccc\n");
    rig_assert_closed(&r, GATE_CLOSE_PEER);
    rig_close(&r);
}

static void test_until_eof_delivers_all_at_the_end(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, gate_codec_eof());
    rig_input(&r, "one\n");
    rig_input(&r, "two");
    rig_assert_seen(&r, "");
    rig_eof(&r);
    rig_assert_seen(&r, " one\ntwo");
    rig_flush(&r);
    rig_assert_sent(&r, "one\ntwo");
    rig_assert_closed(&r, GATE_CLOSE_ANSWERED);
    rig_close(&r);
}

static void test_until_eof_ignores_a_peer_that_sends_nothing(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, gate_codec_eof());
    rig_eof(&r);
    rig_assert_seen(&r, "");
    rig_assert_closed(&r, GATE_CLOSE_PEER);
    rig_close(&r);
}

static void test_until_eof_refuses_what_is_over_the_limit_before_the_end(void **state)
{
    (void)state;
    rig r;
    char text[66] = {0};
    memset(text, 'a', 65);
    rig_open(&r, gate_codec_eof());
    rig_input(&r, text);
    rig_assert_closed(&r, GATE_CLOSE_TOO_BIG);
    rig_close(&r);
}

/* ---- Codecs that lie ---- */

typedef struct lie {
    int rc;
    gate_frame frame;
    gate_reason reason;
} lie;

static int decode_lie(const gate_codec *codec, const uint8_t *input, size_t len, size_t body_max,
                      int eof, gate_frame *frame)
{
    const lie *told = codec->user;
    (void)input, (void)len, (void)body_max;
    if ((codec->flags & GATE_CODEC_UNTIL_EOF) && !eof)
        return 0;
    *frame = told->frame;
    return told->rc;
}

static lie lies[] = {
    {1, {.total = 0}, GATE_CLOSE_BAD_FRAME},
    {1, {.total = 9}, GATE_CLOSE_BAD_FRAME},
    {1, {.total = SIZE_MAX, .body_len = 3}, GATE_CLOSE_BAD_FRAME},
    {1, {.total = 8, .body = 9}, GATE_CLOSE_BAD_FRAME},
    {1, {.total = 8, .body = 4, .body_len = 5}, GATE_CLOSE_BAD_FRAME},
    {1, {.total = 8, .body = 1, .body_len = SIZE_MAX}, GATE_CLOSE_BAD_FRAME},
    {GATE_EFRAME, {.total = 8}, GATE_CLOSE_BAD_FRAME},
    {GATE_ETOOBIG, {.total = 8}, GATE_CLOSE_TOO_BIG},
    {-1, {.total = 8}, GATE_CLOSE_BAD_FRAME},
};

static void tell_lies(uint32_t flags)
{
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        gate_codec codec = {
            .size = sizeof codec, .flags = flags, .decode = decode_lie, .user = &lies[i]};
        rig r;
        rig_open(&r, &codec);
        rig_input(&r, "12345678");
        if (flags)
            rig_eof(&r);
        rig_assert_seen(&r, "");
        rig_assert_closed(&r, lies[i].reason);
        rig_close(&r);
    }
}

static void test_a_codec_that_returns_nonsense_is_refused(void **state)
{
    (void)state;
    tell_lies(0);
}

static void test_a_codec_that_returns_nonsense_at_the_end_is_refused(void **state)
{
    (void)state;
    tell_lies(GATE_CODEC_UNTIL_EOF);
}

/* Takes three bytes at a time, and the rest at the end. */
static int decode_threes(const gate_codec *codec, const uint8_t *input, size_t len, size_t body_max,
                         int eof, gate_frame *frame)
{
    (void)codec, (void)input, (void)body_max;
    if (len < 3 && !eof)
        return 0;
    frame->total = frame->body_len = len < 3 ? len : 3;
    return 1;
}

static void test_the_end_may_complete_the_last_of_several_requests(void **state)
{
    (void)state;
    const gate_codec codec = {
        .size = sizeof codec, .flags = GATE_CODEC_UNTIL_EOF, .decode = decode_threes};
    rig r;
    rig_open(&r, &codec);
    rig_input(&r, "abcefgh");
    rig_assert_seen(&r, " abc efg");
    rig_eof(&r);
    rig_assert_seen(&r, " abc efg h");
    rig_flush(&r);
    rig_assert_sent(&r, "abcefgh");
    rig_assert_closed(&r, GATE_CLOSE_PEER);
    rig_close(&r);
}

/* Nothing before the end, then byte by byte. */
static int decode_ones(const gate_codec *codec, const uint8_t *input, size_t len, size_t body_max,
                       int eof, gate_frame *frame)
{
    (void)codec, (void)input, (void)len, (void)body_max;
    frame->total = frame->body_len = 1;
    return eof;
}

static void test_requests_that_the_end_completes_wait_for_answers_too(void **state)
{
    (void)state;
    const gate_codec codec = {
        .size = sizeof codec, .flags = GATE_CODEC_UNTIL_EOF, .decode = decode_ones};
    rig r;
    rig_open(&r, &codec);
    r.config.inflight_max = 1;
    rig_input(&r, "dab");
    rig_eof(&r);
    rig_assert_seen(&r, " d");
    rig_answer(&r, 0, "D", 0);
    rig_assert_seen(&r, " d a b");
    rig_flush(&r);
    rig_assert_sent(&r, "Dab");
    rig_assert_closed(&r, GATE_CLOSE_PEER);
    rig_close(&r);
}

static void test_an_answer_that_there_is_no_room_for_ends_nothing(void **state)
{
    (void)state;
    const gate_wrap wrap = {0};
    rig r;
    rig_open(&r, NULL);
    assert_int_equal(gate__conn_answer(&r.conn, &wrap, "", SIZE_MAX, GATE_CLOSE_REJECTED), -ENOMEM);
    assert_int_equal(r.conn.phase, GATE__OPEN);
    rig_close(&r);
}

static void test_time_does_nothing_to_a_closed_connection(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    gate__conn_stop(&r.conn, r.now + S, r.now);
    gate__conn_abort(&r.conn, GATE_CLOSE_RESET);
    rig_pass(&r, 100 * S);
    rig_assert_closed(&r, GATE_CLOSE_RESET);
    rig_close(&r);
}

static void test_a_bad_frame_does_not_take_earlier_answers_along(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, gate_codec_netstring());
    rig_input(&r, "2:ok,2:d1,01:x,1:y,");
    rig_assert_seen(&r, " ok d1");
    rig_answer(&r, 0, "D", 0);
    rig_flush(&r);
    rig_assert_sent(&r, "2:ok,D");
    assert_int_equal(r.conn.phase, GATE__LINGERING);
    rig_eof(&r);
    rig_assert_closed(&r, GATE_CLOSE_BAD_FRAME);
    rig_close(&r);
}

/* ---- Ends of its own ---- */

static void test_the_last_exchange_ends_the_connection(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    r.config.exchanges_max = 2;
    rig_input(&r, "one\ntwo\nthree\n");
    rig_assert_seen(&r, " one two");
    rig_flush(&r);
    rig_assert_sent(&r, "one\ntwo\n");
    rig_eof(&r);
    rig_assert_closed(&r, GATE_CLOSE_ANSWERED);
    rig_close(&r);
}

static void test_a_rejected_last_exchange_is_a_rejection(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, gate_codec_raw());
    rig_input(&r, "xno");
    rig_flush(&r);
    rig_assert_closed(&r, GATE_CLOSE_REJECTED);
    rig_close(&r);
}

static void test_raw_closes_right_behind_its_answer(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, gate_codec_raw());
    rig_input(&r, "1");
    assert_int_equal(gate__conn_wants(&r.conn), GATE__WANT_SEND);
    rig_send(&r, SIZE_MAX);
    assert_int_equal(r.last, GATE__LAST_CLOSE);
    rig_assert_sent(&r, "1");
    rig_assert_closed(&r, GATE_CLOSE_ANSWERED);
    rig_close(&r);
}

/* What it sent over the limit shows that it may be sending still: closing now could reset. */
static void test_raw_lingers_where_more_came_than_a_request_holds(void **state)
{
    (void)state;
    rig r;
    char text[101] = {0};
    memset(text, 'a', 100);
    rig_open(&r, gate_codec_raw());
    rig_input(&r, text);
    rig_send(&r, SIZE_MAX);
    assert_int_equal(r.last, GATE__LAST_END);
    assert_int_equal(r.sent_len, 64);
    assert_int_equal(gate__conn_wants(&r.conn), GATE__WANT_FIN);
    rig_close(&r);
}

static void test_raw_lingers_where_the_kernel_may_hold_more(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, gate_codec_raw());
    gate__conn_input(&r.conn, (const uint8_t *)"1", 1, 1, r.now);
    rig_send(&r, SIZE_MAX);
    assert_int_equal(r.last, GATE__LAST_END);
    assert_int_equal(gate__conn_wants(&r.conn), GATE__WANT_FIN);
    rig_close(&r);
}

/* Found by the fuzzer: the later input made it forget why it had to linger. */
static void test_raw_lingers_behind_a_late_answer_whatever_came_since(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, gate_codec_raw());
    rig_input(&r, "d");
    rig_input(&r, "more");
    rig_answer(&r, 0, "late", 0);
    rig_flush(&r);
    rig_assert_sent(&r, "late");
    assert_int_equal(r.last, GATE__LAST_END);
    assert_int_equal(r.conn.phase, GATE__LINGERING);
    rig_close(&r);
}

static void test_an_abort_gives_everything_back(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "a\nd0\nd1\nheld\npart");
    rig_answer(&r, 1, "B", 0);
    gate__conn_abort(&r.conn, GATE_CLOSE_RESET);
    rig_assert_closed(&r, GATE_CLOSE_RESET);
    assert_int_equal(r.left_answered, 2);
    assert_int_equal(r.left_gone, 1);
    assert_int_equal(r.released, 1);
    rig_input(&r, "late\n"); /* what was under way still completes */
    gate__conn_sent(&r.conn, 1, r.now);
    rig_eof(&r);
    rig_assert_seen(&r, " a d0 d1 held");
    rig_assert_closed(&r, GATE_CLOSE_RESET);
    rig_close(&r);
}

static void test_an_abort_of_a_blocked_connection_delivers_nothing(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    r.config.output_max = 2;
    rig_input(&r, "aaa\nbbb\n");
    gate__conn_abort(&r.conn, GATE_CLOSE_RESET);
    gate__conn_sent(&r.conn, 4, r.now);
    rig_assert_seen(&r, " aaa");
    rig_assert_closed(&r, GATE_CLOSE_RESET);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_peer_that_ends_between_requests_is_closed_at_once),
        cmocka_unit_test(test_an_end_inside_a_request_drops_it),
        cmocka_unit_test(test_a_half_closed_peer_still_gets_its_answers),
        cmocka_unit_test(test_an_end_behind_blocked_requests_does_not_lose_them),
        cmocka_unit_test(test_until_eof_delivers_all_at_the_end),
        cmocka_unit_test(test_until_eof_ignores_a_peer_that_sends_nothing),
        cmocka_unit_test(test_until_eof_refuses_what_is_over_the_limit_before_the_end),
        cmocka_unit_test(test_a_codec_that_returns_nonsense_is_refused),
        cmocka_unit_test(test_a_codec_that_returns_nonsense_at_the_end_is_refused),
        cmocka_unit_test(test_the_end_may_complete_the_last_of_several_requests),
        cmocka_unit_test(test_requests_that_the_end_completes_wait_for_answers_too),
        cmocka_unit_test(test_an_answer_that_there_is_no_room_for_ends_nothing),
        cmocka_unit_test(test_time_does_nothing_to_a_closed_connection),
        cmocka_unit_test(test_a_bad_frame_does_not_take_earlier_answers_along),
        cmocka_unit_test(test_the_last_exchange_ends_the_connection),
        cmocka_unit_test(test_a_rejected_last_exchange_is_a_rejection),
        cmocka_unit_test(test_raw_closes_right_behind_its_answer),
        cmocka_unit_test(test_raw_lingers_where_more_came_than_a_request_holds),
        cmocka_unit_test(test_raw_lingers_where_the_kernel_may_hold_more),
        cmocka_unit_test(test_raw_lingers_behind_a_late_answer_whatever_came_since),
        cmocka_unit_test(test_an_abort_gives_everything_back),
        cmocka_unit_test(test_an_abort_of_a_blocked_connection_delivers_nothing),
    };
    return cmocka_run_group_tests_name("conn_end", tests, NULL, NULL);
}
