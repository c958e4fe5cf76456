/* SPDX-License-Identifier: MIT */

/* Addresses that are kept in little room come out as they went in. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "core/peer.h"

static void check(const gate__sockaddr *addr)
{
    gate__peer peer = {0};
    gate__sockaddr back;
    char first[GATE__ADDR_TEXT], second[GATE__ADDR_TEXT];
    assert_false(gate__peer_known(&peer));
    gate__peer_set(&peer, addr);
    assert_true(gate__peer_known(&peer));
    gate__peer_get(&peer, &back);
    assert_int_equal(back.len, addr->len);
    assert_memory_equal(&back.u, &addr->u, addr->len);
    gate__addr_format(addr, first, sizeof first);
    gate__addr_format(&back, second, sizeof second);
    assert_string_equal(first, second);
    gate__peer_free(&peer);
    assert_false(gate__peer_known(&peer));
}

static void test_any_address_comes_back(void **state)
{
    static const char *const hosts[] = {"192.0.2.7", "0.0.0.0",     "::1",     "2001:db8::7",
                                        "fe80::1%7", "unix:/run/a", "unix:@b", "::ffff:192.0.2.7"};
    gate__sockaddr addr;
    (void)state;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        memset(&addr, 0, sizeof addr);
        assert_int_equal(gate__addr_numeric(&addr, hosts[i], 40112), 0);
        check(&addr);
    }
}

static void test_unix_sockets_without_and_with_the_longest_name(void **state)
{
    gate__sockaddr addr = {.len = offsetof(struct sockaddr_un, sun_path)};
    (void)state;
    addr.u.un.sun_family = AF_UNIX;
    check(&addr);
    memset(addr.u.un.sun_path, 'x', sizeof addr.u.un.sun_path);
    addr.len = sizeof addr.u.un;
    check(&addr);
    addr.u.un.sun_path[0] = '\0';
    addr.u.un.sun_path[1] = '\x9b';
    check(&addr);
}

static void test_it_is_small(void **state)
{
    (void)state;
    assert_true(sizeof(gate__peer) <= 24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_address_comes_back),
        cmocka_unit_test(test_unix_sockets_without_and_with_the_longest_name),
        cmocka_unit_test(test_it_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
