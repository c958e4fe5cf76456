/* SPDX-License-Identifier: MIT */
#include "net.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 30000, SERVERS_MAX = 8 };

uint32_t net_epoll = GATE_IO_EPOLL, net_uring = GATE_IO_URING;

static net_server *servers[SERVERS_MAX];
static int fds_before;

/* ---- Around a test ---- */

int net_open_fds(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

int net_setup(void **state)
{
    (void)state;
    fds_before = net_open_fds();
    return 0;
}

static void stop_left(void)
{
    for (int i = 0; i < SERVERS_MAX; i++) {
        if (!servers[i])
            continue;
        gate_server_stop(servers[i]->server);
        pthread_join(servers[i]->thread, NULL);
        gate_server_close(servers[i]->server);
        free(servers[i]);
        servers[i] = NULL;
    }
}

int net_teardown(void **state)
{
    (void)state;
    stop_left();
    int left = net_open_fds() - fds_before;
    if (left)
        print_error("descriptors left open: %d\n", left);
    return left ? -1 : 0;
}

uint64_t net_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int net_nap(int tries)
{
    static _Thread_local uint64_t until;
    const struct timespec nap = {.tv_nsec = 1000000};
    if (!tries)
        until = net_now_ms() + PATIENCE_MS;
    nanosleep(&nap, NULL);
    return net_now_ms() < until;
}

/* ---- Servers ---- */

gate_options net_options(gate_handler *handler, const gate_codec *codec)
{
    return (gate_options){.size = sizeof(gate_options), .handler = handler, .codec = codec};
}

uint32_t net_io(void **state)
{
    gate_options options = net_options(net_echo, NULL);
    gate_server *server;
    options.io = *(uint32_t *)*state;
    int rc;
    for (int tries = 0; (rc = gate_server_open(&server, &options)) && net_is_late_room(rc, tries);)
        tries++;
    if (rc)
        skip();
    gate_server_close(server);
    return options.io;
}

int net_is_late_room(int rc, int tries)
{
    return rc == -ENOMEM && geteuid() && net_nap(tries);
}

void net_echo(gate_request *req, const void *body, size_t len, void *user)
{
    (void)user;
    gate_reply(req, body, len);
}

static void *serve(void *arg)
{
    net_server *s = arg;
    s->rc = gate_server_serve(s->server);
    s->ended = 1;
    return NULL;
}

net_server *net_serve(gate_server *server)
{
    net_server *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->server = server;
    s->port = gate_server_port(server);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
    for (int i = 0; i < SERVERS_MAX; i++) {
        if (servers[i])
            continue;
        servers[i] = s;
        return s;
    }
    fail_msg("too many servers");
    return NULL;
}

net_server *net_start_at(const gate_options *options, const char *addr)
{
    gate_server *server;
    int rc;
    for (int tries = 0; (rc = gate_server_open(&server, options)) && net_is_late_room(rc, tries);)
        tries++;
    assert_int_equal(rc, 0);
    assert_int_equal(gate_server_listen(server, addr, 0, 0), 0);
    return net_serve(server);
}

net_server *net_start(const gate_options *options)
{
    return net_start_at(options, "127.0.0.1");
}

gate_stats net_stats(const net_server *s)
{
    gate_stats stats = {.size = sizeof stats};
    assert_int_equal(gate_server_stats(s->server, &stats), 0);
    return stats;
}

void net_join(net_server *s)
{
    NET_UNTIL(s->ended);
    for (int i = 0; i < SERVERS_MAX; i++)
        if (servers[i] == s)
            servers[i] = NULL;
    pthread_join(s->thread, NULL);
    assert_int_equal(s->rc, 0);
}

void net_free(net_server *s)
{
    gate_server_close(s->server);
    free(s);
}

void net_stop(net_server *s)
{
    gate_server_stop(s->server);
    net_join(s);
    gate_stats stats = net_stats(s);
    net_assert_balance(&stats);
    net_free(s);
}

void net_assert_balance(const gate_stats *stats)
{
    uint64_t closed = 0;
    for (int i = 0; i < GATE_CLOSE_COUNT; i++)
        closed += stats->closed[i];
    assert_int_equal(stats->connections, 0);
    assert_int_equal(closed, stats->accepted);
    assert_int_equal(stats->closed[GATE_CLOSE_NONE], 0);
}

/* ---- Plain sockets ---- */

static int open_socket(void)
{
    const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
}

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* A thread that has closed a ring is interrupted without a signal, by what the kernel still cleans
 * up in it, and calls with a time-out then end with EINTR. A connect goes on nevertheless. */
static int finish_connect(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    int error = ETIMEDOUT, rc;
    socklen_t len = sizeof error;
    while ((rc = poll(&ready, 1, PATIENCE_MS)) < 0 && errno == EINTR)
        ;
    if (rc == 1)
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    return error;
}

static int connect_to(int fd, uint16_t port)
{
    struct sockaddr_in addr = loopback(port);
    int error = connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0 ? errno : 0;
    if (error == EINTR)
        error = finish_connect(fd);
    if (error)
        fail_msg("connect: %s", strerror(error));
    return fd;
}

int net_connect(uint16_t port)
{
    return connect_to(open_socket(), port);
}

int net_connect_small(uint16_t port, int size)
{
    int fd = open_socket();
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    return connect_to(fd, port);
}

void net_write(int fd, const void *bytes, size_t len)
{
    const char *next = bytes;
    while (len) {
        ssize_t sent = send(fd, next, len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        assert_true(sent > 0);
        next += sent;
        len -= (size_t)sent;
    }
}

void net_put(int fd, const char *text)
{
    net_write(fd, text, strlen(text));
}

size_t net_read(int fd, void *bytes, size_t len)
{
    size_t got = 0;
    while (got < len) {
        ssize_t part = recv(fd, (char *)bytes + got, len - got, 0);
        if (part < 0 && errno == EINTR)
            continue;
        assert_true(part >= 0);
        if (!part)
            break;
        got += (size_t)part;
    }
    return got;
}

void net_expect(int fd, const char *text)
{
    char bytes[4096];
    size_t len = strlen(text);
    assert_true(len <= sizeof bytes);
    assert_int_equal(net_read(fd, bytes, len), len);
    assert_memory_equal(bytes, text, len);
}

void net_expect_end(int fd)
{
    char byte;
    assert_int_equal(net_read(fd, &byte, 1), 0);
}

void net_expect_gone(int fd)
{
    char bytes[4096];
    ssize_t got;
    while ((got = recv(fd, bytes, sizeof bytes, 0)) > 0 || (got < 0 && errno == EINTR))
        ;
    assert_true(got == 0 || errno == ECONNRESET);
}

void net_finish(int fd)
{
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
}

void net_close(int fd)
{
    assert_int_equal(close(fd), 0);
}

static int is_free(uint16_t port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = bind(fd, (struct sockaddr *)&addr, sizeof addr);
    close(fd);
    return rc == 0;
}

uint16_t net_free_port(void)
{
    enum { FIRST = 10000 };
    static unsigned seed;
    unsigned end = 32768;

    seed += (unsigned)getpid() * 31;
    FILE *range = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    assert_non_null(range);
    assert_int_equal(fscanf(range, "%u", &end), 1);
    fclose(range);
    assert_true(end > FIRST + 1000 && end < UINT16_MAX);
    for (unsigned tries = 0; tries < 1000; tries++) {
        uint16_t port = (uint16_t)(FIRST + (seed += 7919) % (end - FIRST));
        if (is_free(port))
            return port;
    }
    fail_msg("no port is free");
    return 0;
}

int net_listen(uint16_t *port, int backlog)
{
    struct sockaddr_in addr = loopback(0);
    socklen_t len = sizeof addr;
    int fd = open_socket();
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    *port = ntohs(addr.sin_port);
    return fd;
}
