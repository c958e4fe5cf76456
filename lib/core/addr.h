/* SPDX-License-Identifier: MIT */
#ifndef GATE_CORE_ADDR_H
#define GATE_CORE_ADDR_H

/* Socket addresses as values: numeric text to sockaddr and back, and the key that limits of one
 * source count by. No look-ups: names are resolved in io/resolve.c. gate_addr_parse() of gate.h,
 * which reads addresses as people write them, is in addr.c too. */

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

/* A socket address with its length. */
typedef struct gate__sockaddr {
    socklen_t len;
    union {
        struct sockaddr any;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } u;
} gate__sockaddr;

/* Fills *set from "*", "192.0.2.1", "::1", "[::1]", "unix:/path" or "unix:@name", and the port.
 * 1: host is a name and has to be looked up, or an IPv6 address with the name of a zone
 * ("fe80::1%eth0", also in brackets), of which the system knows the number. 0: done. -EINVAL:
 * empty, or not well formed (a bracket missing, a character that no host name has, numbers that are
 * no IPv4 address). -ENAMETOOLONG: over 253 bytes, or a Unix path that sun_path cannot hold (never
 * truncated). "*" is :: (the listener makes it dual-stack). */
int gate__addr_numeric(gate__sockaddr *set, const char *host, uint16_t port);

/* Room for every address as text: "unix:@", 4 bytes for each of a name, and a NUL. */
enum { GATE__ADDR_TEXT = 6 + 4 * sizeof(((struct sockaddr_un *)0)->sun_path) + 1 };

/* Writes "192.0.2.1:80", "[::1]:80", "unix:/path", "unix:@name" or "unix:" (unnamed) with a NUL,
 * cut to room. A v4-mapped IPv6 address is written as IPv4. Of a Unix name the characters that
 * gate_escape() is for are escaped. */
void gate__addr_format(const gate__sockaddr *set, char *text, size_t room);

/* "::ffff:192.0.2.1" becomes 192.0.2.1; any other address stays as it is. */
void gate__addr_unmap(gate__sockaddr *set);

/* The port in host order; 0 for a Unix socket. */
uint16_t gate__addr_port(const gate__sockaddr *set);

/* The source that limits count by: the IPv4 address (v4-mapped counts as IPv4), or the first 64
 * bits of the IPv6 address; never 0. 0: a source without an address (Unix). */
uint64_t gate__addr_source(const gate__sockaddr *set);

#endif
