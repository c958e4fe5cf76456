/* SPDX-License-Identifier: MIT */

/* What connections may hold together. */

#include "rig.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Part of a request takes 512 bytes, a copied reply a chunk. */
enum { PART = 512 };

/* The second one shares the budget of the first. */
static void open_two(rig *a, rig *b, size_t tight, size_t max)
{
    rig_open(a, NULL);
    rig_open(b, NULL);
    a->budget = (gate__budget){.tight = tight, .max = max};
    b->config.budget = &a->budget;
}

static void close_two(rig *a, rig *b)
{
    rig_close(b);
    rig_close(a);
}

static void test_who_takes_the_sum_over_the_budget_is_closed_alone(void **state)
{
    (void)state;
    rig a, b;
    open_two(&a, &b, SIZE_MAX, 2 * PART - 1);
    rig_input(&a, "par");
    rig_input(&b, "par");
    rig_assert_closed(&b, GATE_CLOSE_NO_MEMORY);
    rig_input(&a, "t\n");
    rig_assert_seen(&a, " part");
    close_two(&a, &b);
}

static void test_what_a_connection_gives_back_another_may_hold(void **state)
{
    (void)state;
    rig a, b;
    open_two(&a, &b, SIZE_MAX, 2 * GATE__CHUNK_SIZE);
    rig_input(&a, "one\npar");
    rig_flush(&a);
    assert_int_equal(a.budget.held, PART);
    gate__conn_free(&a.conn);
    assert_int_equal(a.budget.held, 0);
    rig_input(&b, "one\ntwo\n");
    rig_flush(&b);
    rig_assert_sent(&b, "one\ntwo\n");
    assert_int_equal(a.budget.held, 0);
    close_two(&a, &b);
}

/* Those who hold much cannot keep others from a small exchange. */
static void test_the_last_quarter_of_the_budget_is_for_those_who_hold_little(void **state)
{
    (void)state;
    char part[3 * GATE__CHUNK_SIZE];
    memset(part, 'a', sizeof part);
    rig a, b;
    open_two(&a, &b, SIZE_MAX, 2 * sizeof part);
    a.config.body_max = b.config.body_max = sizeof part;
    rig_bytes(&a, part, sizeof part / 2); /* takes twice as much */
    rig_bytes(&b, part, sizeof part / 2);
    rig_assert_closed(&b, GATE_CLOSE_NO_MEMORY);
    rig_close(&b);
    rig_open(&b, NULL);
    b.config.budget = &a.budget;
    rig_input(&b, "one\n");
    rig_flush(&b);
    rig_assert_sent(&b, "one\n");
    close_two(&a, &b);
}

static void test_an_answer_over_the_budget_closes_its_connection(void **state)
{
    (void)state;
    rig a, b;
    open_two(&a, &b, SIZE_MAX, 100);
    rig_input(&a, "one\n");
    rig_assert_closed(&a, GATE_CLOSE_NO_MEMORY);
    close_two(&a, &b);
}

static void test_an_answer_that_waits_its_turn_counts(void **state)
{
    (void)state;
    rig a, b;
    open_two(&a, &b, SIZE_MAX, SIZE_MAX);
    rig_input(&a, "d0\none\n");
    assert_int_equal(a.budget.held, GATE__CHUNK_SIZE + 2 * GATE__REQUEST_MEMORY);
    rig_answer(&a, 0, "x", 0); /* it moves on behind the borrowed one */
    assert_int_equal(a.budget.held, GATE__CHUNK_SIZE + sizeof(gate__chunk));
    rig_flush(&a);
    rig_assert_sent(&a, "xone\n");
    assert_int_equal(a.budget.held, 0);
    close_two(&a, &b);
}

