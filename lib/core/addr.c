/* SPDX-License-Identifier: MIT */

#include "core/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gate/gate.h>
#include <stdio.h>
#include <string.h>

#include "core/text.h"

enum {
    HOST_MAX = 253,    /* of a name in the domain name system */
    SYSTEMD_MAX = 255, /* of FileDescriptorName= */
    ZONE_MAX = 15      /* of the name of an interface */
};

#define DIGITS "0123456789"
#define NAME_BYTES DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._"

static const size_t path_offset = offsetof(struct sockaddr_un, sun_path);

/* A decimal, octal or hexadecimal number at the start of text. */
static size_t number_len(const char *text)
{
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
        return 2 + strspn(text + 2, DIGITS "abcdefABCDEF");
    return strspn(text, DIGITS);
}

/* Only numbers and dots: what inet_aton(3) takes for an IPv4 address, or nearly. */
static int is_numbers(const char *text)
{
    for (;; text++) {
        text += number_len(text);
        if (*text != '.')
            return *text == '\0';
    }
}

/* Numbers and dots are never a name: it is an IPv4 address that somebody mistyped or disguised, and
 * which the resolver would take for another one ("1.2.3" for 1.2.0.3, "0x7f.1" for 127.0.0.1). */
static int is_name(const char *text)
{
    return text[0] != '.' && text[strspn(text, NAME_BYTES)] == '\0' && !is_numbers(text);
}

/* An interface has any name without blanks and slashes; a number was read before. */
static int is_zone(const char *text)
{
    size_t len = strnlen(text, ZONE_MAX + 1);

    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > '~' || strchr("/%[]", text[i]))
            return 0;
    return len > 0 && len <= ZONE_MAX && text[strspn(text, DIGITS)] != '\0';
}

static int has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static int set_unix(gate__sockaddr *set, const char *path)
{
    size_t room = sizeof(set->u.un.sun_path);
    size_t len = strnlen(path, room + 1);
    if (len == 0 || (path[0] == '@' && len == 1))
        return -EINVAL;
    /* A path needs its NUL; an abstract name has '@' in place of its leading one. */
    if (path[0] == '@' ? len > room : len >= room)
        return -ENAMETOOLONG;
    set->u.un.sun_family = AF_UNIX;
    memcpy(set->u.un.sun_path, path, len);
    if (path[0] == '@')
        set->u.un.sun_path[0] = '\0';
    set->len = (socklen_t)(path_offset + len + (path[0] != '@'));
    return 0;
}

static void set_in6(gate__sockaddr *set, const struct in6_addr *ip, uint32_t scope, uint16_t port)
{
    set->u.in6.sin6_family = AF_INET6;
    set->u.in6.sin6_port = htons(port);
    set->u.in6.sin6_addr = *ip;
    set->u.in6.sin6_scope_id = scope;
    set->len = sizeof(set->u.in6);
}

/* "fe80::1%2" is numeric; "fe80::1%eth0" has to be looked up, since only the system knows the
 * interface's number. */
static int parse_in6(gate__sockaddr *set, const char *text, uint16_t port)
{
    char digits[INET6_ADDRSTRLEN];
    struct in6_addr ip;
    uint64_t scope = 0;
    size_t len = strcspn(text, "%");

    if (len >= sizeof(digits))
        return -EINVAL;
    memcpy(digits, text, len);
    digits[len] = '\0';
    if (inet_pton(AF_INET6, digits, &ip) != 1)
        return -EINVAL;
    if (text[len] == '%' && !gate__text_decimal(text + len + 1, UINT32_MAX, &scope))
        return is_zone(text + len + 1) ? 1 : -EINVAL;
    set_in6(set, &ip, (uint32_t)scope, port);
    return 0;
}

static int parse_bracketed(gate__sockaddr *set, const char *host, size_t len, uint16_t port)
{
    char inner[HOST_MAX + 1];

    if (len < 2 || host[len - 1] != ']')
        return -EINVAL;
    memcpy(inner, host + 1, len - 2);
    inner[len - 2] = '\0';
    return parse_in6(set, inner, port);
}

int gate__addr_numeric(gate__sockaddr *set, const char *host, uint16_t port)
{
    memset(set, 0, sizeof(*set));
    if (has_prefix(host, "unix:"))
        return set_unix(set, host + strlen("unix:"));

    size_t len = strnlen(host, HOST_MAX + 1);
    if (len > HOST_MAX)
        return -ENAMETOOLONG;
    if (strcmp(host, "*") == 0) {
        set_in6(set, &(struct in6_addr){0}, 0, port);
        return 0;
    }
    struct in_addr ip;
    if (inet_pton(AF_INET, host, &ip) == 1) {
        set->u.in4.sin_family = AF_INET;
        set->u.in4.sin_port = htons(port);
        set->u.in4.sin_addr = ip;
        set->len = sizeof(set->u.in4);
        return 0;
    }
    if (host[0] == '[')
        return parse_bracketed(set, host, len, port);
    if (strchr(host, ':') != NULL)
        return parse_in6(set, host, port);
    return is_name(host) ? 1 : -EINVAL;
}

