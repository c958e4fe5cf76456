/* SPDX-License-Identifier: MIT */

/* Set-up calls where the process or the kernel lacks something. */

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

#include "io/sock.h"

static void test_listener_without_descriptors_is_told(void **state)
{
    gate__sockaddr addr;

    (void)state;
    set_addr(&addr, "127.0.0.1", 0);
    run_short(0);
    assert_int_equal(gate__sock_listen(&addr, 5, 0, NULL), -EMFILE);
    assert_int_equal(gate__sock_dup(STDERR_FILENO), -EMFILE);
    assert_int_equal(gate__sock_connect_code(&addr, EADDRNOTAVAIL), -EADDRNOTAVAIL);
    run_on();
}

static void test_unix_file_that_cannot_be_looked_at_is_left_alone(void **state)
{
    gate__sockaddr addr;
    char folder[] = "/tmp/gate-test-XXXXXX", host[64];
    const char *path = host + strlen("unix:");

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(host, sizeof host, "unix:%s/socket", folder);
    set_addr(&addr, host, 0);
    close(gate__sock_listen(&addr, 5, 0, NULL));
    run_short(1); /* for the listener, but not for asking who listens there */
    assert_int_equal(gate__sock_listen(&addr, 5, 0, NULL), -EMFILE);
    run_on();
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

/* From now on there are no IPv6 sockets. */
static int forbid_ipv6(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* Which of several went wrong; 0: none, 77: no filter to be had. */
static int listen_without_ipv6(void)
{
    gate__sockaddr addr;
    int fd;

    if (!forbid_ipv6())
        return 77;
    set_addr(&addr, "*", 0);
    fd = gate__sock_listen(&addr, 5, GATE_IO_DUAL, NULL);
    if (fd < 0 || addr.u.any.sa_family != AF_INET || gate__addr_port(&addr) == 0)
        return 1;
    close(plain_connect(&addr));
    close(plain_accept(fd));
    close(fd);
    set_addr(&addr, "::1", 0);
    return gate__sock_listen(&addr, 5, 0, NULL) == -EAFNOSUPPORT ? 0 : 2;
}

static void test_star_is_ipv4_where_the_kernel_has_no_ipv6(void **state)
{
    pid_t child;
    int status;

    (void)state;
    fflush(stdout);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        exit(listen_without_ipv6()); /* which keeps what ./dev coverage has counted */
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_socket_without_a_peer_has_none(void **state)
{
    gate__sockaddr addr;
    int fd = gate__sock_open(AF_INET, 0);

    (void)state;
    assert_int_equal(gate__sock_peer(fd, &addr), -ENOTCONN);
    assert_int_equal(gate__sock_finish_connect(fd), -ENOTCONN);
    assert_int_equal(gate__sock_unacked(fd), 0);
    assert_int_equal(gate__sock_unacked(-1), 0);
    set_addr(&addr, "127.0.0.1", 0);
    assert_int_equal(gate__sock_connected(fd, &addr), 0);
    assert_int_equal(gate__sock_connected(-1, &addr), 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listener_without_descriptors_is_told),
        cmocka_unit_test(test_unix_file_that_cannot_be_looked_at_is_left_alone),
        cmocka_unit_test(test_star_is_ipv4_where_the_kernel_has_no_ipv6),
        cmocka_unit_test(test_socket_without_a_peer_has_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
