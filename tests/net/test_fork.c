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
#include <sys/un.h>
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

/* ---- The file of a Unix socket ---- */

static int exists(void)
{
    return access(path(), F_OK) == 0;
}

static void test_a_child_that_closes_its_copy_leaves_the_file(void **state)
{
    gate_server *server = open_server(state, 2);
    assert_int_equal(gate_server_listen(server, addr, 0, 0), 0);
    for (int serving = 0; serving <= 1; serving++) {
        net_server *s = serving ? net_serve(server) : NULL;
        pid_t child = fork_child();
        if (!child) {
            if (!serving) /* once it serves, a child must not use it */
                gate_server_close(server);
            _exit(0);
        }
        await_child(child, NULL);
        assert_true(exists());
        if (s)
            net_stop(s);
    }
    assert_false(exists());
}

static void test_a_parent_that_closes_its_copy_leaves_the_file_to_its_child(void **state)
{
    int go[2];
    char byte;
    assert_int_equal(pipe(go), 0);
    gate_server *server = open_server(state, 2);
    assert_int_equal(gate_server_listen(server, addr, 0, 0), 0);
    pid_t child = fork_child();
    if (!child) { /* serves only once the parent has closed */
        if (read(go[0], &byte, 1) != 1)
            _exit(2);
        int rc = gate_server_serve(server);
        gate_server_close(server);
        _exit(rc || exists());
    }
    gate_server_close(server);
    assert_true(exists());
    assert_int_equal(write(go[1], "x", 1), 1);
    char reply[8];
    size_t len = sizeof reply;
    gate_client *client;
    gate_client_options options = {.size = sizeof options, .codec = gate_codec_line()};
    assert_int_equal(gate_client_open(&client, addr, 0, &options), 0);
    assert_int_equal(gate_client_call(client, "stop", 4, reply, &len, 20000), 0);
    gate_client_close(client);
    await_child(child, NULL);
    assert_false(exists());
    net_close(go[0]);
    net_close(go[1]);
}

static void test_whoever_served_removes_the_file_though_its_parent_has_a_copy(void **state)
{
    gate_server *server = open_server(state, 1);
    assert_int_equal(gate_server_listen(server, addr, 0, 0), 0);
    gate_server_stop(server);
    pid_t child = serve_in_child(server);
    await_child(child, NULL);
    assert_false(exists());
    gate_server_close(server);
}

enum { STARTERS = 4, ROUNDS = 40 };

static void leave_stale_file(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path());
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    net_close(fd);
}

/* In a child: 0 where it listens, and then waits for the end of `over`. */
static void start_on_the_path(int gate, int over, int results)
{
    gate_options options = net_options(net_echo, NULL);
    options.io = GATE_IO_EPOLL;
    gate_server *server;
    char byte;
    if (gate_server_open(&server, &options) || read(gate, &byte, 1) != 0)
        _exit(2);
    int rc = gate_server_listen(server, addr, 0, 0);
    ssize_t written = write(results, &rc, sizeof rc);
    if (read(over, &byte, 1) != 0 || written != sizeof rc)
        _exit(2);
    gate_server_close(server);
    _exit(0);
}

static void start_many(int with_stale_file)
{
    int gate[2], over[2], results[2], listening = 0, status;
    pid_t children[STARTERS];
    assert_int_equal(pipe(gate) | pipe(over) | pipe(results), 0);
    if (with_stale_file)
        leave_stale_file();
    for (int i = 0; i < STARTERS; i++) {
        children[i] = fork_child();
        if (!children[i]) {
            close(gate[1]), close(over[1]);
            start_on_the_path(gate[0], over[0], results[1]);
        }
    }
    net_close(gate[1]);
    for (int i = 0; i < STARTERS; i++) {
        int rc;
        assert_int_equal(read(results[0], &rc, sizeof rc), sizeof rc);
        assert_true(rc == 0 || rc == -EADDRINUSE);
        listening += rc == 0;
    }
    assert_int_equal(listening, 1);
    assert_true(exists());
    net_close(over[1]);
    for (int i = 0; i < STARTERS; i++) {
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    assert_false(exists());
    int left[] = {gate[0], over[0], results[0], results[1]};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++)
        net_close(left[i]);
}

static void test_of_several_that_start_on_one_path_one_listens(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++)
        start_many(round % 2);
}

static void test_a_lock_that_a_killed_process_has_left_is_taken_over(void **state)
{
    char name[80];
    gate_server *server = open_server(state, 1);
    snprintf(name, sizeof name, "%s.lock", path());
    FILE *left = fopen(name, "w");
    assert_non_null(left);
    fclose(left);
    assert_int_equal(gate_server_listen(server, addr, 0, 0), 0);
    assert_int_equal(access(name, F_OK), -1);
    gate_server_close(server);
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
        FORK_TEST(test_a_child_that_closes_its_copy_leaves_the_file),
        FORK_TEST(test_a_parent_that_closes_its_copy_leaves_the_file_to_its_child),
        FORK_TEST(test_whoever_served_removes_the_file_though_its_parent_has_a_copy),
        FORK_TEST(test_of_several_that_start_on_one_path_one_listens),
        FORK_TEST(test_a_lock_that_a_killed_process_has_left_is_taken_over),
    };
    return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