static void format_unix(const gate__sockaddr *set, char *text, size_t room)
{
    char name[GATE__ADDR_TEXT];
    const char *path = set->u.un.sun_path;
    int abstract;
    size_t len = 0;

    if (set->len > path_offset)
        len = set->len - path_offset;
    if (len > 0 && path[0] != '\0')
        len = strnlen(path, len);
    abstract = len > 0 && path[0] == '\0';
    (void)gate_escape(name, sizeof(name), path + abstract, len - (size_t)abstract);
    (void)snprintf(text, room, "unix:%s%s", abstract ? "@" : "", name);
}

static void format_in4(const void *ip, uint16_t port, char *text, size_t room)
{
    char digits[INET_ADDRSTRLEN];

    (void)inet_ntop(AF_INET, ip, digits, sizeof(digits));
    (void)snprintf(text, room, "%s:%u", digits, (unsigned)port);
}

static void format_in6(const struct sockaddr_in6 *in6, char *text, size_t room)
{
    char digits[INET6_ADDRSTRLEN];
    char scope[16] = "";
    unsigned port = ntohs(in6->sin6_port);

    (void)inet_ntop(AF_INET6, &in6->sin6_addr, digits, sizeof(digits));
    if (in6->sin6_scope_id != 0)
        (void)snprintf(scope, sizeof(scope), "%%%u", (unsigned)in6->sin6_scope_id);
    (void)snprintf(text, room, "[%s%s]:%u", digits, scope, port);
}

/* Where the four bytes of the IPv4 address stand, NULL for another address. */
static const uint8_t *in4_of(const gate__sockaddr *set)
{
    if (set->u.any.sa_family == AF_INET)
        return (const uint8_t *)&set->u.in4.sin_addr;
    if (set->u.any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&set->u.in6.sin6_addr))
        return &set->u.in6.sin6_addr.s6_addr[12];
    return NULL;
}

void gate__addr_format(const gate__sockaddr *set, char *text, size_t room)
{
    const uint8_t *in4 = in4_of(set);

    if (in4 != NULL)
        format_in4(in4, gate__addr_port(set), text, room);
    else if (set->u.any.sa_family == AF_INET6)
        format_in6(&set->u.in6, text, room);
    else
        format_unix(set, text, room);
}

uint16_t gate__addr_port(const gate__sockaddr *set)
{
    if (set->u.any.sa_family == AF_INET)
        return ntohs(set->u.in4.sin_port);
    if (set->u.any.sa_family == AF_INET6)
        return ntohs(set->u.in6.sin6_port);
    return 0;
}

void gate__addr_unmap(gate__sockaddr *set)
{
    if (set->u.any.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&set->u.in6.sin6_addr))
        return;
    gate__sockaddr in4 = {.len = sizeof(in4.u.in4)};
    in4.u.in4.sin_family = AF_INET;
    in4.u.in4.sin_port = set->u.in6.sin6_port;
    memcpy(&in4.u.in4.sin_addr, &set->u.in6.sin6_addr.s6_addr[12], 4);
    *set = in4;
}

static uint64_t read_be(const uint8_t *bytes, size_t len)
{
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++)
        value = value << 8 | bytes[i];
    return value;
}

/* IPv4 gets a mark above its 32 bits, so that 0.0.0.0 isn't 0; it and the 1 for ::/64 are prefixes
 * of the reserved block 0000::/8, which no IPv6 source has. */
uint64_t gate__addr_source(const gate__sockaddr *set)
{
    const uint8_t *in4 = in4_of(set);

    if (in4 != NULL)
        return UINT64_C(0xffff00000000) | read_be(in4, 4);
    if (set->u.any.sa_family != AF_INET6)
        return 0;
    uint64_t prefix = read_be(set->u.in6.sin6_addr.s6_addr, 8);
    return prefix != 0 ? prefix : 1;
}

/* ---- As people write them ---- */

static int refuse(const char **why, int code, const char *sentence)
{
    if (why != NULL)
        *why = sentence;
    return code;
}

static int read_unix(gate_addr *addr, const char *text, const char **why)
{
    gate__sockaddr probe;
    int rc = gate__addr_numeric(&probe, text, 0);

    if (rc == -ENAMETOOLONG)
        return refuse(why, rc, "the path of the Unix socket is too long: at most 107 bytes fit");
    if (rc != 0)
        return refuse(why, rc, "after unix: comes a path or @name: write unix:/run/gate.sock");
    addr->kind = GATE_ADDR_UNIX;
    memcpy(addr->host, text, strlen(text) + 1);
    return 0;
}

