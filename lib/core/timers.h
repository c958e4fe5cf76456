/* SPDX-License-Identifier: MIT */
#ifndef GATE_CORE_TIMERS_H
#define GATE_CORE_TIMERS_H

/*
 * All deadlines of one worker: a hierarchical timing wheel of one-millisecond ticks. Insert and
 * remove are O(1); the next deadline is found through one bitmap a level. Pure: time is an argument
 * and only moves forward (an earlier `now` is taken as the last one).
 *
 * Moving a deadline later costs nothing here: the owner keeps its own deadline, leaves the timer
 * where it is, and looks when it fires whether the time has really come.
 */

#include <stddef.h>
#include <stdint.h>

typedef struct gate__timer gate__timer;
struct gate__timer {
    gate__timer *next;
    gate__timer **link; /* what points at this one; NULL: not in a wheel */
    uint64_t expires_ms;
};

enum { GATE__TIMER_LEVELS = 6, GATE__TIMER_SLOTS = 64 };

typedef struct gate__timers {
    uint64_t now_ms;
    size_t count;
    uint64_t occupied[GATE__TIMER_LEVELS]; /* one bit a slot */
    gate__timer *slot[GATE__TIMER_LEVELS][GATE__TIMER_SLOTS];
    gate__timer *expired; /* fired and not yet popped */
} gate__timers;

void gate__timers_init(gate__timers *timers, uint64_t now_ms);

/* Puts an idle or linked timer at expires_ms; one that is due already fires at the next pop.
 * Never early; at most one tick late. Any distance, UINT64_MAX included. */
void gate__timers_insert(gate__timers *timers, gate__timer *timer, uint64_t expires_ms);

/* Idle timers are fine. */
void gate__timers_remove(gate__timers *timers, gate__timer *timer);

static inline int gate__timer_linked(const gate__timer *timer)
{
    return timer->link != NULL;
}

/* A time not later than the earliest deadline, and later than now unless one is due; UINT64_MAX if
 * there are none. (Far deadlines are known to their level's precision: a wake-up at that time finds
 * nothing due and asks again.) */
uint64_t gate__timers_next(const gate__timers *timers);

/* Moves the wheel to now_ms; then gate__timers_pop gives the timers that are due, one by one and
 * unlinked, NULL when no more. Others may be inserted and removed between pops. */
void gate__timers_advance(gate__timers *timers, uint64_t now_ms);
gate__timer *gate__timers_pop(gate__timers *timers);

#endif
