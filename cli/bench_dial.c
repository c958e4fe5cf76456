/* SPDX-License-Identifier: MIT */
#include "bench_dial.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "exit.h"
#include "report.h"

enum { DEFAULT_PORT = 9001 };

/* ---- From text ------------------------------------------------------------------------------ */

static int take_unix(const char *text, const char *path, bench_addr *found)
{
    struct sockaddr_un *addr = (struct sockaddr_un *)&found->addr;
    size_t len = strlen(path);

    if (len >= sizeof(addr->sun_path)) {
        report_error("'%s' is too long for a Unix socket", text);
        return GATE_EXIT_USAGE;
    }
    addr->sun_family = AF_UNIX;
    memcpy(addr->sun_path, path, len + 1);
    if (path[0] == '@') /* an abstract name: its length counts, and there is no NUL at the end */
        addr->sun_path[0] = '\0';
    found->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] != '@'));
    return 0;
}

static int is_known(const bench_addr addrs[], unsigned count, const struct addrinfo *info)
{
    for (unsigned i = 0; i < count; i++)
        if (addrs[i].len == info->ai_addrlen &&
            memcmp(&addrs[i].addr, info->ai_addr, info->ai_addrlen) == 0)
            return 1;
    return 0;
}

static int look_up(const gate_addr *addr, bench_addr addrs[], unsigned *count)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
    struct addrinfo *found = NULL;
    char port[16];
    int rc;

    snprintf(port, sizeof(port), "%u", addr->port);
    hints.ai_flags = AI_NUMERICSERV;
    rc = getaddrinfo(addr->host, port, &hints, &found);
    if (rc != 0) {
        report_error("cannot look up %s: %s", addr->host, gai_strerror(rc));
        report_hint("check with getent hosts %s", addr->host);
        return GATE_EXIT_RESOLVE;
    }
    for (struct addrinfo *at = found; at != NULL && *count < BENCH_ADDRS_MAX; at = at->ai_next)
        if (!is_known(addrs, *count, at)) {
            memcpy(&addrs[*count].addr, at->ai_addr, at->ai_addrlen);
            addrs[(*count)++].len = at->ai_addrlen;
        }
    freeaddrinfo(found);
    return 0;
}

/* A host that was left out, "*" for a server, is this machine for a client. */
int bench_dial_find(const char *text, bench_addr addrs[BENCH_ADDRS_MAX], unsigned *count)
{
    const char *why = "a client connects to host:port, unix:/path or unix:@name";
    gate_addr addr;
    int rc = gate_addr_parse(&addr, text, DEFAULT_PORT, &why);

    memset(addrs, 0, BENCH_ADDRS_MAX * sizeof(addrs[0]));
    *count = 0;
    if (rc == 0 && addr.kind == GATE_ADDR_UNIX) {
        *count = 1;
        return take_unix(text, addr.host + strlen("unix:"), &addrs[0]);
    }
    if (rc == 0 && addr.kind == GATE_ADDR_TCP && addr.port > 0) {
        if (strcmp(addr.host, "*") == 0)
            strcpy(addr.host, "127.0.0.1");
        return look_up(&addr, addrs, count);
    }
    if (rc == 0 && addr.kind == GATE_ADDR_TCP)
        why = "a server cannot listen on port 0: write a port from 1 to 65535";
    report_error("'%s' is not an address", text);
    report_hint("%s", why);
    return GATE_EXIT_USAGE;
}

/* ---- Trying --------------------------------------------------------------------------------- */

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* 0: the other side has taken the connection. */
static int await_connect(int fd, uint64_t until_ms)
{
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    int error = 0, count;
    socklen_t len = sizeof(error);

    do {
        uint64_t at_ms = now_ms();

        count = poll(&ready, 1, at_ms < until_ms ? (int)(until_ms - at_ms) : 0);
    } while (count < 0 && errno == EINTR);
    if (count == 0)
        return -ETIMEDOUT;
    if (count < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        return -errno;
    return -error;
}

static int try_one(const bench_addr *addr, uint64_t until_ms)
{
    int fd = socket(addr->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int rc = 0;

    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&addr->addr, addr->len) != 0)
        rc = errno == EINPROGRESS ? await_connect(fd, until_ms) : -errno;
    close(fd);
    return rc;
}

int bench_dial_try(const bench_addr addrs[], unsigned count, uint32_t timeout_ms, unsigned *chosen)
{
    uint64_t until_ms = now_ms() + timeout_ms;
    int rc = -EADDRNOTAVAIL;

    for (*chosen = 0; *chosen < count; ++*chosen) {
        uint64_t at_ms = now_ms(), left_ms = at_ms < until_ms ? until_ms - at_ms : 0;

        rc = try_one(&addrs[*chosen], at_ms + left_ms / (count - *chosen));
        if (rc == 0)
            return 0;
    }
    *chosen = 0;
    return rc;
}

/* ---- To text -------------------------------------------------------------------------------- */

const char *bench_dial_text(const bench_addr *addr, char text[BENCH_ADDR_TEXT])
{
    const struct sockaddr *any = (const struct sockaddr *)&addr->addr;
    char host[64], port[16];

    if (any->sa_family == AF_UNIX) {
        const struct sockaddr_un *path = (const struct sockaddr_un *)&addr->addr;
        int len = (int)(addr->len - offsetof(struct sockaddr_un, sun_path));
        int is_abstract = path->sun_path[0] == '\0';

        snprintf(text, BENCH_ADDR_TEXT, "unix:%s%.*s", is_abstract ? "@" : "", len - is_abstract,
                 path->sun_path + is_abstract);
    } else if (getnameinfo(any, addr->len, host, sizeof(host), port, sizeof(port),
                           NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        snprintf(text, BENCH_ADDR_TEXT, "?");
    } else {
        snprintf(text, BENCH_ADDR_TEXT, any->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host,
                 port);
    }
    return text;
}
