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

int gate__io_open(gate_io **io, uint32_t kind)
{
    uint32_t chosen;
    int rc = choose(kind, &chosen);

    if (rc < 0)
        return rc;
    switch (chosen) {
    case GATE_IO_AUTO:
    case GATE_IO_EPOLL:
        return gate__io_epoll_open(io);
    case GATE_IO_URING:
        return -ENOSYS;
    default:
        return -EINVAL;
    }
}
