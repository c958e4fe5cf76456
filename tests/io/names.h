/* SPDX-License-Identifier: MIT */
#ifndef TESTS_IO_NAMES_H
#define TESTS_IO_NAMES_H

/*
 * The test programs' own name service: getaddrinfo and freeaddrinfo in place of the system's.
 *
 *   one.test     127.0.0.1            many.test   12 addresses
 *   two.test     ::1 and 127.0.0.1    strange.test   2 that are of no use
 *   foreign.test   two of other machines, and 127.0.0.1
 *   slow.test    as one.test, but no sooner than names_release()
 *   none.test, later.test, memory.test, ...   errors
 */

/* Lets one look-up of slow.test, which is under way or will be, answer. */
void names_release(void);

/* Look-ups so far. */
int names_asked(void);

/* Waits until there were so many. */
void names_wait_for(int look_ups);

/* The ai_flags of the last look-up, and whether its thread is called gate-dns. */
int names_flags(void);
int names_on_named_thread(void);

/* Whether the last look-up was on a thread that blocks SIGUSR1. */
int names_blocked_signals(void);

/* Waits until there were so many look-ups (as names_asked) and each one's thread has ended. */
void names_wait_for_threads(int look_ups);

#endif
