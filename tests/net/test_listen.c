/* SPDX-License-Identifier: MIT */

/* Where a server can listen, where it cannot, and what it leaves behind. */

#include "net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static gate_server *open_server(uint32_t workers)
{
    gate_server *server;
    gate_options options = net_options(net_echo, NULL);
    options.workers = workers;
    assert_int_equal(gate_server_open(&server, &options), 0);
    return server;
}

static void assert_asks(const char *addr, uint16_t port)
{
    char reply[8];
    size_t len = sizeof reply;
    assert_int_equal(gate_client_exchange(addr, port, "hello", 5, reply, &len, 20000), 0);
    assert_int_equal(len, 5);
    assert_memory_equal(reply, "hello", 5);
}

static void assert_refuses(const char *addr, uint16_t port, int code)
{
    char reply[8];
    size_t len = sizeof reply;
    assert_int_equal(gate_client_exchange(addr, port, "hello", 5, reply, &len, 20000), code);
}

/* ---- TCP ---- */

static int has_ipv6(void)
{
    gate_server *server = open_server(1);
    int rc = gate_server_listen(server, "::1", 0, 0);
    gate_server_close(server);
    return rc == 0;
}

static void test_ipv6_listens_on_its_own(void **state)
{
    (void)state;
    if (!has_ipv6())
        skip();
    gate_options options = net_options(net_echo, NULL);
    net_server *s = net_start_at(&options, "::1");
    assert_asks("::1", s->port);
    assert_asks("[::1]", s->port);
    assert_refuses("127.0.0.1", s->port, -ECONNREFUSED);
    net_stop(s);
}

static void test_a_star_listens_on_both_families(void **state)
{
    (void)state;
    gate_options options = net_options(net_echo, NULL);
    net_server *s = net_start_at(&options, "*");
    assert_asks("127.0.0.1", s->port);
    if (has_ipv6())
        assert_asks("::1", s->port);
    net_stop(s);
}

/* An address is what it says: 0.0.0.0 all of IPv4, :: all of IPv6, and only * both. */
static void test_all_of_ipv6_stands_beside_all_of_ipv4(void **state)
{
    (void)state;
    if (!has_ipv6())
        skip();
    for (uint32_t workers = 1; workers <= 2; workers++) {
        gate_server *server = open_server(workers);
        uint16_t port = net_free_port();
        assert_int_equal(gate_server_listen(server, "::", port, 0), 0);
        assert_int_equal(gate_server_listen(server, "*", port, 0), -EADDRINUSE);
        assert_int_equal(gate_server_listen(server, "0.0.0.0", port, 0), 0);
        net_server *s = net_serve(server);
        assert_asks("127.0.0.1", port);
        assert_asks("::1", port);
        net_stop(s);
        gate_options options = net_options(net_echo, NULL);
        s = net_start_at(&options, "[::]");
        assert_asks("::1", s->port);
        assert_refuses("127.0.0.1", s->port, -ECONNREFUSED);
        net_stop(s);
    }
}

static void test_a_mapped_address_is_an_ipv4_one(void **state)
{
    (void)state;
    gate_options options = net_options(net_echo, NULL);
    net_server *s = net_start_at(&options, "[::ffff:127.0.0.1]");
    assert_asks("127.0.0.1", s->port);
    net_stop(s);
}

static void test_names_are_looked_up(void **state)
{
    (void)state;
    gate_options options = net_options(net_echo, NULL);
    net_server *s = net_start_at(&options, "localhost");
    assert_asks("localhost", s->port);
    net_stop(s);
}

static void test_one_server_listens_on_several_addresses(void **state)
{
    (void)state;
    char name[64]; /* another run may be beside this one */
    snprintf(name, sizeof name, "unix:@gate-test-several-%ld", (long)getpid());
    gate_server *server = open_server(2);
    assert_int_equal(gate_server_port(server), 0);
    assert_int_equal(gate_server_listen(server, name, 0, 0), 0);
    assert_int_equal(gate_server_port(server), 0);
    uint16_t port = net_free_port();
    assert_int_equal(gate_server_listen(server, "127.0.0.1", port, 0), 0);
    assert_int_equal(gate_server_port(server), port);
    assert_int_equal(gate_server_listen(server, "127.0.0.2", port, 0), 0);
    assert_int_equal(gate_server_port(server), port);
    net_server *s = net_serve(server);
    for (int i = 0; i < 20; i++) {
        assert_asks("127.0.0.1", port);
        assert_asks("127.0.0.2", port);
        assert_asks(name, 0);
    }
    net_stop(s);
}

