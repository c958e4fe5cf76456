/* SPDX-License-Identifier: MIT */

/* A server that is opened by one process and served by its child, as after daemon(3), and children
 * that close their copy. Each end of a test runs in a child, which must not use cmocka. */

#include "net.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLIENTS = 20 };

static char dir[32], addr[64];

static const char *path(void)
{
    return addr + strlen("unix:");
}

static int make_dir(void **state)
{
    strcpy(dir, "/tmp/gate-test-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(addr, sizeof addr, "unix:%s/door", dir);
    return net_setup(state);
}

static int remove_dir(void **state)
{
    int rc = net_teardown(state);
    unlink(path());
    return rmdir(dir) ? -1 : rc;
}

static void echo_or_stop(gate_request *req, const void *body, size_t len, void *user)
{
    (void)user;
    gate_reply(req, body, len);
    if (len == 4 && !memcmp(body, "stop", 4))
        gate_server_stop(gate_request_server(req));
}

static gate_server *open_server(void **state, uint32_t workers)
{
    gate_server *server;
    gate_options options = net_options(echo_or_stop, gate_codec_line());
    options.io = net_io(state);
    options.workers = workers;
    assert_int_equal(gate_server_open(&server, &options), 0);
    return server;
}

static pid_t fork_child(void)
{
    fflush(stdout);
    pid_t child = fork();
    if (!child)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    assert_true(child >= 0);
    return child;
}

static pid_t serve_in_child(gate_server *server)
{
    pid_t child = fork_child();
    if (child)
        return child;
    int rc = gate_server_serve(server);
    gate_server_close(server);
    _exit(rc != 0);
}

static void await_child(pid_t child, struct rusage *used)
{
    int status;
    assert_int_equal(wait4(child, &status, 0, used), child);
    assert_int_equal(status, 0);
}

/* Some speak at once, some only when the server has begun to wait for them. */
static void ask_many(uint16_t port)
{
    for (int i = 0; i < CLIENTS; i++) {
        int fd = net_connect(port);
        for (int k = 0; k < 3; k++) {
            if (i % 2)
                usleep(2000);
            net_put(fd, "hello\n");
            net_expect(fd, "hello\n");
        }
        net_close(fd);
    }
    int fd = net_connect(port);
    net_put(fd, "stop\n");
    net_expect(fd, "stop\n");
    net_close(fd);
}

static void serve_forked(void **state, uint32_t workers, int parent_closes)
{
    struct rusage used;
    gate_server *server = open_server(state, workers);
    assert_int_equal(gate_server_listen(server, "127.0.0.1", 0, 0), 0);
    uint16_t port = gate_server_port(server);
    pid_t child = serve_in_child(server);
    if (parent_closes)
        gate_server_close(server);
    ask_many(port);
    await_child(child, &used);
    assert_true(used.ru_utime.tv_sec + used.ru_stime.tv_sec == 0); /* it did not spin */
    if (!parent_closes)
        gate_server_close(server);
}

static void test_a_child_serves_what_its_parent_has_opened(void **state)
{
    for (uint32_t workers = 1; workers <= 2; workers++)
        for (int parent_closes = 0; parent_closes <= 1; parent_closes++)
            serve_forked(state, workers, parent_closes);
}

static void test_a_parent_serves_beside_a_child_that_closes_its_copy(void **state)
{
    gate_server *server = open_server(state, 1);
    assert_int_equal(gate_server_listen(server, "127.0.0.1", 0, 0), 0);
    pid_t child = fork_child();
    if (!child) {
        gate_server_close(server);
        _exit(0);
    }
    await_child(child, NULL);
    net_server *s = net_serve(server);
    ask_many(gate_server_port(server));
    net_join(s);
    net_free(s);
}

#define FORK_TEST(test)                                             \
    {#test " (epoll)", test, make_dir, remove_dir, &net_epoll},     \
    {                                                               \
#test " (io_uring)", test, make_dir, remove_dir, &net_uring \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        FORK_TEST(test_a_child_serves_what_its_parent_has_opened),
        FORK_TEST(test_a_parent_serves_beside_a_child_that_closes_its_copy),
    };
    return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
