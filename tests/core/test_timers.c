/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "core/timers.h"
#include "seed.h"

static const uint64_t year_ms = UINT64_C(31536000000);

/* The bitmaps say which slots hold timers, and every timer is counted. */
static void check_shape(const gate__timers *timers)
{
    size_t count = 0;

    for (int level = 0; level < GATE__TIMER_LEVELS; level++) {
        for (int slot = 0; slot < GATE__TIMER_SLOTS; slot++) {
            const gate__timer *timer = timers->slot[level][slot];
            assert_int_equal(timers->occupied[level] >> slot & 1, timer != NULL);
            for (; timer != NULL; timer = timer->next) {
                assert_true(timer->expires_ms > timers->now_ms);
                count++;
            }
        }
    }
    for (const gate__timer *timer = timers->expired; timer != NULL; timer = timer->next)
        count++;
    assert_int_equal(count, timers->count);
}

static void test_an_empty_wheel_has_no_next(void **state)
{
    (void)state;
    gate__timers timers;
    gate__timers_init(&timers, 1000);
    assert_true(gate__timers_next(&timers) == UINT64_MAX);
    assert_null(gate__timers_pop(&timers));
    gate__timers_advance(&timers, UINT64_MAX);
    assert_null(gate__timers_pop(&timers));
}

static void test_a_timer_fires_at_its_millisecond_and_not_before(void **state)
{
    (void)state;
    static const uint64_t distances[] = {1,    2,    63,    64,      65,      4095,
                                         4096, 5000, 86400, 1 << 24, 1 << 30, 1 << 18};
    for (uint64_t start = 0; start < 200; start += 7) {
        for (size_t i = 0; i < sizeof(distances) / sizeof(distances[0]); i++) {
            gate__timers timers;
            gate__timer timer = {0};
            gate__timers_init(&timers, start);
            gate__timers_insert(&timers, &timer, start + distances[i]);
            gate__timers_advance(&timers, start + distances[i] - 1);
            assert_null(gate__timers_pop(&timers));
            gate__timers_advance(&timers, start + distances[i]);
            assert_ptr_equal(gate__timers_pop(&timers), &timer);
            assert_false(gate__timer_linked(&timer));
            assert_null(gate__timers_pop(&timers));
        }
    }
}

static void test_a_deadline_that_has_passed_fires_at_the_next_pop(void **state)
{
    (void)state;
    gate__timers timers;
    gate__timer past = {0}, present = {0};
    gate__timers_init(&timers, 1000);
    gate__timers_insert(&timers, &past, 1);
    gate__timers_insert(&timers, &present, 1000);
    assert_true(gate__timers_next(&timers) <= 1000);
    assert_non_null(gate__timers_pop(&timers));
    assert_non_null(gate__timers_pop(&timers));
    assert_null(gate__timers_pop(&timers));
    assert_true(gate__timers_next(&timers) == UINT64_MAX);
}

static void test_next_is_exact_within_the_same_64_ms(void **state)
{
    (void)state;
    gate__timers timers;
    gate__timer timer = {0};
    gate__timers_init(&timers, 128);
    gate__timers_insert(&timers, &timer, 191);
    assert_true(gate__timers_next(&timers) == 191);
}

static void test_waiting_for_next_needs_few_wake_ups(void **state)
{
    (void)state;
    gate__timers timers;
    gate__timer timer = {0};
    int wake_ups = 0;
    gate__timers_init(&timers, 12345);
    gate__timers_insert(&timers, &timer, 12345 + 2 * year_ms);
    while (gate__timers_pop(&timers) == NULL && wake_ups++ < 100)
        gate__timers_advance(&timers, gate__timers_next(&timers));
    assert_in_range(wake_ups, 1, GATE__TIMER_LEVELS + 1);
    assert_true(timers.now_ms == 12345 + 2 * year_ms);
}

static void test_removed_timers_do_not_fire(void **state)
{
    (void)state;
    gate__timers timers;
    gate__timer timer[3] = {{0}};
    gate__timers_init(&timers, 0);
    for (int i = 0; i < 3; i++)
        gate__timers_insert(&timers, &timer[i], 100);
    gate__timers_remove(&timers, &timer[1]);
    gate__timers_remove(&timers, &timer[1]);
    check_shape(&timers);
    gate__timers_advance(&timers, 100);
    gate__timers_remove(&timers, &timer[0]); /* fired, and not yet popped */
    check_shape(&timers);
    assert_ptr_equal(gate__timers_pop(&timers), &timer[2]);
    assert_null(gate__timers_pop(&timers));
}

static void test_inserting_a_linked_timer_moves_it(void **state)
{
    (void)state;
    gate__timers timers;
    gate__timer timer = {0};
    gate__timers_init(&timers, 0);
    gate__timers_insert(&timers, &timer, 10);
    gate__timers_insert(&timers, &timer, 5000);
    assert_int_equal(timers.count, 1);
    gate__timers_advance(&timers, 4999);
    assert_null(gate__timers_pop(&timers));
    gate__timers_insert(&timers, &timer, 4000);
    assert_ptr_equal(gate__timers_pop(&timers), &timer);
    assert_int_equal(timers.count, 0);
}

