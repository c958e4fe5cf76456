/* SPDX-License-Identifier: MIT */
#ifndef GATE_LOG_H
#define GATE_LOG_H

/* Events on their way to the caller's log function; nothing is formatted that nobody wants. */

#include <gate/gate.h>

#include "io/io.h"

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

/* The level that a close of this reason is told at. */
uint32_t gate__log_close_level(gate_reason reason);

/* sock is still open. */
void gate__log_close(const gate__log *log, gate_io *io, const gate_sock *sock, gate_reason reason);

/* "text", or "text: detail" where detail is not NULL. */
void gate__log_text(const gate__log *log, uint32_t level, const char *text, const char *detail);

#endif
