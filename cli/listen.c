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
#include "user.h"

enum { PORT_DEFAULT = 9001, SYSTEMD_FIRST_FD = 3, PASSED_MAX = 4096 };

static void addr_text(const gate_addr *addr, uint32_t port, char *text, size_t room)
{
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

void listeners_text(const listeners *all, size_t at, char *text, size_t room)
{
    const gate_addr *addr = all->asked[at];

    if (addr->kind == GATE_ADDR_FD || addr->kind == GATE_ADDR_SYSTEMD)
        gate_listener_name(all->open[at], text, room);
    else
        addr_text(addr, gate_listener_port(all->open[at]), text, room);
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
    return 0;
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

/* ---- Options ------------------------------------------------------------------------------- */

static int read_mode(const char *text, uint32_t *mode)
{
    char *end;
    unsigned long value = strtoul(text, &end, 8);

    if (text[0] < '0' || text[0] > '7' || *end != '\0' || value > 0777) {
        report_error("--unix-mode: '%s' is not a mode", text);
        report_hint("write three octal digits, such as 660 or 666");
        return GATE_EXIT_USAGE;
    }
    *mode = (uint32_t)value;
    return 0;
}

int listeners_options(const listeners_how *how, gate_listen_options *options)
{
    user_ids owner = {0};
    int result = 0;

    *options = (gate_listen_options){.size = sizeof(*options), .backlog = how->backlog};
    if (how->unix_mode != NULL) {
        options->flags |= GATE_LISTEN_UNIX_MODE;
        result = read_mode(how->unix_mode, &options->unix_mode);
    }
    if (result == 0 && how->unix_owner != NULL) {
        result = user_parse_owner(&owner, how->unix_owner);
        options->flags |= GATE_LISTEN_UNIX_OWNER;
        options->unix_uid = owner.uid;
        options->unix_gid = owner.gid;
    }
    return result;
}

/* ---- Opening ------------------------------------------------------------------------------- */

static int open_one(listeners *all, gate_server *server, const gate_addr *addr,
                    const gate_listen_options *options)
{
    gate_listen_options mine = *options;
    gate_listener *opened;
    int result;

    if (addr->kind != GATE_ADDR_UNIX)
        mine.flags &= ~(uint32_t)(GATE_LISTEN_UNIX_MODE | GATE_LISTEN_UNIX_OWNER);
    if (addr->kind == GATE_ADDR_UNIX && strncmp(addr->host, "unix:@", 6) == 0)
        mine.flags &= ~(uint32_t)(GATE_LISTEN_UNIX_MODE | GATE_LISTEN_UNIX_OWNER);
    result =
        gate_server_listen_with(server, addr->host, (uint16_t)addr->port, &mine, &opened, NULL);
    if (result == 0 && all->open_count < LISTENERS_OPEN_MAX) {
        all->asked[all->open_count] = addr;
        all->open[all->open_count++] = opened;
    }
    return result;
}

static int open_inherited(listeners *all, gate_server *server, const gate_addr *addr, int fd)
{
    const gate_listen_options options = {
        .size = sizeof(options), .flags = GATE_LISTEN_FD, .fd = fd};

    return open_one(all, server, addr, &options);
}

/* Listens on each descriptor of that name; without names each one is called "unknown". */
static int open_passed(listeners *all, gate_server *server, const gate_addr *addr)
{
    const char *names;
    int count = count_passed(&names), result = -ENOENT;
    size_t len = strlen(addr->host);

    for (int i = 0; i < count; i++) {
        const char *here = names == NULL ? "unknown" : names;
        size_t here_len = strcspn(here, ":");

        if (here_len == len && memcmp(here, addr->host, len) == 0)
            result = open_inherited(all, server, addr, SYSTEMD_FIRST_FD + i);
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
    else if (code == -EPERM && addr->kind == GATE_ADDR_UNIX)
        report_hint("only root may give a file to another user (--unix-owner); a group must be "
                    "one of its own");
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

static int report_listen(const gate_addr *addr, int code)
{
    char text[LISTENERS_TEXT_MAX];

    addr_text(addr, addr->port, text, sizeof(text));
    report_error("cannot listen on %s: %s", text, report_reason(code));
    report_listen_hint(addr, code);
    /* Whatever else it is: a descriptor that is none, too. */
    return code == GATE_ENAME || code == GATE_ENAMELATER ? GATE_EXIT_RESOLVE : GATE_EXIT_REFUSED;
}

int listeners_open(listeners *all, gate_server *server, const gate_listen_options *options)
{
    for (size_t i = 0; i < all->count; i++) {
        const gate_addr *addr = &all->addr[i];
        int result;

        if (addr->kind == GATE_ADDR_FD)
            result = open_inherited(all, server, addr, addr->fd);
        else if (addr->kind == GATE_ADDR_SYSTEMD)
            result = open_passed(all, server, addr);
        else
            result = open_one(all, server, addr, options);
        if (result < 0)
            return report_listen(addr, result);
    }
    return 0;
}
