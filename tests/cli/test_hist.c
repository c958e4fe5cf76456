/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bench_hist.h"

static bench_hist hist;
static bench_row rows[BENCH_ROWS_MAX];

static int clear(void **state)
{
    (void)state;
    bench_hist_clear(&hist);
    return 0;
}

static void test_every_bucket_begins_where_the_one_before_ends(void **state)
{
    (void)state;
    assert_int_equal(bench_hist_lower(0), 0);
    for (unsigned i = 1; i < BENCH_HIST_BUCKETS; i++)
        assert_true(bench_hist_lower(i) == bench_hist_upper(i - 1) + 1);
    assert_true(bench_hist_upper(BENCH_HIST_BUCKETS - 1) == UINT64_MAX);
}

static void test_first_and_last_value_are_in_their_bucket(void **state)
{
    (void)state;
    for (unsigned i = 0; i < BENCH_HIST_BUCKETS; i++) {
        assert_int_equal(bench_hist_index(bench_hist_lower(i)), i);
        assert_int_equal(bench_hist_index(bench_hist_upper(i)), i);
    }
}

static void test_bucket_is_never_wider_than_one_percent(void **state)
{
    (void)state;
    for (unsigned i = 0; i < BENCH_HIST_BUCKETS; i++)
        assert_true((double)(bench_hist_upper(i) - bench_hist_lower(i)) <=
                    0.01 * (double)bench_hist_lower(i));
}

static void test_empty_histogram_has_zeroes(void **state)
{
    (void)state;
    assert_int_equal(bench_hist_percentile(&hist, 50), 0);
    assert_int_equal(bench_hist_mean(&hist), 0);
    assert_int_equal(bench_hist_rows(&hist, rows), 0);
}

static void test_one_value_is_every_percentile(void **state)
{
    (void)state;
    bench_hist_add(&hist, 123456789);
    assert_int_equal(bench_hist_percentile(&hist, 0), 123456789);
    assert_int_equal(bench_hist_percentile(&hist, 50), 123456789);
    assert_int_equal(bench_hist_percentile(&hist, 100), 123456789);
    assert_int_equal(bench_hist_mean(&hist), 123456789);
}

static void test_percentiles_of_small_values_are_exact(void **state)
{
    (void)state;
    for (uint64_t value = 1; value <= 200; value++)
        bench_hist_add(&hist, value);
    assert_int_equal(bench_hist_percentile(&hist, 50), 100);
    assert_int_equal(bench_hist_percentile(&hist, 99), 198);
    assert_int_equal(bench_hist_percentile(&hist, 99.5), 199);
    assert_int_equal(bench_hist_percentile(&hist, 99.6), 200);
    assert_int_equal(bench_hist_percentile(&hist, 100), 200);
    assert_int_equal(hist.min, 1);
    assert_int_equal(hist.max, 200);
}

static void test_percentiles_of_large_values_are_within_a_percent(void **state)
{
    static const double percents[] = {1, 10, 50, 90, 99, 99.9, 99.99};

    (void)state;
    for (uint64_t i = 1; i <= 100000; i++)
        bench_hist_add(&hist, i * 7919);
    for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++) {
        double exact = percents[i] * 1000 * 7919;
        double found = (double)bench_hist_percentile(&hist, percents[i]);

        assert_true(found >= exact - 7919 && found <= 1.01 * exact + 7919);
    }
}

static void test_one_slow_value_is_the_tail(void **state)
{
    (void)state;
    for (int i = 0; i < 999; i++)
        bench_hist_add(&hist, 1000);
    bench_hist_add(&hist, UINT64_C(5000000000));
    assert_in_range(bench_hist_percentile(&hist, 99.9), 1000, 1010);
    assert_true(bench_hist_percentile(&hist, 99.91) == UINT64_C(5000000000));
}

/* Rows of the histogram as it is; returns how many. */
static unsigned check_rows(void)
{
    unsigned count = bench_hist_rows(&hist, rows);
    uint64_t sum = 0;

    assert_in_range(count, 1, BENCH_ROWS_MAX);
    for (unsigned i = 0; i < count; i++) {
        assert_true(rows[i].from <= rows[i].to);
        assert_true(i == 0 || rows[i].from == rows[i - 1].to + 1);
        sum += rows[i].count;
    }
    assert_true(rows[0].from <= hist.min && hist.max <= rows[count - 1].to);
    assert_true(sum == hist.count);
    return count;
}

static void test_rows_hold_every_value_once(void **state)
{
    (void)state;
    for (uint64_t value = 1; value < UINT64_C(1) << 40; value = value * 3 + 1)
        bench_hist_add(&hist, value);
    check_rows();
    for (unsigned bit = 0; bit < 64; bit++) {
        bench_hist_add(&hist, UINT64_C(1) << bit);
        check_rows();
    }
    bench_hist_add(&hist, UINT64_MAX);
    bench_hist_add(&hist, 0);
    check_rows();
}

static void test_one_value_has_one_row(void **state)
{
    (void)state;
    bench_hist_add(&hist, 1000000);
    assert_int_equal(check_rows(), 1);
}

static void test_rows_are_fine_where_almost_all_values_are(void **state)
{
    unsigned inside = 0, count;

    (void)state;
    for (uint64_t i = 0; i < 100000; i++) /* 50 to 60 us, in one power of two */
        bench_hist_add(&hist, 50000 + i / 10);
    bench_hist_add(&hist, 10);
    bench_hist_add(&hist, UINT64_C(5000000000));
    count = check_rows();
    for (unsigned i = 0; i < count; i++) {
        inside += rows[i].from >= 49000 && rows[i].to <= 61000;
        assert_true(rows[i].count < hist.count / 5);
    }
    assert_in_range(inside, 10, BENCH_ROWS_FINE);
}

static void test_largest_value_has_a_bucket(void **state)
{
    (void)state;
    bench_hist_add(&hist, UINT64_MAX);
    bench_hist_add(&hist, 0);
    assert_true(bench_hist_percentile(&hist, 100) == UINT64_MAX);
    assert_int_equal(bench_hist_percentile(&hist, 50), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_bucket_begins_where_the_one_before_ends),
        cmocka_unit_test(test_first_and_last_value_are_in_their_bucket),
        cmocka_unit_test(test_bucket_is_never_wider_than_one_percent),
        cmocka_unit_test_setup(test_empty_histogram_has_zeroes, clear),
        cmocka_unit_test_setup(test_one_value_is_every_percentile, clear),
        cmocka_unit_test_setup(test_percentiles_of_small_values_are_exact, clear),
        cmocka_unit_test_setup(test_percentiles_of_large_values_are_within_a_percent, clear),
        cmocka_unit_test_setup(test_one_slow_value_is_the_tail, clear),
        cmocka_unit_test_setup(test_rows_hold_every_value_once, clear),
        cmocka_unit_test_setup(test_one_value_has_one_row, clear),
        cmocka_unit_test_setup(test_rows_are_fine_where_almost_all_values_are, clear),
        cmocka_unit_test_setup(test_largest_value_has_a_bucket, clear),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
