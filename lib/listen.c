/* SPDX-License-Identifier: MIT */
#include "listen.h"

#include <errno.h>
#include <stdlib.h>

#include "core/error.h"
#include "core/sized.h"
#include "io/resolve.h"

enum { MODE_MAX = 0777, ALL_FLAGS = 2 * GATE_LISTEN_UNIX_OWNER - 1 };
enum { UNIX_FLAGS = GATE_LISTEN_UNIX_MODE | GATE_LISTEN_UNIX_OWNER };

_Static_assert(sizeof(gate_listen_options) == 8 * 4, "gate_listen_options has no padding");

/* How long a port that is in use is tried again, and how often. */
#define BUSY_NS UINT64_C(200000000)
#define BUSY_EVERY_NS UINT64_C(5000000)

/* One that is being opened. */
typedef struct opening {
    gate_listener *handle;
    gate__worker *workers;
    uint32_t count;
    const char *addr; /* as the caller has written it */
    gate_listen_options options;
    gate__rights rights;
    unsigned flags; /* GATE_IO_... of all sockets */
    gate_error *error;
} opening;

/* ---- What is asked for ---- */

static int refuse(const opening *one, const char *sentence)
{
    return gate__error_set(one->error, -EINVAL, "%s", sentence);
}

static int copy_options(opening *one, const gate_listen_options *options)
{
    if (!options)
        return 0;
    if (gate__sized_read(&one->options, sizeof one->options, options,
                         GATE__SIZE_THROUGH(gate_listen_options, flags)))
        return refuse(one, "options.size is wrong, or the options are of a later libgate");
    return 0;
}

static int check_options(const opening *one)
{
    const gate_listen_options *options = &one->options;
    uint32_t flags = options->flags;
    if (flags & ~(uint32_t)ALL_FLAGS || options->reserved)
        return refuse(one, "options.flags has a bit that is unknown, or reserved is not 0");
    if (options->backlog < 0)
        return refuse(one, "the backlog is negative");
    if (flags & GATE_LISTEN_UNIX_MODE && options->unix_mode > MODE_MAX)
        return refuse(one, "the mode of a Unix socket must be between 0 and 0777");
    if (!(flags & GATE_LISTEN_FD))
        return one->addr ? 0 : refuse(one, "there is no address");
    if (options->fd < 0)
        return refuse(one, "the descriptor is negative");
    if (flags & (GATE_LISTEN_DEFER | UNIX_FLAGS))
        return refuse(one, "an inherited socket keeps its mode and owner, and cannot be deferred");
    return 0;
}

static void set_rights(opening *one)
{
    const gate_listen_options *options = &one->options;
    one->rights = (gate__rights){UINT32_MAX, UINT32_MAX, UINT32_MAX};
    if (options->flags & GATE_LISTEN_UNIX_MODE)
        one->rights.mode = options->unix_mode;
    if (options->flags & GATE_LISTEN_UNIX_OWNER) {
        one->rights.uid = options->unix_uid;
        one->rights.gid = options->unix_gid;
    }
}

static int find_addr(const opening *one, uint16_t port)
{
    gate__sockaddr *addr = &one->handle->addr;
    int rc = gate__addr_numeric(addr, one->addr, port);
    if (rc == 1)
        rc = gate__resolve_now(one->addr, port, addr);
    if (rc)
        return gate__error_set(one->error, rc, "cannot listen on %s: %s", one->addr,
                               rc == -EINVAL ? "it is not an address" : gate_strerror(rc));
    return 0;
}

static int is_unix(const opening *one)
{
    return one->handle->addr.u.any.sa_family == AF_UNIX;
}

static int is_star(const char *addr)
{
    return addr[0] == '*' && !addr[1];
}

static int check_family(opening *one, uint32_t server_flags)
{
    uint32_t flags = one->options.flags;
    if (is_unix(one) && flags & GATE_LISTEN_DEFER)
        return refuse(one, "a Unix socket cannot be deferred");
    if (flags & UNIX_FLAGS && (!is_unix(one) || !one->handle->addr.u.un.sun_path[0]))
        return refuse(one, "mode and owner are for Unix sockets that have a file");
    if (!is_unix(one) && (flags & GATE_LISTEN_DEFER || server_flags & GATE_DEFER_ACCEPT))
        one->flags |= GATE_IO_DEFER;
    if (is_star(one->addr))
        one->flags |= GATE_IO_DUAL;
    gate__addr_unmap(&one->handle->addr); /* IPv6 sockets take no IPv4 here, so it is an IPv4 one */
    return 0;
}

/* ---- A socket for each worker ---- */

/* The same socket for another worker: Unix sockets and inherited ones can't be opened twice. */
static int share(const opening *one, gate__worker *worker, int fd)
{
    int copy = gate__sock_dup(fd);
    if (copy < 0)
        return copy;
    int rc = gate__listeners_adopt(&worker->listeners, one->handle, copy);
    if (rc)
        worker->io->ops->discard(worker->io, copy);
    return rc;
}

