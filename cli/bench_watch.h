/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_BENCH_WATCH_H
#define GATE_CLI_BENCH_WATCH_H

/* What the kernel has accounted to a process. */

#include <stdint.h>
#include <sys/types.h>

uint64_t bench_watch_cpu(pid_t pid); /* ns of all its threads, to the nanosecond; 0: unknown */
uint64_t bench_watch_waited(void);   /* ns that this thread could run and had no CPU; 0: unknown */
uint64_t bench_watch_resident(pid_t pid); /* bytes; 0: unknown */

#endif
