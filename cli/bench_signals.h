/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_BENCH_SIGNALS_H
#define GATE_CLI_BENCH_SIGNALS_H

/* SIGINT and SIGTERM end a run with what it has measured so far; the program then dies of the same
 * signal, so that a shell or a script sees what happened. */

/* From now on the two wait in a descriptor, which is returned; those that are ignored stay ignored.
 * -1: there is none. */
int bench_signals_open(void);

/* The signal that waits, or 0. */
int bench_signals_take(int fd);

/* From now on they end the program at once again. */
void bench_signals_close(int fd);

/* "SIGINT", "SIGTERM", or NULL for another number. */
const char *bench_signals_name(int signal_number);

/* Ends this process by the signal. */
void bench_signals_die(int signal_number);

#endif
