/* SPDX-License-Identifier: MIT */
#ifndef GATE_LISTENER_H
#define GATE_LISTENER_H

/*
 * A worker's listening sockets. Each accepts while there is room for connections; without
 * descriptors or memory it pauses until a connection closes or a short time is over, so that a
 * full process neither spins nor stops for good. When the server stops, it takes what the kernel
 * has queued and then closes.
 */

#include "handle.h"
#include "io/io.h"
#include "io/sock.h"
#include "quota.h"
#include "stream.h"

typedef struct gate__listener gate__listener;

/* What the listeners of one worker share. */
typedef struct gate__listeners {
    gate__streams *streams;
    gate__listener *first;
    gate__limits *limits;        /* of several workers; NULL: connections_max is this one's */
    struct gate__parked *parked; /* accepted, and waiting for a place */
    uint32_t connections_max;
    uint32_t open;
    uint32_t index;            /* the worker's */
    uint64_t retry_ns;         /* when paused listeners try again; UINT64_MAX: none is paused */
    uint64_t starved_until_ns; /* an episode without descriptors or memory lasts till then */
    uint32_t failed_in_turn;   /* accepts since the last that succeeded */
    uint8_t starved;           /* it was told; that it is over was not */
    uint8_t serving;
    uint8_t draining;
} gate__listeners;

/* How to open one. */
typedef struct gate__listen_how {
    int backlog;
    unsigned flags;             /* GATE_IO_... */
    const gate__rights *rights; /* NULL: as umask says */
} gate__listen_how;

struct gate__listener {
    gate_sock sock;
    gate_listener *handle; /* what it is one of */
    gate__listeners *owner;
    gate__listener *next;
};

void gate__listeners_init(gate__listeners *listeners, gate__streams *streams,
                          uint32_t connections_max);
/* Opens one more at handle->addr, which becomes the bound address. 0, -errno. */
int gate__listeners_add(gate__listeners *listeners, gate_listener *handle,
                        const gate__listen_how *how);
/* Takes a listening descriptor; handle->addr becomes its address. 0, -errno. */
int gate__listeners_adopt(gate__listeners *listeners, gate_listener *handle, int fd);

/* Listeners that are open, or connections that wait for a place. */
static inline int gate__listeners_left(const gate__listeners *listeners)
{
    return listeners->open || listeners->parked;
}

/* Serves what waits for a place, as far as there are places. */
void gate__listeners_claim(gate__listeners *listeners);

/* Starts accepting. */
void gate__listeners_serve(gate__listeners *listeners);
/* Takes what is queued, then closes; `open` says how many still do. */
void gate__listeners_drain(gate__listeners *listeners);
/* Closes all at once, whatever is queued. */
void gate__listeners_close(gate__listeners *listeners);
/* Accepts again where that had to wait: after a connection has closed, or at retry_ns. */
void gate__listeners_resume(gate__listeners *listeners);
/* Closes all where no loop runs: before serving, after it, or when it has failed. */
void gate__listeners_discard(gate__listeners *listeners);
/* Closes and frees the one that was opened last; before serving. */
void gate__listeners_undo(gate__listeners *listeners);
/* All closed: frees them. */
void gate__listeners_free(gate__listeners *listeners);

#endif
