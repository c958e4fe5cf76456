/* SPDX-License-Identifier: MIT */
#include "io/io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <gate/gate.h>

/* What GATE_IO asks for, `kind` where it is not set. */
static int choose(uint32_t kind, uint32_t *chosen)
{
    const char *name = secure_getenv("GATE_IO");

    *chosen = kind;
    if (!name || !*name)
        return 0;
    if (!strcmp(name, "auto"))
        *chosen = GATE_IO_AUTO;
    else if (!strcmp(name, "epoll"))
        *chosen = GATE_IO_EPOLL;
    else if (!strcmp(name, "io_uring"))
        *chosen = GATE_IO_URING;
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

int gate__io_open(gate_io **io, uint32_t kind)
{
    uint32_t chosen;
    int rc = choose(kind, &chosen);

    if (rc < 0)
        return rc;
    switch (chosen) {
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
