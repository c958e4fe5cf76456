/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_BENCH_DIAL_H
#define GATE_CLI_BENCH_DIAL_H

/* Where the load goes: from the text of an address to the one socket address. */

#include <gate/gate.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { BENCH_ADDRS_MAX = 8, BENCH_ADDR_TEXT = 128 };

typedef struct bench_addr {
    struct sockaddr_storage addr;
    socklen_t len;
} bench_addr;

/* What a text names, after a look-up if it is a name: up to BENCH_ADDRS_MAX, each once. 0, or an
 * exit code after a report. */
int bench_dial_find(const char *text, bench_addr addrs[BENCH_ADDRS_MAX], unsigned *count);

/* Which of several addresses a client of this name would reach: each is connected to in turn, with
 * an equal share of the time that is left, until one takes the connection, which is closed again. 0
 * and the number of the address, or the -errno of the last one. */
int bench_dial_try(const bench_addr addrs[], unsigned count, uint32_t timeout_ms, unsigned *chosen);

/* "127.0.0.1:9001", "[::1]:9001", "unix:/path" */
const char *bench_dial_text(const bench_addr *addr, char text[BENCH_ADDR_TEXT]);

#endif
