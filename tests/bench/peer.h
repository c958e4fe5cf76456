/* SPDX-License-Identifier: MIT */
#ifndef GATE_BENCH_PEER_H
#define GATE_BENCH_PEER_H

/* What the servers of the race share: the exchange, and the start. Each is run as
 *     PROGRAM once|line
 * once: one read, one answer, close. line: lines, answered until the client closes. */

#include <stddef.h>

#define PEER_WELCOME "welcome to server!"
#define PEER_REJECT "please go out!"

enum {
    PEER_BATCH = 64,    /* lines that are answered with one send */
    PEER_BUFFER = 2048, /* what one read takes */
    PEER_BACKLOG = 4096,
    PEER_TIMEOUT_MS = 5000
};

typedef struct peer_answer {
    const char *bytes;
    size_t len;
    int last; /* a rejection: close behind it */
} peer_answer;

/* 1: line, 0: once. Ends the program where argv has neither. */
int peer_is_line(int argc, char **argv);

/* Listens on a free port of every IPv4 address, nonblocking, and says "listening on 127.0.0.1:PORT"
 * on stderr. Ends the program where that fails. */
int peer_listen(void);

/* The answer to what one read gave. The bytes are constant and need no copy: a batch of welcomes is
 * a piece of one long text. Lines behind a rejection, or over PEER_BATCH, are dropped, and so is
 * one that was cut: the race sends neither. */
peer_answer peer_once(const char *bytes, size_t len);
peer_answer peer_lines(const char *bytes, size_t len);

void peer_nodelay(int fd);

/* Says what failed and ends the program. */
_Noreturn void peer_die(const char *what);

#endif
