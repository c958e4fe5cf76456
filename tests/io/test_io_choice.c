/* SPDX-License-Identifier: MIT */

/* Which backend is opened. */

#include "harness.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EPOLL = 1, URING = 2 };

/* Why io_uring is not to be had here, or 0. */
static int refused(void)
{
    gate_io *io;
    int rc = gate__io_uring_open(&io);

    if (rc == 0)
        io->ops->free(io);
    return rc;
}

static int last_environment; /* gate_io.environment of the last that was opened */

/* EPOLL or URING, or the code. */
static int open_with(const char *environment, uint32_t kind)
{
    gate_io *io = NULL;
    int rc;

    if (environment)
        setenv("GATE_IO", environment, 1);
    else
        unsetenv("GATE_IO");
    rc = gate__io_open(&io, kind);
    unsetenv("GATE_IO");
    if (rc < 0)
        return rc;
    rc = strcmp(io->ops->name, "epoll") ? URING : EPOLL;
    last_environment = io->environment;
    if (kind == GATE_IO_EPOLL || (environment && !strcmp(environment, "epoll")))
        assert_int_equal(io->fallback, 0);
    else
        assert_int_equal(io->fallback, rc == EPOLL ? refused() : 0);
    io->ops->free(io);
    return rc;
}

static void test_environment_is_the_default_of_the_option(void **state)
{
    int rc = refused();
    int best = rc < 0 ? EPOLL : URING;

    (void)state;
    assert_int_equal(open_with(NULL, GATE_IO_AUTO), best);
    assert_int_equal(open_with("", GATE_IO_AUTO), best);
    assert_int_equal(open_with("auto", GATE_IO_AUTO), best);
    assert_int_equal(open_with(NULL, GATE_IO_EPOLL), EPOLL);
    assert_int_equal(open_with("epoll", GATE_IO_AUTO), EPOLL);
    assert_int_equal(open_with("io_uring", GATE_IO_AUTO), rc < 0 ? rc : URING);
    assert_int_equal(open_with("epoll", GATE_IO_URING), rc < 0 ? rc : URING);
    assert_int_equal(open_with("", GATE_IO_EPOLL), EPOLL);
    assert_int_equal(open_with(NULL, GATE_IO_URING), rc < 0 ? rc : URING);
    assert_int_equal(open_with("io_uring", GATE_IO_EPOLL), EPOLL);
}

static void test_unknown_environment_is_ignored_and_noted(void **state)
{
    int best = refused() < 0 ? EPOLL : URING;

    (void)state;
    assert_int_equal(open_with("select", GATE_IO_AUTO), best);
    assert_int_equal(last_environment, -EINVAL);
    assert_int_equal(open_with("select", GATE_IO_EPOLL), EPOLL);
    assert_int_equal(last_environment, 0);
    assert_int_equal(open_with("epoll", GATE_IO_AUTO), EPOLL);
    assert_int_equal(last_environment, 0);
}

static void test_unknown_backends_are_refused(void **state)
{
    (void)state;
    assert_int_equal(open_with(NULL, 77), -EINVAL);
}

static int lowest_free(void)
{
    int fd = dup(STDERR_FILENO);

    close(fd);
    return fd;
}

static void test_want_of_descriptors_is_told_and_leaves_nothing_behind(void **state)
{
    static const uint32_t kinds[] = {GATE_IO_AUTO, GATE_IO_EPOLL, GATE_IO_URING};
    int before = lowest_free(), rc = refused();

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        for (unsigned room = 0; room < 2; room++) {
            run_short(room);
            assert_int_equal(open_with(NULL, kinds[i]),
                             kinds[i] == GATE_IO_URING && rc ? rc : -EMFILE);
            run_on();
            assert_int_equal(lowest_free(), before);
        }
    }
}

/* ---- A kernel that refuses ----------------------------------------------------------------- */

/* From now on io_uring_setup fails with this error. */
static int forbid_uring(unsigned error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* Which of several went wrong; 0: none, 77: no filter to be had. */
static int open_forbidden(unsigned error)
{
    gate_io *io = NULL;

    if (!forbid_uring(error))
        return 77;
    if (gate__io_open(&io, GATE_IO_AUTO) != 0)
        return 1;
    if (strcmp(io->ops->name, "epoll") != 0 || io->fallback != -(int)error)
        return 2;
    io->ops->free(io);
    return gate__io_open(&io, GATE_IO_URING) == -(int)error ? 0 : 3;
}

static void check_forbidden(unsigned error)
{
    pid_t child;
    int status;

    if (refused())
        skip();
    fflush(stdout);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        exit(open_forbidden(error)); /* which keeps what ./dev coverage has counted */
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_forbidden_ring_means_epoll(void **state)
{
    (void)state;
    check_forbidden(EPERM);
}

static void test_kernel_without_rings_means_epoll(void **state)
{
    (void)state;
    check_forbidden(ENOSYS);
}

static void test_no_memory_for_a_ring_means_epoll(void **state)
{
    (void)state;
    check_forbidden(ENOMEM);
}

/* Before 6.1 the kernel does not know all the flags. */
static void test_older_kernel_means_epoll(void **state)
{
    (void)state;
    check_forbidden(EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_environment_is_the_default_of_the_option),
        cmocka_unit_test(test_unknown_environment_is_ignored_and_noted),
        cmocka_unit_test(test_unknown_backends_are_refused),
        cmocka_unit_test(test_want_of_descriptors_is_told_and_leaves_nothing_behind),
        cmocka_unit_test(test_forbidden_ring_means_epoll),
        cmocka_unit_test(test_kernel_without_rings_means_epoll),
        cmocka_unit_test(test_no_memory_for_a_ring_means_epoll),
        cmocka_unit_test(test_older_kernel_means_epoll),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
