/* SPDX-License-Identifier: MIT */
#ifndef GATE_IO_KERNEL_H
#define GATE_IO_KERNEL_H

/* The set-up calls of gate_io that are the same for each backend over the kernel. */

#include "io/io.h"

int gate__kernel_listen(gate_io *io, gate_sock *sock, gate__sockaddr *addr, int backlog,
                        unsigned flags, const gate__rights *rights);
int gate__kernel_adopt(gate_io *io, gate_sock *sock, int fd, gate__sockaddr *addr);
int gate__kernel_same(gate_io *io, int fd, int other);
void gate__kernel_pause(gate_io *io, uint64_t ns);
uint64_t gate__kernel_random(gate_io *io);
void gate__kernel_discard(gate_io *io, int fd);
int gate__kernel_peer(gate_io *io, const gate_sock *sock, gate__sockaddr *addr);
void gate__kernel_reset(gate_io *io, gate_sock *sock);
size_t gate__kernel_unacked(gate_io *io, const gate_sock *sock);
uint64_t gate__kernel_now(gate_io *io);

#endif
