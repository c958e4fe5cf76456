/* SPDX-License-Identifier: MIT */

/* What a request costs the worker's timers, counted: nothing. The linker hands the calls of the
 * wheel over to the counters here. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/timers.h"
#include "desk.h"

enum { REQUESTS = 10000, EVERY_NS = 100000 };

static unsigned moves; /* of timers in the wheel */

void __real_gate__timers_insert(gate__timers *timers, gate__timer *timer, uint64_t expires_ms);
void __wrap_gate__timers_insert(gate__timers *timers, gate__timer *timer, uint64_t expires_ms);
void __real_gate__timers_remove(gate__timers *timers, gate__timer *timer);
void __wrap_gate__timers_remove(gate__timers *timers, gate__timer *timer);

void __wrap_gate__timers_insert(gate__timers *timers, gate__timer *timer, uint64_t expires_ms)
{
    moves++;
    __real_gate__timers_insert(timers, timer, expires_ms);
}

void __wrap_gate__timers_remove(gate__timers *timers, gate__timer *timer)
{
    moves++;
    __real_gate__timers_remove(timers, timer);
}

/* What the counter and the handler had counted at a time. */
typedef struct moment {
    desk *all;
    unsigned moves;
    int handled;
} moment;

static void look(sim_world *world, void *arg)
{
    moment *now = arg;

    (void)world;
    now->moves = moves;
    now->handled = now->all->handled;
}

/* Every request moves the deadline, and is answered; the timer stays where it is until it fires.
 * That the deadline has moved shows at the end. */
static void test_a_deadline_is_moved_without_the_wheel(void **state)
{
    const uint64_t last_ns = (REQUESTS - 1) * (uint64_t)EVERY_NS;
    const uint64_t due_ns = last_ns + 5 * (uint64_t)SIM_SECOND;
    desk all = {.options = {.idle_timeout_ms = 5000}};
    moment begin = {.all = &all}, end = {.all = &all};
    sim_peer *peer;

    (void)state;
    moves = 0;
    desk_open(&all, NULL, gate_codec_line());
    peer = scene_peer(&all.scene, NULL);
    peer->send_max = 3;
    peer->send_every_ns = EVERY_NS;
    for (int i = 0; i < REQUESTS; i++)
        sim_peer_send(peer, "e1\n", 3);
    sim_at(all.scene.world, all.scene.start_ns + EVERY_NS / 2, look, &begin);
    sim_at(all.scene.world, all.scene.start_ns + last_ns + EVERY_NS / 2, look, &end);
    scene_stop_in(&all.scene, 20 * (uint64_t)SIM_SECOND);
    scene_serve(&all.scene);
    assert_int_equal(begin.handled, 1);
    assert_int_equal(end.handled, REQUESTS);
    assert_int_equal(begin.moves, 1); /* at accept */
    assert_int_equal(end.moves, 1);
    assert_true(moves > 1); /* the counter still counts */
    assert_in_range(peer->end_ns - peer->connected_ns, due_ns, due_ns + SIM_MS);
    assert_int_equal(all.scene.stats.closed[GATE_CLOSE_IDLE], 1);
    scene_close(&all.scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_deadline_is_moved_without_the_wheel),
    };

    return cmocka_run_group_tests_name("costs", tests, NULL, NULL);
}
