/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_SANDBOX_H
#define GATE_CLI_SANDBOX_H

/*
 * What gate-server keeps once it listens. Descriptors that it was started with are closed before,
 * see sandbox_close.h. Then, in this order:
 *  1. Its capabilities go, root's too, and no_new_privs is set.
 *  2. Landlock: no file can be opened, made or removed, but that the listed sockets' files may be
 *     removed; no TCP port be bound or connected to, no signal be sent elsewhere, as far as the
 *     kernel's Landlock goes.
 *  3. seccomp: only the system calls that serving takes, and these only with the arguments that it
 *     takes them with. Any other fails with EPERM, since another version of libc may try one and
 *     do without it: no reason to throw everybody out. The few that no server ever does, but
 *     somebody who has taken it over, end the process at once, with a line in the kernel's log.
 *  4. An exchange is tried, see sandbox_try.h.
 * Rings of io_uring must exist before: making one is among the latter.
 */

#include <stddef.h>

#include "args.h"

typedef struct sandbox_needs {
    int threads; /* threads will be started */
    size_t file_count;
    const char *file[ARGS_LIST_MAX]; /* Unix sockets that are removed at the end */
} sandbox_needs;

/* Before the program opens anything but its server. 0, or an exit code after a report. */
int sandbox_prepare(void);

/* Before other threads are started. 0, or an exit code after a report. A kernel without Landlock is
 * a warning, everything else that is missing an error. */
int sandbox_enter(const sandbox_needs *needs);

#endif
