/* SPDX-License-Identifier: MIT */
#include "core/peer.h"

#include <stdlib.h>
#include <string.h>

enum { UNKNOWN, IN4, IN6, UNIX, UNIX_NAMED };

static gate__sockaddr *name_of(const gate__peer *peer)
{
    gate__sockaddr *name;
    memcpy(&name, peer->ip, sizeof name);
    return name;
}

static void set_unix(gate__peer *peer, const gate__sockaddr *addr)
{
    peer->kind = UNIX;
    if (addr->len <= offsetof(struct sockaddr_un, sun_path))
        return;
    gate__sockaddr *name = malloc(sizeof *name);
    if (!name)
        return;
    *name = *addr;
    memcpy(peer->ip, &name, sizeof name);
    peer->kind = UNIX_NAMED;
}

void gate__peer_set(gate__peer *peer, const gate__sockaddr *addr)
{
    if (addr->u.any.sa_family == AF_INET) {
        memcpy(peer->ip, &addr->u.in4.sin_addr, sizeof addr->u.in4.sin_addr);
        peer->port = addr->u.in4.sin_port;
        peer->kind = IN4;
    } else if (addr->u.any.sa_family == AF_INET6) {
        memcpy(peer->ip, &addr->u.in6.sin6_addr, sizeof addr->u.in6.sin6_addr);
        peer->port = addr->u.in6.sin6_port;
        peer->scope = addr->u.in6.sin6_scope_id;
        peer->kind = IN6;
    } else {
        set_unix(peer, addr);
    }
}

void gate__peer_get(const gate__peer *peer, gate__sockaddr *addr)
{
    if (peer->kind == UNIX_NAMED) {
        *addr = *name_of(peer);
        return;
    }
    *addr = (gate__sockaddr){0};
    if (peer->kind == IN4) {
        addr->len = sizeof addr->u.in4;
        addr->u.in4.sin_family = AF_INET;
        addr->u.in4.sin_port = peer->port;
        memcpy(&addr->u.in4.sin_addr, peer->ip, sizeof addr->u.in4.sin_addr);
    } else if (peer->kind == IN6) {
        addr->len = sizeof addr->u.in6;
        addr->u.in6.sin6_family = AF_INET6;
        addr->u.in6.sin6_port = peer->port;
        addr->u.in6.sin6_scope_id = peer->scope;
        memcpy(&addr->u.in6.sin6_addr, peer->ip, sizeof addr->u.in6.sin6_addr);
    } else {
        addr->len = offsetof(struct sockaddr_un, sun_path);
        addr->u.un.sun_family = AF_UNIX;
    }
}

void gate__peer_free(gate__peer *peer)
{
    if (peer->kind == UNIX_NAMED)
        free(name_of(peer));
    peer->kind = UNKNOWN;
}
