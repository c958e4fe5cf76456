/* SPDX-License-Identifier: MIT */
#ifndef GATE_IO_RESOLVE_H
#define GATE_IO_RESOLVE_H

/*
 * Name look-ups. getaddrinfo blocks and cannot be cancelled, so it runs on another thread, which
 * works on a job of its own: an answer that comes after the look-up was abandoned frees the job and
 * touches nothing else. A program has at most four such threads ("gate-dns"), however many names it
 * asks for: further look-ups wait in a queue, which they leave when they are abandoned. A thread
 * ends once the queue is empty. Numeric and Unix addresses need no thread.
 *
 * A thread may outlive whatever has used the library, which is therefore never unloaded (it is
 * linked with -z nodelete). A child of fork() begins without threads and jobs.
 */

#include <stdint.h>

#include "io/io.h"

enum { GATE_RESOLVE_THREADS = 4 };

/* Says that an answer is there. Runs on the helper thread, never after gate__resolve_abandon. */
typedef void gate__resolve_notify(void *arg);

/* Starts looking up resolve->host. 0: done, the addresses are there. 1: under way; notify(arg) (if
 * not NULL) will be called once, then gate__resolve_take has the answer. Else a code; -EAGAIN is
 * that of pthread_create. */
int gate__resolve_start(gate_resolve *resolve, gate__resolve_notify *notify, void *arg);

/* -EAGAIN: not yet. Else the look-up is over: 0 and the addresses, or a code. */
int gate__resolve_take(gate_resolve *resolve);

/* Waits for the answer until deadline_ns (UINT64_MAX: for ever). */
void gate__resolve_wait(gate_resolve *resolve, uint64_t deadline_ns);

/* Gives up a look-up that is under way. */
void gate__resolve_abandon(gate_resolve *resolve);

/* As gate__resolve_start; a look-up that is under way is put on the loop's list of them. */
int gate__lookups_add(gate_op **list, gate_resolve *resolve, gate__resolve_notify *notify,
                      void *arg);
/* Takes one that is over off the list, its code in aux; NULL: none is. */
gate_op *gate__lookups_take(gate_op **list);
/* Gives up one and takes it off the list. 0: it was not there. */
int gate__lookups_remove(gate_op **list, gate_resolve *resolve);

/* How many threads look names up now. */
unsigned gate__resolve_threads(void);

/* Looks up the first address that this machine has (else the first one), to listen on, and blocks
 * as long as that takes. 0, GATE_ENAME, GATE_ENAMELATER, -ENOMEM, -EINVAL, -ENAMETOOLONG. */
int gate__resolve_now(const char *host, uint16_t port, gate__sockaddr *addr);

#endif
