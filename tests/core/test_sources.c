/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/sources.h"
#include "seed.h"

enum { KEYS = 500 };

static void test_a_source_is_refused_at_its_limit_and_welcome_below(void **state)
{
    (void)state;
    gate__sources sources = {0};
    assert_int_equal(gate__sources_add(&sources, 7, 2), 1);
    assert_int_equal(gate__sources_add(&sources, 7, 2), 1);
    assert_int_equal(gate__sources_add(&sources, 7, 2), 0);
    assert_int_equal(gate__sources_add(&sources, 8, 2), 1);
    gate__sources_remove(&sources, 7);
    assert_int_equal(gate__sources_add(&sources, 7, 2), 1);
    assert_int_equal(gate__sources_add(&sources, 7, 2), 0);
    gate__sources_free(&sources);
}

static void test_peers_without_an_address_are_not_counted(void **state)
{
    (void)state;
    gate__sources sources = {0};
    for (int i = 0; i < 100; i++)
        assert_int_equal(gate__sources_add(&sources, 0, 1), 1);
    gate__sources_remove(&sources, 0);
    assert_int_equal(sources.used, 0);
    gate__sources_free(&sources);
}

static size_t count_known(const uint32_t *counts)
{
    size_t known = 0;
    for (size_t i = 0; i < KEYS; i++)
        known += counts[i] > 0;
    return known;
}

/* Against plain counting, with keys that collide as well as ones that don't. */
static void test_the_table_counts_as_plain_counting_does(void **state)
{
    (void)state;
    static uint64_t keys[KEYS];
    static uint32_t counts[KEYS];
    gate__sources sources = {0};
    for (size_t i = 0; i < KEYS; i++) /* steps of 2^32 share the low half of the product */
        keys[i] = i % 2 ? seed_next() | 1 : (uint64_t)(i + 1) << 32;
    for (int round = 0; round < 200000; round++) {
        size_t i = seed_below(seed_below(2) ? KEYS : 20);
        if (seed_below(2)) {
            assert_int_equal(gate__sources_add(&sources, keys[i], 3), counts[i] < 3);
            counts[i] += counts[i] < 3;
        } else if (counts[i]) {
            gate__sources_remove(&sources, keys[i]);
            counts[i]--;
        }
        if (round % 1000 == 0)
            assert_int_equal(sources.used, count_known(counts));
    }
    for (size_t i = 0; i < KEYS; i++)
        for (; counts[i]; counts[i]--)
            gate__sources_remove(&sources, keys[i]);
    assert_int_equal(sources.used, 0);
    for (size_t i = 0; i < sources.cap; i++)
        assert_int_equal(sources.table[i].key, 0);
    gate__sources_free(&sources);
}

static void test_the_table_stays_as_small_as_what_was_ever_open_at_once(void **state)
{
    (void)state;
    gate__sources sources = {0};
    for (uint64_t key = 1; key < 100000; key++) {
        assert_int_equal(gate__sources_add(&sources, key, 1), 1);
        gate__sources_remove(&sources, key);
    }
    assert_int_equal(sources.cap, 64);
    gate__sources_free(&sources);
    assert_null(sources.table);
}

/* Addresses that would all have one place, in a row, if the hash had no key. */
static void test_nobody_can_choose_addresses_that_crowd_one_place(void **state)
{
    (void)state;
    enum { COUNT = 2000, INVERSE_STEPS = 6 };
    const uint64_t multiplier = 0x9E3779B97F4A7C15u;
    uint64_t inverse = multiplier; /* modulo 2^64, by Newton's method */
    for (int i = 0; i < INVERSE_STEPS; i++)
        inverse *= 2 - multiplier * inverse;
    assert_true(inverse * multiplier == 1);
    for (uint64_t secret = 1; secret < 5; secret++) {
        gate__sources sources = {.secret = secret * 0xD1342543DE82EF95u};
        for (uint64_t i = 1; i <= COUNT; i++)
            assert_int_equal(gate__sources_add(&sources, i * inverse, 1), 1);
        size_t run = 0, longest = 0;
        for (size_t i = 0; i < sources.cap; i++) {
            run = sources.table[i].key ? run + 1 : 0;
            longest = run > longest ? run : longest;
        }
        assert_in_range(longest, 1, 200);
        for (uint64_t i = 1; i <= COUNT; i++)
            gate__sources_remove(&sources, i * inverse);
        assert_int_equal(sources.used, 0);
        gate__sources_free(&sources);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_source_is_refused_at_its_limit_and_welcome_below),
        cmocka_unit_test(test_peers_without_an_address_are_not_counted),
        cmocka_unit_test(test_the_table_counts_as_plain_counting_does),
        cmocka_unit_test(test_the_table_stays_as_small_as_what_was_ever_open_at_once),
        cmocka_unit_test(test_nobody_can_choose_addresses_that_crowd_one_place),
    };
    seed_start();
    return cmocka_run_group_tests_name("sources", tests, NULL, NULL);
}
