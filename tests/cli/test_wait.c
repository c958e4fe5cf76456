/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench_wait.h"

static uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* 0 if it never ends early, tells an event at once, and refuses what epoll refuses; else which. */
static int wait_in_all_ways(void)
{
    static const uint64_t lengths_ns[] = {0, 1, 300000, 1000000, 1700000, 20000001};
    struct epoll_event event = {.events = EPOLLIN}, got;
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC), fd = eventfd(0, EFD_CLOEXEC);

    if (epoll_fd < 0 || fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        return 1;
    for (size_t i = 0; i < sizeof lengths_ns / sizeof lengths_ns[0]; i++) {
        uint64_t start = clock_ns();

        if (bench_wait(epoll_fd, &got, 1, lengths_ns[i]) != 0 || clock_ns() - start < lengths_ns[i])
            return 2;
    }
    if (eventfd_write(fd, 1) != 0 || bench_wait(epoll_fd, &got, 1, UINT64_MAX / 2) != 1)
        return 3;
    return bench_wait(-1, &got, 1, 0) < 0 && errno == EBADF ? 0 : 4;
}

static void test_wait_is_never_too_short(void **state)
{
    (void)state;
    assert_int_equal(wait_in_all_ways(), 0);
}

/* -1: no filter can be set here. */
static int forbid(int call, uint32_t error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static void test_wait_does_without_the_newer_call(void **state)
{
    enum { NO_FILTER = 77, STILL_THERE = 78 };
    static const uint32_t errors[] = {ENOSYS, EPERM};

    (void)state;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        pid_t child = fork();
        int status;

        assert_true(child >= 0);
        if (child == 0) {
            if (forbid(SYS_epoll_pwait2, errors[i]) != 0)
                _exit(NO_FILTER);
            if (syscall(SYS_epoll_pwait2, -1, NULL, 0, NULL, NULL, 0) == 0 || errno == EBADF)
                _exit(STILL_THERE);
            _exit(wait_in_all_ways());
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == NO_FILTER)
            skip();
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wait_is_never_too_short),
        cmocka_unit_test(test_wait_does_without_the_newer_call),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
