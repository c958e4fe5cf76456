/* SPDX-License-Identifier: MIT */
/* The limit to hold against, on epoll: no deadlines, no limits, no framing, and as few system calls
 * as the exchange can be had for. A connection is read as soon as it is accepted, and registered
 * only if there is nothing yet; a registered one is level-triggered, so that one read is enough. */

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer.h"

enum { EVENTS = 512, ACCEPTS = 64 };

static int epoll_fd;
static peer_answer (*answer)(const char *bytes, size_t len);

static void watch(int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event))
        peer_die("epoll_ctl");
}

/* 1: there was nothing to read. */
static int serve(int fd)
{
    char buffer[PEER_BUFFER];
    ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
    peer_answer reply;

    if (got < 0 && errno == EAGAIN)
        return 1;
    if (got <= 0) {
        close(fd);
        return 0;
    }
    reply = answer(buffer, (size_t)got);
    /* The last bytes wait for the close: both leave in one segment. */
    if (send(fd, reply.bytes, reply.len, MSG_NOSIGNAL | (reply.last ? MSG_MORE : 0)) < 0 ||
        reply.last)
        close(fd);
    return 0;
}

static void accept_some(int listener, int is_line)
{
    for (int i = 0; i < ACCEPTS; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0)
            return;
        if (is_line || serve(fd))
            watch(fd);
    }
}

int main(int argc, char **argv)
{
    static struct epoll_event events[EVENTS];
    int is_line = peer_is_line(argc, argv);
    int listener = peer_listen();

    answer = is_line ? peer_lines : peer_once;
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    watch(listener);
    for (;;) {
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);

        for (int i = 0; i < count; i++)
            if (events[i].data.fd == listener)
                accept_some(listener, is_line);
            else
                serve(events[i].data.fd);
    }
}
