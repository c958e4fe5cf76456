/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <gate/gate.h>
#include <stdlib.h>
#include <string.h>

#include "core/addr.h"
#include "seed.h"

enum { PATH_ROOM = sizeof(((struct sockaddr_un *)0)->sun_path) };

/* "unix:" and a name of len bytes that begins with first. */
static void fill_unix_text(char *text, char first, size_t len)
{
    memcpy(text, "unix:", 5);
    memset(text + 5, 'p', len);
    text[5] = first;
    text[5 + len] = '\0';
}

/* ---- Numeric text and back ---- */

static void expect_text(const char *host, uint16_t port, const char *expected)
{
    gate__sockaddr set;
    char text[160];
    assert_int_equal(gate__addr_numeric(&set, host, port), 0);
    gate__addr_format(&set, text, sizeof(text));
    assert_string_equal(text, expected);
}

static void test_numeric_addresses_come_back_as_text(void **state)
{
    (void)state;
    expect_text("127.0.0.1", 9001, "127.0.0.1:9001");
    expect_text("0.0.0.0", 0, "0.0.0.0:0");
    expect_text("255.255.255.255", 65535, "255.255.255.255:65535");
    expect_text("::1", 80, "[::1]:80");
    expect_text("[::1]", 80, "[::1]:80");
    expect_text("2001:DB8:0::1", 80, "[2001:db8::1]:80");
    expect_text("fe80::1%7", 80, "[fe80::1%7]:80");
    expect_text("[fe80::1%7]", 80, "[fe80::1%7]:80");
    expect_text("*", 9001, "[::]:9001");
    expect_text("::ffff:192.0.2.1", 80, "192.0.2.1:80");
    expect_text("unix:/run/gate.sock", 9001, "unix:/run/gate.sock");
    expect_text("unix:gate.sock", 0, "unix:gate.sock");
    expect_text("unix:@gate", 0, "unix:@gate");
}

static void test_numeric_fills_the_socket_address(void **state)
{
    (void)state;
    gate__sockaddr set;
    assert_int_equal(gate__addr_numeric(&set, "192.0.2.1", 0x1234), 0);
    assert_int_equal(set.len, sizeof(struct sockaddr_in));
    assert_int_equal(set.u.in4.sin_family, AF_INET);
    assert_memory_equal(&set.u.in4.sin_addr, "\300\0\2\1", 4);
    assert_memory_equal(&set.u.in4.sin_port, "\x12\x34", 2);
    assert_int_equal(gate__addr_port(&set), 0x1234);

    assert_int_equal(gate__addr_numeric(&set, "fe80::1%4294967295", 9001), 0);
    assert_int_equal(set.len, sizeof(struct sockaddr_in6));
    assert_int_equal(set.u.in6.sin6_family, AF_INET6);
    assert_int_equal(set.u.in6.sin6_scope_id, UINT32_MAX);
    assert_int_equal(gate__addr_port(&set), 9001);

    assert_int_equal(gate__addr_numeric(&set, "unix:/a", 9001), 0);
    assert_int_equal(set.u.un.sun_family, AF_UNIX);
    assert_int_equal(set.len, offsetof(struct sockaddr_un, sun_path) + 3); /* with its NUL */
    assert_int_equal(gate__addr_port(&set), 0);

    assert_int_equal(gate__addr_numeric(&set, "unix:@a", 9001), 0);
    assert_int_equal(set.len, offsetof(struct sockaddr_un, sun_path) + 2);
    assert_memory_equal(set.u.un.sun_path, "\0a", 2);
}

static void expect_numeric(const char *host, int expected)
{
    gate__sockaddr set;
    int rc = gate__addr_numeric(&set, host, 80);
    if (rc != expected)
        fail_msg("'%s' gives %d and not %d", host, rc, expected);
}

