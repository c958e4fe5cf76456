/* SPDX-License-Identifier: MIT */
#ifndef GATE_TESTS_LIAR_H
#define GATE_TESTS_LIAR_H

/* A gate_io for one client, behind which a script plays the network, the name service and a server
 * that answers whatever it likes. It holds the client to the contract of io.h. */

#include "fuzz.h"
#include "io/io.h"

enum { LIAR_TURNS_MAX = 20000 };

typedef struct liar {
    gate_io io;
    fuzz_input *script;
    gate_sock *sock; /* whose ops these are */
    gate_op *in;
    gate_op *out;
    gate_resolve *lookup;
    int cancelled; /* which ops in flight are to be */
    int turns;
    int open;      /* sockets */
    int freed;     /* how often the client has given the io back */
    int ended;     /* the client has ended its side of this connection */
    uint8_t *sent; /* what the client has sent since liar_forget, on this connection */
    size_t sent_len;
    uint8_t *said; /* what the server has said */
    size_t said_len;
    int said_end; /* and then the end */
} liar;

void liar_init(liar *l, fuzz_input *script);

/* Forgets what was sent and said: a new call begins, or nothing more does. */
void liar_forget(liar *l);

#endif
