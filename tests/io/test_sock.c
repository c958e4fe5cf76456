/* SPDX-License-Identifier: MIT */

#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/sock.h"

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;

    assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

static int listen_on(gate__sockaddr *addr, const char *host, unsigned flags)
{
    int fd;

    set_addr(addr, host, 0);
    fd = gate__sock_listen(addr, 5, flags, NULL);
    assert_true(fd >= 0);
    return fd;
}

static int accepted(int listener)
{
    int count = 0;

    for (int fd; (fd = accept(listener, NULL, NULL)) >= 0; count++)
        close(fd);
    assert_int_equal(errno, EAGAIN);
    return count;
}

/* ---- TCP ----------------------------------------------------------------------------------- */

static void test_listener_is_set_up(void **state)
{
    gate__sockaddr addr;
    int fd = listen_on(&addr, "127.0.0.1", 0);

    (void)state;
    assert_true(gate__addr_port(&addr) > 0);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_true(option_of(fd, SOL_SOCKET, SO_REUSEADDR));
    assert_true(option_of(fd, IPPROTO_TCP, TCP_NODELAY));
    assert_false(option_of(fd, SOL_SOCKET, SO_REUSEPORT));
    assert_false(option_of(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT));
    close(fd);
}

static void test_listener_may_defer_accepting(void **state)
{
    gate__sockaddr addr;
    int fd = listen_on(&addr, "127.0.0.1", GATE_IO_DEFER);

    (void)state;
    assert_true(option_of(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT) > 0);
    close(fd);
}

static void test_port_in_use_is_refused(void **state)
{
    gate__sockaddr addr;
    int fd = listen_on(&addr, "127.0.0.1", 0);

    (void)state;
    assert_int_equal(gate__sock_listen(&addr, 5, 0, NULL), -EADDRINUSE);
    assert_int_equal(gate__sock_listen(&addr, 5, GATE_IO_SHARED, NULL), -EADDRINUSE);
    close(fd);
}

static void test_shared_port_refuses_a_first_listener_of_somebody_else(void **state)
{
    gate__sockaddr addr;
    int fd = listen_on(&addr, "127.0.0.1", GATE_IO_SHARED);

    (void)state;
    assert_int_equal(gate__sock_listen(&addr, 5, GATE_IO_SHARED, NULL), -EADDRINUSE);
    assert_int_equal(gate__sock_listen(&addr, 5, 0, NULL), -EADDRINUSE);
    close(fd);
}

static void test_shared_port_spreads_its_connections(void **state)
{
    gate__sockaddr addr;
    int first = listen_on(&addr, "127.0.0.1", GATE_IO_SHARED);
    int second = gate__sock_listen(&addr, 5, GATE_IO_JOIN, NULL);
    int of_first = 0, of_second = 0;

    (void)state;
    assert_true(second >= 0);
    for (int i = 0; i < 200; i++) {
        close(plain_connect(&addr));
        of_first += accepted(first);
        of_second += accepted(second);
    }
    assert_int_equal(of_first + of_second, 200);
    assert_in_range(of_first, 20, 180);
    close(first);
    close(second);
}

static void test_star_takes_both_families(void **state)
{
    gate__sockaddr addr, to;
    int fd = listen_on(&addr, "*", GATE_IO_DUAL);

    (void)state;
    set_addr(&to, "127.0.0.1", gate__addr_port(&addr));
    close(plain_connect(&to));
    set_addr(&to, "::1", gate__addr_port(&addr));
    close(plain_connect(&to));
    assert_int_equal(accepted(fd), 2);
    close(fd);
}

static void test_one_ipv6_address_leaves_ipv4_alone(void **state)
{
    gate__sockaddr addr;
    int fd = listen_on(&addr, "::1", 0);

    (void)state;
    assert_true(option_of(fd, IPPROTO_IPV6, IPV6_V6ONLY));
    close(fd);
}

static void test_address_of_another_machine_is_refused(void **state)
{
    gate__sockaddr addr;

    (void)state;
    set_addr(&addr, "192.0.2.77", 0);
    assert_int_equal(gate__sock_listen(&addr, 5, 0, NULL), -EADDRNOTAVAIL);
}

