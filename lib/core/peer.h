/* SPDX-License-Identifier: MIT */
#ifndef GATE_CORE_PEER_H
#define GATE_CORE_PEER_H

/* The address of a connection's other side, small enough to be kept with each connection: all of
 * an IP address; the name of a Unix socket, which most have not, is a block of its own. */

#include "core/addr.h"

typedef struct gate__peer {
    uint8_t ip[16]; /* or a pointer to a Unix socket's name */
    uint32_t scope;
    uint16_t port; /* network order, as in sockaddr */
    uint8_t kind;  /* 0: not known yet */
} gate__peer;

static inline int gate__peer_known(const gate__peer *peer)
{
    return peer->kind != 0;
}

/* *peer holds nothing before. Without memory the name of a Unix socket is left out. */
void gate__peer_set(gate__peer *peer, const gate__sockaddr *addr);
/* Of one that is known. */
void gate__peer_get(const gate__peer *peer, gate__sockaddr *addr);
void gate__peer_free(gate__peer *peer);

#endif
