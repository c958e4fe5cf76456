/* SPDX-License-Identifier: MIT */
#ifndef GATE_IO_SOCK_H
#define GATE_IO_SOCK_H

/* What the backends ask of the kernel about sockets, and the clock. Plain calls that return at
 * once: 0 (or what they say) or a negative code. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/addr.h"
#include "io/io.h"
#include "io/sock_unix.h"

/* Nanoseconds on CLOCK_MONOTONIC. */
uint64_t gate__clock_ns(void);

/* A new CLOEXEC stream socket. flags: SOCK_NONBLOCK or 0. The descriptor, or -errno. */
int gate__sock_open(int family, int flags);

/* Sets TCP_NODELAY where the family has it. */
void gate__sock_nodelay(int fd, int family);

/* Opens a nonblocking listener on *addr, which becomes the bound address. flags: GATE_IO_... of
 * io.h; backlog 0 takes the kernel's largest. The descriptor, or -errno of bind(2) or listen(2).
 * With GATE_IO_DUAL one on :: takes IPv4 as well; where the machine has no IPv6 it is on 0.0.0.0
 * instead.
 * Unix paths: the file of a socket that nobody listens on is replaced. -EADDRINUSE: somebody does.
 * -EEXIST: the file is not a socket; it is left alone. The rights (NULL: as umask says) are set
 * before anyone can connect. */
int gate__sock_listen(gate__sockaddr *addr, int backlog, unsigned flags,
                      const gate__rights *rights);

/* Checks that fd is a listening stream socket (TCP or Unix), makes it nonblocking and CLOEXEC, and
 * fills in its address. On an error fd is as it was. -EBADF, -ENOTSOCK, -EINVAL. */
int gate__sock_adopt(int fd, gate__sockaddr *addr);

/* connect(2). 0, -EINPROGRESS, or the code of a failure. */
int gate__sock_connect(int fd, const gate__sockaddr *addr);

/* Opens a nonblocking socket and starts connecting it. 0, -EINPROGRESS, or the code of a failure;
 * *fd is then still to be closed, or -1. */
int gate__sock_start_connect(int *fd, const gate__sockaddr *addr);

/* What became of it, once the socket can be written to: 0 or a code. */
int gate__sock_finish_connect(int fd);

/* Sends a connection's last bytes. If all of them go out, our side is ended in the same segment:
 * then a close, even over input that is unread, costs the peer nothing of them. The number of
 * bytes, or -errno. */
int gate__sock_send_last(int fd, const void *buf, size_t len);

/* Has close reset the connection. Does nothing to a Unix socket. */
void gate__sock_reset(int fd);

/* Closes it; *fd is -1. Linux frees the descriptor whatever close(2) says. */
void gate__sock_close(int *fd);

/* Another CLOEXEC descriptor of the same socket, or -errno. */
int gate__sock_dup(int fd);

/* Bytes that were sent and the other side has not acknowledged; 0 where that is not known. */
size_t gate__sock_unacked(int fd);

/* Takes a connection off the queue: its descriptor, nonblocking and CLOEXEC, or -errno. *addr is
 * the address of the other side. */
int gate__sock_accept(int fd, gate__sockaddr *addr);

/* The address of the other side, also once that has reset the connection. 0, -errno. */
int gate__sock_peer(int fd, gate__sockaddr *addr);

/* What a finished connect of fd to *addr amounts to: 0, or GATE_ESELF where the kernel has joined
 * the socket to itself (possible when nobody listens on a port that it may also choose from). */
int gate__sock_connected(int fd, const gate__sockaddr *addr);

/* The code for connect's errno: GATE_EPORTS where no local port is left, else -errno. */
int gate__sock_connect_code(const gate__sockaddr *addr, int error);

/* Is it an address of this machine, which can be listened on? */
int gate__sock_is_own(const gate__sockaddr *addr);

#endif
