/* SPDX-License-Identifier: MIT */
#include "io/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <gate/gate.h>

#include "io/io.h"

/* A connection that has sent nothing for this long is handed over all the same. */
enum { DEFER_ACCEPT_S = 5 };

uint64_t gate__clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static int is_tcp(int family)
{
    return family == AF_INET || family == AF_INET6;
}

static int set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value) ? -errno : 0;
}

int gate__sock_open(int family, int flags)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

    return fd < 0 ? -errno : fd;
}

void gate__sock_nodelay(int fd, int family)
{
    if (is_tcp(family))
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

/* The kernel counts a NUL behind a path that fills sun_path; there is no room for it here. */
static int keep_len(gate__sockaddr *addr)
{
    if (addr->len > sizeof addr->u.un)
        addr->len = sizeof addr->u.un;
    return 0;
}

static int local_address(int fd, gate__sockaddr *addr)
{
    addr->len = sizeof addr->u;
    return getsockname(fd, &addr->u.any, &addr->len) ? -errno : keep_len(addr);
}

void gate__sock_reset(int fd)
{
    const struct linger at_once = {.l_onoff = 1};

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

size_t gate__sock_unacked(int fd)
{
    int bytes = 0;

    return ioctl(fd, TIOCOUTQ, &bytes) == 0 && bytes > 0 ? (size_t)bytes : 0;
}

int gate__sock_peer(int fd, gate__sockaddr *addr)
{
    addr->len = sizeof addr->u;
    return getpeername(fd, &addr->u.any, &addr->len) ? -errno : keep_len(addr);
}

static int bind_to(int fd, const gate__sockaddr *addr)
{
    return bind(fd, &addr->u.any, addr->len) ? -errno : 0;
}

static int is_any_in6(const gate__sockaddr *addr)
{
    return addr->u.any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&addr->u.in6.sin6_addr);
}

/* Datagram sockets have ports of their own, so that the one asked for does not matter. */
int gate__sock_is_own(const gate__sockaddr *addr)
{
    int fd = socket(addr->u.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    gate__sockaddr any_port = *addr;
    int own;

    if (fd < 0)
        return 0;
    if (addr->u.any.sa_family == AF_INET)
        any_port.u.in4.sin_port = 0;
    else
        any_port.u.in6.sin6_port = 0;
    own = bind_to(fd, &any_port) == 0;
    close(fd);
    return own;
}

/* ---- TCP listeners ------------------------------------------------------------------------- */

/* The first of several listeners on a port is bound without SO_REUSEPORT, so that it fails where
 * another program has opened the port with it. Set between bind and listen it still lets the
 * others join, and the kernel spreads the connections over all of them. */
static int bind_tcp(int fd, const gate__sockaddr *addr, unsigned flags)
{
    int rc = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);

    if (rc == 0) /* inherited on accept: urgent data would end a read before the queue does */
        rc = set_option(fd, SOL_SOCKET, SO_OOBINLINE, 1);
    if (rc == 0 && addr->u.any.sa_family == AF_INET6)
        rc = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !is_any_in6(addr));
    if (rc == 0 && (flags & GATE_LISTEN_JOIN))
        rc = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (rc == 0)
        rc = bind_to(fd, addr);
    if (rc == 0 && (flags & GATE_LISTEN_SHARED))
        rc = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (rc == 0 && (flags & GATE_LISTEN_DEFER))
        rc = set_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, DEFER_ACCEPT_S);
    return rc;
}

/* ---- Unix listeners ------------------------------------------------------------------------ */

static int has_path(const gate__sockaddr *addr)
{
    return addr->u.any.sa_family == AF_UNIX && addr->u.un.sun_path[0] != '\0';
}

/* sun_path may be full to its last byte, without a NUL. */
static const char *path_of(const gate__sockaddr *addr, char path[sizeof addr->u.un.sun_path + 1])
{
    size_t len = addr->len - offsetof(struct sockaddr_un, sun_path);

    memcpy(path, addr->u.un.sun_path, len);
    path[len] = '\0';
    return path;
}

