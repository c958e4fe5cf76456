/* SPDX-License-Identifier: MIT */
#include "io/kernel.h"

#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/sock.h"

enum { NS_PER_S = 1000000000 };

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

int gate__kernel_same(gate_io *io, int fd, int other)
{
    struct stat one, two;

    (void)io;
    if (fstat(fd, &one) || fstat(other, &two))
        return 0;
    return one.st_ino == two.st_ino && one.st_dev == two.st_dev;
}

void gate__kernel_pause(gate_io *io, uint64_t ns)
{
    const struct timespec time = {.tv_sec = (time_t)(ns / NS_PER_S),
                                  .tv_nsec = (long)(ns % NS_PER_S)};

    nanosleep(&time, NULL);
    gate__kernel_now(io);
}

/* Where the kernel has none yet, early at boot, the clock and an address have to do. */
uint64_t gate__kernel_random(gate_io *io)
{
    uint64_t number;

    if (getrandom(&number, sizeof number, GRND_NONBLOCK) != (ssize_t)sizeof number)
        number = gate__clock_ns() * UINT64_C(0x9E3779B97F4A7C15) ^ (uint64_t)(uintptr_t)io;
    return number;
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
