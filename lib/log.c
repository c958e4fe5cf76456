/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <stdio.h>

uint32_t gate__log_close_level(gate_reason reason)
{
    switch (reason) {
    case GATE_CLOSE_ANSWERED:
    case GATE_CLOSE_REJECTED:
    case GATE_CLOSE_PEER:
    case GATE_CLOSE_IDLE:
    case GATE_CLOSE_STOPPED:
        return GATE_LOG_DEBUG;
    default:
        return GATE_LOG_NOTICE;
    }
}

static void tell(const gate__log *log, uint32_t level, gate_reason reason, const char *peer,
                 const char *text)
{
    gate_event event = {.size = sizeof event,
                        .level = (int32_t)level,
                        .reason = (int32_t)reason,
                        .worker = log->worker,
                        .peer = peer,
                        .text = text};
    log->fn(&event, log->user);
}

void gate__log_close(const gate__log *log, gate_io *io, const gate_sock *sock, gate_reason reason)
{
    uint32_t level = gate__log_close_level(reason);
    if (!gate__log_wants(log, level))
        return;
    char peer[128] = "";
    char text[256];
    gate__sockaddr addr;
    if (!io->ops->peer(io, sock, &addr))
        gate__addr_format(&addr, peer, sizeof peer);
    snprintf(text, sizeof text, "closed %s: %s", peer[0] ? peer : "a connection",
             gate_reason_name((int)reason));
    tell(log, level, reason, peer, text);
}

void gate__log_text(const gate__log *log, uint32_t level, const char *text, const char *detail)
{
    if (!gate__log_wants(log, level))
        return;
    char line[256];
    snprintf(line, sizeof line, detail ? "%s: %s" : "%s", text, detail);
    tell(log, level, GATE_CLOSE_NONE, "", line);
}