/* 0: the file is a socket that nobody listens on. */
static int check_stale(const gate__sockaddr *addr, const char *path)
{
    struct stat status;
    int fd, error;

    if (lstat(path, &status) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(status.st_mode))
        return -EEXIST;
    fd = gate__sock_open(AF_UNIX, SOCK_NONBLOCK);
    if (fd < 0)
        return fd;
    error = connect(fd, &addr->u.any, addr->len) ? errno : 0;
    close(fd);
    return error == ECONNREFUSED || error == ENOENT ? 0 : -EADDRINUSE;
}

static int bind_unix(int fd, const gate__sockaddr *addr)
{
    char path[sizeof addr->u.un.sun_path + 1];
    int rc = bind_to(fd, addr);

    if (rc != -EADDRINUSE || !has_path(addr))
        return rc;
    path_of(addr, path);
    rc = check_stale(addr, path);
    if (rc < 0)
        return rc;
    if (unlink(path) < 0 && errno != ENOENT)
        return -errno;
    return bind_to(fd, addr);
}

void gate__sock_file_of(gate__sock_file *file, const gate__sockaddr *addr)
{
    char path[sizeof addr->u.un.sun_path + 1];
    struct stat status;

    *file = (gate__sock_file){0};
    if (!has_path(addr) || lstat(path_of(addr, path), &status) < 0)
        return;
    file->device = status.st_dev;
    file->inode = status.st_ino;
}

void gate__sock_unlink(const gate__sockaddr *addr, const gate__sock_file *file)
{
    char path[sizeof addr->u.un.sun_path + 1];
    gate__sock_file now;

    gate__sock_file_of(&now, addr);
    if (now.inode != 0 && now.inode == file->inode && now.device == file->device)
        unlink(path_of(addr, path));
}

/* ---- Every listener ------------------------------------------------------------------------ */

static int start_listening(int fd, gate__sockaddr *addr, int backlog, unsigned flags)
{
    int rc = is_tcp(addr->u.any.sa_family) ? bind_tcp(fd, addr, flags) : bind_unix(fd, addr);

    if (rc == 0 && listen(fd, backlog > 0 ? backlog : INT_MAX) < 0)
        rc = -errno;
    return rc < 0 ? rc : local_address(fd, addr);
}

static void use_any_ipv4(gate__sockaddr *addr)
{
    in_port_t port = addr->u.in6.sin6_port;

    *addr = (gate__sockaddr){.len = sizeof addr->u.in4};
    addr->u.in4.sin_family = AF_INET;
    addr->u.in4.sin_port = port;
}