static void test_names_are_left_to_the_resolver(void **state)
{
    (void)state;
    static const char *const names[] = {
        "localhost", "example.com", "example.com.", "a_b-c.d1",       "1and1.com",
        "x",         "3com",        "7fx",          "fe80::1%eth0",   "xn--bcher-kva.example",
        "0x7g",      "cafe.de",     "0x7f.example", "[fe80::1%eth0]", "fe80::1%br-lan.7"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        expect_numeric(names[i], 1);
}

static void test_malformed_hosts_are_refused(void **state)
{
    (void)state;
    static const char *const hosts[] = {"",
                                        " ",
                                        "a b",
                                        "a/b",
                                        "a@b",
                                        "**",
                                        "*.com",
                                        "1.2.3",
                                        "256.1.1.1",
                                        "1.2.3.4.",
                                        "1.2.3.4.5",
                                        "9001",
                                        ".",
                                        ".com",
                                        "[::1",
                                        "::1]",
                                        "[",
                                        "]",
                                        "[]",
                                        "[a]",
                                        "[1.2.3.4]",
                                        "::1::",
                                        ":::",
                                        "12345::",
                                        "::1%",
                                        "::1% ",
                                        "::1%99999999999",
                                        "[::1]:80",
                                        "[[::1]]",
                                        "a\nb",
                                        "\xc3\xa9",
                                        "a:80",
                                        "::1%eth0]",
                                        "[fe80::1%eth0",
                                        "unix:",
                                        "unix:@",
                                        "127.0.0.1 ",
                                        "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000"};
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
        expect_numeric(hosts[i], -EINVAL);
}

/* The C library would take them for 127.0.0.1. */
static void test_disguised_ipv4_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const hosts[] = {"0x7f.1",     "0x7f000001", "0x7f.0.0.1", "0X7F.0X1",
                                        "127.0x1",    "0177.0.0.1", "2130706433", "127.1",
                                        "127.0.0.1.", "0x7f.",      "0x"};
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
        expect_numeric(hosts[i], -EINVAL);
}

static void test_names_that_no_interface_has_are_no_zones(void **state)
{
    (void)state;
    static const char *const hosts[] = {"[::1%a/b]", "::1%a%b", "::1%a b", "::1%\xe4",
                                        "::1%sixteen_bytes_it"};
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
        expect_numeric(hosts[i], -EINVAL);
}

static void test_a_name_of_253_bytes_is_the_longest(void **state)
{
    (void)state;
    char host[300];
    memset(host, 'a', sizeof(host));
    host[253] = '\0';
    expect_numeric(host, 1);
    host[253] = 'a';
    host[254] = '\0';
    expect_numeric(host, -ENAMETOOLONG);
}

static void test_a_unix_path_is_never_truncated(void **state)
{
    (void)state;
    char text[PATH_ROOM + 20];
    gate__sockaddr set;
    fill_unix_text(text, '/', PATH_ROOM - 1);
    expect_numeric(text, 0);
    fill_unix_text(text, '/', PATH_ROOM);
    expect_numeric(text, -ENAMETOOLONG);

    fill_unix_text(text, '@', PATH_ROOM); /* no NUL is needed behind an abstract name */
    assert_int_equal(gate__addr_numeric(&set, text, 0), 0);
    assert_int_equal(set.len, sizeof(struct sockaddr_un));
    char back[PATH_ROOM + 20];
    gate__addr_format(&set, back, sizeof(back));
    assert_string_equal(back, text);
    fill_unix_text(text, '@', PATH_ROOM + 1);
    expect_numeric(text, -ENAMETOOLONG);
}

static void test_format_escapes_control_characters_of_a_path(void **state)
{
    (void)state;
    char text[64];
    gate__sockaddr set;
    assert_int_equal(gate__addr_numeric(&set, "unix:/a\nb\x1b[\x7f\xc3\xa9", 0), 0);
    gate__addr_format(&set, text, sizeof(text));
    assert_string_equal(text, "unix:/a\\x0ab\\x1b[\\x7f\xc3\xa9");

    assert_int_equal(gate__addr_numeric(&set, "unix:@abc", 0), 0);
    set.u.un.sun_path[2] = '\0';
    gate__addr_format(&set, text, sizeof(text));
    assert_string_equal(text, "unix:@a\\x00c");
}