/* Requests behind answers that nobody reads: more than was under way does not come. */
static void test_input_that_may_not_be_read_yet_takes_little_more_than_it_is(void **state)
{
    (void)state;
    char lines[8000];
    for (size_t i = 0; i < sizeof lines; i++)
        lines[i] = "1\n"[i % 2];
    rig r;
    rig_open(&r, NULL);
    r.config.output_max = 1;
    for (size_t times = 1; times <= 4; times++) {
        rig_bytes(&r, lines, sizeof lines);
        assert_int_equal(r.conn.in.len, times * sizeof lines - 2);
        assert_in_range(r.conn.in.cap, r.conn.in.len, r.conn.in.len * 3 / 2);
    }
    rig_close(&r);
}

static void test_borrowed_bytes_are_not_held(void **state)
{
    (void)state;
    char text[3000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    rig a, b;
    open_two(&a, &b, SIZE_MAX, 1000);
    rig_input(&a, "d\n");
    rig_answer(&a, 0, text, 0);
    assert_int_equal(a.budget.held, sizeof(gate__chunk));
    rig_flush(&a);
    assert_int_equal(a.sent_len, sizeof text - 1);
    close_two(&a, &b);
}

static void test_where_it_gets_tight_who_does_not_read_is_not_read(void **state)
{
    (void)state;
    char text[GATE__CHUNK_SIZE + 1];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    rig a, b;
    open_two(&a, &b, PART - 1, SIZE_MAX);
    a.config.output_max = 1 << 20;
    b.config.output_max = 1 << 20;
    rig_input(&a, "d\n");
    rig_answer(&a, 0, text, 0);
    rig_input(&a, "one\n");
    rig_assert_seen(&a, " d one"); /* there is room */
    rig_flush(&a);
    rig_input(&b, "part");
    rig_input(&a, "d\n");
    rig_answer(&a, 1, text, 0);
    assert_int_equal(gate__conn_wants(&a.conn), GATE__WANT_SEND);
    rig_input(&b, "\ntwo\n");
    rig_assert_seen(&b, " part two"); /* who reads does not notice */
    rig_send(&a, 1);
    assert_int_equal(gate__conn_wants(&a.conn), GATE__WANT_SEND | GATE__WANT_READ);
    close_two(&a, &b);
}

static void test_where_it_gets_tight_a_smaller_limit_of_ones_own_still_holds(void **state)
{
    (void)state;
    rig a, b;
    open_two(&a, &b, PART - 1, SIZE_MAX);
    a.config.output_max = 4;
    rig_input(&b, "part");
    rig_input(&a, "1\n34\nlast\n");
    rig_assert_seen(&a, " 1 34");
    rig_flush(&a);
    rig_assert_seen(&a, " 1 34 last");
    close_two(&a, &b);
}

/* A few bytes each, but they take many times that. */
static void test_small_answers_in_chunks_of_their_own_count_as_what_they_take(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    r.config.output_max = GATE__CHUNK_SIZE;
    for (int i = 0; i < 8; i++) {
        gate__chunk *chunk = gate__chunk_new(&r.pool, 1);
        assert_non_null(chunk);
        gate__chunk_add(chunk, "x", 1);
        gate__conn_answer_chunks(&r.conn, chunk);
    }
    rig_input(&r, "one\ntwo\n");
    rig_assert_seen(&r, " one");
    rig_flush(&r);
    rig_assert_seen(&r, " one two");
    rig_flush(&r);
    rig_assert_sent(&r, "xxxxxxxxone\ntwo\n");
    assert_int_equal(r.budget.held, 0);
    rig_close(&r);
}

/* What is left of a large answer is as much as its bytes. */
static void test_a_large_answer_weighs_what_is_left_of_it(void **state)
{
    (void)state;
    enum { LARGE = 64 * GATE__CHUNK_SIZE };
    static const char large[LARGE];
    gate__outbuf out = {0};
    assert_int_equal(gate__outbuf_put(&out, NULL, &(gate_wrap){0}, large, LARGE), 0);
    assert_int_equal(gate__outbuf_weight(&out), LARGE);
    gate__outbuf_sent(&out, NULL, LARGE - 1);
    assert_int_equal(gate__outbuf_weight(&out), 1);
    gate__outbuf_sent(&out, NULL, 1);
    assert_int_equal(gate__outbuf_weight(&out), 0);
    assert_int_equal(out.memory, 0);
}

/* One page of requests that wait, which nothing may look at while a later one is answered. */
static void test_an_answer_touches_no_other_request_that_waits(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), count = page / sizeof(gate__pending);
    gate__pending first = {0}, last[3] = {0};
    gate__pending *middle =
        mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(middle != MAP_FAILED);
    rig r;
    rig_open(&r, NULL);
    r.config.inflight_max = UINT32_MAX;
    gate__conn_hold(&r.conn, &first);
    for (size_t i = 0; i < count; i++)
        gate__conn_hold(&r.conn, &middle[i]);
    for (int i = 0; i < 3; i++)
        gate__conn_hold(&r.conn, &last[i]);
    assert_int_equal(mprotect(middle, page, PROT_NONE), 0);
    for (int i = 1; i >= 0; i--) {
        assert_non_null(last[i].answer = gate__chunk_borrow("xy", 2, NULL, NULL));
        last[i].answered = 1;
        gate__conn_settle(&r.conn, &last[i], r.now);
    }
    assert_int_equal(r.conn.held, 4);
    rig_input(&r, "d0\nzzz\n"); /* a slow handler: the time of those that it delayed is set anew */
    assert_int_equal(r.slots[0].born_ns, r.now);
    first.answered = 1;
    assert_int_equal(mprotect(middle, page, PROT_READ | PROT_WRITE), 0);
    gate__conn_settle(&r.conn, &first, r.now);
    assert_ptr_equal(r.conn.pending, middle);
    rig_close(&r);
    munmap(middle, page);
}