int gate__sock_listen(gate__sockaddr *addr, int backlog, unsigned flags)
{
    int fd = gate__sock_open(addr->u.any.sa_family, SOCK_NONBLOCK);
    int rc;

    if (fd == -EAFNOSUPPORT && is_any_in6(addr)) {
        use_any_ipv4(addr);
        fd = gate__sock_open(AF_INET, SOCK_NONBLOCK);
    }
    if (fd < 0)
        return fd;
    gate__sock_nodelay(fd, addr->u.any.sa_family); /* accepted sockets inherit it */
    rc = start_listening(fd, addr, backlog, flags);
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

static int get_option(int fd, int name, int *value)
{
    socklen_t len = sizeof *value;

    return getsockopt(fd, SOL_SOCKET, name, value, &len) ? -errno : 0;
}

static int check_listener(int fd, gate__sockaddr *addr)
{
    int type, listening, domain;
    int rc = get_option(fd, SO_TYPE, &type);

    if (rc == 0)
        rc = get_option(fd, SO_ACCEPTCONN, &listening);
    if (rc == 0)
        rc = get_option(fd, SO_DOMAIN, &domain);
    if (rc < 0)
        return rc;
    if (type != SOCK_STREAM || !listening || (!is_tcp(domain) && domain != AF_UNIX))
        return -EINVAL;
    return local_address(fd, addr);
}

int gate__sock_adopt(int fd, gate__sockaddr *addr)
{
    int rc = check_listener(fd, addr);
    int status;

    if (rc < 0)
        return rc;
    /* It is a socket, so none of these fails. */
    status = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, status | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (is_tcp(addr->u.any.sa_family))
        set_option(fd, SOL_SOCKET, SO_OOBINLINE, 1); /* as bind_tcp */
    gate__sock_nodelay(fd, addr->u.any.sa_family);
    return 0;
}

/* ---- Connecting ---------------------------------------------------------------------------- */

static in_port_t port_of(const gate__sockaddr *addr)
{
    return addr->u.any.sa_family == AF_INET ? addr->u.in4.sin_port : addr->u.in6.sin6_port;
}

static int same_host(const gate__sockaddr *a, const gate__sockaddr *b)
{
    if (a->u.any.sa_family == AF_INET)
        return a->u.in4.sin_addr.s_addr == b->u.in4.sin_addr.s_addr;
    return IN6_ARE_ADDR_EQUAL(&a->u.in6.sin6_addr, &b->u.in6.sin6_addr);
}

/* Only a socket whose own port is the one that it went for can have met itself, so one call does
 * nearly always. The peer's address is asked for since a connect to 0.0.0.0 ends elsewhere. */
int gate__sock_connected(int fd, const gate__sockaddr *addr)
{
    gate__sockaddr local, peer;

    if (!is_tcp(addr->u.any.sa_family) || local_address(fd, &local) < 0 ||
        port_of(&local) != port_of(addr) || gate__sock_peer(fd, &peer) < 0)
        return 0;
    return same_host(&local, &peer) ? GATE_ESELF : 0;
}

/* EADDRNOTAVAIL means that no port is left, or that no local address can reach that one (IPv6
 * switched off). A datagram socket, which has its own ports, tells the two apart. */
int gate__sock_connect_code(const gate__sockaddr *addr, int error)
{
    int fd, reachable;

    if (error != EADDRNOTAVAIL || !is_tcp(addr->u.any.sa_family))
        return -error;
    fd = socket(addr->u.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -error;
    reachable = connect(fd, &addr->u.any, addr->len) == 0;
    close(fd);
    return reachable ? GATE_EPORTS : -error;
}

int gate__sock_connect(int fd, const gate__sockaddr *addr)
{
    return connect(fd, &addr->u.any, addr->len) ? gate__sock_connect_code(addr, errno) : 0;
}

int gate__sock_start_connect(int *fd, const gate__sockaddr *addr)
{
    int opened = gate__sock_open(addr->u.any.sa_family, SOCK_NONBLOCK);

    *fd = opened < 0 ? -1 : opened;
    if (opened < 0)
        return opened;
    gate__sock_nodelay(opened, addr->u.any.sa_family);
    return gate__sock_connect(opened, addr);
}

int gate__sock_finish_connect(int fd)
{
    gate__sockaddr peer;
    socklen_t len = sizeof(int);
    int error = 0;
    int rc;

    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error)
        return -error;
    rc = gate__sock_peer(fd, &peer);
    return rc < 0 ? rc : gate__sock_connected(fd, &peer);
}

/* ---- The end of a connection --------------------------------------------------------------- */

/* The bytes wait for what comes next (MSG_MORE), and that is the end of our side. Closing alone
 * would also send them, but where the peer has sent more meanwhile it throws them away. */
int gate__sock_send_last(int fd, const void *buf, size_t len)
{
    ssize_t sent = send(fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE);

    if (sent < 0)
        return -errno;
    if ((size_t)sent == len)
        shutdown(fd, SHUT_WR);
    return (int)sent;
}

void gate__sock_close(int *fd)
{
    close(*fd);
    *fd = -1;
}

int gate__sock_dup(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return copy < 0 ? -errno : copy;
}
