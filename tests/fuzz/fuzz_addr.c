/* SPDX-License-Identifier: MIT */
/* Addresses as people write them and as sockaddr. The first byte is the default port's low one. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/addr.h"
#include "fuzz.h"

enum { TEXT_ROOM = 300 };

/* Writes it so that it reads back the same. 0: there is no such way, since a prefix has the host's
 * name. */
static int write_addr(const gate_addr *addr, char text[TEXT_ROOM])
{
    const char *host = addr->host;

    switch (addr->kind) {
    case GATE_ADDR_UNIX:
        (void)snprintf(text, TEXT_ROOM, "%s", host);
        return 1;
    case GATE_ADDR_FD:
        (void)snprintf(text, TEXT_ROOM, "fd:%d", addr->fd);
        return 1;
    case GATE_ADDR_SYSTEMD:
        (void)snprintf(text, TEXT_ROOM, "systemd:%s", host);
        return 1;
    default:
        CHECK(addr->kind == GATE_ADDR_TCP);
        (void)snprintf(text, TEXT_ROOM, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, addr->port);
        return strcmp(host, "unix") != 0 && strcmp(host, "fd") != 0 && strcmp(host, "systemd") != 0;
    }
}

static void check_parse(const char *text, uint16_t port)
{
    gate_addr addr, again, before;
    char written[TEXT_ROOM];
    const char *why = NULL;

    memset(&addr, 0x5a, sizeof(addr));
    before = addr;
    int rc = gate_addr_parse(&addr, text, port, &why);
    if (rc != 0) {
        CHECK(rc == -EINVAL || rc == -ENAMETOOLONG);
        CHECK(why != NULL && why[0] != '\0');
        CHECK(memcmp(&addr, &before, sizeof(addr)) == 0);
        return;
    }
    CHECK(memchr(addr.host, '\0', sizeof(addr.host)) != NULL && addr.port <= UINT16_MAX);
    CHECK((addr.kind == GATE_ADDR_FD) == (addr.fd >= 0));
    if (!write_addr(&addr, written))
        return;
    CHECK(gate_addr_parse(&again, written, 0, NULL) == 0);
    CHECK(memcmp(&addr, &again, sizeof(addr)) == 0);
}

static void check_cut(const gate__sockaddr *set, const char *whole)
{
    char text[TEXT_ROOM];
    size_t len = strlen(whole);

    for (size_t room = 1; room <= len; room += 5) {
        memset(text, 'x', sizeof(text));
        gate__addr_format(set, text, room);
        CHECK(strlen(text) == room - 1 && memcmp(text, whole, room - 1) == 0);
        CHECK(text[room] == 'x');
    }
}

static void check_numeric(const char *text, uint16_t port)
{
    gate__sockaddr set, again;
    gate_addr addr;
    char written[TEXT_ROOM], rewritten[TEXT_ROOM];

    int rc = gate__addr_numeric(&set, text, port);
    CHECK(rc == 0 || rc == 1 || rc == -EINVAL || rc == -ENAMETOOLONG);
    if (rc != 0)
        return;
    int is_unix = set.u.any.sa_family == AF_UNIX;
    CHECK(set.len > 0 && set.len <= sizeof(set.u));
    CHECK(gate__addr_port(&set) == (is_unix ? 0 : port));
    CHECK((gate__addr_source(&set) == 0) == is_unix);
    gate__addr_format(&set, written, sizeof(written));
    check_cut(&set, written);
    /* Some of it is written in another way: a mapped address as IPv4, control bytes as '?'. But
     * what is written reads back as what is written the same. */
    CHECK(gate_addr_parse(&addr, written, 0, NULL) == 0);
    CHECK(gate__addr_numeric(&again, addr.host, (uint16_t)addr.port) == 0);
    CHECK(gate__addr_source(&again) == gate__addr_source(&set));
    gate__addr_format(&again, rewritten, sizeof(rewritten));
    CHECK(strcmp(written, rewritten) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    uint16_t port = (uint16_t)(fuzz_byte(&in) * 257);
    char *text = fuzz_text(in.at, in.left);

    check_parse(text, port);
    check_numeric(text, port);
    free(text);
    return 0;
}