static void test_timers_may_be_inserted_and_removed_between_pops(void **state)
{
    (void)state;
    gate__timers timers;
    gate__timer timer[4] = {{0}};
    gate__timers_init(&timers, 0);
    for (int i = 0; i < 3; i++)
        gate__timers_insert(&timers, &timer[i], 50);
    gate__timers_advance(&timers, 60);

    gate__timer *first = gate__timers_pop(&timers);
    gate__timer *gone = first == &timer[0] ? &timer[1] : &timer[0];
    gate__timers_remove(&timers, gone);
    gate__timers_insert(&timers, &timer[3], 60); /* due at once */
    gate__timers_insert(&timers, first, 61);     /* due later */
    int fired = 0;
    for (gate__timer *one; (one = gate__timers_pop(&timers)) != NULL && fired < 10; fired++) {
        assert_ptr_not_equal(one, gone);
        assert_ptr_not_equal(one, first);
    }
    assert_int_equal(fired, 2);
    gate__timers_advance(&timers, 61);
    assert_ptr_equal(gate__timers_pop(&timers), first);
}

static void test_time_does_not_move_back(void **state)
{
    (void)state;
    gate__timers timers;
    gate__timer timer = {0};
    gate__timers_init(&timers, 1000);
    gate__timers_insert(&timers, &timer, 1100);
    gate__timers_advance(&timers, 5);
    assert_true(timers.now_ms == 1000);
    gate__timers_advance(&timers, 1100);
    assert_ptr_equal(gate__timers_pop(&timers), &timer);
}

static void test_the_last_deadline_of_all_fires_at_the_end_of_time(void **state)
{
    (void)state;
    gate__timers timers;
    gate__timer timer = {0};
    gate__timers_init(&timers, 7);
    gate__timers_insert(&timers, &timer, UINT64_MAX);
    for (uint64_t now = 8; now < UINT64_MAX / 3; now *= 3) {
        gate__timers_advance(&timers, now);
        assert_null(gate__timers_pop(&timers));
        assert_true(gate__timers_next(&timers) > now);
        check_shape(&timers);
    }
    gate__timers_advance(&timers, UINT64_MAX - 1);
    assert_null(gate__timers_pop(&timers));
    assert_true(gate__timers_next(&timers) == UINT64_MAX);
    gate__timers_advance(&timers, UINT64_MAX);
    assert_ptr_equal(gate__timers_pop(&timers), &timer);
}

static void test_a_deadline_just_over_the_horizon_is_on_time(void **state)
{
    (void)state;
    gate__timers timers;
    gate__timer timer = {0};
    uint64_t horizon = UINT64_C(1) << 36;
    gate__timers_init(&timers, horizon - 1);
    gate__timers_insert(&timers, &timer, horizon + 1);
    assert_true(gate__timers_next(&timers) == horizon);
    gate__timers_advance(&timers, horizon);
    assert_null(gate__timers_pop(&timers));
    assert_true(gate__timers_next(&timers) == horizon + 1);
    gate__timers_advance(&timers, horizon + 1);
    assert_ptr_equal(gate__timers_pop(&timers), &timer);
}

/* ---- Against a plain list ---- */

enum { MODEL_TIMERS = 60, MODEL_STEPS = 4000, MODEL_ROUNDS = 40 };

typedef struct model {
    gate__timers timers;
    gate__timer timer[MODEL_TIMERS];
    uint64_t deadline[MODEL_TIMERS];
    int live[MODEL_TIMERS];
    uint64_t now;
} model;

static uint64_t add_capped(uint64_t base, uint64_t more)
{
    return base > UINT64_MAX - more ? UINT64_MAX : base + more;
}

/* Any magnitude is as likely as another, and the edges of the levels are common. */
static uint64_t random_distance(unsigned bits_max)
{
    unsigned bits = (unsigned)seed_below(bits_max);
    uint64_t edge = UINT64_C(1) << bits;
    switch (seed_below(4)) {
    case 0:
        return edge - 1;
    case 1:
        return edge;
    default:
        return edge + seed_next() % edge;
    }
}

static void model_insert(model *m)
{
    size_t i = seed_below(MODEL_TIMERS);
    uint64_t deadline = add_capped(m->now, random_distance(seed_below(8) == 0 ? 64 : 40));

    if (seed_below(10) == 0)
        deadline = m->now - (m->now < 100 ? m->now : seed_below(100));
    m->deadline[i] = deadline;
    m->live[i] = 1;
    gate__timers_insert(&m->timers, &m->timer[i], deadline);
}

