/* SPDX-License-Identifier: MIT */
#include "io/retry.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "io/sock.h"

enum { PAUSE_MIN_NS = 1000000, PAUSE_MAX_NS = 16000000 };

struct gate__retry {
    struct gate__retry *next;
    gate_sock *sock;
    gate__sockaddr addr;
};

int gate__retries_wanted(const gate__sockaddr *addr, int result)
{
    return result == -EAGAIN && addr->u.any.sa_family == AF_UNIX;
}

int gate__retries_add(gate__retries *self, gate_sock *sock, const gate__sockaddr *addr)
{
    struct gate__retry **last = &self->first;
    struct gate__retry *retry = malloc(sizeof *retry);

    if (!retry)
        return -ENOMEM;
    *retry = (struct gate__retry){.sock = sock, .addr = *addr};
    if (!self->first) {
        self->pause_ns = PAUSE_MIN_NS;
        self->due_ns = gate__clock_ns() + PAUSE_MIN_NS;
    }
    while (*last)
        last = &(*last)->next;
    *last = retry;
    return 0;
}

static gate_sock *take_out(struct gate__retry **link)
{
    struct gate__retry *retry = *link;
    gate_sock *sock = retry->sock;

    *link = retry->next;
    free(retry);
    return sock;
}

int gate__retries_remove(gate__retries *self, const gate_sock *sock)
{
    struct gate__retry **link = &self->first;

    while (*link && (*link)->sock != sock)
        link = &(*link)->next;
    return *link ? take_out(link) != NULL : 0;
}

uint64_t gate__retries_until(const gate__retries *self, uint64_t deadline_ns)
{
    return self->first && self->due_ns < deadline_ns ? self->due_ns : deadline_ns;
}

/* Where one got in, the next may do so at once: the loop asks again. */
gate_sock *gate__retries_take(gate__retries *self, uint64_t now_ns)
{
    if (!self->first || now_ns < self->due_ns)
        return NULL;
    for (struct gate__retry **link = &self->first; *link; link = &(*link)->next) {
        struct gate__retry *retry = *link;
        int rc = gate__sock_connect(retry->sock->fd, &retry->addr);

        if (gate__retries_wanted(&retry->addr, rc))
            continue;
        retry->sock->out.aux = (uint32_t)rc;
        self->pause_ns = PAUSE_MIN_NS;
        return take_out(link);
    }
    self->due_ns = now_ns + self->pause_ns;
    self->pause_ns = self->pause_ns < PAUSE_MAX_NS ? self->pause_ns * 2 : PAUSE_MAX_NS;
    return NULL;
}
