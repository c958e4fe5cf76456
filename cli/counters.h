/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_COUNTERS_H
#define GATE_CLI_COUNTERS_H

/* gate-server's counters as JSON: at its end, and whenever SIGUSR1 asks for them. */

#include <gate/gate.h>

#include "json.h"

/* The member "stats". */
void counters_write(json *object, const gate_stats *stats);

/* From now on SIGHUP is ignored, and SIGUSR1 writes the counters of the server that is watched to
 * standard error, as one object on one line. None is watched at first; NULL: none any more. */
void counters_begin(const char *program);
void counters_watch(const gate_server *server);

#endif