static void test_a_port_that_is_taken_is_in_use(void **state)
{
    (void)state;
    gate_options options = net_options(net_echo, NULL);
    for (uint32_t workers = 1; workers <= 2; workers++) {
        options.workers = workers;
        net_server *s = net_start(&options);
        for (uint32_t others = 1; others <= 2; others++) {
            gate_server *other = open_server(others);
            assert_int_equal(gate_server_listen(other, "127.0.0.1", s->port, 0), -EADDRINUSE);
            assert_int_equal(gate_server_serve(other), -EINVAL); /* it listens nowhere */
            gate_server_close(other);
        }
        assert_asks("127.0.0.1", s->port);
        net_stop(s);
    }
}

static void test_a_port_can_be_had_again_at_once(void **state)
{
    (void)state;
    gate_options options = net_options(net_echo, NULL);
    net_server *s = net_start(&options);
    uint16_t port = s->port;
    assert_asks("127.0.0.1", port); /* leaves its end of the connection in TIME_WAIT */
    net_stop(s);
    gate_server *server = open_server(1);
    assert_int_equal(gate_server_listen(server, "127.0.0.1", port, 0), 0);
    assert_int_equal(gate_server_port(server), port);
    gate_server_close(server);
}

static void test_addresses_that_cannot_be_had_say_why(void **state)
{
    (void)state;
    char long_name[300];
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    gate_server *server = open_server(1);
    assert_int_equal(gate_server_listen(server, "192.0.2.1", 0, 0), -EADDRNOTAVAIL);
    assert_int_equal(gate_server_listen(server, "", 0, 0), -EINVAL);
    assert_int_equal(gate_server_listen(server, "[::1", 0, 0), -EINVAL);
    assert_int_equal(gate_server_listen(server, NULL, 0, 0), -EINVAL);
    assert_int_equal(gate_server_listen(server, "127.0.0.1", 0, -1), -EINVAL);
    assert_int_equal(gate_server_listen(server, long_name, 0, 0), -ENAMETOOLONG);
    assert_int_equal(gate_server_listen(NULL, "127.0.0.1", 0, 0), -EINVAL);
    assert_int_equal(gate_server_serve(server), -EINVAL);
    gate_server_close(server);
}

/* Where no name service can be reached, it says so: either code, and in time. */
static void test_a_name_that_does_not_exist_is_told_apart(void **state)
{
    (void)state;
    gate_server *server = open_server(1);
    uint64_t start = net_now_ms();
    int rc = gate_server_listen(server, "no-such-host.invalid", 0, 0);
    assert_true(rc == GATE_ENAME || rc == GATE_ENAMELATER);
    assert_true(net_now_ms() - start < 25000);
    gate_server_close(server);
}

static void test_listening_is_for_before_serving(void **state)
{
    (void)state;
    gate_options options = net_options(net_echo, NULL);
    net_server *s = net_start(&options);
    assert_asks("127.0.0.1", s->port);
    assert_int_equal(gate_server_listen(s->server, "127.0.0.1", 0, 0), -EBUSY);
    assert_int_equal(gate_server_listen_fd(s->server, 0), -EBUSY);
    assert_int_equal(gate_server_serve(s->server), -EBUSY);
    gate_server_stop(s->server);
    net_join(s);
    assert_int_equal(gate_server_serve(s->server), -EBUSY);
    net_free(s);
}

/* ---- Unix ---- */

