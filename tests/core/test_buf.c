/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "core/buf.h"
#include "seed.h"

/* ---- Input ---- */

static void test_input_keeps_bytes_in_order_however_they_come_and_go(void **state)
{
    (void)state;
    gate__inbuf in = {0};
    uint8_t part[300];
    uint8_t next_in = 0, next_out = 0;
    for (int round = 0; round < 2000; round++) {
        size_t add = seed_below(sizeof part), take = seed_below(in.len + add + 1);
        for (size_t i = 0; i < add; i++)
            part[i] = next_in++;
        assert_int_equal(gate__inbuf_append(&in, part, add, seed_below(1000)), 0);
        for (size_t i = 0; i < take; i++)
            assert_int_equal(gate__inbuf_bytes(&in)[i], next_out++);
        if (take)
            gate__inbuf_consume(&in, take);
    }
    gate__inbuf_consume(&in, in.len);
    assert_null(in.data);
}

static void test_input_that_is_used_up_holds_no_memory(void **state)
{
    (void)state;
    gate__inbuf in = {0};
    assert_int_equal(gate__inbuf_append(&in, (const uint8_t *)"abc", 3, 0), 0);
    gate__inbuf_consume(&in, 2);
    assert_non_null(in.data);
    gate__inbuf_consume(&in, 1);
    assert_null(in.data);
    assert_int_equal(in.cap, 0);
}

/* A peer that announces a gigabyte gets the room for it as it sends it. */
static void test_input_grows_with_what_came_not_with_what_was_announced(void **state)
{
    (void)state;
    gate__inbuf in = {0};
    uint8_t part[1000] = {0};
    for (size_t len = sizeof part; len <= 100 * sizeof part; len += sizeof part) {
        assert_int_equal(gate__inbuf_append(&in, part, sizeof part, (size_t)1 << 30), 0);
        assert_true(in.cap <= 2 * len);
    }
    gate__inbuf_consume(&in, in.len);
}

static void test_input_of_a_known_size_gets_just_that(void **state)
{
    (void)state;
    gate__inbuf in = {0};
    uint8_t part[1000] = {0};
    assert_int_equal(gate__inbuf_append(&in, part, sizeof part, 1500), 0);
    assert_int_equal(in.cap, 1500);
    gate__inbuf_consume(&in, in.len);
}

/* ---- Output ---- */

static size_t drain(gate__outbuf *out, gate__chunk_pool *pool, char *text, size_t step)
{
    size_t len = 0;
    while (out->head) {
        const gate__chunk *chunk = out->head;
        size_t part = chunk->len - chunk->sent;
        part = part < step ? part : step;
        memcpy(text + len, chunk->data + chunk->sent, part);
        len += part;
        gate__outbuf_sent(out, pool, part);
    }
    assert_int_equal(out->bytes, 0);
    assert_null(out->tail);
    return len;
}

static void test_output_gives_back_all_replies_in_order(void **state)
{
    (void)state;
    static char expected[400000], got[400000];
    gate__chunk_pool pool = {0};
    const gate_wrap wrap = {.head_len = 2, .head = "<<", .tail_len = 1, .tail = ">"};
    for (size_t step = 1; step < 10000; step *= 7) {
        gate__outbuf out = {0};
        size_t len = 0;
        for (int i = 0; i < 100; i++) {
            char body[5000];
            size_t body_len = seed_below(seed_below(4) ? 50 : sizeof body);
            memset(body, 'a' + i % 26, body_len);
            assert_int_equal(gate__outbuf_put(&out, &pool, &wrap, body, body_len), 0);
            memcpy(expected + len, "<<", 2);
            memcpy(expected + len + 2, body, body_len);
            memcpy(expected + len + 2 + body_len, ">", 1);
            len += body_len + 3;
            assert_int_equal(out.bytes, len);
        }
        assert_int_equal(drain(&out, &pool, got, step), len);
        assert_memory_equal(got, expected, len);
    }
    gate__chunk_pool_free(&pool);
}

