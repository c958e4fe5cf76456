/* SPDX-License-Identifier: MIT */
#include "far.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "../sim/plain.h"
#include "io/sock.h"

int far_listen(struct loop *loop, gate__sockaddr *addr, int backlog)
{
    if (loop->world)
        return sim_listen_fd(loop->world, addr, backlog);
    return plain_listen(addr, backlog);
}

int far_connect(struct loop *loop, const gate__sockaddr *addr)
{
    return loop->world ? sim_plain_connect(loop->world, addr) : plain_connect(addr);
}

int far_accept(struct loop *loop, int listener)
{
    return loop->world ? sim_plain_accept(loop->world, listener) : plain_accept(listener);
}

int far_accept_for_loop(struct loop *loop, int listener)
{
    int fd;

    if (!loop->world) {
        fd = plain_accept(listener);
        assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
        return fd;
    }
    fd = sim_plain_accept(loop->world, listener);
    sim_plain_give(fd, loop->io);
    return fd;
}

int far_refuse(struct loop *loop, gate__sockaddr *addr)
{
    int fd;

    set_addr(addr, "127.0.0.1", 9);
    if (loop->world)
        return -1;
    addr->u.in4.sin_port = 0;
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, &addr->u.any, addr->len), 0);
    assert_int_equal(getsockname(fd, &addr->u.any, &addr->len), 0);
    return fd;
}

void far_send(struct loop *loop, int fd, const void *bytes, size_t len)
{
    if (loop->world)
        sim_plain_send(loop->world, fd, bytes, len);
    else
        plain_send(fd, bytes, len);
}

size_t far_recv(struct loop *loop, int fd, void *bytes, size_t len)
{
    return loop->world ? sim_plain_recv(loop->world, fd, bytes, len) : plain_recv(fd, bytes, len);
}

int far_sees_reset(struct loop *loop, int fd)
{
    char rest[64];
    ssize_t got;

    if (loop->world) {
        while (sim_plain_recv(loop->world, fd, rest, sizeof rest) > 0)
            ;
        return sim_plain_was_reset(loop->world, fd);
    }
    while ((got = recv(fd, rest, sizeof rest, 0)) > 0)
        ;
    return got < 0 && errno == ECONNRESET;
}

void far_end(struct loop *loop, int fd)
{
    if (loop->world)
        sim_plain_end(loop->world, fd);
    else
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
}

void far_close(struct loop *loop, int fd)
{
    if (fd < 0)
        return;
    if (loop->world)
        sim_plain_close(loop->world, fd);
    else
        close(fd);
}

void far_reset(struct loop *loop, int fd)
{
    if (loop->world)
        sim_plain_reset(loop->world, fd);
    else
        plain_reset(fd);
}

/* The kernel lets one in beyond the backlog, which may be on its way only. */
static int start_connect(const gate__sockaddr *addr)
{
    int fd = gate__sock_open(AF_INET, SOCK_NONBLOCK);

    assert_true(connect(fd, &addr->u.any, addr->len) == 0 || errno == EINPROGRESS);
    return fd;
}

void fill_queue(struct loop *loop, int fillers[2])
{
    set_addr(&loop->addr, "127.0.0.1", 0);
    loop->listener = far_listen(loop, &loop->addr, 0);
    fillers[0] = far_connect(loop, &loop->addr);
    fillers[1] = loop->world ? -1 : start_connect(&loop->addr);
}
