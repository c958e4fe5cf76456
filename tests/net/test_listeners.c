/* SPDX-License-Identifier: MIT */

/* Listening with options, what the handle of a listener tells, and errors in words. */

#include "net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[32], addr[64];

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
    unlink(addr + strlen("unix:"));
    return rmdir(dir) ? -1 : rc;
}

static gate_server *open_server(uint32_t workers)
{
    gate_server *server;
    gate_options options = net_options(net_echo, NULL);
    options.workers = workers;
    assert_int_equal(gate_server_open(&server, &options), 0);
    return server;
}

static gate_listen_options with(uint32_t flags)
{
    return (gate_listen_options){.size = sizeof(gate_listen_options), .flags = flags};
}

static void assert_asks(const char *at, uint16_t port)
{
    char reply[8];
    size_t len = sizeof reply;
    assert_int_equal(gate_client_exchange(at, port, "hello", 5, reply, &len, 20000), 0);
}

static mode_t mode_of(const char *path)
{
    struct stat status;
    assert_int_equal(lstat(path, &status), 0);
    return status.st_mode & 0777;
}

static void test_a_handle_tells_the_address_that_was_bound(void **state)
{
    (void)state;
    char name[128], expected[128];
    for (uint32_t workers = 1; workers <= 2; workers++) {
        gate_server *server = open_server(workers);
        gate_listener *tcp, *door;
        assert_int_equal(gate_server_listen_with(server, "127.0.0.1", 0, NULL, &tcp, NULL), 0);
        assert_int_equal(gate_server_listen_with(server, addr, 0, NULL, &door, NULL), 0);
        assert_true(gate_listener_port(tcp) != 0);
        assert_int_equal(gate_listener_port(tcp), gate_server_port(server));
        assert_int_equal(gate_listener_port(door), 0);
        snprintf(expected, sizeof expected, "127.0.0.1:%u", gate_listener_port(tcp));
        assert_int_equal(gate_listener_name(tcp, name, sizeof name), 0);
        assert_string_equal(name, expected);
        assert_int_equal(gate_listener_name(door, name, sizeof name), 0);
        assert_string_equal(name, addr);
        assert_int_equal(gate_listener_name(door, name, 6), 0);
        assert_string_equal(name, "unix:");
        assert_int_equal(gate_listener_name(NULL, name, sizeof name), -EINVAL);
        assert_int_equal(gate_listener_name(door, name, 0), -EINVAL);
        assert_int_equal(gate_listener_port(NULL), 0);
        gate_server_close(server);
    }
}

static void test_a_handle_tells_the_address_of_an_inherited_socket(void **state)
{
    (void)state;
    char name[128], expected[128];
    for (uint32_t workers = 1; workers <= 2; workers++) {
        gate_server *server = open_server(workers);
        gate_listen_options options = with(GATE_LISTEN_FD);
        gate_listener *listener;
        uint16_t port;
        options.fd = net_listen(&port, 5);
        assert_int_equal(gate_server_listen_with(server, NULL, 0, &options, &listener, NULL), 0);
        snprintf(expected, sizeof expected, "127.0.0.1:%u", port);
        assert_int_equal(gate_listener_name(listener, name, sizeof name), 0);
        assert_string_equal(name, expected);
        net_server *s = net_serve(server);
        assert_asks("127.0.0.1", port);
        net_stop(s);
    }
}

static void test_the_mode_of_a_unix_socket_is_set_whatever_the_umask_is(void **state)
{
    (void)state;
    /* Who may not write to it could not ask afterwards whether anything listens there. */
    const uint32_t modes[] = {0666, 0600, 0777, geteuid() ? 0200 : 0};
    const mode_t masks[] = {0, 022, 0777};
    for (size_t i = 0; i < sizeof modes / sizeof *modes * 3; i++) {
        gate_server *server = open_server(1);
        gate_listen_options options = with(GATE_LISTEN_UNIX_MODE);
        options.unix_mode = modes[i / 3];
        mode_t before = umask(masks[i % 3]);
        assert_int_equal(gate_server_listen_with(server, addr, 0, &options, NULL, NULL), 0);
        umask(before);
        assert_int_equal(mode_of(addr + strlen("unix:")), modes[i / 3]);
        gate_server_close(server);
    }
}