static int read_fd(gate_addr *addr, const char *number, const char **why)
{
    uint64_t fd;

    if (!gate__text_decimal(number, INT32_MAX, &fd))
        return refuse(why, -EINVAL, "after fd: comes the number of a descriptor: write fd:3");
    addr->kind = GATE_ADDR_FD;
    addr->fd = (int32_t)fd;
    return 0;
}

static int read_systemd(gate_addr *addr, const char *name, const char **why)
{
    size_t len = strnlen(name, SYSTEMD_MAX + 1);

    if (len > SYSTEMD_MAX)
        return refuse(why, -ENAMETOOLONG, "the socket's name is too long: at most 255 bytes fit");
    if (len == 0)
        return refuse(why, -EINVAL,
                      "after systemd: comes the socket's FileDescriptorName=: "
                      "write systemd:NAME");
    for (size_t i = 0; i < len; i++) {
        if (name[i] <= ' ' || name[i] > '~' || name[i] == ':')
            return refuse(why, -EINVAL,
                          "a FileDescriptorName= has no colons, spaces, control or "
                          "non-ASCII characters: write systemd:NAME");
    }
    addr->kind = GATE_ADDR_SYSTEMD;
    memcpy(addr->host, name, len + 1);
    return 0;
}

/* Finds the host and what stands behind it: nothing, or a colon and the port. */
static int split(const char **host, size_t *len, const char **rest, const char **why)
{
    if (**host == '[') {
        const char *end = strchr(*host, ']');
        if (end == NULL)
            return refuse(why, -EINVAL, "the bracket is not closed: write [::1]:9001");
        if (end[1] != '\0' && end[1] != ':')
            return refuse(why, -EINVAL,
                          "after the bracket comes a colon and the port: "
                          "write [::1]:9001");
        *host += 1;
        *len = (size_t)(end - *host);
        *rest = end + 1;
        return 0;
    }
    *len = strcspn(*host, ":");
    *rest = *host + *len;
    if (**rest == ':' && strchr(*rest + 1, ':') != NULL)
        return refuse(why, -EINVAL, "an IPv6 address stands in brackets: write [::1]:9001");
    return 0;
}

static int check_host(const char *host, int bracketed, const char **why)
{
    gate__sockaddr probe;
    int rc = gate__addr_numeric(&probe, host, 0);

    if (bracketed && (rc < 0 || strchr(host, ':') == NULL))
        return refuse(why, -EINVAL,
                      "between the brackets stands an IPv6 address: "
                      "write [::1]:9001");
    if (rc >= 0)
        return 0;
    if (host[strspn(host, DIGITS)] == '\0')
        return refuse(why, rc, "a port alone has a colon before it: write :9001");
    if (is_numbers(host))
        return refuse(why, rc,
                      "an IPv4 address is four decimal numbers of 0 to 255: "
                      "write 127.0.0.1:9001");
    return refuse(why, rc,
                  "this is neither a host name nor an IPv4 address: "
                  "write localhost:9001 or 127.0.0.1:9001");
}

static int read_tcp(gate_addr *addr, const char *text, uint16_t port_default, const char **why)
{
    const char *host = text;
    const char *rest;
    size_t len;
    uint64_t port = port_default;

    int rc = split(&host, &len, &rest, why);
    if (rc != 0)
        return rc;
    if (len > HOST_MAX)
        return refuse(why, -ENAMETOOLONG, "the host name is too long: at most 253 bytes fit");
    if (rest[0] == ':' && !gate__text_decimal(rest + 1, UINT16_MAX, &port))
        return refuse(why, -EINVAL, "the port is a number of 0 to 65535: write 127.0.0.1:9001");
    addr->kind = GATE_ADDR_TCP;
    addr->port = (uint32_t)port;
    if (len == 0 && text[0] == ':') {
        addr->host[0] = '*';
        return 0;
    }
    memcpy(addr->host, host, len);
    return check_host(addr->host, text[0] == '[', why);
}

static int read_any(gate_addr *addr, const char *text, uint16_t port_default, const char **why)
{
    if (has_prefix(text, "unix:"))
        return read_unix(addr, text, why);
    if (has_prefix(text, "fd:"))
        return read_fd(addr, text + strlen("fd:"), why);
    if (has_prefix(text, "systemd:"))
        return read_systemd(addr, text + strlen("systemd:"), why);
    return read_tcp(addr, text, port_default, why);
}

int gate_addr_parse(gate_addr *addr, const char *text, uint16_t port_default, const char **why)
{
    if (addr == NULL || text == NULL || text[0] == '\0')
        return refuse(why, -EINVAL,
                      "the address is empty: write host:port, for example "
                      "127.0.0.1:9001");
    gate_addr found = {.fd = -1};
    int rc = read_any(&found, text, port_default, why);
    if (rc == 0)
        *addr = found;
    return rc;
}
