/* SPDX-License-Identifier: MIT */

/* Listening that fails half-way, for want of descriptors for the later workers, leaves nothing
 * behind. In children, for the limit is the whole process's. */

#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* What is checked in the child; its line is the child's exit status. */
#define NEED(condition)             \
    do {                            \
        if (!(condition)) {         \
            perror(#condition);     \
            _exit(__LINE__ & 0xff); \
        }                           \
    } while (0)

static struct rlimit usual;

/* Leaves room for no more than two descriptors. */
static void run_short(void)
{
    int next = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
    NEED(next >= 0 && close(next) == 0 && getrlimit(RLIMIT_NOFILE, &usual) == 0);
    struct rlimit few = {.rlim_cur = (rlim_t)next + 2, .rlim_max = usual.rlim_max};
    NEED(setrlimit(RLIMIT_NOFILE, &few) == 0);
}

static void run_on(void)
{
    NEED(setrlimit(RLIMIT_NOFILE, &usual) == 0);
}

static gate_server *open_with_four_workers(void)
{
    gate_server *server;
    gate_options options = net_options(net_echo, NULL);
    options.workers = 4;
    NEED(gate_server_open(&server, &options) == 0);
    return server;
}

static void listen_twice(const char *addr, uint16_t port)
{
    gate_server *server = open_with_four_workers();
    const char *path = strchr(addr, '/');
    int before = net_open_fds();
    run_short();
    NEED(gate_server_listen(server, addr, port, 0) == -EMFILE);
    run_on();
    NEED(net_open_fds() == before);
    NEED(!path || access(path, F_OK) < 0);
    NEED(gate_server_port(server) == 0);
    NEED(gate_server_listen(server, addr, port, 0) == 0);
    NEED(gate_server_port(server) == port);
    gate_server_close(server);
}

static void listen_fd_twice(const char *addr, uint16_t port)
{
    (void)addr;
    int fd = net_listen(&port, 5);
    gate_server *server = open_with_four_workers();
    int before = net_open_fds();
    run_short();
    NEED(gate_server_listen_fd(server, fd) == -EMFILE);
    run_on();
    NEED(net_open_fds() == before);
    int peer = net_connect(port), end = accept(fd, NULL, NULL);
    NEED(end >= 0 && close(end) == 0 && close(peer) == 0);
    NEED(gate_server_listen_fd(server, fd) == 0);
    NEED(gate_server_port(server) == port);
    gate_server_close(server);
    NEED(fcntl(fd, F_GETFD) < 0);
}

static void run_in_child(void (*part)(const char *, uint16_t), const char *addr, uint16_t port)
{
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        part(addr, port);
        exit(0); /* which keeps what ./dev coverage has counted */
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_a_port_that_failed_half_way_can_be_had_again(void **state)
{
    (void)state;
    uint16_t port;
    net_close(net_listen(&port, 5)); /* a port that was free a moment ago */
    run_in_child(listen_twice, "127.0.0.1", port);
}

static void test_a_unix_socket_that_failed_half_way_can_be_had_again(void **state)
{
    (void)state;
    char dir[] = "/tmp/gate-test-XXXXXX", addr[64];
    assert_non_null(mkdtemp(dir));
    snprintf(addr, sizeof addr, "unix:%s/door", dir);
    run_in_child(listen_twice, addr, 0);
    assert_int_equal(rmdir(dir), 0);
}

static void test_an_inherited_socket_that_failed_half_way_is_still_the_callers(void **state)
{
    (void)state;
    run_in_child(listen_fd_twice, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(test_a_port_that_failed_half_way_can_be_had_again),
        NET_TEST(test_a_unix_socket_that_failed_half_way_can_be_had_again),
        NET_TEST(test_an_inherited_socket_that_failed_half_way_is_still_the_callers),
    };
    return cmocka_run_group_tests_name("listen fails", tests, NULL, NULL);
}
