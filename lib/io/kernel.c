/* SPDX-License-Identifier: MIT */
#include "io/kernel.h"

#include <unistd.h>

#include "io/sock.h"

int gate__kernel_listen(gate_io *io, gate_sock *sock, gate__sockaddr *addr, int backlog,
                        unsigned flags, const gate__rights *rights)
{
    int fd = gate__sock_listen(addr, backlog, flags, rights);

    (void)io;
    if (fd < 0)
        return fd;
    gate__sock_init(sock, fd);
    return 0;
}

int gate__kernel_adopt(gate_io *io, gate_sock *sock, int fd, gate__sockaddr *addr)
{
    int rc = gate__sock_adopt(fd, addr);

    (void)io;
    if (rc == 0)
        gate__sock_init(sock, fd);
    return rc;
}

void gate__kernel_discard(gate_io *io, int fd)
{
    (void)io;
    close(fd);
}

int gate__kernel_peer(gate_io *io, const gate_sock *sock, gate__sockaddr *addr)
{
    (void)io;
    return gate__sock_peer(sock->fd, addr);
}

size_t gate__kernel_unacked(gate_io *io, const gate_sock *sock)
{
    (void)io;
    return gate__sock_unacked(sock->fd);
}

void gate__kernel_reset(gate_io *io, gate_sock *sock)
{
    (void)io;
    gate__sock_reset(sock->fd);
}

uint64_t gate__kernel_now(gate_io *io)
{
    return io->now_ns = gate__clock_ns();
}
