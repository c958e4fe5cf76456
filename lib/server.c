/* SPDX-License-Identifier: MIT */
#include "server.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "core/metrics.h"
#include "core/sized.h"
#include "io/memory.h"
#include "io/resolve.h"
#include "io/sock.h"
#include "worker.h"

enum { IDLE, SERVING, SERVED };

struct gate_server {
    gate_options options;
    atomic_int stop;
    atomic_int state;
    uint16_t port;
    uint8_t listening;
    uint32_t count;         /* workers that are open */
    gate__worker workers[]; /* options.workers of them */
};

/* ---- Opening and closing ---- */

static uint64_t share(uint64_t total, uint32_t workers)
{
    return total / workers + (total % workers != 0);
}

static int open_workers(gate_server *server, gate__io_open_fn *open_io, void *arg)
{
    gate_options part = server->options;
    part.buffers_max = share(part.buffers_max, part.workers);
    part.connections_max = (uint32_t)share(part.connections_max, part.workers);
    part.peer_connections_max = (uint32_t)share(part.peer_connections_max, part.workers);
    for (uint32_t i = 0; i < part.workers; i++) {
        gate_io *io;
        int rc = open_io(&io, part.io, arg);
        if (rc)
            return rc;
        gate__worker_init(&server->workers[i], server, &part, i, &server->stop, io);
        server->count++;
    }
    return 0;
}

int gate__server_open_on(gate_server **server, const gate_options *options, uint64_t memory,
                         gate__io_open_fn *open_io, void *arg)
{
    if (!server || !options)
        return -EINVAL;
    *server = NULL;
    gate_options filled;
    int rc = gate__options_fill(&filled, options, memory);
    if (rc)
        return rc;
    gate_server *made = calloc(1, sizeof *made + filled.workers * sizeof made->workers[0]);
    if (!made)
        return -ENOMEM;
    made->options = filled;
    rc = open_workers(made, open_io, arg);
    if (rc) {
        gate_server_close(made);
        return rc;
    }
    *server = made;
    return 0;
}

static int open_kernel_io(gate_io **io, uint32_t kind, void *arg)
{
    (void)arg;
    return gate__io_open(io, kind);
}

int gate_server_open(gate_server **server, const gate_options *options)
{
    return gate__server_open_on(server, options, gate__memory_limit(""), open_kernel_io, NULL);
}

void gate_server_close(gate_server *server)
{
    if (!server)
        return;
    for (uint32_t i = 0; i < server->count; i++)
        gate__worker_close(&server->workers[i]);
    free(server);
}

/* ---- Listening ---- */

static void note_listener(gate_server *server, const gate__sockaddr *addr)
{
    if (!server->port)
        server->port = gate__addr_port(addr);
    server->listening = 1;
}

/* The same socket for another worker: Unix sockets and inherited ones can't be opened twice. */
static int share_listener(gate__worker *worker, int fd)
{
    gate__sockaddr addr;
    int copy = gate__sock_dup(fd);
    if (copy < 0)
        return copy;
    int rc = gate__listeners_adopt(&worker->listeners, copy, &addr);
    if (rc)
        worker->io->ops->discard(worker->io, copy);
    return rc;
}

/* A listener for each worker but the first: on `bound`, or with fd >= 0 the same socket. All or
 * none. */
static int listen_others(gate_server *server, int fd, const gate__sockaddr *bound, int backlog,
                         unsigned flags)
{
    for (uint32_t i = 1; i < server->count; i++) {
        gate__worker *worker = &server->workers[i];
        gate__sockaddr addr = *bound;
        int rc = fd >= 0 ? share_listener(worker, fd)
                         : gate__listeners_add(&worker->listeners, &addr, backlog, flags);
        if (!rc)
            continue;
        while (--i)
            gate__listeners_undo(&server->workers[i].listeners);
        return rc;
    }
    return 0;
}

static int find_addr(const char *host, uint16_t port, gate__sockaddr *addr)
{
    int rc = gate__addr_numeric(addr, host, port);
    return rc == 1 ? gate__resolve_now(host, port, addr) : rc;
}

