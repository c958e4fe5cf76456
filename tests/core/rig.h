/* SPDX-License-Identifier: MIT */
#ifndef GATE_TESTS_RIG_H
#define GATE_TESTS_RIG_H

/*
 * One connection on a bench: bytes go in as strings, what it delivers and sends is kept, and the
 * clock stands still until the test moves it. A request's first letter says what its handler does:
 * 'd' defers it, 'x' rejects with the request as the answer, 'z' takes 6 s to echo it, anything
 * else is echoed.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/conn.h"

#define S UINT64_C(1000000000)
#define NEVER UINT64_MAX

enum { RIG_START_S = 100, RIG_SLOTS = 16 };

typedef struct rig {
    gate__conn conn;
    gate__conn_config config; /* timeout 5 s, idle 7 s, write 3 s, handler 4 s, linger 1 s */
    gate__metrics metrics;
    gate__budget budget;
    gate__chunk_pool pool;
    uint64_t now;
    const uint8_t *body; /* where the last one delivered was */
    char seen[1024];     /* the bodies delivered, each behind a space */
    char sent[16384];
    size_t sent_len;
    int last; /* a send was told that it is the last */
    gate__pending slots[RIG_SLOTS];
    size_t slot_count;
    int left_answered;
    int left_gone;
    int released; /* borrowed answers given back */
} rig;

/* NULL: the line codec. Limits may be changed in config until the first event. */
void rig_open(rig *r, const gate_codec *codec);
void rig_close(rig *r);

void rig_bytes(rig *r, const void *bytes, size_t len);
void rig_input(rig *r, const char *text);
void rig_eof(rig *r);
/* Sends at most max bytes. */
void rig_send(rig *r, size_t max);
/* Sends all, and ends our side where that is wanted. */
void rig_flush(rig *r);
/* Answers the i-th deferred request, with a borrowed body. */
void rig_answer(rig *r, size_t i, const char *text, gate_reason last);
/* Moves the clock by ns and lets the connection expire. */
void rig_pass(rig *r, uint64_t ns);

void rig_assert_seen(const rig *r, const char *bodies);
void rig_assert_sent(const rig *r, const char *bytes);
/* Ends behind what it has sent, waits for the peer's end, and is closed by that. */
void rig_assert_ends(rig *r, gate_reason reason);
void rig_assert_closed(const rig *r, gate_reason reason);
/* In nanoseconds from now; NEVER. */
void rig_assert_deadline(const rig *r, uint64_t from_now);

#endif
