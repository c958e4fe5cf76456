/* SPDX-License-Identifier: MIT */
#include "listen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exit.h"
#include "report.h"

enum { PORT_DEFAULT = 9001, SYSTEMD_FIRST_FD = 3 };

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

/* The next descriptor after `fd` that the service manager passed under this name, -1 if there is
 * none. Descriptors have the name "unknown" where it gave no names. */
static int find_passed(const char *name, int fd)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    const char *names = getenv("LISTEN_FDNAMES");
    size_t len = strlen(name);

    if (pid == NULL || count == NULL || strtol(pid, NULL, 10) != (long)getpid())
        return -1;
    for (int at = SYSTEMD_FIRST_FD; at < SYSTEMD_FIRST_FD + atoi(count); at++) {
        const char *here = names == NULL ? "unknown" : names;
        size_t here_len = strcspn(here, ":");

        if (at > fd && here_len == len && memcmp(here, name, len) == 0)
            return at;
        if (names != NULL)
            names += names[here_len] == ':' ? here_len + 1 : here_len;
    }
    return -1;
}

static int open_passed(gate_server *server, const char *name)
{
    int fd = find_passed(name, -1);
    int result = fd < 0 ? -ENOENT : 0;

    for (; fd >= 0 && result == 0; fd = find_passed(name, fd))
        result = gate_server_listen_fd(server, fd);
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
