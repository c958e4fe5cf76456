/* SPDX-License-Identifier: MIT */
#ifndef GATE_TESTS_INJECT_LIFE_H
#define GATE_TESTS_INJECT_LIFE_H

/*
 * The life of a server from open to close with a fault in it, and what has to hold all along:
 *  - what is called and fails says what failed, and changed nothing: it works at the next try;
 *  - serving goes on, or ends with the fault's error where that is allowed;
 *  - a fault that hits once costs one connection at most;
 *  - once it has passed, an exchange works;
 *  - a stop ends it, even while the fault lasts;
 *  - no descriptor, no memory and no thread is left, and each connection was counted once.
 */

#include "inject.h"

/* What clients do. */
enum life_kind {
    LIFE_PLAIN,   /* a few exchanges; 1 worker */
    LIFE_WATCHED, /* the same with a limit for each source, and events */
    LIFE_FULL     /* over all kinds of listeners; every sort of answer; 2 workers */
};

/* How long a fault lasts. */
enum life_span {
    LIFE_ONCE,
    LIFE_WHILE, /* until a connection was lost, at least; then an exchange has to work */
    LIFE_ALWAYS /* until the server is closed */
};

/* What a fault may do besides, or may not. */
enum {
    LIFE_UNSEEN = 1,   /* calls that the fault hits may succeed all the same */
    LIFE_ENDS = 2,     /* serving may end with the error */
    LIFE_NO_START = 4, /* the same, but only before the first connection */
    LIFE_FILE = 8,     /* the Unix socket's file may stay */
    LIFE_LOSSLESS = 16 /* not even one connection may be lost, if it ever passes */
};

typedef struct life {
    enum life_kind kind;
    uint32_t io;
    const gate_codec *codec;
    enum life_span span;
    unsigned allows;
    int code; /* what open and listen say to the fault */
    inject_fault fault;
} life;

/* Lives it, and checks. How often the fault has hit. */
int life_live(const life *life);

/* Lives it with the fault at the first occurrences of the call, one in the middle and the last one,
 * for each of these spans (1 << LIFE_...); those that last, at the first and in the middle only.
 * Says how often it has hit, which must not be never. A fault that lasts hits `most` times, if that
 * is given. */
void life_sweep(const life *life, unsigned spans, int most);

/* Counts the calls of a life in which nothing fails: how often this one is made. */
int life_count(const life *life, int call);

/* Around each test: what is left is stopped, and the fault of a test that failed is told. */
int life_setup(void **state);
int life_teardown(void **state);

#define LIFE_TEST(test)                              \
    {                                                \
#test, test, life_setup, life_teardown, NULL \
    }
#define LIFE_TEST_EACH_IO(test)                                          \
    {#test " (epoll)", test, life_setup, life_teardown, &net_epoll},     \
    {                                                                    \
#test " (io_uring)", test, life_setup, life_teardown, &net_uring \
    }

#endif