static void test_the_owner_of_a_unix_socket_is_set(void **state)
{
    (void)state;
    gate_server *server = open_server(1);
    gate_listen_options options = with(GATE_LISTEN_UNIX_MODE | GATE_LISTEN_UNIX_OWNER);
    gate_error error = {.size = sizeof error};
    struct stat status;
    options.unix_mode = 0640;
    options.unix_uid = 12345;
    options.unix_gid = geteuid() ? 12346 : 54321;
    int rc = gate_server_listen_with(server, addr, 0, &options, NULL, &error);
    if (geteuid()) {
        assert_int_equal(rc, -EPERM);
        assert_non_null(strstr(error.text, addr));
        assert_int_equal(access(addr + strlen("unix:"), F_OK), -1); /* nothing is left */
        options.unix_uid = UINT32_MAX;
        options.unix_gid = getegid();
        assert_int_equal(gate_server_listen_with(server, addr, 0, &options, NULL, NULL), 0);
    } else {
        assert_int_equal(rc, 0);
    }
    assert_int_equal(lstat(addr + strlen("unix:"), &status), 0);
    assert_int_equal(status.st_uid, geteuid() ? geteuid() : 12345);
    assert_int_equal(status.st_gid, options.unix_gid);
    assert_int_equal(status.st_mode & 0777, 0640);
    net_server *s = net_serve(server);
    assert_asks(addr, 0);
    net_stop(s);
}

static void test_an_error_is_told_in_words(void **state)
{
    (void)state;
    gate_error error = {.size = sizeof error};
    char expected[128];
    uint16_t port;
    int fd = net_listen(&port, 5);
    gate_server *server = open_server(1);
    gate_listener *listener = (gate_listener *)(uintptr_t)1;
    assert_int_equal(gate_server_listen_with(server, "127.0.0.1", port, NULL, &listener, &error),
                     -EADDRINUSE);
    assert_null(listener);
    assert_int_equal(error.code, -EADDRINUSE);
    snprintf(expected, sizeof expected, "cannot listen on 127.0.0.1:%u: Address already in use",
             port);
    assert_string_equal(error.text, expected);
    assert_int_equal(gate_server_listen_with(server, "[::1", 0, NULL, NULL, &error), -EINVAL);
    assert_string_equal(error.text, "cannot listen on [::1: it is not an address");
    assert_int_equal(gate_server_listen_with(server, "127.0.0.1", 0, NULL, NULL, &error), 0);
    assert_int_equal(error.code, 0);
    assert_string_equal(error.text, "");
    gate_server_close(server);
    net_close(fd);
}

static void test_an_error_is_no_larger_than_its_caller_says(void **state)
{
    (void)state;
    struct {
        gate_error known;
        char after[8];
    } wide = {.known.size = sizeof wide.known, .after = "later"};
    gate_error small = {.size = offsetof(gate_error, text) + 8};
    gate_server *server = open_server(1);
    memset(small.text, 'x', sizeof small.text);
    assert_int_equal(gate_server_listen_with(server, "", 0, NULL, NULL, &small), -EINVAL);
    assert_string_equal(small.text, "cannot ");
    assert_int_equal(small.text[8], 'x');
    assert_int_equal(gate_server_listen_with(server, "", 0, NULL, NULL, &wide.known), -EINVAL);
    assert_string_equal(wide.after, "later");
    small.size = offsetof(gate_error, text);
    assert_int_equal(gate_server_listen_with(server, "127.0.0.1", 0, NULL, NULL, &small), -EINVAL);
    assert_int_equal(gate_server_port(server), 0);
    gate_server_close(server);
}

static void assert_refuses(const char *at, gate_listen_options options)
{
    gate_error error = {.size = sizeof error};
    gate_server *server = open_server(2);
    assert_int_equal(gate_server_listen_with(server, at, 0, &options, NULL, &error), -EINVAL);
    assert_true(error.text[0] != '\0');
    assert_int_equal(gate_server_serve(server), -EINVAL); /* it listens nowhere */
    gate_server_close(server);
}

static void test_options_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    gate_listen_options options = with(1U << 31);
    assert_refuses("127.0.0.1", options);
    options = with(0);
    options.reserved = 1;
    assert_refuses("127.0.0.1", options);
    options = with(0);
    options.backlog = -1;
    assert_refuses("127.0.0.1", options);
    assert_refuses(NULL, with(0));
    assert_refuses("127.0.0.1", with(GATE_LISTEN_UNIX_MODE));
    assert_refuses("unix:@gate-test", with(GATE_LISTEN_UNIX_OWNER));
    assert_refuses(addr, with(GATE_LISTEN_DEFER));
    options = with(GATE_LISTEN_UNIX_MODE);
    options.unix_mode = 01000;
    assert_refuses(addr, options);
    options = with(GATE_LISTEN_FD);
    options.fd = -1;
    assert_refuses(NULL, options);
    assert_refuses(NULL, with(GATE_LISTEN_FD | GATE_LISTEN_UNIX_MODE));
    options = with(0);
    options.size = 4;
    assert_refuses("127.0.0.1", options);
}

