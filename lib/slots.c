/* SPDX-License-Identifier: MIT */
#include "slots.h"

#include <stdlib.h>

#include "io/memory.h"

/* Also the alignment: whole pages of any machine. What is not used yet is not touched either. */
enum { BLOCK_SIZE = GATE__SLOT_SIZE * GATE__BLOCK_SLOTS };

struct gate__block {
    gate__block *older;
    gate__block *prev; /* in the list of those in memory */
    gate__block *next; /* there, or of those away */
    unsigned char *cells;
    uint32_t head; /* of the ring of free cells */
    uint32_t free;
    uint8_t ring[GATE__BLOCK_SLOTS];
    uint8_t generation[GATE__BLOCK_SLOTS];
};

static void unlink_block(gate__slots *slots, gate__block *block)
{
    *(block->prev ? &block->prev->next : &slots->first) = block->next;
    *(block->next ? &block->next->prev : &slots->last) = block->prev;
}

static void link_first(gate__slots *slots, gate__block *block)
{
    block->prev = NULL;
    block->next = slots->first;
    *(slots->first ? &slots->first->prev : &slots->last) = block;
    slots->first = block;
}

static void link_last(gate__slots *slots, gate__block *block)
{
    block->next = NULL;
    block->prev = slots->last;
    *(slots->last ? &slots->last->next : &slots->first) = block;
    slots->last = block;
}

static gate__block *make_block(gate__slots *slots)
{
    gate__block *block = calloc(1, sizeof *block);
    if (!block)
        return NULL;
    block->cells = aligned_alloc(BLOCK_SIZE, BLOCK_SIZE);
    if (!block->cells) {
        free(block);
        return NULL;
    }
    for (uint32_t i = 0; i < GATE__BLOCK_SLOTS; i++)
        block->ring[i] = (uint8_t)i;
    block->free = GATE__BLOCK_SLOTS;
    block->older = slots->all;
    slots->all = block;
    return block;
}

static gate__block *find_block(gate__slots *slots)
{
    gate__block *block = slots->first;
    if (block)
        return block;
    block = slots->away;
    if (block)
        slots->away = block->next;
    else if (!(block = make_block(slots)))
        return NULL;
    link_first(slots, block);
    slots->empty++;
    return block;
}

void *gate__slots_take(gate__slots *slots, gate__block **block, uint32_t *generation)
{
    gate__block *from = find_block(slots);
    if (!from)
        return NULL;
    if (from->free == GATE__BLOCK_SLOTS)
        slots->empty--;
    uint32_t cell = from->ring[from->head];
    from->head = (from->head + 1) % GATE__BLOCK_SLOTS;
    if (!--from->free)
        unlink_block(slots, from);
    slots->used++;
    *block = from;
    *generation = from->generation[cell];
    return from->cells + (size_t)cell * GATE__SLOT_SIZE;
}

/* Whole free blocks, which are last; one whose memory cannot be released stays. */
static void trim(gate__slots *slots)
{
    while (slots->empty > 1 + slots->used / GATE__BLOCK_SLOTS / 2) {
        gate__block *block = slots->last;
        if (gate__memory_release(block->cells, BLOCK_SIZE))
            return;
        unlink_block(slots, block);
        slots->empty--;
        block->next = slots->away;
        slots->away = block;
    }
}

void gate__slots_put(gate__slots *slots, gate__block *block, void *cell, uint32_t generation)
{
    size_t at = (size_t)((unsigned char *)cell - block->cells) / GATE__SLOT_SIZE;
    block->generation[at] = (uint8_t)generation;
    block->ring[(block->head + block->free) % GATE__BLOCK_SLOTS] = (uint8_t)at;
    slots->used--;
    if (!block->free++)
        link_first(slots, block);
    if (block->free < GATE__BLOCK_SLOTS)
        return;
    unlink_block(slots, block);
    link_last(slots, block);
    slots->empty++;
    trim(slots);
}

void gate__slots_free(gate__slots *slots)
{
    while (slots->all) {
        gate__block *block = slots->all;
        slots->all = block->older;
        free(block->cells);
        free(block);
    }
    *slots = (gate__slots){0};
}
