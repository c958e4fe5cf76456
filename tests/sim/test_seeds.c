/* SPDX-License-Identifier: MIT */

/* Many seeds, each a small world for a server and one for a client; one that fails is named in one
 * line.
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

#include "calls.h"
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

typedef struct seed_sums {
    swarm_sums swarm;
    calls_sums calls;
} seed_sums;

/* Depends on all that has happened. */
static uint64_t run_worlds(uint64_t seed, int *failures, seed_sums *sums)
{
    uint64_t hash = swarm_run(seed, show, failures, &sums->swarm);

    return hash * 31 + calls_run(seed, show, failures, &sums->calls);
}

/* One seed; of a hundred, one runs again and must have the same history. */
static void run_seed(uint64_t seed, int *failures, seed_sums *sums)
{
    seed_sums again = {0};
    uint64_t hash;

    if (getenv("GATE_TELL") != NULL) {
        printf("seed %llu\n", (unsigned long long)seed);
        fflush(stdout);
    }
    hash = run_worlds(seed, failures, sums);
    if (seed % REPLAYED_OF == 0 && *failures == 0 && run_worlds(seed, failures, &again) != hash) {
        ++*failures;
        print_error("the second run of GATE_SEED=%llu differs\n", (unsigned long long)seed);
    }
}

static uint64_t fired(const seed_sums *sums, int knob)
{
    return sums->swarm.fired[knob] + sums->calls.fired[knob];
}

static void tell_sums(uint64_t seeds, const seed_sums *sums)
{
    const swarm_sums *swarm = &sums->swarm;

    printf("seeds %llu\nsteps %llu\n", (unsigned long long)seeds,
           (unsigned long long)(swarm->steps + sums->calls.steps));
    printf("drains %llu\nrequests %llu\nanswers %llu\nexcused %llu\nover_us %llu\n",
           (unsigned long long)swarm->drains, (unsigned long long)swarm->drain_requests,
           (unsigned long long)swarm->drain_answers, (unsigned long long)swarm->drain_excused,
           (unsigned long long)swarm->drain_over_ns / 1000);
    for (int event = 0; event < SWARM_EVENT_COUNT; event++) {
        printf("fired %llu %s\n", (unsigned long long)swarm->seen[event],
               swarm_event_name((swarm_event)event));
    }
    for (int knob = 0; knob < SIM_KNOB_COUNT; knob++) {
        printf("fired %llu %s\n", (unsigned long long)fired(sums, knob),
               sim_knob_name((sim_knob)knob));
    }
    for (int code = 0; code < CALLS_CODES; code++) {
        printf("fired %llu a client says: %s\n", (unsigned long long)sums->calls.codes[code],
               calls_code_name(code));
    }
    fflush(stdout);
}

static void check_fired(const seed_sums *sums)
{
    for (int knob = 0; knob < SIM_KNOB_COUNT; knob++) {
        if (fired(sums, knob) == 0) {
            fail_msg("knob %s never fired", sim_knob_name((sim_knob)knob));
        }
    }
    for (int event = 0; event < SWARM_EVENT_COUNT; event++) {
        if (sums->swarm.seen[event] == 0) {
            fail_msg("never: %s", swarm_event_name((swarm_event)event));
        }
    }
    for (int code = 0; code < CALLS_CODES; code++) {
        if (sums->calls.codes[code] == 0) {
            fail_msg("no client ever said: %s", calls_code_name(code));
        }
    }
}

static void test_every_seed_keeps_the_rules(void **state)
{
    seed_sums sums = {0};
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
    if (done >= SEEDS_DEFAULT) {
        check_fired(&sums);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_seed_keeps_the_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