static void model_remove(model *m)
{
    size_t i = seed_below(MODEL_TIMERS);
    gate__timers_remove(&m->timers, &m->timer[i]);
    m->live[i] = 0;
}

static uint64_t model_earliest(const model *m, size_t *count)
{
    uint64_t earliest = UINT64_MAX;
    *count = 0;
    for (size_t i = 0; i < MODEL_TIMERS; i++) {
        if (!m->live[i])
            continue;
        ++*count;
        if (m->deadline[i] < earliest)
            earliest = m->deadline[i];
    }
    return earliest;
}

static void model_check(const model *m)
{
    size_t count;
    uint64_t earliest = model_earliest(m, &count);
    uint64_t next = gate__timers_next(&m->timers);

    assert_int_equal(count, m->timers.count);
    for (size_t i = 0; i < MODEL_TIMERS; i++)
        assert_int_equal(m->live[i], gate__timer_linked(&m->timer[i]));
    if (count == 0)
        assert_true(next == UINT64_MAX);
    else if (earliest <= m->now)
        assert_true(next <= m->now);
    else
        assert_true(next > m->now && next <= earliest);
}

/* Pops what is due, or with `some` only a part, and now and then changes the wheel in between. */
static void model_pop(model *m, int some)
{
    for (int turn = 0; turn < 1000; turn++) {
        if (some && seed_below(3) == 0)
            return;
        gate__timer *timer = gate__timers_pop(&m->timers);
        if (timer == NULL) {
            size_t count;
            uint64_t earliest = model_earliest(m, &count);
            assert_true(count == 0 || earliest > m->now); /* none is late */
            return;
        }
        size_t i = (size_t)(timer - m->timer);
        assert_true(m->live[i]);
        assert_true(m->deadline[i] <= m->now); /* none is early */
        m->live[i] = 0;
        if (seed_below(6) == 0)
            model_insert(m);
        if (seed_below(6) == 0)
            model_remove(m);
    }
    fail_msg("popping does not end");
}

static void model_advance(model *m)
{
    uint64_t next = gate__timers_next(&m->timers);

    if (seed_below(3) == 0 && next != UINT64_MAX && next > m->now)
        m->now = next;
    else
        m->now = add_capped(m->now, random_distance(seed_below(50) == 0 ? 60 : 37));
    gate__timers_advance(&m->timers, m->now);
}

static void run_model(uint64_t start)
{
    model m = {.now = start};

    gate__timers_init(&m.timers, start);
    for (int step = 0; step < MODEL_STEPS; step++) {
        switch (seed_below(6)) {
        case 0:
            model_remove(&m);
            break;
        case 1:
            model_advance(&m);
            break;
        case 2:
            model_pop(&m, 1);
            break;
        case 3:
            model_pop(&m, 0);
            break;
        default:
            model_insert(&m);
            break;
        }
        model_check(&m);
        if (step % 16 == 0)
            check_shape(&m.timers);
    }
}

static void test_it_agrees_with_a_plain_list(void **state)
{
    (void)state;
    seed_start();
    for (int round = 0; round < MODEL_ROUNDS; round++)
        run_model(random_distance(round % 2 == 0 ? 63 : 20));
}

/* Only what a server does: deadlines of seconds, steps of milliseconds. */
static void test_small_steps_agree_with_a_plain_list(void **state)
{
    (void)state;
    model m = {.now = (UINT64_C(1) << 36) - 20000};

    seed_start();
    gate__timers_init(&m.timers, m.now);
    for (int step = 0; step < 40000; step++) {
        size_t i = seed_below(MODEL_TIMERS);
        m.deadline[i] = m.now + seed_below(6000);
        m.live[i] = 1;
        gate__timers_insert(&m.timers, &m.timer[i], m.deadline[i]);
        m.now += seed_below(3);
        gate__timers_advance(&m.timers, m.now);
        model_pop(&m, 0);
        model_check(&m);
    }
    check_shape(&m.timers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_wheel_has_no_next),
        cmocka_unit_test(test_a_timer_fires_at_its_millisecond_and_not_before),
        cmocka_unit_test(test_a_deadline_that_has_passed_fires_at_the_next_pop),
        cmocka_unit_test(test_next_is_exact_within_the_same_64_ms),
        cmocka_unit_test(test_waiting_for_next_needs_few_wake_ups),
        cmocka_unit_test(test_removed_timers_do_not_fire),
        cmocka_unit_test(test_inserting_a_linked_timer_moves_it),
        cmocka_unit_test(test_timers_may_be_inserted_and_removed_between_pops),
        cmocka_unit_test(test_time_does_not_move_back),
        cmocka_unit_test(test_the_last_deadline_of_all_fires_at_the_end_of_time),
        cmocka_unit_test(test_a_deadline_just_over_the_horizon_is_on_time),
        cmocka_unit_test(test_it_agrees_with_a_plain_list),
        cmocka_unit_test(test_small_steps_agree_with_a_plain_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