/* A caller that was built for another version of the library. */
static void test_options_of_other_sizes_are_taken(void **state)
{
    (void)state;
    struct {
        gate_listen_options known;
        uint32_t later[4];
    } wide = {.known = {.size = sizeof wide}};
    gate_listen_options old = {.size = offsetof(gate_listen_options, backlog), .backlog = -1};
    gate_server *server = open_server(1);
    assert_int_equal(gate_server_listen_with(server, "127.0.0.1", 0, &wide.known, NULL, NULL), 0);
    assert_int_equal(gate_server_listen_with(server, "127.0.0.1", 0, &old, NULL, NULL), 0);
    wide.later[3] = 1;
    assert_int_equal(gate_server_listen_with(server, "127.0.0.1", 0, &wide.known, NULL, NULL),
                     -EINVAL);
    gate_server_close(server);
}

static void test_one_address_may_be_deferred_alone(void **state)
{
    (void)state;
    gate_server *server = open_server(2);
    gate_listen_options options = with(GATE_LISTEN_DEFER);
    gate_listener *now, *later;
    assert_int_equal(gate_server_listen_with(server, "127.0.0.1", 0, NULL, &now, NULL), 0);
    assert_int_equal(gate_server_listen_with(server, "127.0.0.1", 0, &options, &later, NULL), 0);
    uint16_t ports[] = {gate_listener_port(now), gate_listener_port(later)};
    net_server *s = net_serve(server);
    int at_once = net_connect(ports[0]);
    NET_UNTIL(net_stats(s).accepted == 1);
    int silent = net_connect(ports[1]);
    assert_asks("127.0.0.1", ports[1]);
    assert_int_equal(net_stats(s).accepted, 2); /* the silent one is not there yet */
    net_close(silent);
    net_close(at_once);
    net_stop(s);
}

static void test_one_socket_is_served_once(void **state)
{
    (void)state;
    for (uint32_t workers = 1; workers <= 2; workers++) {
        uint16_t port;
        int fd = net_listen(&port, 5), copy = dup(fd), other = net_listen(&port, 5);
        gate_error error = {.size = sizeof error};
        gate_listen_options options = with(GATE_LISTEN_FD);
        gate_server *server = open_server(workers);
        assert_int_equal(gate_server_listen_fd(server, fd), 0);
        assert_int_equal(gate_server_listen_fd(server, fd), -EEXIST);
        options.fd = copy;
        assert_int_equal(gate_server_listen_with(server, NULL, 0, &options, NULL, &error), -EEXIST);
        assert_non_null(strstr(error.text, "already"));
        assert_int_equal(gate_server_listen_fd(server, other), 0);
        net_server *s = net_serve(server);
        assert_asks("127.0.0.1", port);
        net_stop(s);
        net_close(copy); /* stayed the caller's */
    }
}

static void *close_later(void *fd)
{
    usleep(50000);
    close(*(int *)fd);
    return NULL;
}

/* As the ring of a process that was killed does. */
static void test_a_port_that_is_about_to_be_free_is_waited_for(void **state)
{
    (void)state;
    uint16_t port;
    pthread_t thread;
    int fd = net_listen(&port, 5);
    gate_server *server = open_server(1);
    uint64_t start = net_now_ms();
    assert_int_equal(gate_server_listen(server, "127.0.0.1", port, 0), -EADDRINUSE);
    assert_in_range(net_now_ms() - start, 190, 5000);
    assert_int_equal(pthread_create(&thread, NULL, close_later, &fd), 0);
    assert_int_equal(gate_server_listen(server, "127.0.0.1", port, 0), 0);
    pthread_join(thread, NULL);
    gate_server_close(server);
}

#define IN_DIR(test)                            \
    {                                           \
#test, test, make_dir, remove_dir, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIR(test_a_handle_tells_the_address_that_was_bound),
        IN_DIR(test_a_handle_tells_the_address_of_an_inherited_socket),
        IN_DIR(test_the_mode_of_a_unix_socket_is_set_whatever_the_umask_is),
        IN_DIR(test_the_owner_of_a_unix_socket_is_set),
        IN_DIR(test_an_error_is_told_in_words),
        IN_DIR(test_an_error_is_no_larger_than_its_caller_says),
        IN_DIR(test_options_that_do_not_fit_are_refused),
        IN_DIR(test_options_of_other_sizes_are_taken),
        IN_DIR(test_one_address_may_be_deferred_alone),
        IN_DIR(test_one_socket_is_served_once),
        IN_DIR(test_a_port_that_is_about_to_be_free_is_waited_for),
    };
    return cmocka_run_group_tests_name("listeners", tests, NULL, NULL);
}