/* A path in a directory of its own. */
static const char *make_path(char dir[32], char addr[64])
{
    strcpy(dir, "/tmp/gate-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(addr, 64, "unix:%s/door", dir);
    return addr + strlen("unix:");
}

static int exists(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0;
}

static void test_a_unix_socket_is_made_and_removed(void **state)
{
    (void)state;
    char dir[32], addr[64];
    const char *path = make_path(dir, addr);
    gate_options options = net_options(net_echo, NULL);
    for (uint32_t workers = 1; workers <= 2; workers++) {
        options.workers = workers;
        net_server *s = net_start_at(&options, addr);
        assert_int_equal(s->port, 0);
        for (int i = 0; i < 20; i++)
            assert_asks(addr, 0);
        net_stop(s);
        assert_false(exists(path));
    }
    gate_server *server = open_server(1); /* also one that never served */
    assert_int_equal(gate_server_listen(server, addr, 0, 0), 0);
    assert_true(exists(path));
    gate_server_close(server);
    assert_false(exists(path));
    rmdir(dir);
}

static int bind_path(const char *path, int backlog)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    if (backlog)
        assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

static void test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(void **state)
{
    (void)state;
    char dir[32], addr[64];
    const char *path = make_path(dir, addr);
    int fd = bind_path(path, 5);
    gate_server *server = open_server(1);
    assert_int_equal(gate_server_listen(server, addr, 0, 0), -EADDRINUSE);
    assert_true(exists(path));
    net_close(fd); /* its file stays, as after a crash */
    assert_int_equal(gate_server_listen(server, addr, 0, 0), 0);
    net_server *s = net_serve(server);
    assert_asks(addr, 0);
    net_stop(s);
    assert_false(exists(path));
    rmdir(dir);
}

static void test_a_file_that_is_no_socket_is_left_alone(void **state)
{
    (void)state;
    char dir[32], addr[64];
    const char *path = make_path(dir, addr);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    gate_server *server = open_server(1);
    int rc = gate_server_listen(server, addr, 0, 0);
    assert_true(rc == -EADDRINUSE || rc == -EEXIST);
    assert_true(exists(path));
    gate_server_close(server);
    assert_true(exists(path));
    unlink(path);
    rmdir(dir);
}

/* Somebody else has taken the name meanwhile: that file is theirs. */
static void test_only_its_own_unix_socket_is_removed(void **state)
{
    (void)state;
    char dir[32], addr[64];
    const char *path = make_path(dir, addr);
    gate_server *server = open_server(1);
    assert_int_equal(gate_server_listen(server, addr, 0, 0), 0);
    assert_int_equal(unlink(path), 0);
    int fd = bind_path(path, 0);
    gate_server_close(server);
    assert_true(exists(path));
    net_close(fd);
    unlink(path);
    rmdir(dir);
}

/* ---- Inherited ---- */

static void test_an_inherited_socket_is_served(void **state)
{
    (void)state;
    for (uint32_t workers = 1; workers <= 3; workers += 2) {
        uint16_t port;
        int fd = net_listen(&port, 5);
        gate_server *server = open_server(workers);
        assert_int_equal(gate_server_listen_fd(server, fd), 0);
        assert_int_equal(gate_server_port(server), port);
        net_server *s = net_serve(server);
        for (int i = 0; i < 20; i++)
            assert_asks("127.0.0.1", port);
        net_stop(s); /* closes it */
        assert_refuses("127.0.0.1", port, -ECONNREFUSED);
    }
}

static void test_what_is_no_listening_socket_is_refused_and_stays_the_callers(void **state)
{
    (void)state;
    int ends[2];
    int idle = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int datagram = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(pipe(ends), 0);
    for (uint32_t workers = 1; workers <= 2; workers++) {
        gate_server *server = open_server(workers);
        assert_int_equal(gate_server_listen_fd(server, ends[0]), -ENOTSOCK);
        assert_int_equal(gate_server_listen_fd(server, idle), -EINVAL);
        assert_int_equal(gate_server_listen_fd(server, datagram), -EINVAL);
        assert_int_equal(gate_server_listen_fd(server, -1), -EINVAL);
        assert_int_equal(gate_server_listen_fd(NULL, idle), -EINVAL);
        assert_int_equal(gate_server_serve(server), -EINVAL);
        gate_server_close(server);
    }
    net_close(ends[0]);
    net_close(ends[1]);
    net_close(idle);
    net_close(datagram);
}

/* ---- Options ---- */

static void test_options_that_mean_nothing_are_refused(void **state)
{
    (void)state;
    gate_server *server = (gate_server *)(uintptr_t)1;
    struct {
        gate_options known;
        uint32_t later[2048]; /* as much as a size below claims */
    } wide = {.known = net_options(net_echo, NULL)};
    gate_options options = net_options(NULL, NULL);
    assert_int_equal(gate_server_open(&server, &options), -EINVAL);
    assert_null(server);
    options = net_options(net_echo, NULL);
    options.size = 4;
    assert_int_equal(gate_server_open(&server, &options), -EINVAL);
    options = net_options(net_echo, NULL);
    options.flags = 1u << 31;
    assert_int_equal(gate_server_open(&server, &options), -EINVAL);
    options = net_options(net_echo, NULL);
    options.io = 77;
    assert_int_equal(gate_server_open(&server, &options), -EINVAL);
    options = net_options(net_echo, NULL);
    options.reserved = &options;
    assert_int_equal(gate_server_open(&server, &options), -EINVAL);
    gate_codec empty = {.size = sizeof empty};
    options = net_options(net_echo, &empty);
    assert_int_equal(gate_server_open(&server, &options), -EINVAL);
    assert_int_equal(gate_server_open(&server, NULL), -EINVAL);
    assert_int_equal(gate_server_open(NULL, &options), -EINVAL);
    wide.known.size = sizeof wide.known + 16; /* a later caller: as long as it asks nothing new */
    assert_int_equal(gate_server_open(&server, &wide.known), 0);
    gate_server_close(server);
    wide.later[3] = 1;
    assert_int_equal(gate_server_open(&server, &wide.known), -EINVAL);
    wide.later[3] = 0;
    wide.known.size = 8192; /* no library's options are that large */
    assert_int_equal(gate_server_open(&server, &wide.known), -EINVAL);
    wide.known.size = UINT32_MAX;
    assert_int_equal(gate_server_open(&server, &wide.known), -EINVAL);
    gate_server_close(NULL);
    gate_server_stop(NULL);
    assert_int_equal(gate_server_port(NULL), 0);
}

static void test_the_one_call_says_why_it_could_not(void **state)
{
    (void)state;
    uint16_t port;
    int fd = net_listen(&port, 5);
    assert_int_equal(gate_server_run("127.0.0.1", port, 5, 5000, net_echo), -EADDRINUSE);
    assert_int_equal(gate_server_run("127.0.0.1", 0, 5, -2, net_echo), -EINVAL);
    assert_int_equal(gate_server_run("127.0.0.1", 0, -5, 5000, net_echo), -EINVAL);
    assert_int_equal(gate_server_run("127.0.0.1", 0, 5, 5000, NULL), -EINVAL);
    assert_int_equal(gate_server_run(NULL, 0, 5, 5000, net_echo), -EINVAL);
    net_close(fd);
}

static void count_event(const gate_event *event, void *log_user)
{
    int *counts = log_user;
    if (event->size == sizeof *event && event->text[0] && event->peer[0])
        counts[event->reason]++;
}

static void test_closes_are_told_with_their_reason_and_peer(void **state)
{
    (void)state;
    int counts[GATE_CLOSE_COUNT] = {0};
    gate_options options = net_options(net_echo, NULL);
    options.log = count_event;
    options.log_user = counts;
    options.log_level = GATE_LOG_DEBUG;
    net_server *s = net_start(&options);
    for (int i = 0; i < 5; i++)
        assert_asks("127.0.0.1", s->port);
    net_close(net_connect(s->port));
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_PEER] == 1);
    net_stop(s);
    assert_int_equal(counts[GATE_CLOSE_ANSWERED], 5);
    assert_int_equal(counts[GATE_CLOSE_PEER], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(test_ipv6_listens_on_its_own),
        NET_TEST(test_a_star_listens_on_both_families),
        NET_TEST(test_all_of_ipv6_stands_beside_all_of_ipv4),
        NET_TEST(test_a_mapped_address_is_an_ipv4_one),
        NET_TEST(test_names_are_looked_up),
        NET_TEST(test_one_server_listens_on_several_addresses),
        NET_TEST(test_a_port_that_is_taken_is_in_use),
        NET_TEST(test_a_port_can_be_had_again_at_once),
        NET_TEST(test_addresses_that_cannot_be_had_say_why),
        NET_TEST(test_a_name_that_does_not_exist_is_told_apart),
        NET_TEST(test_listening_is_for_before_serving),
        NET_TEST(test_a_unix_socket_is_made_and_removed),
        NET_TEST(test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not),
        NET_TEST(test_a_file_that_is_no_socket_is_left_alone),
        NET_TEST(test_only_its_own_unix_socket_is_removed),
        NET_TEST(test_an_inherited_socket_is_served),
        NET_TEST(test_what_is_no_listening_socket_is_refused_and_stays_the_callers),
        NET_TEST(test_options_that_mean_nothing_are_refused),
        NET_TEST(test_the_one_call_says_why_it_could_not),
        NET_TEST(test_closes_are_told_with_their_reason_and_peer),
    };
    return cmocka_run_group_tests_name("listen", tests, NULL, NULL);
}