static void test_format_names_an_unnamed_socket(void **state)
{
    (void)state;
    char text[16];
    gate__sockaddr set = {.len = sizeof(sa_family_t)};
    set.u.un.sun_family = AF_UNIX;
    gate__addr_format(&set, text, sizeof(text));
    assert_string_equal(text, "unix:");
    set.len = 0;
    gate__addr_format(&set, text, sizeof(text));
    assert_string_equal(text, "unix:");
}

static void test_format_reads_a_path_without_its_nul(void **state)
{
    (void)state;
    char text[PATH_ROOM + 20];
    gate__sockaddr set = {.len = sizeof(struct sockaddr_un)};
    set.u.un.sun_family = AF_UNIX;
    memset(set.u.un.sun_path, 'x', PATH_ROOM);
    gate__addr_format(&set, text, sizeof(text));
    assert_int_equal(strlen(text), 5 + PATH_ROOM);
}

static void test_format_cuts_to_the_room(void **state)
{
    (void)state;
    gate__sockaddr set;
    static const char *const hosts[] = {"192.0.2.1", "2001:db8::1", "unix:/run/gate.sock"};
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        char whole[64];
        assert_int_equal(gate__addr_numeric(&set, hosts[i], 9001), 0);
        gate__addr_format(&set, whole, sizeof(whole));
        for (size_t room = 0; room <= strlen(whole) + 1; room++) {
            char *text = malloc(room + 1);
            assert_non_null(text);
            text[room] = '#';
            gate__addr_format(&set, text, room);
            assert_int_equal(text[room], '#');
            if (room > 0) {
                assert_int_equal(strlen(text), room - 1);
                assert_memory_equal(text, whole, room - 1);
            }
            free(text);
        }
    }
}

/* ---- Sources ---- */

static uint64_t source_of(const char *host, uint16_t port)
{
    gate__sockaddr set;
    assert_int_equal(gate__addr_numeric(&set, host, port), 0);
    return gate__addr_source(&set);
}

static void test_a_source_is_an_ipv4_address_whatever_the_port(void **state)
{
    (void)state;
    assert_true(source_of("192.0.2.1", 1) == source_of("192.0.2.1", 2));
    assert_true(source_of("192.0.2.1", 1) == source_of("::ffff:192.0.2.1", 2));
    assert_true(source_of("192.0.2.1", 1) != source_of("192.0.2.2", 1));
    assert_true(source_of("192.0.2.1", 1) != source_of("193.0.2.1", 1));
}

static void test_a_source_is_the_first_half_of_an_ipv6_address(void **state)
{
    (void)state;
    assert_true(source_of("2001:db8::1", 1) == source_of("2001:db8::ffff:0:0:2", 2));
    assert_true(source_of("2001:db8::1", 1) != source_of("2001:db8:0:1::1", 1));
}

static void test_only_a_unix_socket_has_no_source(void **state)
{
    (void)state;
    assert_true(source_of("0.0.0.0", 1) != 0);
    assert_true(source_of("::", 1) != 0);
    assert_true(source_of("::1", 1) != 0);
    assert_true(source_of("::1", 1) != source_of("0.0.0.0", 1));
    assert_true(source_of("::1", 1) != source_of("0.0.0.1", 1));
    assert_true(source_of("unix:/a", 1) == 0);
}

/* ---- As people write them ---- */

