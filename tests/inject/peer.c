/* SPDX-License-Identifier: MIT */
#include "peer.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROOM = 128 * 1024 };

static void converse(peer *p, int fd)
{
    char bytes[ROOM];
    size_t len = 0;
    ssize_t got;
    while (len < ROOM && (got = recv(fd, bytes + len, ROOM - len, 0)) > 0) {
        p->heard += len == 0;
        len += (size_t)got;
        if (p->kind == PEER_LINES)
            send(fd, bytes + len - (size_t)got, (size_t)got, MSG_NOSIGNAL);
        if (p->kind == PEER_RAW)
            break;
    }
    if (p->kind != PEER_LINES)
        send(fd, bytes, len, MSG_NOSIGNAL);
}

static void *serve(void *arg)
{
    const int on = 1;
    peer *p = arg;
    int fd;
    while ((fd = accept(p->listener, NULL, NULL)) >= 0) {
        p->accepted++;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        converse(p, fd);
        close(fd);
        p->closed++;
    }
    return NULL;
}

void peer_start(peer *p, enum peer_kind kind)
{
    p->kind = kind;
    p->accepted = 0;
    p->closed = 0;
    p->heard = 0;
    p->listener = net_listen(&p->port, 100);
    assert_int_equal(pthread_create(&p->thread, NULL, serve, p), 0);
}

void peer_stop(peer *p)
{
    shutdown(p->listener, SHUT_RDWR); /* ends the accept */
    pthread_join(p->thread, NULL);
    net_close(p->listener);
}

/* A connection that is still in the queue is accepted before the one that is made here. */
void peer_rest(peer *p)
{
    int before = p->accepted;
    net_close(net_connect(p->port));
    NET_UNTIL(p->accepted > before && p->accepted == p->closed);
}
