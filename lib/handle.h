/* SPDX-License-Identifier: MIT */
#ifndef GATE_HANDLE_H
#define GATE_HANDLE_H

/* gate_listener: one address that a server listens on, with a socket in each of its workers. It is
 * written before serving, and read by all of them. */

#include <gate/gate.h>

#include "core/addr.h"
#include "io/sock.h"

enum { GATE__NAME_ROOM = 128 }; /* of an address as text; a path of a Unix socket is the longest */

struct gate_listener {
    gate_listener *next;
    gate__sockaddr addr;
    gate__sock_file file; /* of a Unix socket that we opened */
    char name[GATE__NAME_ROOM];
};

#endif
