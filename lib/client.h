/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLIENT_H
#define GATE_CLIENT_H

/*
 * The synchronous client: each call submits one operation after the other on its own gate_io and
 * runs it until the operation completes or the call's deadline passes. Over the blocking backend
 * that is a system call each; over the simulator it is virtual time.
 *
 * The one thing to keep right is the outcome: until the kernel took the first byte of the request,
 * errors are plain -errno (not sent); after it, only codes that say "sent" are returned.
 */

#include <gate/gate.h>

#include "io/io.h"

/* gate_client_exchange on another backend, which stays the caller's; NULL: the blocking one. */
int gate__client_exchange_on(gate_io *io, const char *addr, uint16_t port, const void *request,
                             size_t request_len, void *room, size_t *reply_len, int timeout_ms);

/* gate_client_open on another backend; where it succeeds, io becomes the client's. */
int gate__client_open_on(gate_client **client, gate_io *io, const char *addr, uint16_t port,
                         const gate_client_options *options);

#endif
