/* SPDX-License-Identifier: MIT */
#include "peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define LINE PEER_WELCOME "\n"
#define LINES_4 LINE LINE LINE LINE
#define LINES_16 LINES_4 LINES_4 LINES_4 LINES_4

static const char welcomes[] = LINES_16 LINES_16 LINES_16 LINES_16;

_Static_assert(sizeof(welcomes) - 1 == PEER_BATCH * (sizeof(LINE) - 1), "a whole batch");

void peer_die(const char *what)
{
    perror(what);
    exit(1);
}

int peer_is_line(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "line") == 0)
        return 1;
    if (argc == 2 && strcmp(argv[1], "once") == 0)
        return 0;
    fprintf(stderr, "usage: %s once|line\n", argv[0]);
    exit(2);
}

static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int peer_listen(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t len = sizeof(addr);
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    raise_file_limit();
    if (fd < 0)
        peer_die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    /* Connections inherit it, so none has to ask again. */
    peer_nodelay(fd);
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, PEER_BACKLOG) ||
        getsockname(fd, (struct sockaddr *)&addr, &len))
        peer_die("listen");
    fprintf(stderr, "listening on 127.0.0.1:%d\n", ntohs(addr.sin_port));
    return fd;
}

void peer_nodelay(int fd)
{
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

peer_answer peer_once(const char *bytes, size_t len)
{
    if (len == 1 && bytes[0] == '1')
        return (peer_answer){PEER_WELCOME, sizeof(PEER_WELCOME) - 1, 1};
    return (peer_answer){PEER_REJECT, sizeof(PEER_REJECT) - 1, 1};
}

peer_answer peer_lines(const char *bytes, size_t len)
{
    size_t count = 0;

    while (count < PEER_BATCH && len >= 2 && bytes[0] == '1' && bytes[1] == '\n') {
        count++;
        bytes += 2;
        len -= 2;
    }
    if (count > 0 || len == 0)
        return (peer_answer){welcomes, count * (sizeof(LINE) - 1), 0};
    return (peer_answer){PEER_REJECT "\n", sizeof(PEER_REJECT), 1};
}
