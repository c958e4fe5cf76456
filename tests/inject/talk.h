/* SPDX-License-Identifier: MIT */
#ifndef GATE_TESTS_INJECT_TALK_H
#define GATE_TESTS_INJECT_TALK_H

/* A client made of plain calls, which meets no fault but the server's, and takes what comes. */

#include "inject.h"

/* A server may leave a connection in the kernel's queue while a fault lasts. */
enum talk_forbearance {
    TALK_WAITS, /* not for ever, but long */
    TALK_HEALS, /* has the fault end */
    TALK_LEAVES
};

/* The server that is talked to. */
typedef struct talk_server {
    gate_server *server;
    const gate_codec *codec;
    uint16_t port;
    pthread_t thread;
    int rc; /* of serve, once joined */
    atomic_int ended;
    int lost; /* connections that ended before what they were for */
    enum talk_forbearance forbearance;
} talk_server;

typedef struct talk {
    talk_server *with;
    int fd; /* -1: not connected */
} talk;

/* While no server runs. */
void talk_prepare(void);

/* Answers since then that failed with something else than -ENOMEM. */
int talk_wrong_codes(void);

/* What the handler does goes by the first letter: echo, big, lent, deferred, no, unanswered. */
void talk_handler(gate_request *req, const void *body, size_t len, void *user);

/* One exchange; connects where that is needed. 1: the right answer came; 0: the connection ended
 * before. It fails the test where something else came, or nothing for long. */
int talk_ask(talk *t, const char *body);
/* As two requests in one go, of which the first is answered later. */
int talk_ask_both(talk *t, const char *body, const char *next);
/* In two pieces, the second once the server has read the first. */
int talk_ask_slowly(talk *t, const char *body);
void talk_end(talk *t);

#endif
