/* SPDX-License-Identifier: MIT */
#ifndef GATE_CORE_BUF_H
#define GATE_CORE_BUF_H

/*
 * The bytes that a connection holds. Input is one growing buffer that exists only while part of a
 * request waits in it. Output is a list of chunks: small replies share one from the worker's pool,
 * large ones have their own, borrowed ones only point at the caller's bytes. An idle connection
 * holds neither.
 */

#include <gate/gate.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Input ---- */

typedef struct gate__inbuf {
    uint8_t *data; /* NULL: empty */
    size_t off;    /* where the unread bytes start */
    size_t len;    /* how many there are */
    size_t cap;
} gate__inbuf;

/* Adds bytes. need: the size that the content is known to reach, or 0; the buffer grows with what
 * has arrived and never past max(need, twice the content). 0, -ENOMEM. */
int gate__inbuf_append(gate__inbuf *in, const uint8_t *bytes, size_t len, size_t need);

/* Drops n bytes from the front; the last one frees the memory. */
void gate__inbuf_consume(gate__inbuf *in, size_t n);

static inline const uint8_t *gate__inbuf_bytes(const gate__inbuf *in)
{
    return in->data + in->off;
}

/* ---- Output ---- */

typedef struct gate__chunk gate__chunk;
struct gate__chunk {
    gate__chunk *next;
    const uint8_t *data;
    size_t len;
    size_t sent;
    size_t cap;            /* 0: borrowed */
    gate_release *release; /* borrowed: called with arg when the chunk is freed */
    void *arg;
    uint8_t bytes[];
};

enum { GATE__CHUNK_SIZE = 4096, GATE__CHUNK_POOL_MAX = 256 };

/* Spare chunks of one worker. */
typedef struct gate__chunk_pool {
    gate__chunk *spare;
    unsigned count;
} gate__chunk_pool;

/* A chunk with room for at least `room` bytes; NULL: no memory. pool may be NULL: any
 * thread, then. */
gate__chunk *gate__chunk_new(gate__chunk_pool *pool, size_t room);
gate__chunk *gate__chunk_borrow(const void *body, size_t len, gate_release *release, void *arg);
/* Only where cap - len has the room. */
void gate__chunk_add(gate__chunk *chunk, const void *bytes, size_t len);
/* Frees, or puts into the pool; gives borrowed bytes back. */
void gate__chunk_free(gate__chunk_pool *pool, gate__chunk *chunk);
void gate__chunk_free_list(gate__chunk_pool *pool, gate__chunk *chunk);
void gate__chunk_pool_free(gate__chunk_pool *pool);

static inline size_t gate__chunk_room(const gate__chunk *chunk)
{
    return chunk->cap > chunk->len ? chunk->cap - chunk->len : 0;
}

/* What it takes; borrowed bytes are not its own. */
static inline size_t gate__chunk_memory(const gate__chunk *chunk)
{
    return sizeof *chunk + chunk->cap;
}

typedef struct gate__outbuf {
    gate__chunk *head;
    gate__chunk *tail;
    size_t bytes;  /* not yet sent */
    size_t memory; /* of its chunks */
} gate__outbuf;

/* The unsent bytes, or more where they are small answers that each have a chunk of their own, as
 * deferred and borrowed ones do: then it is their memory that counts. */
static inline size_t gate__outbuf_weight(const gate__outbuf *out)
{
    if (out->memory <= 2 * GATE__CHUNK_SIZE)
        return out->bytes;
    size_t gone = out->head->cap ? out->head->sent : 0;
    size_t half = (out->memory - gone) / 2;
    return half > out->bytes + GATE__CHUNK_SIZE ? half - GATE__CHUNK_SIZE : out->bytes;
}

/* Appends head, body and tail of one reply as copies. 0, -ENOMEM (nothing was appended). */
int gate__outbuf_put(gate__outbuf *out, gate__chunk_pool *pool, const gate_wrap *wrap,
                     const void *body, size_t len);
/* Appends a list of chunks, which becomes the buffer's. */
void gate__outbuf_push(gate__outbuf *out, gate__chunk *list);
/* The first n unsent bytes are sent. */
void gate__outbuf_sent(gate__outbuf *out, gate__chunk_pool *pool, size_t n);

#endif
