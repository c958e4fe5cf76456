/* SPDX-License-Identifier: MIT */
#ifndef GATE_LOG_H
#define GATE_LOG_H

/* Events on their way to the caller's log function; nothing is formatted that nobody wants. */

#include <gate/gate.h>

#include "core/peer.h"
#include "handle.h"

typedef struct gate__log {
    gate_log *fn; /* NULL: none */
    void *user;
    uint32_t level;
    uint32_t worker;
} gate__log;

static inline int gate__log_wants(const gate__log *log, uint32_t level)
{
    return log->fn && level <= log->level;
}

/* What is told about a connection that ends. */
typedef struct gate__log_end {
    int reason;
    const gate__peer *peer;
    const gate_listener *listener;
    uint64_t duration_ns;
    uint64_t requests;
    uint64_t bytes_in;
    uint64_t bytes_out;
} gate__log_end;

/* The level that a close of this reason is told at. */
uint32_t gate__log_close_level(int reason);

void gate__log_close(const gate__log *log, const gate__log_end *end);

/* name: gate_event.name. "text", or "text: detail" where detail is not NULL. */
void gate__log_text(const gate__log *log, uint32_t level, const char *name, const char *text,
                    const char *detail);

#endif