static void test_unreachable_address_is_not_taken_for_missing_ports(void **state)
{
    gate__sockaddr addr;

    (void)state;
    set_addr(&addr, "127.0.0.1", 1);
    assert_int_equal(gate__sock_connect_code(&addr, EADDRNOTAVAIL), GATE_EPORTS);
    assert_int_equal(gate__sock_connect_code(&addr, ECONNREFUSED), -ECONNREFUSED);
    set_addr(&addr, "unix:@gate", 0);
    assert_int_equal(gate__sock_connect_code(&addr, EADDRNOTAVAIL), -EADDRNOTAVAIL);
}

/* ---- Unix ---------------------------------------------------------------------------------- */

struct place {
    char folder[64];
    char path[80];
    char host[96];
};

static int place_setup(void **state)
{
    struct place *place = calloc(1, sizeof *place);

    assert_non_null(place);
    strcpy(place->folder, "/tmp/gate-test-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    snprintf(place->path, sizeof place->path, "%s/socket", place->folder);
    snprintf(place->host, sizeof place->host, "unix:%s", place->path);
    *state = place;
    return 0;
}

static int place_teardown(void **state)
{
    struct place *place = *state;

    unlink(place->path);
    rmdir(place->folder);
    free(place);
    return 0;
}

static int exists(const struct place *place)
{
    struct stat status;

    return lstat(place->path, &status) == 0;
}

static void test_unix_listener_is_reached(void **state)
{
    const struct place *place = *state;
    gate__sockaddr addr;
    int fd = listen_on(&addr, place->host, 0);

    close(plain_connect(&addr));
    assert_int_equal(accepted(fd), 1);
    close(fd);
}

static void test_unix_file_that_nobody_listens_on_is_replaced(void **state)
{
    const struct place *place = *state;
    gate__sockaddr addr;
    int fd;

    close(listen_on(&addr, place->host, 0));
    assert_true(exists(place));
    fd = listen_on(&addr, place->host, 0);
    close(plain_connect(&addr));
    assert_int_equal(accepted(fd), 1);
    close(fd);
}

static void test_unix_file_in_use_is_left_alone(void **state)
{
    const struct place *place = *state;
    gate__sockaddr addr;
    int fd = listen_on(&addr, place->host, 0);

    assert_int_equal(gate__sock_listen(&addr, 5, 0, NULL), -EADDRINUSE);
    close(plain_connect(&addr));
    close(fd);
}

static void test_unix_listener_with_a_full_queue_is_in_use(void **state)
{
    const struct place *place = *state;
    gate__sockaddr addr;
    int fd, clients[2];

    set_addr(&addr, place->host, 0);
    fd = plain_listen(&addr, 0);
    clients[0] = plain_connect(&addr);
    clients[1] = gate__sock_open(AF_UNIX, SOCK_NONBLOCK);
    assert_int_equal(connect(clients[1], &addr.u.any, addr.len), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(gate__sock_listen(&addr, 5, 0, NULL), -EADDRINUSE);
    assert_true(exists(place));
    close(clients[0]);
    close(clients[1]);
    close(fd);
}

static void test_file_that_is_no_socket_is_never_removed(void **state)
{
    const struct place *place = *state;
    gate__sockaddr addr;

    close(open(place->path, O_CREAT | O_WRONLY, 0600));
    set_addr(&addr, place->host, 0);
    assert_int_equal(gate__sock_listen(&addr, 5, 0, NULL), -EEXIST);
    assert_true(exists(place));
    unlink(place->path);
    assert_int_equal(symlink("/nowhere/at/all", place->path), 0);
    assert_int_equal(gate__sock_listen(&addr, 5, 0, NULL), -EEXIST);
    assert_true(exists(place));
}

static void test_unlink_removes_the_listeners_own_file(void **state)
{
    const struct place *place = *state;
    gate__sockaddr addr;
    gate__sock_file file;
    int fd = listen_on(&addr, place->host, 0);

    gate__sock_file_of(&file, &addr);
    gate__sock_unlink(&addr, &file);
    assert_false(exists(place));
    close(fd);
}

static void test_unlink_leaves_the_file_of_another_listener(void **state)
{
    const struct place *place = *state;
    gate__sockaddr addr;
    gate__sock_file file;
    int fd = listen_on(&addr, place->host, 0);
    int other;

    gate__sock_file_of(&file, &addr);
    file.device++; /* as the same number on another device */
    gate__sock_unlink(&addr, &file);
    assert_true(exists(place));
    file.device--;
    assert_int_equal(unlink(place->path), 0);
    other = listen_on(&addr, place->host, 0);
    gate__sock_unlink(&addr, &file);
    assert_true(exists(place));
    close(fd);
    close(other);
}

static void test_abstract_name_has_no_file(void **state)
{
    gate__sockaddr addr;
    gate__sock_file file;
    char host[64];
    int fd;

    (void)state;
    snprintf(host, sizeof host, "unix:@gate-test-%ld", (long)getpid());
    fd = listen_on(&addr, host, 0);
    gate__sock_file_of(&file, &addr);
    assert_int_equal(file.inode, 0);
    gate__sock_unlink(&addr, &file);
    assert_int_equal(gate__sock_listen(&addr, 5, 0, NULL), -EADDRINUSE);
    close(fd);
}

/* ---- Adopted ------------------------------------------------------------------------------- */

static void test_adopted_listener_is_made_ready(void **state)
{
    gate__sockaddr bound, addr;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    (void)state;
    set_addr(&bound, "127.0.0.1", 0);
    assert_int_equal(bind(fd, &bound.u.any, bound.len), 0);
    assert_int_equal(gate__sock_adopt(fd, &addr), -EINVAL);
    assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(gate__sock_adopt(fd, &addr), 0);
    assert_true(gate__addr_port(&addr) > 0);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_true(option_of(fd, IPPROTO_TCP, TCP_NODELAY));
    assert_true(option_of(fd, SOL_SOCKET, SO_OOBINLINE));
    close(fd);
}

static void test_descriptor_that_is_no_stream_listener_is_not_adopted(void **state)
{
    gate__sockaddr addr;
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int datagram = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int packet = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    (void)state;
    set_addr(&addr, "unix:@gate-packet", 0);
    assert_int_equal(gate__sock_adopt(file, &addr), -ENOTSOCK);
    assert_int_equal(gate__sock_adopt(-1, &addr), -EBADF);
    assert_int_equal(gate__sock_adopt(datagram, &addr), -EINVAL);
    assert_int_equal(bind(packet, &addr.u.any, sizeof(sa_family_t)), 0);
    assert_int_equal(listen(packet, 5), 0);
    assert_int_equal(gate__sock_adopt(packet, &addr), -EINVAL);
    close(file);
    close(datagram);
    close(packet);
}

static void test_adopted_path_may_fill_its_room(void **state)
{
    const struct place *place = *state;
    gate__sockaddr full = {.len = sizeof full.u.un, .u.un.sun_family = AF_UNIX};
    gate__sockaddr addr;
    gate__sock_file file;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memset(full.u.un.sun_path, 'x', sizeof full.u.un.sun_path);
    memcpy(full.u.un.sun_path, place->folder, strlen(place->folder));
    full.u.un.sun_path[strlen(place->folder)] = '/';
    assert_int_equal(bind(fd, &full.u.any, full.len), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(gate__sock_adopt(fd, &addr), 0);
    assert_int_equal(addr.len, full.len);
    gate__sock_file_of(&file, &addr);
    assert_true(file.inode != 0);
    gate__sock_unlink(&addr, &file);
    gate__sock_file_of(&file, &addr);
    assert_true(file.inode == 0);
    close(fd);
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_setup, place_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listener_is_set_up),
        cmocka_unit_test(test_listener_may_defer_accepting),
        cmocka_unit_test(test_port_in_use_is_refused),
        cmocka_unit_test(test_shared_port_refuses_a_first_listener_of_somebody_else),
        cmocka_unit_test(test_shared_port_spreads_its_connections),
        cmocka_unit_test(test_star_takes_both_families),
        cmocka_unit_test(test_one_ipv6_address_leaves_ipv4_alone),
        cmocka_unit_test(test_address_of_another_machine_is_refused),
        cmocka_unit_test(test_unreachable_address_is_not_taken_for_missing_ports),
        IN_PLACE(test_unix_listener_is_reached),
        IN_PLACE(test_unix_file_that_nobody_listens_on_is_replaced),
        IN_PLACE(test_unix_file_in_use_is_left_alone),
        IN_PLACE(test_unix_listener_with_a_full_queue_is_in_use),
        IN_PLACE(test_file_that_is_no_socket_is_never_removed),
        IN_PLACE(test_unlink_removes_the_listeners_own_file),
        IN_PLACE(test_unlink_leaves_the_file_of_another_listener),
        cmocka_unit_test(test_abstract_name_has_no_file),
        cmocka_unit_test(test_adopted_listener_is_made_ready),
        cmocka_unit_test(test_descriptor_that_is_no_stream_listener_is_not_adopted),
        IN_PLACE(test_adopted_path_may_fill_its_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
