/* SPDX-License-Identifier: MIT */
#ifndef GATE_LISTEN_H
#define GATE_LISTEN_H

/* Opening a server's listeners: checks what was asked for, and gives each worker its socket, or
 * none of them. */

#include <gate/gate.h>

#include "handle.h"
#include "worker.h"

/* What a caller asks for; options is NULL or the caller's. */
typedef struct gate__listen {
    const char *addr;
    uint16_t port;
    const gate_listen_options *options;
    uint32_t server_flags; /* gate_options.flags */
    gate_error *error;
} gate__listen;

/* Opens *made on all workers, before they serve. 0, or a code; nothing has changed then. */
int gate__listen_open(gate_listener **made, gate__worker *workers, uint32_t count,
                      const gate__listen *asked);

/* Frees a list of them, once their sockets are closed. */
void gate__listen_free(gate_listener *first);

#endif
