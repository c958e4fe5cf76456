/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_SANDBOX_TRY_H
#define GATE_CLI_SANDBOX_TRY_H

/* Whether one exchange can be served in the sandbox: the list of system calls is for a machine and
 * a C library that make these and no others. */

typedef struct sandbox_trial {
    int listener; /* with a connection in its queue that has sent a byte */
    int client;
    int epoll_fd;
} sandbox_trial;

/* Before the sandbox. 0 or an errno. */
int sandbox_trial_begin(sandbox_trial *trial);

/* Inside, closes what begin opened. NULL, or the name of the call that failed, with errno. */
const char *sandbox_trial_end(sandbox_trial *trial, int threads);

#endif
