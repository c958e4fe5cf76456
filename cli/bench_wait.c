/* SPDX-License-Identifier: MIT */
#include "bench_wait.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SECOND = 1000000000, MILLISECOND = 1000000 };

/* The number is the same on all machines but Alpha, and older headers do not have it. */
#if !defined SYS_epoll_pwait2 && !defined __alpha__
#define SYS_epoll_pwait2 441
#endif

/* A container's filter may answer EPERM to a call that it does not know. */
static int is_missing(int error)
{
    return error == ENOSYS || error == EPERM;
}

int bench_wait(int epoll_fd, struct epoll_event *events, int room, uint64_t left_ns)
{
    uint64_t left_ms = left_ns / MILLISECOND + (left_ns % MILLISECOND != 0);

#ifdef SYS_epoll_pwait2
    /* The kernel's struct, which has 64 bits on every machine. */
    const struct {
        int64_t seconds;
        int64_t nanoseconds;
    } left = {(int64_t)(left_ns / SECOND), (int64_t)(left_ns % SECOND)};
    long count = syscall(SYS_epoll_pwait2, epoll_fd, events, room, &left, NULL, (size_t)0);

    if (count >= 0 || !is_missing(errno))
        return (int)count;
#endif
    return epoll_wait(epoll_fd, events, room, left_ms < INT_MAX ? (int)left_ms : INT_MAX);
}
