/* SPDX-License-Identifier: MIT */
#ifndef GATE_WORKER_H
#define GATE_WORKER_H

/* One thread that serves: a gate_io, the listeners and the streams on it. Workers share the
 * stop flag, which only ever goes from 0 to 1, and the limits. */

#include <stdatomic.h>

#include "listener.h"
#include "stream.h"

typedef struct gate__worker {
    gate_io *io;
    gate__streams streams;
    gate__listeners listeners;
    const atomic_int *stop;
    uint64_t drain_ns; /* how long draining may last */
} gate__worker;

/* options has its defaults filled in; the limits in it are this worker's share. io becomes the
 * worker's; limits is the server's. */
void gate__worker_init(gate__worker *worker, gate_server *server, const gate_options *options,
                       uint32_t index, const atomic_int *stop, gate__limits *limits, gate_io *io);

/* Serves until *stop is set and everything has drained. 0, or the error of a
 * loop that can't go on. */
int gate__worker_run(gate__worker *worker);

/* Closes what is open and frees everything. Not while it runs. */
void gate__worker_close(gate__worker *worker);

#endif
