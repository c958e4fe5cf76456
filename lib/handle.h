/* SPDX-License-Identifier: MIT */
#ifndef GATE_HANDLE_H
#define GATE_HANDLE_H

/* gate_listener: one address that a server listens on, with a socket in each of its workers. It is
 * written before serving, and read by all of them. */

#include <gate/gate.h>
#include <stdatomic.h>

#include "core/addr.h"
#include "io/sock.h"

enum { GATE__NAME_ROOM = GATE__ADDR_TEXT };

struct gate_listener {
    gate_listener *next;
    gate__sockaddr addr;
    gate__sock_file file; /* of a Unix socket that we opened */
    atomic_int left;      /* the file is none of our business any more */
    char name[GATE__NAME_ROOM];
};

/* The process that serves gives the name up, while its sockets are open: removes the file. Any
 * worker's thread; the first one does it. */
void gate__handle_leave(gate_listener *listener);

/* The sockets of this process are closed. One that did not serve removes the file only if no other
 * process listens on it: the one that it has forked. */
void gate__handle_closed(gate_listener *listener);

#endif