static void test_small_replies_share_a_chunk_and_large_ones_have_their_own(void **state)
{
    (void)state;
    gate__chunk_pool pool = {0};
    gate__outbuf out = {0};
    const gate_wrap none = {0};
    static const char large[10000];
    assert_int_equal(gate__outbuf_put(&out, &pool, &none, "", 0), 0);
    assert_null(out.head);
    for (int i = 0; i < 10; i++)
        assert_int_equal(gate__outbuf_put(&out, &pool, &none, "small", 5), 0);
    assert_null(out.head->next);
    assert_int_equal(gate__outbuf_put(&out, &pool, &none, large, sizeof large), 0);
    assert_int_equal(out.head->next->cap, sizeof large);
    gate__chunk_free_list(&pool, out.head);
    assert_int_equal(pool.count, 1); /* only the shared kind is kept */
    gate__chunk_pool_free(&pool);
}

static void count(void *arg)
{
    ++*(int *)arg;
}

static void test_borrowed_bytes_are_given_back_once_when_they_are_sent(void **state)
{
    (void)state;
    gate__chunk_pool pool = {0};
    gate__outbuf out = {0};
    const gate_wrap none = {0};
    int released = 0;
    char got[16];
    gate__chunk *lent = gate__chunk_borrow("lent", 4, count, &released);
    assert_non_null(lent);
    gate__outbuf_push(&out, lent);
    assert_int_equal(gate__outbuf_put(&out, &pool, &none, "own", 3), 0); /* not into it */
    gate__outbuf_sent(&out, &pool, 3);
    assert_int_equal(released, 0);
    gate__outbuf_sent(&out, &pool, 1);
    assert_int_equal(released, 1);
    assert_int_equal(drain(&out, &pool, got, 16), 3);
    assert_memory_equal(got, "own", 3);
    assert_int_equal(released, 1);
    gate__chunk_pool_free(&pool);
}

static void test_the_pool_keeps_only_so_many(void **state)
{
    (void)state;
    gate__chunk_pool pool = {0};
    gate__chunk *list = NULL;
    for (int i = 0; i < GATE__CHUNK_POOL_MAX + 10; i++) {
        gate__chunk *chunk = gate__chunk_new(&pool, 10);
        assert_non_null(chunk);
        chunk->next = list;
        list = chunk;
    }
    gate__chunk_free_list(&pool, list);
    assert_int_equal(pool.count, GATE__CHUNK_POOL_MAX);
    gate__chunk_pool_free(&pool);
    assert_int_equal(pool.count, 0);
    assert_null(pool.spare);
}

/* As of a caller who took an error for a length. */
static void test_a_body_of_a_length_that_cannot_be_is_refused(void **state)
{
    (void)state;
    gate__outbuf out = {0};
    gate__chunk_pool pool = {0};
    const gate_wrap wrap = {.tail_len = 1};
    assert_int_equal(gate__outbuf_put(&out, &pool, &wrap, "", SIZE_MAX), -ENOMEM);
    assert_int_equal(gate__outbuf_put(&out, &pool, &wrap, "", SIZE_MAX - 1), -ENOMEM);
    assert_null(out.head);
    assert_int_equal(out.bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_input_keeps_bytes_in_order_however_they_come_and_go),
        cmocka_unit_test(test_input_that_is_used_up_holds_no_memory),
        cmocka_unit_test(test_input_grows_with_what_came_not_with_what_was_announced),
        cmocka_unit_test(test_input_of_a_known_size_gets_just_that),
        cmocka_unit_test(test_output_gives_back_all_replies_in_order),
        cmocka_unit_test(test_small_replies_share_a_chunk_and_large_ones_have_their_own),
        cmocka_unit_test(test_borrowed_bytes_are_given_back_once_when_they_are_sent),
        cmocka_unit_test(test_the_pool_keeps_only_so_many),
        cmocka_unit_test(test_a_body_of_a_length_that_cannot_be_is_refused),
    };
    seed_start();
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