static void test_parse_reads_every_form(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t kind;
        const char *host;
        uint32_t port;
        int32_t fd;
    } forms[] = {
        {"127.0.0.1:9001", GATE_ADDR_TCP, "127.0.0.1", 9001, -1},
        {"example.com:0", GATE_ADDR_TCP, "example.com", 0, -1},
        {"example.com", GATE_ADDR_TCP, "example.com", 77, -1},
        {"127.0.0.1", GATE_ADDR_TCP, "127.0.0.1", 77, -1},
        {":65535", GATE_ADDR_TCP, "*", 65535, -1},
        {"*:9001", GATE_ADDR_TCP, "*", 9001, -1},
        {"*", GATE_ADDR_TCP, "*", 77, -1},
        {"[::1]:9001", GATE_ADDR_TCP, "::1", 9001, -1},
        {"[::1]", GATE_ADDR_TCP, "::1", 77, -1},
        {"[fe80::1%eth0]:9001", GATE_ADDR_TCP, "fe80::1%eth0", 9001, -1},
        {"fd", GATE_ADDR_TCP, "fd", 77, -1},
        {"unix:/run/a:b", GATE_ADDR_UNIX, "unix:/run/a:b", 0, -1},
        {"unix:@gate", GATE_ADDR_UNIX, "unix:@gate", 0, -1},
        {"fd:3", GATE_ADDR_FD, "", 0, 3},
        {"fd:0", GATE_ADDR_FD, "", 0, 0},
        {"fd:2147483647", GATE_ADDR_FD, "", 0, INT32_MAX},
        {"systemd:gate.socket", GATE_ADDR_SYSTEMD, "gate.socket", 0, -1},
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        gate_addr addr;
        const char *why = "";
        if (gate_addr_parse(&addr, forms[i].text, 77, &why) != 0)
            fail_msg("'%s': %s", forms[i].text, why);
        assert_int_equal(addr.kind, forms[i].kind);
        assert_string_equal(addr.host, forms[i].host);
        assert_int_equal(addr.port, forms[i].port);
        assert_int_equal(addr.fd, forms[i].fd);
    }
}

static void expect_refused(const char *text, int code, const char *hint)
{
    gate_addr addr;
    gate_addr before;
    const char *why = NULL;
    memset(&addr, 0x5a, sizeof(addr));
    before = addr;
    int rc = gate_addr_parse(&addr, text, 77, &why);
    if (rc != code)
        fail_msg("'%s' gives %d and not %d", text, rc, code);
    assert_memory_equal(&addr, &before, sizeof(addr));
    assert_non_null(why);
    if (strstr(why, hint) == NULL)
        fail_msg("'%s': \"%s\" does not say \"%s\"", text, why, hint);
    assert_int_equal(gate_addr_parse(&addr, text, 77, NULL), code);
}

static void test_parse_says_what_is_wrong_and_what_to_write(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *hint;
    } refused[] = {
        {"", "empty"},
        {"::1:9001", "write [::1]:9001"},
        {"::1", "write [::1]:9001"},
        {"a:b:1", "write [::1]:9001"},
        {"[::1:9001", "not closed"},
        {"[::1]9001", "write [::1]:9001"},
        {"[::1] :9001", "after the bracket"},
        {"[localhost]:9001", "between the brackets"},
        {"[127.0.0.1]:9001", "between the brackets"},
        {"[]:9001", "between the brackets"},
        {"[*]:9001", "between the brackets"},
        {"[::1%]:9001", "between the brackets"},
        {":", "0 to 65535"},
        {"host:", "0 to 65535"},
        {"host:65536", "0 to 65535"},
        {"host:99999999999999999999999", "0 to 65535"},
        {"host:-1", "0 to 65535"},
        {"host:+1", "0 to 65535"},
        {"host: 1", "0 to 65535"},
        {"host:1 ", "0 to 65535"},
        {"host:0x50", "0 to 65535"},
        {"host:080", "0 to 65535"},
        {"host:http", "0 to 65535"},
        {"host:1\n", "0 to 65535"},
        {"9001", "write :9001"},
        {"9001:9001", "colon before it"},
        {"256.0.0.1:80", "0 to 255"},
        {"127.1:80", "0 to 255"},
        {"0x7f.1:80", "0 to 255"},
        {"0x7f000001:80", "0 to 255"},
        {" host:80", "neither"},
        {"ho st:80", "neither"},
        {"http//host:80", "neither"},
        {"ho\x80st:80", "neither"},
        {"unix:", "write unix:/run/gate.sock"},
        {"unix:@", "write unix:/run/gate.sock"},
        {"fd:", "write fd:3"},
        {"fd:-1", "write fd:3"},
        {"fd:3x", "write fd:3"},
        {"fd:2147483648", "write fd:3"},
        {"systemd:", "write systemd:NAME"},
        {"systemd:a:b", "write systemd:NAME"},
        {"systemd:a b", "write systemd:NAME"},
        {"systemd:a\x80", "write systemd:NAME"},
        {"systemd:a\x7f", "write systemd:NAME"},
    };
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        expect_refused(refused[i].text, -EINVAL, refused[i].hint);
    assert_int_equal(gate_addr_parse(NULL, ":1", 0, NULL), -EINVAL);
    gate_addr addr;
    assert_int_equal(gate_addr_parse(&addr, NULL, 0, NULL), -EINVAL);
}

