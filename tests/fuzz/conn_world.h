/* SPDX-License-Identifier: MIT */
#ifndef GATE_TESTS_CONN_WORLD_H
#define GATE_TESTS_CONN_WORLD_H

/* A connection with what its owner, its handler and its peer know of it, so that what it does can
 * be checked against that after each event. */

#include "core/conn.h"
#include "fuzz.h"

#define WORLD_MS UINT64_C(1000000)
#define WORLD_S (1000 * WORLD_MS)

enum { WORLD_REQUESTS_MAX = 512, WORLD_INPUT_MAX = 64 * 1024 };

/* A request, from its delivery on. Its answer's bytes follow from its number. */
typedef struct world_request {
    struct world_slot *slot; /* while it is pending */
    size_t len;              /* of the answer, with its wrap */
    uint8_t answered;
    uint8_t last;
} world_request;

typedef struct world_slot {
    gate__pending pending;
    size_t number;
} world_slot;

typedef struct world {
    gate__conn conn; /* first: the callbacks get a pointer to it */
    gate__conn_config config;
    gate__metrics metrics;
    gate__budget budget;
    gate__chunk_pool pool;
    gate_codec own;
    fuzz_input *script;
    uint64_t now;
    int finite; /* every deadline is one */
    int cut;    /* closed with replies unsent */
    int delivering;
    int slots;     /* pending requests that exist */
    int lent;      /* borrowed answers that were not given back */
    uint8_t phase; /* after the last event */
    uint8_t reason;
    uint8_t *input; /* all that the peer sent while requests were taken */
    size_t input_len;
    size_t parsed; /* where the next request starts in it */
    uint64_t bytes_in;
    uint64_t bytes_out;
    size_t count;    /* of requests */
    size_t sent;     /* requests whose answers are sent whole */
    size_t sent_off; /* bytes of the next one that are sent */
    world_request request[WORLD_REQUESTS_MAX];
} world;

/* Takes its configuration from the script, which later says what handlers do. */
void world_open(world *w, fuzz_input *script);
/* Frees it, and checks that nothing is left. */
void world_close(world *w);

/* After each event. */
void world_check(world *w);

/* The peer sent bytes; for the connection to be told. */
void world_keep_input(world *w, const uint8_t *bytes, size_t len);
/* The peer got bytes: they are the answers in order. */
void world_take_output(world *w, const uint8_t *bytes, size_t len);
/* Answers the nth of the pending requests that have no answer. 0: there is none. */
int world_settle(world *w, size_t nth);
/* At the end: all that was answered up to a last answer or an unanswered request is sent. */
void world_check_sent(const world *w);

#endif