/* One more on the port that the first has opened. */
static int join(const opening *one, gate__worker *worker)
{
    gate__listen_how how = {.backlog = one->options.backlog, .flags = one->flags | GATE_IO_JOIN};
    return gate__listeners_add(&worker->listeners, one->handle, &how);
}

/* A socket for each worker but the first, which is opened or, with fd, will be: the same where
 * fd >= 0, else a new one on the port. */
static int open_others(const opening *one, int fd)
{
    for (uint32_t i = 1; i < one->count; i++) {
        gate__worker *worker = &one->workers[i];
        int rc = fd >= 0 ? share(one, worker, fd) : join(one, worker);
        if (!rc)
            continue;
        while (--i)
            gate__listeners_undo(&one->workers[i].listeners);
        return rc;
    }
    return 0;
}

static int tell_failure(const opening *one, int rc)
{
    if (one->options.flags & GATE_LISTEN_FD)
        return gate__error_set(
            one->error, rc, "cannot serve descriptor %d: %s", (int)one->options.fd,
            rc == -EINVAL ? "it is not a listening stream socket" : gate_strerror(rc));
    char name[GATE__NAME_ROOM];
    gate__addr_format(&one->handle->addr, name, sizeof name);
    return gate__error_set(one->error, rc, "cannot listen on %s: %s", name, gate_strerror(rc));
}

/* The ring of a process that was killed keeps its port for some milliseconds more. */
static int open_first(const opening *one, const gate__listen_how *how)
{
    gate_io *io = one->workers[0].io;
    uint64_t until = io->ops->now(io) + BUSY_NS;
    for (;;) {
        int rc = gate__listeners_add(&one->workers[0].listeners, one->handle, how);
        if (rc != -EADDRINUSE || is_unix(one) || io->now_ns >= until)
            return rc;
        io->ops->pause(io, BUSY_EVERY_NS);
    }
}

static int open_at(opening *one)
{
    gate__listeners *first = &one->workers[0].listeners;
    gate__listen_how how = {
        .backlog = one->options.backlog, .flags = one->flags, .rights = &one->rights};
    if (one->count > 1 && !is_unix(one))
        how.flags |= GATE_IO_SHARED;
    int rc = open_first(one, &how);
    if (rc)
        return tell_failure(one, rc);
    gate__sock_file_of(&one->handle->file, &one->handle->addr);
    rc = open_others(one, is_unix(one) ? first->first->sock.fd : -1);
    if (rc) {
        gate__handle_leave(one->handle);
        gate__listeners_undo(first);
        return tell_failure(one, rc);
    }
    return 0;
}

/* Two listeners of one server would close the socket twice. */
static int is_served(const opening *one, int fd)
{
    gate_io *io = one->workers[0].io;
    for (gate__listener *l = one->workers[0].listeners.first; l; l = l->next)
        if (io->ops->same(io, l->sock.fd, fd))
            return 1;
    return 0;
}

static int open_fd(opening *one)
{
    int fd = one->options.fd;
    if (is_served(one, fd))
        return gate__error_set(one->error, -EEXIST,
                               "cannot serve descriptor %d: the server listens on it already", fd);
    int rc = open_others(one, fd);
    if (rc)
        return tell_failure(one, rc);
    /* Last, for fd stays the caller's where anything fails. */
    rc = gate__listeners_adopt(&one->workers[0].listeners, one->handle, fd);
    for (uint32_t i = 1; rc && i < one->count; i++)
        gate__listeners_undo(&one->workers[i].listeners);
    return rc ? tell_failure(one, rc) : 0;
}

static int open_it(opening *one, const gate__listen *asked)
{
    int rc = copy_options(one, asked->options);
    if (!rc)
        rc = check_options(one);
    if (rc)
        return rc;
    if (one->options.flags & GATE_LISTEN_FD)
        return open_fd(one);
    rc = find_addr(one, asked->port);
    if (!rc)
        rc = check_family(one, asked->server_flags);
    if (rc)
        return rc;
    set_rights(one);
    return open_at(one);
}

int gate__listen_open(gate_listener **made, gate__worker *workers, uint32_t count,
                      const gate__listen *asked)
{
    opening one = {.workers = workers, .count = count, .addr = asked->addr, .error = asked->error};
    one.handle = calloc(1, sizeof *one.handle);
    if (!one.handle)
        return gate__error_set(one.error, -ENOMEM, "%s", gate_strerror(-ENOMEM));
    int rc = open_it(&one, asked);
    if (rc) {
        free(one.handle);
        return rc;
    }
    gate__addr_format(&one.handle->addr, one.handle->name, sizeof one.handle->name);
    *made = one.handle;
    return 0;
}

void gate__listen_free(gate_listener *first)
{
    while (first) {
        gate_listener *next = first->next;
        gate__handle_closed(first);
        free(first);
        first = next;
    }
}
