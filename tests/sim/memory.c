/* SPDX-License-Identifier: MIT */

/* The library's memory: counted for the world that is open, and refused where its knobs say so.
 * Without a world it is plain memory. */

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include "lib_calls.h"
#include "world.h"

/* 1: this allocation fails. */
static int refuse(void)
{
    sim_world *world = sim__current;
    const sim_knobs *knobs;
    uint64_t at;

    if (world == NULL) {
        return 0;
    }
    knobs = &world->knobs;
    at = ++world->allocs;
    if (knobs->alloc_fails_at == 0 || at < knobs->alloc_fails_at ||
        at - knobs->alloc_fails_at >= (knobs->alloc_fails_for ? knobs->alloc_fails_for : 1)) {
        return 0;
    }
    world->fired[SIM_ALLOC]++;
    errno = ENOMEM;
    return 1;
}

static void *count_in(void *block)
{
    if (block != NULL && sim__current != NULL) {
        sim__current->lib_blocks++;
        sim__current->lib_bytes += malloc_usable_size(block);
    }
    return block;
}

static void count_out(void *block)
{
    if (block != NULL && sim__current != NULL) {
        sim__freed(sim__current, block, malloc_usable_size(block));
        sim__current->lib_blocks--;
        sim__current->lib_bytes -= malloc_usable_size(block);
    }
}

void *sim_lib_malloc(size_t size)
{
    return refuse() ? NULL : count_in(malloc(size));
}

void *sim_lib_calloc(size_t count, size_t size)
{
    return refuse() ? NULL : count_in(calloc(count, size));
}

void *sim_lib_realloc(void *block, size_t size)
{
    if (refuse()) {
        return NULL;
    }
    count_out(block);
    return count_in(realloc(block, size));
}

void *sim_lib_aligned_alloc(size_t alignment, size_t size)
{
    return refuse() ? NULL : count_in(aligned_alloc(alignment, size));
}

void sim_lib_free(void *block)
{
    count_out(block);
    free(block);
}
