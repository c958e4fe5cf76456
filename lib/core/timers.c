/* SPDX-License-Identifier: MIT */

/*
 * Where a timer stands is said by the highest bit in which its deadline and the present differ: the
 * six-bit group of that bit is its level, the deadline's own six bits there are its slot. So
 *
 *  - at each level every deadline agrees with now above the level's group and is larger in it:
 *    occupied slots lie behind now's own, and a lower level is always due before a higher one;
 *  - a slot comes due when now reaches its first millisecond. What is in it is then due, or moves
 *    to a lower level; a timer moves at most once a level;
 *  - slot 0 of the top level could never be occupied by that rule. It holds the deadlines that lie
 *    beyond the top level's 2^36 ms, to be looked at when the next 2^36 ms begin.
 */

#include "core/timers.h"

#include <string.h>

enum { BITS = 6, TOP = GATE__TIMER_LEVELS - 1, HORIZON_BITS = BITS * GATE__TIMER_LEVELS };

static unsigned index_at(uint64_t time_ms, unsigned level)
{
    return (unsigned)(time_ms >> (BITS * level)) & (GATE__TIMER_SLOTS - 1);
}

static void link_at(gate__timer **head, gate__timer *timer)
{
    timer->next = *head;
    timer->link = head;
    if (timer->next != NULL)
        timer->next->link = &timer->next;
    *head = timer;
}

static void place(gate__timers *timers, gate__timer *timer)
{
    if (timer->expires_ms <= timers->now_ms) {
        link_at(&timers->expired, timer);
        return;
    }
    uint64_t differ = timer->expires_ms ^ timers->now_ms;
    unsigned level = (63 - (unsigned)__builtin_clzll(differ)) / BITS;
    unsigned slot = 0;
    if (level > TOP)
        level = TOP;
    else
        slot = index_at(timer->expires_ms, level);
    timers->occupied[level] |= UINT64_C(1) << slot;
    link_at(&timers->slot[level][slot], timer);
}

void gate__timers_init(gate__timers *timers, uint64_t now_ms)
{
    memset(timers, 0, sizeof(*timers));
    timers->now_ms = now_ms;
}

void gate__timers_insert(gate__timers *timers, gate__timer *timer, uint64_t expires_ms)
{
    gate__timers_remove(timers, timer);
    timer->expires_ms = expires_ms;
    timers->count++;
    place(timers, timer);
}

void gate__timers_remove(gate__timers *timers, gate__timer *timer)
{
    gate__timer **link = timer->link;
    if (link == NULL)
        return;
    *link = timer->next;
    if (timer->next != NULL)
        timer->next->link = link;
    timer->next = NULL;
    timer->link = NULL;
    timers->count--;

    /* The last one of a slot: its link is the slot itself, which names the bit to clear. */
    uintptr_t offset = (uintptr_t)link - (uintptr_t)timers->slot;
    if (*link == NULL && offset < sizeof(timers->slot)) {
        size_t cell = offset / sizeof(*link);
        timers->occupied[cell / GATE__TIMER_SLOTS] &= ~(UINT64_C(1) << cell % GATE__TIMER_SLOTS);
    }
}

uint64_t gate__timers_next(const gate__timers *timers)
{
    if (timers->expired != NULL)
        return timers->now_ms;
    for (unsigned level = 0; level < GATE__TIMER_LEVELS; level++) {
        uint64_t ahead = timers->occupied[level];
        if (level == TOP)
            ahead &= ~UINT64_C(1);
        if (ahead == 0)
            continue;
        unsigned above = BITS * (level + 1);
        uint64_t slot = (uint64_t)__builtin_ctzll(ahead);
        return (timers->now_ms >> above << above) | slot << (BITS * level);
    }
    if (timers->occupied[TOP] != 0)
        return ((timers->now_ms >> HORIZON_BITS) + 1) << HORIZON_BITS;
    return UINT64_MAX;
}

/* The slots of a level that come due on the way from one time to a later one. */
static uint64_t due_slots(uint64_t from_ms, uint64_t to_ms, unsigned level)
{
    unsigned above = BITS * (level + 1);
    if (from_ms >> above != to_ms >> above)
        return UINT64_MAX;
    uint64_t upto_from = (UINT64_C(2) << index_at(from_ms, level)) - 1;
    uint64_t upto_to = (UINT64_C(2) << index_at(to_ms, level)) - 1;
    return upto_to & ~upto_from;
}

static void empty_slot(gate__timers *timers, unsigned level, unsigned slot)
{
    gate__timer *timer = timers->slot[level][slot];
    timers->slot[level][slot] = NULL;
    while (timer != NULL) {
        gate__timer *next = timer->next;
        place(timers, timer);
        timer = next;
    }
}

void gate__timers_advance(gate__timers *timers, uint64_t now_ms)
{
    uint64_t from_ms = timers->now_ms;
    if (now_ms <= from_ms)
        return;
    timers->now_ms = now_ms;
    for (unsigned level = 0; level < GATE__TIMER_LEVELS; level++) {
        if (from_ms >> (BITS * level) == now_ms >> (BITS * level))
            break; /* nothing has moved on this level, nor on those above */
        uint64_t due = timers->occupied[level] & due_slots(from_ms, now_ms, level);
        timers->occupied[level] &= ~due;
        for (; due != 0; due &= due - 1)
            empty_slot(timers, level, (unsigned)__builtin_ctzll(due));
    }
}

gate__timer *gate__timers_pop(gate__timers *timers)
{
    gate__timer *timer = timers->expired;
    if (timer != NULL)
        gate__timers_remove(timers, timer);
    return timer;
}
