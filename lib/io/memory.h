/* SPDX-License-Identifier: MIT */
#ifndef GATE_IO_MEMORY_H
#define GATE_IO_MEMORY_H

/* What the system says about memory. */

#include <stddef.h>
#include <stdint.h>

/* The smallest of physical memory, half of all addresses, this process's limit on address space
 * (RLIMIT_AS) and the limits of its control groups (either version, with the groups above it), as
 * far as they can be read below root ("": those of the machine). */
uint64_t gate__memory_limit(const char *root);

/* Releases the memory of whole pages, which read as zeros from then on. 0, -errno (they are as they
 * were). */
int gate__memory_release(void *at, size_t len);

#endif
