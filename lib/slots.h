/* SPDX-License-Identifier: MIT */
#ifndef GATE_SLOTS_H
#define GATE_SLOTS_H

/*
 * Cells of 256 bytes for the requests of one worker, each with a generation that the caller counts
 * up. An address of a cell stays readable until gate__slots_free, so that a handle that is used up
 * can be told from a live one at any time; the memory of blocks that nobody uses is released all
 * the same: such a block reads as zeros, and its generations are kept here.
 *
 * Of a block's cells the one that was freed last is used again last. Worker's thread only.
 */

#include <stddef.h>
#include <stdint.h>

enum { GATE__SLOT_SIZE = 256, GATE__BLOCK_SLOTS = 256 };

typedef struct gate__block gate__block;

/* All zero: empty. */
typedef struct gate__slots {
    gate__block *all;   /* by `older` */
    gate__block *first; /* those in memory with a free cell; whole free ones at the end */
    gate__block *last;
    gate__block *away; /* whose memory was released */
    size_t used;       /* cells */
    size_t empty;      /* blocks in memory without a used cell */
} gate__slots;

/* A cell, its block and the generation that it has; what is in it is undefined. NULL: no memory. */
void *gate__slots_take(gate__slots *slots, gate__block **block, uint32_t *generation);

/* Frees a cell; the next one who takes it gets this generation (its low 8 bits). Of what is in
 * memory and free, more than one block and half of what is used is released. */
void gate__slots_put(gate__slots *slots, gate__block *block, void *cell, uint32_t generation);

void gate__slots_free(gate__slots *slots);

#endif
