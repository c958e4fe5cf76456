/* SPDX-License-Identifier: MIT */
#ifndef TESTS_IO_CROWD_H
#define TESTS_IO_CROWD_H

/* Many connected sockets of a loop with a recv each, and what became of it. */

#include "harness.h"

enum { CROWD = 60 };

struct member {
    gate_sock sock;
    int peer;
    size_t bytes;
    unsigned sum; /* of the bytes, each times its place */
    int mores;
    int finals; /* of the last recv */
    int result;
};

extern struct member crowd[CROWD];

/* Connects the first `count`. */
void crowd_gather(int count);
/* Submits a recv of each, and checks that none completes inside. */
void crowd_recv_all(struct loop *loop, int count, unsigned flags);
void crowd_cancel_all(struct loop *loop, int count);
int crowd_finals(int count);
/* Runs until each recv has ended, once. */
void crowd_wait_finals(struct loop *loop, int count);
/* Submits a recv of one that stays; its results are counted with the others'. */
void crowd_stay(struct loop *loop, struct member *one);
/* Closes all. */
void crowd_disperse(struct loop *loop, int count);

void run_turns(struct loop *loop, int turns);

#endif
