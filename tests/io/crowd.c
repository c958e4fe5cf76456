/* SPDX-License-Identifier: MIT */
#include "crowd.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/sock.h"

struct member crowd[CROWD];

void run_turns(struct loop *loop, int turns)
{
    for (int i = 0; i < turns; i++)
        assert_int_equal(loop->io->ops->run(loop->io, gate__clock_ns() + MS), 0);
}

static void count_in(gate_io *io, gate_op *op, int result, unsigned flags)
{
    struct member *one = (struct member *)(void *)((char *)op - offsetof(struct member, sock.in));
    const unsigned char *bytes = op->buf;

    (void)io;
    for (int i = 0; i < result; i++)
        one->sum += bytes[i] * (unsigned)++one->bytes;
    one->result = result;
    if (flags & GATE_IO_MORE)
        one->mores++;
    else
        one->finals++;
}

void crowd_gather(int count)
{
    memset(crowd, 0, sizeof crowd);
    for (int i = 0; i < count; i++) {
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
                         0);
        gate__sock_init(&crowd[i].sock, pair[0]);
        crowd[i].peer = pair[1];
    }
}

int crowd_finals(int count)
{
    int sum = 0;

    for (int i = 0; i < count; i++)
        sum += crowd[i].finals;
    return sum;
}

void crowd_wait_finals(struct loop *loop, int count)
{
    for (int i = 0; i < 1000 && crowd_finals(count) < count; i++)
        run_turns(loop, 1);
    for (int i = 0; i < count; i++)
        assert_int_equal(crowd[i].finals, 1);
}

void crowd_recv_all(struct loop *loop, int count, unsigned flags)
{
    for (int i = 0; i < count; i++) {
        crowd[i].finals = 0;
        loop->io->ops->recv(loop->io, &crowd[i].sock, flags, count_in);
    }
    assert_int_equal(crowd_finals(count), 0);
}

void crowd_cancel_all(struct loop *loop, int count)
{
    for (int i = 0; i < count; i++)
        loop->io->ops->cancel(loop->io, &crowd[i].sock, &crowd[i].sock.in);
}

static void ignore(gate_io *io, gate_op *op, int result, unsigned flags)
{
    (void)io, (void)op, (void)result, (void)flags;
}

void crowd_disperse(struct loop *loop, int count)
{
    for (int i = 0; i < count; i++) {
        loop->io->ops->close(loop->io, &crowd[i].sock, ignore);
        close(crowd[i].peer);
    }
    run_turns(loop, 1);
}

void crowd_stay(struct loop *loop, struct member *one)
{
    one->finals = 0;
    loop->io->ops->recv(loop->io, &one->sock, GATE_IO_STAY, count_in);
}