/* Found by the simulator: the answers behind it filled the memory, and it was refused for ever. */
static void test_an_answer_that_all_others_wait_for_is_due(void **state)
{
    (void)state;
    rig r;
    rig_open(&r, NULL);
    rig_input(&r, "one\nd0\nd1\n");
    rig_answer(&r, 1, "B", 0);
    assert_int_equal(r.slots[0].due, 0); /* what has to be sent first can make room */
    rig_flush(&r);
    assert_int_equal(r.slots[0].due, 1);
    rig_answer(&r, 0, "A", 0);
    rig_input(&r, "d2\n");
    rig_flush(&r);
    assert_int_equal(r.slots[2].due, 0); /* nothing waits behind it */
    rig_assert_sent(&r, "one\nAB");
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_takes_the_sum_over_the_budget_is_closed_alone),
        cmocka_unit_test(test_what_a_connection_gives_back_another_may_hold),
        cmocka_unit_test(test_the_last_quarter_of_the_budget_is_for_those_who_hold_little),
        cmocka_unit_test(test_an_answer_over_the_budget_closes_its_connection),
        cmocka_unit_test(test_an_answer_that_waits_its_turn_counts),
        cmocka_unit_test(test_input_that_may_not_be_read_yet_takes_little_more_than_it_is),
        cmocka_unit_test(test_borrowed_bytes_are_not_held),
        cmocka_unit_test(test_an_answer_touches_no_other_request_that_waits),
        cmocka_unit_test(test_an_answer_that_all_others_wait_for_is_due),
        cmocka_unit_test(test_small_answers_in_chunks_of_their_own_count_as_what_they_take),
        cmocka_unit_test(test_a_large_answer_weighs_what_is_left_of_it),
        cmocka_unit_test(test_where_it_gets_tight_who_does_not_read_is_not_read),
        cmocka_unit_test(test_where_it_gets_tight_a_smaller_limit_of_ones_own_still_holds),
    };
    return cmocka_run_group_tests_name("conn_budget", tests, NULL, NULL);
}
