/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_LISTEN_H
#define GATE_CLI_LISTEN_H

/* The addresses that gate-server listens on. */

#include <gate/gate.h>

#include "args.h"

typedef struct listeners {
    size_t count;
    gate_addr addr[ARGS_LIST_MAX];
} listeners;

/* These two: 0, or an exit code after a report. */
int listeners_parse(listeners *all, const args_list *list);
int listeners_open(const listeners *all, gate_server *server, int backlog);

/* The address as one writes it, with the port that the kernel chose for port 0. */
void listeners_text(const gate_addr *addr, const gate_server *server, char *text, size_t room);

enum { LISTENERS_TEXT_MAX = 300 };

#endif
