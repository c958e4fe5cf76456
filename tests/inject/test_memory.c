/* SPDX-License-Identifier: MIT */
/* Every allocation of the library's fails: each one once, each one and all behind it for a while,
 * and until the end. */
#include "life.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void fail_each(life l)
{
    l.code = -ENOMEM;
    l.allows = LIFE_NO_START; /* the list of threads */
    l.fault = (inject_fault){.call = INJECT_MEMORY, .error = ENOMEM};
    int count = life_count(&l, INJECT_MEMORY), hits = 0;
    assert_true(count > 0);
    for (int first = 1; first <= count; first++) {
        for (l.span = LIFE_ONCE; l.span <= LIFE_ALWAYS; l.span++) {
            l.fault.first = first;
            l.fault.count = l.span == LIFE_ONCE ? 1 : INJECT_FOR_EVER;
            hits += life_live(&l);
        }
    }
    printf("    %d allocations, %d hits\n", count, hits);
    assert_true(hits >= count);
}

static void test_lines_over_all_listeners(void **state)
{
    fail_each((life){.kind = LIFE_FULL, .io = net_io(state), .codec = gate_codec_line()});
}

static void test_one_shot_exchanges_with_limits_and_events(void **state)
{
    fail_each((life){.kind = LIFE_WATCHED, .io = net_io(state), .codec = gate_codec_raw()});
}

static void test_requests_until_the_end_of_input(void **state)
{
    fail_each((life){.kind = LIFE_PLAIN, .io = net_io(state), .codec = gate_codec_eof()});
}

static void test_other_framings(void **state)
{
    const gate_codec *codecs[] = {gate_codec_varint(), gate_codec_netstring(),
                                  gate_codec_prefix_be(4)};
    uint32_t io = net_io(state);
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++)
        fail_each((life){.kind = LIFE_PLAIN, .io = io, .codec = codecs[i]});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIFE_TEST_EACH_IO(test_lines_over_all_listeners),
        LIFE_TEST_EACH_IO(test_one_shot_exchanges_with_limits_and_events),
        LIFE_TEST_EACH_IO(test_requests_until_the_end_of_input),
        LIFE_TEST_EACH_IO(test_other_framings),
    };
    unsetenv("GATE_IO"); /* each test has its own */
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
