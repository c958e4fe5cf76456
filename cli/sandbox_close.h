/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_SANDBOX_CLOSE_H
#define GATE_CLI_SANDBOX_CLOSE_H

/* Closes every descriptor but the standard three, listening sockets, and those of epoll, io_uring
 * and eventfd: what somebody left open for this process could be used through a ring, where no
 * filter sees to whom a datagram is sent. A standard one that can send to anybody becomes
 * /dev/null. 0 or an errno. */
int sandbox_close_others(void);

#endif
