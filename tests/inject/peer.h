/* SPDX-License-Identifier: MIT */
#ifndef GATE_TESTS_INJECT_PEER_H
#define GATE_TESTS_INJECT_PEER_H

/* Echo servers made of plain calls, which meet no fault but the client's. */

#include "inject.h"

enum peer_kind {
    PEER_RAW,  /* answers what one read gives, and closes */
    PEER_EOF,  /* answers all, at the end of input */
    PEER_LINES /* answers whatever comes, until the end of input */
};

typedef struct peer {
    enum peer_kind kind;
    uint16_t port;
    int listener;
    pthread_t thread;
    atomic_int accepted;
    atomic_int closed; /* of those */
    atomic_int heard;  /* connections on which anything came */
} peer;

void peer_start(peer *p, enum peer_kind kind);
void peer_stop(peer *p);
/* Until nobody is connected any more. */
void peer_rest(peer *p);

#endif
