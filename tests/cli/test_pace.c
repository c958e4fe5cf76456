/* SPDX-License-Identifier: MIT */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "bench_pace.h"

static const uint64_t rates[] = {1, 2, 3, 7, 999, 1000, 30001, 999999999, 1000000000};

enum { RATES = sizeof(rates) / sizeof(rates[0]) };

static void test_exchanges_are_spread_over_each_second(void **state)
{
    (void)state;
    assert_int_equal(bench_pace_at(1000, 1), 1000000);
    assert_int_equal(bench_pace_at(3, 1), 333333333);
    for (int i = 0; i < RATES; i++)
        for (uint64_t s = 0; s < 5; s++)
            assert_int_equal(bench_pace_at(rates[i], s * rates[i]), s * 1000000000);
}

static void test_each_exchange_is_due_from_its_time_on(void **state)
{
    (void)state;
    for (int i = 0; i < RATES; i++)
        for (uint64_t k = 0; k < 10000000000; k += k / 7 + 1) {
            uint64_t at = bench_pace_at(rates[i], k);

            assert_true(bench_pace_before(rates[i], at) <= k);
            assert_true(bench_pace_before(rates[i], at + 1) > k);
        }
}

static void test_a_short_load_lasts_as_long_as_its_rate_says(void **state)
{
    const uint64_t s = 1000000000;

    (void)state;
    assert_int_equal(bench_pace_span(1, 0, 2 * s), 2 * s);
    assert_int_equal(bench_pace_span(1, 2, 0), 2 * s);
    assert_int_equal(bench_pace_span(4, 1, 0), s / 4);
    assert_int_equal(bench_pace_span(1000, 500, 10 * s), s / 2);
    assert_int_equal(bench_pace_span(1000, 500, s / 10), s / 10);
    assert_true(bench_pace_span(7, 0, 0) == UINT64_MAX);
    for (int i = 0; i < RATES; i++) /* what is due before its end is exactly what was asked for */
        for (uint64_t n = 1; n < 1000000; n += n / 3 + 1)
            assert_int_equal(bench_pace_before(rates[i], bench_pace_span(rates[i], n, 0)), n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchanges_are_spread_over_each_second),
        cmocka_unit_test(test_each_exchange_is_due_from_its_time_on),
        cmocka_unit_test(test_a_short_load_lasts_as_long_as_its_rate_says),
    };

    return cmocka_run_group_tests_name("pace", tests, NULL, NULL);
}
