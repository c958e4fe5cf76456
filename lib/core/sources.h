/* SPDX-License-Identifier: MIT */
#ifndef GATE_CORE_SOURCES_H
#define GATE_CORE_SOURCES_H

/* How many connections each source (gate__addr_source) has open: an open-addressing table that
 * holds only sources with a connection, so its size is bounded by theirs. */

#include <stddef.h>
#include <stdint.h>

typedef struct gate__source {
    uint64_t key; /* 0: free */
    uint32_t count;
} gate__source;

typedef struct gate__sources {
    gate__source *table; /* NULL: empty */
    size_t cap;          /* a power of two */
    size_t used;
    uint64_t secret; /* a random number: no peer can choose addresses that crowd one place */
} gate__sources;

/* Counts one more, unless the source has max already. 1: counted, 0: refused, -ENOMEM.
 * key 0 (no address) is always 1 and not counted. */
int gate__sources_add(gate__sources *sources, uint64_t key, uint32_t max);
/* Takes back one that was counted. */
void gate__sources_remove(gate__sources *sources, uint64_t key);
void gate__sources_free(gate__sources *sources);

#endif
