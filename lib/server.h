/* SPDX-License-Identifier: MIT */
#ifndef GATE_SERVER_H
#define GATE_SERVER_H

#include <gate/gate.h>

#include "io/io.h"

/* Opens a worker's backend; kind is the option. The simulator brings its own. */
typedef int gate__io_open_fn(gate_io **io, uint32_t kind, void *arg);

/* gate_server_open on another backend than the kernel's, and with that much memory. */
int gate__server_open_on(gate_server **server, const gate_options *options, uint64_t memory,
                         gate__io_open_fn *open_io, void *arg);

/* The options with their defaults; memory: how much there is. 0, -EINVAL. */
int gate__options_fill(gate_options *filled, const gate_options *options, uint64_t memory);

#endif
