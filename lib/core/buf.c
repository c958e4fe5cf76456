/* SPDX-License-Identifier: MIT */
#include "core/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { INBUF_MIN = 512 };

/* Room for `total` bytes: what is announced, but no more than twice what has come, so that a peer
 * has to send the bytes that it makes us hold. */
static size_t choose_cap(size_t total, size_t need)
{
    size_t cap = total < SIZE_MAX / 2 ? total * 2 : total;
    if (cap < INBUF_MIN)
        cap = INBUF_MIN;
    return need >= total && need < cap ? need : cap;
}

static int reserve(gate__inbuf *in, size_t more, size_t need)
{
    size_t total = in->len + more; /* of bytes that are in memory: no sum that overflows */
    if (in->off && total <= in->cap) {
        memmove(in->data, in->data + in->off, in->len);
        in->off = 0;
        return 0;
    }
    size_t cap = choose_cap(total, need);
    uint8_t *data = malloc(cap);
    if (!data)
        return -ENOMEM;
    if (in->len)
        memcpy(data, in->data + in->off, in->len);
    free(in->data);
    in->data = data;
    in->off = 0;
    in->cap = cap;
    return 0;
}

int gate__inbuf_append(gate__inbuf *in, const uint8_t *bytes, size_t len, size_t need)
{
    if (!len)
        return 0;
    if (in->cap - in->off - in->len < len) {
        int rc = reserve(in, len, need);
        if (rc)
            return rc;
    }
    memcpy(in->data + in->off + in->len, bytes, len);
    in->len += len;
    return 0;
}

void gate__inbuf_consume(gate__inbuf *in, size_t n)
{
    in->off += n;
    in->len -= n;
    if (in->len)
        return;
    free(in->data);
    *in = (gate__inbuf){0};
}

gate__chunk *gate__chunk_new(gate__chunk_pool *pool, size_t room)
{
    const size_t pooled = GATE__CHUNK_SIZE - sizeof(gate__chunk);
    gate__chunk *chunk;
    if (room > pooled) {
        if (room > SIZE_MAX - sizeof *chunk)
            return NULL;
        chunk = malloc(sizeof *chunk + room);
    } else if (!pool) {
        chunk = malloc(sizeof *chunk + room);
    } else {
        room = pooled;
        chunk = pool->spare;
        if (chunk) {
            pool->spare = chunk->next;
            pool->count--;
        } else {
            chunk = malloc(GATE__CHUNK_SIZE);
        }
    }
    if (!chunk)
        return NULL;
    *chunk = (gate__chunk){.data = chunk->bytes, .cap = room};
    return chunk;
}

gate__chunk *gate__chunk_borrow(const void *body, size_t len, gate_release *release, void *arg)
{
    gate__chunk *chunk = malloc(sizeof *chunk);
    if (chunk)
        *chunk = (gate__chunk){.data = body, .len = len, .release = release, .arg = arg};
    return chunk;
}

void gate__chunk_add(gate__chunk *chunk, const void *bytes, size_t len)
{
    if (len)
        memcpy(chunk->bytes + chunk->len, bytes, len);
    chunk->len += len;
}

void gate__chunk_free(gate__chunk_pool *pool, gate__chunk *chunk)
{
    if (chunk->release)
        chunk->release(chunk->arg);
    if (pool && chunk->cap == GATE__CHUNK_SIZE - sizeof *chunk &&
        pool->count < GATE__CHUNK_POOL_MAX) {
        chunk->next = pool->spare;
        pool->spare = chunk;
        pool->count++;
    } else {
        free(chunk);
    }
}

void gate__chunk_free_list(gate__chunk_pool *pool, gate__chunk *chunk)
{
    while (chunk) {
        gate__chunk *next = chunk->next;
        gate__chunk_free(pool, chunk);
        chunk = next;
    }
}

void gate__chunk_pool_free(gate__chunk_pool *pool)
{
    gate__chunk_free_list(NULL, pool->spare);
    *pool = (gate__chunk_pool){0};
}

void gate__outbuf_push(gate__outbuf *out, gate__chunk *list)
{
    if (!list)
        return;
    if (out->tail)
        out->tail->next = list;
    else
        out->head = list;
    for (gate__chunk *chunk = list; chunk; chunk = chunk->next) {
        out->bytes += chunk->len;
        out->memory += gate__chunk_memory(chunk);
        out->tail = chunk;
    }
}

/* Most often it is one byte, or none. */
static void copy_wrap(uint8_t *to, const uint8_t *bytes, size_t len)
{
    if (len == 1)
        *to = *bytes;
    else if (len)
        memcpy(to, bytes, len);
}

int gate__outbuf_put(gate__outbuf *out, gate__chunk_pool *pool, const gate_wrap *wrap,
                     const void *body, size_t len)
{
    size_t around = (size_t)wrap->head_len + wrap->tail_len;
    if (len > SIZE_MAX - around)
        return -ENOMEM;
    gate__chunk *chunk = out->tail;
    if (!chunk || gate__chunk_room(chunk) < len + around) {
        if (!(len + around))
            return 0;
        chunk = gate__chunk_new(pool, len + around);
        if (!chunk)
            return -ENOMEM;
        gate__outbuf_push(out, chunk);
    }
    uint8_t *to = chunk->bytes + chunk->len;
    copy_wrap(to, wrap->head, wrap->head_len);
    if (len)
        memcpy(to + wrap->head_len, body, len);
    copy_wrap(to + wrap->head_len + len, wrap->tail, wrap->tail_len);
    chunk->len += len + around;
    out->bytes += len + around;
    return 0;
}

void gate__outbuf_sent(gate__outbuf *out, gate__chunk_pool *pool, size_t n)
{
    out->bytes -= n;
    while (out->head && n >= out->head->len - out->head->sent) {
        gate__chunk *chunk = out->head;
        n -= chunk->len - chunk->sent;
        out->head = chunk->next;
        out->memory -= gate__chunk_memory(chunk);
        gate__chunk_free(pool, chunk);
    }
    if (!out->head) {
        out->tail = NULL;
        return;
    }
    out->head->sent += n;
}
