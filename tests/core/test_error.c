/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <gate/gate.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static const int own_codes[] = {
    GATE_EGONE, GATE_EFRAME,     GATE_ETOOBIG, GATE_ENAME, GATE_ENAMELATER, GATE_EPORTS,
    GATE_EROOM, GATE_ETRUNCATED, GATE_ECLOSED, GATE_ELATE, GATE_EBROKEN,    GATE_ESELF,
};
enum { OWN_CODES = sizeof(own_codes) / sizeof(own_codes[0]) };

static void test_own_codes_keep_their_frozen_values(void **state)
{
    (void)state;
    for (int i = 0; i < OWN_CODES; i++)
        assert_int_equal(own_codes[i], -4096 - i);
}

static void test_strerror_tells_own_codes_apart(void **state)
{
    (void)state;
    for (int i = 0; i < OWN_CODES; i++) {
        const char *text = gate_strerror(own_codes[i]);
        assert_null(strstr(text, "unknown"));
        for (int k = 0; k < i; k++)
            assert_string_not_equal(text, gate_strerror(own_codes[k]));
    }
}

static void test_strerror_gives_the_text_of_errno(void **state)
{
    (void)state;
    static const int codes[] = {EINVAL, ECONNREFUSED, EADDRINUSE, ENOMEM, 1, 4095};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        char expected[128];
        (void)snprintf(expected, sizeof(expected), "%s", strerror(codes[i]));
        assert_string_equal(gate_strerror(-codes[i]), expected);
    }
}

static void test_strerror_leaves_errno_alone(void **state)
{
    (void)state;
    errno = EAGAIN;
    (void)gate_strerror(-EINVAL);
    assert_int_equal(errno, EAGAIN);
}

static void test_strerror_names_a_code_it_does_not_know(void **state)
{
    (void)state;
    assert_string_equal(gate_strerror(-4108), "unknown code -4108");
    assert_string_equal(gate_strerror(22), "unknown code 22");
    assert_string_equal(gate_strerror(INT_MIN), "unknown code -2147483648");
    assert_string_equal(gate_strerror(0), "success");
}

static void test_outcome_is_answered_only_where_the_peer_answered(void **state)
{
    (void)state;
    assert_int_equal(gate_outcome(0), GATE_ANSWERED);
    assert_int_equal(gate_outcome(GATE_EROOM), GATE_ANSWERED);
    for (int code = -5000; code < 0; code++) {
        if (code != GATE_EROOM)
            assert_int_not_equal(gate_outcome(code), GATE_ANSWERED);
    }
}

static void test_outcome_is_not_sent_for_every_errno(void **state)
{
    (void)state;
    for (int code = -4095; code < 0; code++)
        assert_int_equal(gate_outcome(code), GATE_NOT_SENT);
}

static void test_outcome_splits_own_codes_by_what_was_sent(void **state)
{
    (void)state;
    static const int unsent[] = {GATE_ENAME, GATE_ENAMELATER, GATE_EPORTS, GATE_ESELF};
    static const int sent[] = {GATE_EFRAME,  GATE_ETOOBIG, GATE_ETRUNCATED,
                               GATE_ECLOSED, GATE_ELATE,   GATE_EBROKEN};
    for (size_t i = 0; i < sizeof(unsent) / sizeof(unsent[0]); i++)
        assert_int_equal(gate_outcome(unsent[i]), GATE_NOT_SENT);
    for (size_t i = 0; i < sizeof(sent) / sizeof(sent[0]); i++)
        assert_int_equal(gate_outcome(sent[i]), GATE_MAYBE_EXECUTED);
}

static void test_outcome_never_calls_an_unknown_code_safe_to_repeat(void **state)
{
    (void)state;
    assert_int_equal(gate_outcome(-4108), GATE_MAYBE_EXECUTED);
    assert_int_equal(gate_outcome(INT_MIN), GATE_MAYBE_EXECUTED);
}

static void test_version_is_that_of_the_header(void **state)
{
    (void)state;
    char expected[32];
    (void)snprintf(expected, sizeof(expected), "%d.%d.%d", GATE_VERSION_MAJOR, GATE_VERSION_MINOR,
                   GATE_VERSION_PATCH);
    assert_string_equal(gate_version(), expected);
}

static void test_every_reason_has_a_name_of_its_own(void **state)
{
    (void)state;
    assert_string_equal(gate_reason_name(GATE_CLOSE_TIMEOUT), "timeout");
    assert_string_equal(gate_reason_name(GATE_CLOSE_ANSWERED), "answered");
    for (int i = 0; i < GATE_CLOSE_COUNT; i++) {
        const char *name = gate_reason_name(i);
        assert_non_null(name);
        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
        for (int k = 0; k < i; k++)
            assert_string_not_equal(name, gate_reason_name(k));
    }
}

static void test_a_reason_out_of_range_is_unknown(void **state)
{
    (void)state;
    volatile int out_of_range[] = {GATE_CLOSE_COUNT, 1000, -1};
    for (size_t i = 0; i < sizeof(out_of_range) / sizeof(out_of_range[0]); i++)
        assert_string_equal(gate_reason_name(out_of_range[i]), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_codes_keep_their_frozen_values),
        cmocka_unit_test(test_strerror_tells_own_codes_apart),
        cmocka_unit_test(test_strerror_gives_the_text_of_errno),
        cmocka_unit_test(test_strerror_leaves_errno_alone),
        cmocka_unit_test(test_strerror_names_a_code_it_does_not_know),
        cmocka_unit_test(test_outcome_is_answered_only_where_the_peer_answered),
        cmocka_unit_test(test_outcome_is_not_sent_for_every_errno),
        cmocka_unit_test(test_outcome_splits_own_codes_by_what_was_sent),
        cmocka_unit_test(test_outcome_never_calls_an_unknown_code_safe_to_repeat),
        cmocka_unit_test(test_version_is_that_of_the_header),
        cmocka_unit_test(test_every_reason_has_a_name_of_its_own),
        cmocka_unit_test(test_a_reason_out_of_range_is_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
