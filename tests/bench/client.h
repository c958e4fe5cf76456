/* SPDX-License-Identifier: MIT */
#ifndef GATE_BENCH_CLIENT_H
#define GATE_BENCH_CLIENT_H

/* The two clients of the race are the same program but for one function:
 *     PROGRAM PORT COUNT
 * makes COUNT exchanges with the one-shot server on that port of 127.0.0.1, and prints the CPU
 * nanoseconds that they took this process. */

#include <stddef.h>
#include <stdint.h>

/* One exchange: 0, and the length of the reply. */
int client_exchange(uint16_t port, void *reply, size_t *reply_len);

#endif
