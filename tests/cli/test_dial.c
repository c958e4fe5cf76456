/* SPDX-License-Identifier: MIT */

/* Which address of a name gate-bench takes. The name service is this program's own. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench_dial.h"
#include "exit.h"
#include "report.h"

enum { ADDRS = 3, FILLERS = 8 };

static bench_addr addrs[BENCH_ADDRS_MAX];
static unsigned count;

/* ---- The name service: these names have these addresses ------------------------------------ */

static const struct {
    const char *name;
    const char *addrs[ADDRS];
} names[] = {
    {"last-listens", {"127.0.0.3", "127.0.0.4", "127.0.0.1"}},
    {"none-listens", {"127.0.0.3", "127.0.0.4"}},
    {"first-hangs", {"127.0.0.2", "127.0.0.1"}},
    {"twice", {"127.0.0.1", "127.0.0.1", "127.0.0.3"}},
};

static struct addrinfo *make_info(const char *text, const char *port, struct addrinfo *next)
{
    struct sockaddr_in *addr = calloc(1, sizeof(*addr));
    struct addrinfo *info = calloc(1, sizeof(*info));

    assert_non_null(addr);
    assert_non_null(info);
    addr->sin_family = AF_INET;
    addr->sin_port = htons((uint16_t)atoi(port));
    assert_int_equal(inet_pton(AF_INET, text, &addr->sin_addr), 1);
    info->ai_addr = (struct sockaddr *)(void *)addr;
    info->ai_addrlen = sizeof(*addr);
    info->ai_next = next;
    return info;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    (void)hints;
    *found = NULL;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i].name, name) == 0) {
            for (int k = ADDRS - 1; k >= 0; k--)
                if (names[i].addrs[k] != NULL)
                    *found = make_info(names[i].addrs[k], service, *found);
            return 0;
        }
    if (strspn(name, "0123456789.") != strlen(name))
        return EAI_NONAME;
    *found = make_info(name, service, NULL);
    return 0;
}

void freeaddrinfo(struct addrinfo *info)
{
    while (info != NULL) {
        struct addrinfo *next = info->ai_next;

        free(info->ai_addr);
        free(info);
        info = next;
    }
}

/* ---- Servers -------------------------------------------------------------------------------- */

static int listen_at(const char *host, uint16_t *port, int backlog)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(*port)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(inet_pton(AF_INET, host, &addr.sin_addr), 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    *port = ntohs(addr.sin_port);
    return fd;
}

static void find(const char *name, uint16_t port)
{
    char text[64];

    snprintf(text, sizeof(text), "%s:%u", name, port);
    assert_int_equal(bench_dial_find(text, addrs, &count), 0);
}

static void expect(unsigned chosen, const char *host, uint16_t port)
{
    char text[BENCH_ADDR_TEXT], expected[64];

    snprintf(expected, sizeof(expected), "%s:%u", host, port);
    assert_string_equal(bench_dial_text(&addrs[chosen], text), expected);
}

/* ---- Tests ---------------------------------------------------------------------------------- */

static void test_address_that_takes_connections_is_chosen(void **state)
{
    uint16_t port = 0;
    int fd = listen_at("127.0.0.1", &port, 8);
    unsigned chosen;

    (void)state;
    find("last-listens", port);
    assert_int_equal(count, 3);
    assert_int_equal(bench_dial_try(addrs, count, 5000, &chosen), 0);
    assert_int_equal(chosen, 2);
    expect(chosen, "127.0.0.1", port);
    close(fd);
}

static void test_name_without_a_server_is_refused(void **state)
{
    uint16_t port = 0;
    int fd = listen_at("127.0.0.1", &port, 8);
    unsigned chosen;

    (void)state;
    find("none-listens", port);
    assert_int_equal(bench_dial_try(addrs, count, 5000, &chosen), -ECONNREFUSED);
    close(fd);
}

/* Its queue is full: the kernel drops what comes. */
static void test_address_that_never_answers_has_its_share_of_the_time(void **state)
{
    uint16_t port = 0;
    int good = listen_at("127.0.0.1", &port, 8), full = listen_at("127.0.0.2", &port, 0);
    int fillers[FILLERS];
    unsigned chosen;

    (void)state;
    find("first-hangs", port);
    for (int i = 0; i < FILLERS; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(fillers[i], (const struct sockaddr *)&addrs[0].addr, addrs[0].len);
    }
    assert_int_equal(bench_dial_try(addrs, 1, 100, &chosen), -ETIMEDOUT);
    assert_int_equal(bench_dial_try(addrs, count, 500, &chosen), 0);
    expect(chosen, "127.0.0.1", port);
    for (int i = 0; i < FILLERS; i++)
        close(fillers[i]);
    close(full);
    close(good);
}

static void test_address_is_there_once(void **state)
{
    (void)state;
    find("twice", 1);
    assert_int_equal(count, 2);
    expect(0, "127.0.0.1", 1);
    expect(1, "127.0.0.3", 1);
}

static void test_addresses_are_shown_as_they_are_written(void **state)
{
    static const char *const texts[] = {"127.0.0.1:9001", "unix:/run/door", "unix:@door"};
    char text[BENCH_ADDR_TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(bench_dial_find(texts[i], addrs, &count), 0);
        assert_int_equal(count, 1);
        assert_string_equal(bench_dial_text(&addrs[0], text), texts[i]);
    }
}

static void test_what_cannot_be_reached_is_refused(void **state)
{
    (void)state;
    assert_int_equal(bench_dial_find("127.0.0.1:0", addrs, &count), GATE_EXIT_USAGE);
    assert_int_equal(bench_dial_find("fd:3", addrs, &count), GATE_EXIT_USAGE);
    assert_int_equal(bench_dial_find("::1:9001", addrs, &count), GATE_EXIT_USAGE);
    assert_int_equal(bench_dial_find("no-such-name:1", addrs, &count), GATE_EXIT_RESOLVE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address_that_takes_connections_is_chosen),
        cmocka_unit_test(test_name_without_a_server_is_refused),
        cmocka_unit_test(test_address_that_never_answers_has_its_share_of_the_time),
        cmocka_unit_test(test_address_is_there_once),
        cmocka_unit_test(test_addresses_are_shown_as_they_are_written),
        cmocka_unit_test(test_what_cannot_be_reached_is_refused),
    };

    report_begin("test_dial");
    return cmocka_run_group_tests_name("dial", tests, NULL, NULL);
}
