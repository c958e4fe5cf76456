/* SPDX-License-Identifier: MIT */

/* Many seeds, each a small world of its own; one that fails is named in one line.
 *
 * GATE_SEED=    runs that one only
 * GATE_FIRST=   the first, else 1
 * GATE_SEEDS=   how many
 * GATE_SECONDS= as many as there is time for; then tells the sums, for soak.py to add up
 * GATE_TELL=    tells each seed before it runs, so that one that ends the program is known too */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "swarm.h"

enum { SEEDS_DEFAULT = 2000, FAILURES_MAX = 10, REPLAYED_OF = 100 };

static void show(const char *message, void *arg)
{
    int *failures = arg;

    ++*failures;
    print_error("%s\n", message);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

/* One seed; of a hundred, one runs again and must have the same history. */
static void run_seed(uint64_t seed, int *failures, swarm_sums *sums)
{
    swarm_sums again = {0};
    uint64_t hash;

    if (getenv("GATE_TELL") != NULL) {
        printf("seed %llu\n", (unsigned long long)seed);
        fflush(stdout);
    }
    hash = swarm_run(seed, show, failures, sums);
    if (seed % REPLAYED_OF == 0 && *failures == 0 &&
        swarm_run(seed, show, failures, &again) != hash) {
        ++*failures;
        print_error("the second run of GATE_SEED=%llu differs\n", (unsigned long long)seed);
    }
}

/* A server connects nowhere. */
static int can_fire(int knob)
{
    return knob != SIM_CONNECT_FAULT;
}

static void tell_sums(uint64_t seeds, const swarm_sums *sums)
{
    printf("seeds %llu\nsteps %llu\n", (unsigned long long)seeds, (unsigned long long)sums->steps);
    printf("drains %llu\nrequests %llu\nanswers %llu\nexcused %llu\nover_us %llu\n",
           (unsigned long long)sums->drains, (unsigned long long)sums->drain_requests,
           (unsigned long long)sums->drain_answers, (unsigned long long)sums->drain_excused,
           (unsigned long long)sums->drain_over_ns / 1000);
    for (int event = 0; event < SWARM_EVENT_COUNT; event++) {
        printf("fired %llu %s\n", (unsigned long long)sums->seen[event],
               swarm_event_name((swarm_event)event));
    }
    for (int knob = 0; knob < SIM_KNOB_COUNT; knob++) {
        if (can_fire(knob)) {
            printf("fired %llu %s\n", (unsigned long long)sums->fired[knob],
                   sim_knob_name((sim_knob)knob));
        }
    }
    fflush(stdout);
}

static void test_every_seed_keeps_the_rules(void **state)
{
    swarm_sums sums = {0};
    uint64_t first = number_from("GATE_SEED", number_from("GATE_FIRST", 1));
    uint64_t seconds = number_from("GATE_SECONDS", 0);
    uint64_t count = number_from("GATE_SEEDS", seconds != 0 ? UINT64_MAX : SEEDS_DEFAULT);
    time_t end = time(NULL) + (time_t)seconds;
    uint64_t done = 0;
    int failures = 0;

    (void)state;
    if (getenv("GATE_SEED") != NULL) {
        count = 1;
    }
    for (; done < count && failures < FAILURES_MAX; done++) {
        if (seconds != 0 && time(NULL) >= end) {
            break;
        }
        run_seed(first + done, &failures, &sums);
    }
    if (seconds != 0) {
        tell_sums(done, &sums);
    }
    assert_int_equal(failures, 0);
    for (int knob = 0; knob < SIM_KNOB_COUNT && done >= SEEDS_DEFAULT; knob++) {
        if (can_fire(knob) && sums.fired[knob] == 0) {
            fail_msg("knob %s never fired", sim_knob_name((sim_knob)knob));
        }
    }
    for (int event = 0; event < SWARM_EVENT_COUNT && done >= SEEDS_DEFAULT; event++) {
        if (sums.seen[event] == 0) {
            fail_msg("never: %s", swarm_event_name((swarm_event)event));
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
