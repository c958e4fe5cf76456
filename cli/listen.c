/* SPDX-License-Identifier: MIT */
#include "listen.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exit.h"
#include "report.h"

enum { PORT_DEFAULT = 9001, SYSTEMD_FIRST_FD = 3, PASSED_MAX = 4096 };

void listeners_text(const gate_addr *addr, const gate_server *server, char *text, size_t room)
{
    uint32_t port = addr->port == 0 ? gate_server_port(server) : addr->port;

    if (addr->kind == GATE_ADDR_UNIX)
        snprintf(text, room, "%s", addr->host);
    else if (addr->kind == GATE_ADDR_FD)
        snprintf(text, room, "fd:%d", addr->fd);
    else if (addr->kind == GATE_ADDR_SYSTEMD)
        snprintf(text, room, "systemd:%s", addr->host);
    else
        snprintf(text, room, strchr(addr->host, ':') != NULL ? "[%s]:%u" : "%s:%u", addr->host,
                 port);
}

/* The library tells the port of the first TCP listener only: nobody would learn another one that
 * the kernel chose. */
static int check_port_zero(const listeners *all)
{
    size_t first = 0;

    while (first < all->count && all->addr[first].kind == GATE_ADDR_UNIX)
        first++;
    for (size_t i = first + 1; i < all->count; i++)
        if (all->addr[i].kind == GATE_ADDR_TCP && all->addr[i].port == 0) {
            report_error("--listen: port 0 is possible for the first address only");
            report_hint("write the address with port 0 first, and a port for each other one");
            return GATE_EXIT_USAGE;
        }
    return 0;
}

int listeners_parse(listeners *all, const args_list *list)
{
    static const args_list tutorial = {1, {"0.0.0.0:9001"}};
    const char *why = NULL;

    if (list->count == 0)
        list = &tutorial;
    for (all->count = 0; all->count < list->count; all->count++) {
        const char *text = list->item[all->count];

        if (gate_addr_parse(&all->addr[all->count], text, PORT_DEFAULT, &why) < 0) {
            report_error("--listen: '%s' is not an address", text);
            report_hint("%s", why);
            return GATE_EXIT_USAGE;
        }
    }
    return check_port_zero(all);
}

/* Digits alone, as the service manager writes them: no sign, blank or leading zero. 0 if the text
 * is not that, or over the limit. */
static int64_t read_number(const char *text, int64_t limit)
{
    int64_t value = 0;

    if (text == NULL || *text == '0')
        return 0;
    for (; *text >= '0' && *text <= '9'; text++) {
        value = value * 10 + (*text - '0');
        if (value > limit)
            return 0;
    }
    return *text == '\0' ? value : 0;
}

/* How many descriptors the service manager passed to this process, 0 if what it says is not in its
 * own grammar. *names: a name for each, or NULL if it gave none. */
static int count_passed(const char **names)
{
    int64_t count = read_number(getenv("LISTEN_FDS"), PASSED_MAX);
    int64_t listed = 1;

    *names = getenv("LISTEN_FDNAMES");
    if (count == 0 || read_number(getenv("LISTEN_PID"), INT_MAX) != getpid())
        return 0;
    if (*names == NULL)
        return (int)count;
    for (const char *at = *names; *at != '\0'; at++)
        listed += *at == ':';
    return listed == count ? (int)count : 0;
}

/* Listens on each descriptor of that name; without names each one is called "unknown". */
static int open_passed(gate_server *server, const char *name)
{
    const char *names;
    int count = count_passed(&names), result = -ENOENT;
    size_t len = strlen(name);

    for (int i = 0; i < count; i++) {
        const char *here = names == NULL ? "unknown" : names;
        size_t here_len = strcspn(here, ":");

        if (here_len == len && memcmp(here, name, len) == 0)
            result = gate_server_listen_fd(server, SYSTEMD_FIRST_FD + i);
        if (result != 0 && result != -ENOENT)
            return result;
        if (names != NULL)
            names += names[here_len] == ':' ? here_len + 1 : here_len;
    }
    return result;
}

static void report_listen_hint(const gate_addr *addr, int code)
{
    if (addr->kind == GATE_ADDR_SYSTEMD && code == -ENOENT)
        report_hint("LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES must name it for this process: "
                    "start it from a socket unit with FileDescriptorName=%s",
                    addr->host);
    else if (addr->kind == GATE_ADDR_FD)
        report_hint("the descriptor has to be a listening stream socket that was left open");
    else if (addr->kind == GATE_ADDR_UNIX && code == -EADDRINUSE)
        report_hint("ss -lxp shows who has it, or choose another path");
    else if (code == -EADDRINUSE)
        report_hint("ss -ltnp 'sport = :%u' shows who has it, or choose -l :0", addr->port);
    else if (code == -EACCES && addr->kind == GATE_ADDR_TCP)
        report_hint("ports below 1024 need the capability CAP_NET_BIND_SERVICE, "
                    "or choose a higher one");
    else if (code == -EADDRNOTAVAIL)
        report_hint("this machine has no such address: ip -brief address lists them, and "
                    "0.0.0.0 or * takes all");
    else if (code == GATE_ENAME || code == GATE_ENAMELATER)
        report_hint("write an address such as 127.0.0.1, or check with getent hosts %s",
                    addr->host);
}

static int report_listen(const gate_addr *addr, const gate_server *server, int code)
{
    char text[LISTENERS_TEXT_MAX];

    listeners_text(addr, server, text, sizeof(text));
    report_error("cannot listen on %s: %s", text, report_reason(code));
    report_listen_hint(addr, code);
    /* Whatever else it is: a descriptor that is none, too. */
    return code == GATE_ENAME || code == GATE_ENAMELATER ? GATE_EXIT_RESOLVE : GATE_EXIT_REFUSED;
}

int listeners_open(const listeners *all, gate_server *server, int backlog)
{
    for (size_t i = 0; i < all->count; i++) {
        const gate_addr *addr = &all->addr[i];
        int result;

        if (addr->kind == GATE_ADDR_FD)
            result = gate_server_listen_fd(server, addr->fd);
        else if (addr->kind == GATE_ADDR_SYSTEMD)
            result = open_passed(server, addr->host);
        else
            result = gate_server_listen(server, addr->host, (uint16_t)addr->port, backlog);
        if (result < 0)
            return report_listen(addr, server, result);
    }
    return 0;
}
