/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <stdio.h>

uint32_t gate__log_close_level(int reason)
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

void gate__log_close(const gate__log *log, const gate__log_end *end)
{
    char peer[GATE__ADDR_TEXT] = "";
    char text[GATE__ADDR_TEXT + 64];
    gate__sockaddr addr;
    if (gate__peer_known(end->peer)) {
        gate__peer_get(end->peer, &addr);
        gate__addr_format(&addr, peer, sizeof peer);
    }
    const char *name = gate_reason_name(end->reason);
    snprintf(text, sizeof text, "closed %s: %s", peer[0] ? peer : "a connection", name);
    gate_event event = {.size = sizeof event,
                        .level = (int32_t)gate__log_close_level(end->reason),
                        .reason = end->reason,
                        .worker = log->worker,
                        .peer = peer,
                        .text = text,
                        .duration_ns = end->duration_ns,
                        .requests = end->requests,
                        .bytes_in = end->bytes_in,
                        .bytes_out = end->bytes_out,
                        .listener = end->listener ? end->listener->name : "",
                        .name = name};
    log->fn(&event, log->user);
}

void gate__log_text(const gate__log *log, uint32_t level, const char *name, const char *text,
                    const char *detail)
{
    if (!gate__log_wants(log, level))
        return;
    char line[256];
    snprintf(line, sizeof line, detail ? "%s: %s" : "%s", text, detail);
    gate_event event = {.size = sizeof event,
                        .level = (int32_t)level,
                        .worker = log->worker,
                        .peer = "",
                        .text = line,
                        .listener = "",
                        .name = name};
    log->fn(&event, log->user);
}
