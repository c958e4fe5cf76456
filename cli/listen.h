/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_LISTEN_H
#define GATE_CLI_LISTEN_H

/* The addresses that gate-server listens on. */

#include <gate/gate.h>

#include "args.h"

enum { LISTENERS_OPEN_MAX = 1024 };

typedef struct listeners {
    size_t count; /* as they were asked for */
    gate_addr addr[ARGS_LIST_MAX];
    size_t open_count; /* a service manager may pass several under one name */
    gate_listener *open[LISTENERS_OPEN_MAX];
    const gate_addr *asked[LISTENERS_OPEN_MAX]; /* the address that each of them is for */
} listeners;

/* How all of them are opened. */
typedef struct listeners_how {
    int32_t backlog;
    const char *unix_mode;  /* octal; NULL: as umask says */
    const char *unix_owner; /* USER, USER:GROUP or :GROUP; NULL: as it is */
} listeners_how;

/* These three: 0, or an exit code after a report. */
int listeners_parse(listeners *all, const args_list *list);
int listeners_options(const listeners_how *how, gate_listen_options *options);
int listeners_open(listeners *all, gate_server *server, const gate_listen_options *options);

/* The address of an open one as people write it, with the port that the kernel chose for port 0; of
 * an inherited one the address that it has. */
void listeners_text(const listeners *all, size_t at, char *text, size_t room);

enum { LISTENERS_TEXT_MAX = 300 };

#endif
