/* SPDX-License-Identifier: MIT */
#include "server.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/error.h"
#include "core/metrics.h"
#include "core/sized.h"
#include "io/memory.h"
#include "listen.h"
#include "worker.h"

enum { IDLE, SERVING, SERVED };

struct gate_server {
    gate_options options;
    atomic_int stop;
    atomic_int state;
    uint16_t port;
    pid_t served_by;      /* 0: not yet; another process has a copy */
    gate_listener *first; /* of its listeners */
    gate_listener **last;
    gate__limits limits;    /* over all workers */
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
    int rc = gate__limits_init(&server->limits, part.connections_max, part.peer_connections_max,
                               part.workers);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < part.workers; i++) {
        gate_io *io;
        rc = open_io(&io, part.io, arg);
        if (rc)
            return rc;
        gate__worker_init(&server->workers[i], server, &part, i, &server->stop, &server->limits,
                          io);
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
    made->last = &made->first;
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
    if (server->served_by == getpid())
        for (gate_listener *one = server->first; one; one = one->next)
            gate__handle_leave(one);
    for (uint32_t i = 0; i < server->count; i++)
        gate__worker_close(&server->workers[i]);
    gate__listen_free(server->first);
    gate__limits_free(&server->limits);
    free(server);
}

/* ---- Listening ---- */

static void add_listener(gate_server *server, gate_listener *listener)
{
    if (!server->port)
        server->port = gate_listener_port(listener);
    *server->last = listener;
    server->last = &listener->next;
}

int gate_server_listen_with(gate_server *server, const char *addr, uint16_t port,
                            const gate_listen_options *options, gate_listener **listener,
                            gate_error *error)
{
    gate__listen asked = {.addr = addr, .port = port, .options = options, .error = error};
    gate_listener *made;
    if (listener)
        *listener = NULL;
    if (gate__error_check(error))
        return -EINVAL;
    if (!server)
        return gate__error_set(error, -EINVAL, "there is no server");
    if (atomic_load(&server->state) != IDLE)
        return gate__error_set(error, -EBUSY, "the server is serving already");
    asked.server_flags = server->options.flags;
    int rc = gate__listen_open(&made, server->workers, server->count, &asked);
    if (rc)
        return rc;
    add_listener(server, made);
    if (listener)
        *listener = made;
    return gate__error_set(error, 0, "%s", "");
}

int gate_server_listen(gate_server *server, const char *addr, uint16_t port, int backlog)
{
    gate_listen_options options = {.size = sizeof options, .backlog = backlog};
    return gate_server_listen_with(server, addr, port, &options, NULL, NULL);
}

int gate_server_listen_fd(gate_server *server, int fd)
{
    gate_listen_options options = {.size = sizeof options, .flags = GATE_LISTEN_FD, .fd = fd};
    return gate_server_listen_with(server, NULL, 0, &options, NULL, NULL);
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
    if (!server || !server->first)
        return -EINVAL;
    if (!atomic_compare_exchange_strong(&server->state, &idle, SERVING))
        return -EBUSY;
    server->served_by = getpid();
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
