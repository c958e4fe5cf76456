/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_LOG_H
#define GATE_CLI_LOG_H

/* gate-server's log on standard error: a line for each event, as text or as JSON, with a time stamp
 * or, for the journal of systemd, its priority. */

#include <gate/gate.h>

typedef struct log_options {
    int json;
    int verbose; /* every event, and no limit */
    int quiet;   /* errors only */
} log_options;

/* Before the first event, and before rights are given up. */
void log_begin(const log_options *options);

/* Any thread; it never waits for whoever reads. Unless verbose, a kind of event (each reason of a
 * close is one) has 10 lines in 10 seconds; how many were left out is told by a later line. */
void log_event(const gate_event *event);

/* One more address that is listened on. */
void log_listening(const char *address);

/* After the last event: tells what was left out and not told yet. */
void log_end(void);

#endif
