/* SPDX-License-Identifier: MIT */

/* What gate-bench says about itself. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bench_self.h"

static bench_result result;

static unsigned limits(uint64_t cpu_ns, uint64_t waited_ns, uint64_t late)
{
    result =
        (bench_result){.elapsed_ns = 1000, .cpu_ns = cpu_ns, .waited_ns = waited_ns, .late = late};
    return bench_self_limits(&result);
}

static void test_one_that_had_time_is_no_limit(void **state)
{
    (void)state;
    assert_int_equal(limits(0, 0, 0), 0);
    assert_int_equal(limits(899, 99, 0), 0);
}

static void test_one_that_is_always_busy_is_the_bottleneck(void **state)
{
    (void)state;
    assert_int_equal(limits(900, 0, 0), BENCH_SELF_BUSY);
    assert_int_equal(limits(UINT64_MAX, 0, 0), BENCH_SELF_BUSY);
}

static void test_one_without_a_cpu_says_so(void **state)
{
    (void)state;
    assert_int_equal(limits(0, 100, 0), BENCH_SELF_WAITED);
    assert_int_equal(limits(950, 100, 1), BENCH_SELF_WAITED | BENCH_SELF_BUSY | BENCH_SELF_LATE);
}

static void test_one_late_exchange_is_said(void **state)
{
    (void)state;
    assert_int_equal(limits(0, 0, 1), BENCH_SELF_LATE);
}

static void test_nothing_measured_is_no_limit(void **state)
{
    (void)state;
    limits(900, 900, 0);
    result.elapsed_ns = 0;
    assert_int_equal(bench_self_limits(&result), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_that_had_time_is_no_limit),
        cmocka_unit_test(test_one_that_is_always_busy_is_the_bottleneck),
        cmocka_unit_test(test_one_without_a_cpu_says_so),
        cmocka_unit_test(test_one_late_exchange_is_said),
        cmocka_unit_test(test_nothing_measured_is_no_limit),
    };

    return cmocka_run_group_tests_name("self", tests, NULL, NULL);
}