int gate_server_listen(gate_server *server, const char *addr, uint16_t port, int backlog)
{
    gate__sockaddr bound;
    if (!server || !addr || backlog < 0)
        return -EINVAL;
    if (atomic_load(&server->state) != IDLE)
        return -EBUSY;
    int rc = find_addr(addr, port, &bound);
    if (rc)
        return rc;
    int is_unix = bound.u.any.sa_family == AF_UNIX;
    int defers = (server->options.flags & GATE_DEFER_ACCEPT) && !is_unix;
    unsigned defer = defers ? GATE_LISTEN_DEFER : 0;
    unsigned flags = server->count > 1 && !is_unix ? GATE_LISTEN_SHARED | defer : defer;
    gate__listeners *first = &server->workers[0].listeners;
    rc = gate__listeners_add(first, &bound, backlog, flags);
    if (rc)
        return rc;
    int fd = is_unix ? first->first->sock.fd : -1;
    rc = listen_others(server, fd, &bound, backlog, GATE_LISTEN_JOIN | defer);
    if (rc)
        gate__listeners_undo(first);
    else
        note_listener(server, &bound);
    return rc;
}

int gate_server_listen_fd(gate_server *server, int fd)
{
    gate__sockaddr bound = {0};
    if (!server || fd < 0)
        return -EINVAL;
    if (atomic_load(&server->state) != IDLE)
        return -EBUSY;
    int rc = listen_others(server, fd, &bound, 0, 0);
    if (rc)
        return rc;
    /* Last, for fd stays the caller's where anything fails. */
    rc = gate__listeners_adopt(&server->workers[0].listeners, fd, &bound);
    for (uint32_t i = 1; rc && i < server->count; i++)
        gate__listeners_undo(&server->workers[i].listeners);
    if (!rc)
        note_listener(server, &bound);
    return rc;
}

uint16_t gate_server_port(const gate_server *server)
{
    return server ? server->port : 0;
}

/* ---- Serving ---- */

typedef struct crew {
    gate_server *server;
    gate__worker *worker;
    pthread_t thread;
    int rc;
} crew;

static void *serve_worker(void *arg)
{
    crew *member = arg;
    member->rc = gate__worker_run(member->worker);
    if (member->rc)
        gate_server_stop(member->server); /* one that fails takes the others along, in good order */
    return NULL;
}

/* Starts the other workers; signals are the business of the caller's threads. */
static uint32_t start_crew(gate_server *server, crew *members, int *rc)
{
    sigset_t all, before;
    uint32_t started = 1;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; started < server->count; started++) {
        crew *member = &members[started];
        *member = (crew){.server = server, .worker = &server->workers[started]};
        int error = pthread_create(&member->thread, NULL, serve_worker, member);
        if (error) {
            *rc = -error;
            gate_server_stop(server);
            break;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static int serve_all(gate_server *server)
{
    crew *members = calloc(server->count, sizeof *members);
    if (!members)
        return -ENOMEM;
    int rc = 0;
    members[0] = (crew){.server = server, .worker = &server->workers[0]};
    uint32_t started = start_crew(server, members, &rc);
    serve_worker(&members[0]);
    for (uint32_t i = 0; i < started; i++) {
        if (i)
            pthread_join(members[i].thread, NULL);
        if (!rc)
            rc = members[i].rc;
    }
    free(members);
    return rc;
}

int gate_server_serve(gate_server *server)
{
    int idle = IDLE;
    if (!server || !server->listening)
        return -EINVAL;
    if (!atomic_compare_exchange_strong(&server->state, &idle, SERVING))
        return -EBUSY;
    int rc = serve_all(server);
    atomic_store(&server->state, SERVED);
    return rc;
}

void gate_server_stop(gate_server *server)
{
    if (!server)
        return;
    atomic_store_explicit(&server->stop, 1, memory_order_release);
    for (uint32_t i = 0; i < server->count; i++)
        server->workers[i].io->ops->wake(server->workers[i].io);
}

int gate_server_stats(const gate_server *server, gate_stats *stats)
{
    if (!server || !stats)
        return -EINVAL;
    gate_stats sum = {.size = sizeof sum};
    for (uint32_t i = 0; i < server->count; i++)
        gate__metrics_sum(&server->workers[i].streams.metrics, &sum);
    return gate__sized_write(stats, stats->size, &sum, sizeof sum,
                             GATE__SIZE_THROUGH(gate_stats, connections));
}

int gate_server_run(const char *addr, uint16_t port, int backlog, int timeout_ms,
                    gate_handler *handler)
{
    if (timeout_ms < -1)
        return -EINVAL;
    gate_options options = {.size = sizeof options,
                            .handler = handler,
                            .timeout_ms = (uint32_t)timeout_ms}; /* -1 becomes GATE_NEVER */
    gate_server *server;
    int rc = gate_server_open(&server, &options);
    if (rc)
        return rc;
    rc = gate_server_listen(server, addr, port, backlog);
    if (!rc)
        rc = gate_server_serve(server);
    gate_server_close(server);
    return rc;
}
