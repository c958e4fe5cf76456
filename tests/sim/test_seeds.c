/* SPDX-License-Identifier: MIT */

/* Many seeds, each a small world of its own. GATE_SEED= runs that one only, GATE_SEEDS= sets how
 * many; a seed that fails is named in one line. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "swarm.h"

enum { SEEDS_DEFAULT = 2000, FAILURES_SHOWN = 10 };

static void show(const char *message, void *arg)
{
    int *failures = arg;

    if (++*failures <= FAILURES_SHOWN) {
        print_error("%s\n", message);
    }
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static void test_every_seed_keeps_the_rules(void **state)
{
    uint64_t fired[SIM_KNOB_COUNT] = {0};
    uint64_t first = number_from("GATE_SEED", 1);
    uint64_t count = getenv("GATE_SEED") ? 1 : number_from("GATE_SEEDS", SEEDS_DEFAULT);
    int failures = 0;

    (void)state;
    for (uint64_t i = 0; i < count; i++) {
        swarm_run(first + i, show, &failures, fired);
    }
    assert_int_equal(failures, 0);
    for (int knob = 0; knob < SIM_KNOB_COUNT && count >= SEEDS_DEFAULT; knob++) {
        if (fired[knob] == 0 && knob != SIM_CONNECT_FAULT) { /* a server connects nowhere */
            fail_msg("knob %s never fired", sim_knob_name((sim_knob)knob));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_seed_keeps_the_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
