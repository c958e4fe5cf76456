/* SPDX-License-Identifier: MIT */

/* --fail-if of gate-bench. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bench_fail.h"
#include "exit.h"
#include "report.h"

static bench_result result;
static bench_fail fails[ARGS_LIST_MAX];

#define MS UINT64_C(1000000)

/* So many answers, of 1 ms, 2 ms, ..., and so many failures. */
static void fill(uint64_t answers, uint64_t failures)
{
    result = (bench_result){.elapsed_ns = 1000 * MS};
    for (uint64_t i = 1; i <= answers; i++)
        bench_hist_add(&result.latency, i * MS);
    result.errors[BENCH_CLOSED] = failures / 2;
    result.errors[BENCH_NOT_BEGUN] = failures - failures / 2;
}

static int parse(const char *text)
{
    const args_list list = {.count = 1, .item = {text}};

    return bench_fail_parse(fails, &list);
}

static int holds(const char *text)
{
    assert_int_equal(parse(text), 0);
    return bench_fail_holds(&fails[0], &result);
}

static void test_conditions_on_answers(void **state)
{
    (void)state;
    fill(100, 0);
    assert_true(holds("p50>=50ms") && !holds("p50>51ms"));
    assert_true(holds("p99<100ms") && !holds("p99<99ms"));
    assert_true(holds("max>99ms") && !holds("max>101ms"));
    assert_true(holds("min<=1ms") && !holds("min<1ms"));
    assert_true(holds("mean>50ms") && !holds("mean>51ms"));
    assert_true(holds("rate<101") && !holds("rate<100") && holds("rate>=100"));
    assert_true(!holds("errors>0") && holds("errors>=0"));
    assert_true(holds("p99.9>0.05s") && holds("p0<1m") && holds("max>1us") && holds("max>1ns"));
}

static void test_failed_exchanges_are_infinitely_long(void **state)
{
    (void)state;
    fill(99, 1);
    assert_true(holds("p100>1m") && holds("max>1m"));
    assert_true(!holds("p99>1m") && holds("p99<100ms"));
    assert_true(holds("p99.5>1m") && !holds("p99.5<1m"));
    fill(90, 10);
    assert_true(holds("p95>1m") && holds("p90.1>1m") && !holds("p90>1s"));
    assert_true(!holds("mean>1s") && !holds("min>1s")); /* of those that were answered */
    assert_true(holds("errors>=10"));
}

static void test_percentile_counts_answers_and_failures(void **state)
{
    (void)state;
    fill(50, 50); /* the median of all is the slowest answer */
    assert_true(holds("p50>49ms") && !holds("p50>51ms") && holds("p51>1m"));
}

static void test_times_hold_where_nothing_was_answered(void **state)
{
    (void)state;
    fill(0, 5);
    assert_true(holds("p0>1m") && holds("p99>1m") && holds("mean>1m") && holds("max>1m"));
    assert_true(holds("rate<1") && holds("errors>4"));
    fill(0, 0);
    assert_true(holds("p99>1m") && holds("min<1ns"));
}

static void test_time_without_a_unit_is_refused(void **state)
{
    static const char *const texts[] = {"p99>5", "p99>0", "mean<=5", "max>1.5", "min>100"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(parse(texts[i]), GATE_EXIT_USAGE);
    assert_int_equal(parse("errors>5"), 0); /* these are numbers */
    assert_int_equal(parse("rate<5.5"), 0);
}

static void test_what_is_no_condition_is_refused(void **state)
{
    static const char *const texts[] = {
        "",         "p99",        "p>5ms",    "p101>5ms", "p99=5ms",   "p99>5parsec", "q99>5ms",
        "p99>>5ms", "errors>1ms", "rate<",    "rate<-1",  "mean>-1ms", "p99>1e3ms",   "p99>nan",
        "p99>inf",  "p-1>1s",     "p99> 5ms", "p99>5 ms", "maxi>5ms",  "errors>0x1",  "p99>1.2.3s"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (parse(texts[i]) != GATE_EXIT_USAGE)
            fail_msg("'%s' is taken", texts[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conditions_on_answers),
        cmocka_unit_test(test_failed_exchanges_are_infinitely_long),
        cmocka_unit_test(test_percentile_counts_answers_and_failures),
        cmocka_unit_test(test_times_hold_where_nothing_was_answered),
        cmocka_unit_test(test_time_without_a_unit_is_refused),
        cmocka_unit_test(test_what_is_no_condition_is_refused),
    };

    report_begin("test_fail");
    return cmocka_run_group_tests_name("fail", tests, NULL, NULL);
}
