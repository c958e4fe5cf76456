/* SPDX-License-Identifier: MIT */
#include "core/sources.h"

#include <errno.h>
#include <stdlib.h>

enum { CAP_MIN = 64 };

static size_t home(const gate__sources *sources, uint64_t key)
{
    uint64_t hash = (key ^ sources->secret) * 0x9E3779B97F4A7C15u;
    hash = (hash ^ hash >> 29) * (sources->secret | 1);
    return (size_t)(hash >> 32) & (sources->cap - 1);
}

/* Where the key is, or where it would go. */
static gate__source *find(const gate__sources *sources, uint64_t key)
{
    size_t i = home(sources, key);
    while (sources->table[i].key && sources->table[i].key != key)
        i = (i + 1) & (sources->cap - 1);
    return &sources->table[i];
}

static int grow(gate__sources *sources)
{
    gate__sources next = {.cap = sources->cap ? sources->cap * 2 : CAP_MIN,
                          .used = sources->used,
                          .secret = sources->secret};
    next.table = calloc(next.cap, sizeof *next.table);
    if (!next.table)
        return -ENOMEM;
    for (size_t i = 0; i < sources->cap; i++)
        if (sources->table[i].key)
            *find(&next, sources->table[i].key) = sources->table[i];
    free(sources->table);
    *sources = next;
    return 0;
}

int gate__sources_add(gate__sources *sources, uint64_t key, uint32_t max)
{
    if (!key)
        return 1;
    if (sources->used * 2 >= sources->cap && grow(sources))
        return -ENOMEM;
    gate__source *source = find(sources, key);
    if (source->key && source->count >= max)
        return 0;
    if (!source->key) {
        source->key = key;
        sources->used++;
    }
    source->count++;
    return 1;
}

/* Closes the gap at i, so that each entry stays reachable from its home. */
static void fill_gap(gate__sources *sources, size_t i)
{
    size_t mask = sources->cap - 1;
    for (size_t j = (i + 1) & mask; sources->table[j].key; j = (j + 1) & mask) {
        size_t distance = (j - home(sources, sources->table[j].key)) & mask;
        if (distance < ((j - i) & mask))
            continue;
        sources->table[i] = sources->table[j];
        i = j;
    }
    sources->table[i] = (gate__source){0};
}

void gate__sources_remove(gate__sources *sources, uint64_t key)
{
    if (!key)
        return;
    gate__source *source = find(sources, key);
    if (--source->count)
        return;
    sources->used--;
    fill_gap(sources, (size_t)(source - sources->table));
}

void gate__sources_free(gate__sources *sources)
{
    free(sources->table);
    *sources = (gate__sources){0};
}
