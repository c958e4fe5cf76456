/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_BENCH_WAIT_H
#define GATE_CLI_BENCH_WAIT_H

#include <stdint.h>
#include <sys/epoll.h>

/* As epoll_wait(2), but in nanoseconds; where there is no epoll_pwait2(2), in milliseconds, rounded
 * up. That function is missing in musl, and in glibc before 2.35. */
int bench_wait(int epoll_fd, struct epoll_event *events, int room, uint64_t left_ns);

#endif