static void test_parse_refuses_what_is_too_long(void **state)
{
    (void)state;
    char text[400];
    gate_addr addr;

    memset(text, 'a', sizeof(text));
    memcpy(text + 254, ":80", 4);
    expect_refused(text, -ENAMETOOLONG, "253");
    memcpy(text + 253, ":80", 4);
    assert_int_equal(gate_addr_parse(&addr, text, 0, NULL), 0);
    assert_int_equal(strlen(addr.host), 253);

    memset(text, 'a', sizeof(text));
    memcpy(text, "systemd:", 8);
    text[8 + 256] = '\0';
    expect_refused(text, -ENAMETOOLONG, "255");
    text[8 + 255] = '\0';
    assert_int_equal(gate_addr_parse(&addr, text, 0, NULL), 0);
    assert_int_equal(strlen(addr.host), 255);

    fill_unix_text(text, '/', PATH_ROOM);
    expect_refused(text, -ENAMETOOLONG, "107");
    fill_unix_text(text, '@', PATH_ROOM);
    assert_int_equal(gate_addr_parse(&addr, text, 0, NULL), 0);
}

/* Whatever is accepted can be used: its host is numeric or a name. */
static void test_parse_stands_random_text(void **state)
{
    (void)state;
    static const char *const parts[] = {
        ":", "[", "]", "::1", "80",   "65536", "a",         ".",        "fd:",  "unix:", "@",
        "*", "%", "/", "-",   "\xff", " ",     "127.0.0.1", "systemd:", "host", "0",     "eth0"};
    seed_start();
    for (int round = 0; round < 200000; round++) {
        char text[512] = "";
        for (size_t n = seed_below(7); n > 0; n--)
            strcat(text, parts[seed_below(sizeof(parts) / sizeof(parts[0]))]);
        char *exact = strdup(text);
        assert_non_null(exact);
        gate_addr addr;
        gate__sockaddr set;
        const char *why = NULL;
        int rc = gate_addr_parse(&addr, exact, 77, &why);
        assert_true(rc == 0 || (rc < 0 && why != NULL));
        if (rc == 0 && (addr.kind == GATE_ADDR_TCP || addr.kind == GATE_ADDR_UNIX))
            assert_true(gate__addr_numeric(&set, addr.host, (uint16_t)addr.port) >= 0);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numeric_addresses_come_back_as_text),
        cmocka_unit_test(test_numeric_fills_the_socket_address),
        cmocka_unit_test(test_names_are_left_to_the_resolver),
        cmocka_unit_test(test_malformed_hosts_are_refused),
        cmocka_unit_test(test_disguised_ipv4_addresses_are_refused),
        cmocka_unit_test(test_names_that_no_interface_has_are_no_zones),
        cmocka_unit_test(test_a_name_of_253_bytes_is_the_longest),
        cmocka_unit_test(test_a_unix_path_is_never_truncated),
        cmocka_unit_test(test_format_escapes_control_characters_of_a_path),
        cmocka_unit_test(test_format_names_an_unnamed_socket),
        cmocka_unit_test(test_format_reads_a_path_without_its_nul),
        cmocka_unit_test(test_format_cuts_to_the_room),
        cmocka_unit_test(test_a_source_is_an_ipv4_address_whatever_the_port),
        cmocka_unit_test(test_a_source_is_the_first_half_of_an_ipv6_address),
        cmocka_unit_test(test_only_a_unix_socket_has_no_source),
        cmocka_unit_test(test_parse_reads_every_form),
        cmocka_unit_test(test_parse_says_what_is_wrong_and_what_to_write),
        cmocka_unit_test(test_parse_refuses_what_is_too_long),
        cmocka_unit_test(test_parse_stands_random_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
