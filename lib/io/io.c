/* SPDX-License-Identifier: MIT */
#include "io/io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <gate/gate.h>

/* What GATE_IO asks for; GATE_IO_AUTO where it is not set. 0, or -EINVAL: no such name. */
static int read_environment(uint32_t *kind)
{
    const char *name = secure_getenv("GATE_IO");

    *kind = GATE_IO_AUTO;
    if (!name || !*name || !strcmp(name, "auto"))
        return 0;
    if (!strcmp(name, "epoll"))
        *kind = GATE_IO_EPOLL;
    else if (!strcmp(name, "io_uring"))
        *kind = GATE_IO_URING;
    else
        return -EINVAL;
    return 0;
}

#ifndef GATE_HAVE_URING
int gate__io_uring_open(gate_io **io)
{
    (void)io;
    return -ENOSYS;
}
#endif

/* io_uring where the kernel lets us have it: it may be too old, or forbid it, or lack memory. */
static int open_best(gate_io **io)
{
    int refused = gate__io_uring_open(io);
    int rc;

    if (refused == 0)
        return 0;
    rc = gate__io_epoll_open(io);
    if (rc == 0)
        (*io)->fallback = refused;
    return rc;
}

static int open_kind(gate_io **io, uint32_t kind)
{
    switch (kind) {
    case GATE_IO_AUTO:
        return open_best(io);
    case GATE_IO_EPOLL:
        return gate__io_epoll_open(io);
    case GATE_IO_URING:
        return gate__io_uring_open(io);
    default:
        return -EINVAL;
    }
}

/* The environment is a default, for programs that leave the choice open: it never changes what a
 * program chose itself, and a typing error in it fails none. */
int gate__io_open(gate_io **io, uint32_t kind)
{
    int environment = kind == GATE_IO_AUTO ? read_environment(&kind) : 0;
    int rc = open_kind(io, kind);

    if (rc == 0)
        (*io)->environment = environment;
    return rc;
}
