/* SPDX-License-Identifier: MIT */
#include "request.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "core/codec.h"

enum { SLOT_SIZE = 256, BLOCK_SLOTS = 63 };

enum { FREE, RUNNING, HELD, DEFERRED, ANSWERED, GONE };

struct gate__slot {
    _Alignas(SLOT_SIZE) _Atomic uint32_t word; /* generation << 8 | state */
    gate__pending pending;
    gate__requests *requests;
    gate__conn *conn; /* the worker's; NULL once the connection has let go */
    const gate_sock *sock;
    gate__slot *next;    /* in the spare list or the inbox */
    gate__chunk *answer; /* on its way through the inbox */
    gate_reason last;
};

_Static_assert(sizeof(gate__slot) == SLOT_SIZE, "a handle's low byte is the generation");

/* Slots come in blocks; the first slot's place links the blocks. */
typedef struct block {
    void *next;
} block;

/* One answer as its caller gave it. */
typedef struct answer {
    const void *body;
    size_t len;
    gate_release *release;
    void *arg;
    int borrowed;
    gate_reason last;
    gate_wrap wrap;
} answer;

static uint32_t word_of(uint32_t generation, uint32_t state)
{
    return (generation & 0xffu) << 8 | state;
}

static gate__slot *slot_of(gate_request *req)
{
    return (gate__slot *)(void *)((uintptr_t)req & ~(uintptr_t)(SLOT_SIZE - 1));
}

static gate_request *handle_of(gate__slot *slot, uint32_t word)
{
    return (gate_request *)(void *)((char *)slot + (word >> 8));
}

static uint32_t load(gate__slot *slot)
{
    return atomic_load_explicit(&slot->word, memory_order_acquire);
}

/* The request's state, FREE for a handle that is used up. */
static uint32_t state_of(gate_request *req)
{
    uint32_t word = load(slot_of(req));
    return word >> 8 == ((uintptr_t)req & (SLOT_SIZE - 1)) ? word & 0xff : (uint32_t)FREE;
}

static void set_state(gate__slot *slot, uint32_t state)
{
    uint32_t word = atomic_load_explicit(&slot->word, memory_order_relaxed);
    atomic_store_explicit(&slot->word, word_of(word >> 8, state), memory_order_release);
}

static void retire(gate__slot *slot)
{
    uint32_t word = atomic_load_explicit(&slot->word, memory_order_relaxed);
    atomic_store_explicit(&slot->word, word_of((word >> 8) + 1, FREE), memory_order_release);
}

/* ---- Slots ---- */

void gate__requests_init(gate__requests *requests)
{
    atomic_init(&requests->inbox, NULL);
    atomic_init(&requests->answering, 0);
}

static void put_spare(gate__requests *requests, gate__slot *slot)
{
    slot->next = NULL;
    if (requests->spare)
        requests->spare_tail->next = slot;
    else
        requests->spare = slot;
    requests->spare_tail = slot;
}

static void free_slot(gate__slot *slot)
{
    retire(slot);
    put_spare(slot->requests, slot);
}

static int add_block(gate__requests *requests)
{
    char *bytes = aligned_alloc(SLOT_SIZE, (size_t)SLOT_SIZE * (BLOCK_SLOTS + 1));
    if (!bytes)
        return -ENOMEM;
    block *head = (block *)(void *)bytes;
    head->next = requests->blocks;
    requests->blocks = head;
    for (size_t i = 1; i <= BLOCK_SLOTS; i++) {
        gate__slot *slot = (gate__slot *)(void *)(bytes + i * SLOT_SIZE);
        memset(slot, 0, sizeof *slot);
        atomic_init(&slot->word, word_of(0, FREE));
        slot->requests = requests;
        put_spare(requests, slot);
    }
    return 0;
}

static gate__slot *take_slot(gate__requests *requests)
{
    gate__slot *slot = requests->current;
    if (slot)
        return slot;
    if (!requests->spare && add_block(requests))
        return NULL;
    slot = requests->spare;
    requests->spare = slot->next;
    requests->current = slot;
    return slot;
}

static gate__slot *take_inbox(gate__requests *requests)
{
    if (!atomic_load_explicit(&requests->inbox, memory_order_relaxed))
        return NULL;
    gate__slot *slot = atomic_exchange_explicit(&requests->inbox, NULL, memory_order_acquire);
    gate__slot *in_order = NULL;
    while (slot) {
        gate__slot *next = slot->next;
        slot->next = in_order;
        in_order = slot;
        slot = next;
    }
    return in_order;
}

void gate__requests_finish(gate__requests *requests)
{
    while (atomic_load_explicit(&requests->answering, memory_order_acquire))
        sched_yield();
}

void gate__requests_free(gate__requests *requests)
{
    for (gate__slot *slot = take_inbox(requests); slot; slot = slot->next)
        gate__chunk_free_list(NULL, slot->answer);
    while (requests->blocks) {
        block *head = requests->blocks;
        requests->blocks = head->next;
        free(head);
    }
}

/* ---- Answers ---- */

/* The answer as chunks; *list stays NULL where there is no byte. 0, -ENOMEM. */
static int build(gate__chunk_pool *pool, const answer *a, gate__chunk **list)
{
    const gate_wrap *wrap = &a->wrap;
    size_t around = (size_t)wrap->head_len + wrap->tail_len;
    size_t copied = a->borrowed ? 0 : a->len;
    *list = NULL;
    if (copied > SIZE_MAX - around)
        return -ENOMEM;
    gate__chunk *body = NULL, *tail = NULL, *head = NULL;
    if (a->borrowed && a->len) {
        if (!(body = gate__chunk_borrow(a->body, a->len, a->release, a->arg)))
            return -ENOMEM;
        if (wrap->tail_len && !(tail = gate__chunk_new(pool, wrap->tail_len)))
            goto no_memory;
    }
    if ((wrap->head_len || copied || !body) && around + copied &&
        !(head = gate__chunk_new(pool, around + copied)))
        goto no_memory;
    if (head) {
        gate__chunk_add(head, wrap->head, wrap->head_len);
        gate__chunk_add(head, a->body, copied);
        head->next = body;
    }
    gate__chunk *end = tail ? tail : head;
    if (end && wrap->tail_len)
        gate__chunk_add(end, wrap->tail, wrap->tail_len);
    if (body)
        body->next = tail;
    *list = head ? head : body;
    return 0;
no_memory:
    if (body)
        body->release = NULL; /* the caller keeps what it lent */
    gate__chunk_free_list(pool, tail);
    gate__chunk_free_list(pool, body);
    return -ENOMEM;
}

static void count_answer(gate__requests *requests, gate_reason last)
{
    gate__count_add(last ? &requests->metrics->rejections : &requests->metrics->replies, 1);
}

static void release_empty(const answer *a)
{
    if (a->borrowed && !a->len && a->release)
        a->release(a->arg);
}

/* Inside the handler, with an earlier request still unanswered: it waits for its turn. This,
 * answer_borrowed and answer_deferred stay out of line: the common answer needs no such frame. */
__attribute__((noinline)) static int hold_answer(gate__slot *slot, const answer *a)
{
    gate__chunk *list;
    int rc = build(slot->requests->pool, a, &list);
    if (rc)
        return rc;
    slot->pending = (gate__pending){.answer = list, .answered = 1, .last = (uint8_t)a->last};
    set_state(slot, HELD);
    gate__conn_hold(slot->conn, &slot->pending);
    return 0;
}

__attribute__((noinline)) static int answer_borrowed(gate__slot *slot, const answer *a)
{
    gate__chunk *list;
    int rc = build(slot->requests->pool, a, &list);
    if (!rc)
        gate__conn_answer_chunks(slot->conn, list);
    return rc;
}

static int answer_at_once(gate__slot *slot, const answer *a)
{
    int rc = a->borrowed && a->len
                 ? answer_borrowed(slot, a)
                 : gate__conn_answer(slot->conn, &a->wrap, a->body, a->len, a->last);
    if (!rc)
        retire(slot);
    return rc;
}

static int answer_running(gate__slot *slot, const answer *a)
{
    int rc = slot->conn->pending ? hold_answer(slot, a) : answer_at_once(slot, a);
    if (rc)
        return rc;
    count_answer(slot->requests, a->last);
    release_empty(a);
    return 0;
}

static void push_inbox(gate__slot *slot)
{
    gate__requests *requests = slot->requests;
    gate_io *io = requests->io;
    gate__slot *top = atomic_load_explicit(&requests->inbox, memory_order_relaxed);
    do {
        slot->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&requests->inbox, &top, slot,
                                                    memory_order_release, memory_order_relaxed));
    if (!top)
        io->ops->wake(io);
    atomic_fetch_sub_explicit(&requests->answering, 1, memory_order_release);
}

/* Takes the right to answer from one state. 1: it is ours, and push_inbox has to follow. */
static int claim(gate_request *req, uint32_t state)
{
    gate__slot *slot = slot_of(req);
    uint32_t generation = (uint32_t)((uintptr_t)req & (SLOT_SIZE - 1));
    uint32_t from = word_of(generation, state);
    atomic_fetch_add_explicit(&slot->requests->answering, 1, memory_order_relaxed);
    if (atomic_compare_exchange_strong_explicit(&slot->word, &from, word_of(generation, ANSWERED),
                                                memory_order_acq_rel, memory_order_acquire))
        return 1;
    atomic_fetch_sub_explicit(&slot->requests->answering, 1, memory_order_release);
    return 0;
}

static int answer_gone(gate_request *req)
{
    gate__slot *slot = slot_of(req);
    if (!claim(req, GONE))
        return -EALREADY;
    slot->answer = NULL;
    push_inbox(slot);
    return GATE_EGONE;
}

static void unbuild(gate__chunk *list)
{
    for (gate__chunk *chunk = list; chunk; chunk = chunk->next)
        chunk->release = NULL;
    gate__chunk_free_list(NULL, list);
}

/* After gate_defer, on any thread. The chunks are made before the claim, so that a failure leaves
 * the request as it was. */
__attribute__((noinline)) static int answer_deferred(gate_request *req, const answer *a)
{
    gate__slot *slot = slot_of(req);
    gate__chunk *list;
    int rc = build(NULL, a, &list);
    if (rc)
        return rc;
    if (!claim(req, DEFERRED)) {
        unbuild(list);
        return answer_gone(req);
    }
    slot->answer = list;
    slot->last = a->last;
    push_inbox(slot);
    release_empty(a);
    return 0;
}

static int give(gate_request *req, answer *a)
{
    if (!req || (!a->body && a->len))
        return -EINVAL;
    uint32_t state = state_of(req);
    if (state == GONE)
        return answer_gone(req);
    if (state != RUNNING && state != DEFERRED)
        return -EALREADY;
    gate__slot *slot = slot_of(req);
    const gate_codec *codec = slot->requests->codec;
    int rc = gate__codec_encode(codec, a->body, a->len, &a->wrap);
    if (rc)
        return rc;
    return state == RUNNING ? answer_running(slot, a) : answer_deferred(req, a);
}

/* The bytes of the wrap stay as they are: that is most of an answer, and most answers need little
 * of it. */
static void init_answer(answer *a, const void *body, size_t len, gate_reason last)
{
    a->body = body;
    a->len = len;
    a->release = NULL;
    a->arg = NULL;
    a->borrowed = 0;
    a->last = last;
    a->wrap.head_len = 0;
    a->wrap.tail_len = 0;
}

int gate_reply(gate_request *req, const void *body, size_t len)
{
    answer a;
    init_answer(&a, body, len, GATE_CLOSE_NONE);
    return give(req, &a);
}

int gate_reject(gate_request *req, const void *body, size_t len)
{
    answer a;
    init_answer(&a, body, len, GATE_CLOSE_REJECTED);
    return give(req, &a);
}

int gate_reply_borrowed(gate_request *req, const void *body, size_t len, gate_release *release,
                        void *arg)
{
    answer a;
    init_answer(&a, body, len, GATE_CLOSE_NONE);
    a.borrowed = 1;
    a.release = release;
    a.arg = arg;
    return give(req, &a);
}

int gate_defer(gate_request *req)
{
    if (!req)
        return -EINVAL;
    if (state_of(req) != RUNNING)
        return -EALREADY;
    gate__slot *slot = slot_of(req);
    slot->pending = (gate__pending){0};
    gate__conn_hold(slot->conn, &slot->pending);
    set_state(slot, DEFERRED);
    return 0;
}

/* ---- The worker's side ---- */

/* The handler has returned without an answer. */
static void answer_forgotten(gate__slot *slot)
{
    answer a;
    init_answer(&a, NULL, 0, GATE_CLOSE_UNANSWERED);
    gate__codec_encode(slot->requests->codec, NULL, 0, &a.wrap); /* fails: not a byte goes out */
    if (answer_running(slot, &a))
        gate__conn_abort(slot->conn, GATE_CLOSE_NO_MEMORY);
}

void gate__requests_deliver(gate__requests *requests, gate__conn *conn, const gate_sock *sock,
                            const uint8_t *body, size_t len)
{
    gate__slot *slot = take_slot(requests);
    if (!slot) {
        gate__conn_abort(conn, GATE_CLOSE_NO_MEMORY);
        return;
    }
    gate__count_add(&requests->metrics->requests, 1);
    slot->conn = conn;
    slot->sock = sock;
    uint32_t word = atomic_load_explicit(&slot->word, memory_order_relaxed);
    gate_request *req = handle_of(slot, word);
    set_state(slot, RUNNING);
    requests->handler(req, body, len, requests->user);
    uint32_t state = state_of(req);
    if (state == FREE)
        return; /* answered at once: the slot is ready for the next request */
    if (state == RUNNING) {
        answer_forgotten(slot);
        state = state_of(req);
    }
    if (state == RUNNING)
        retire(slot); /* not answered for want of memory; the connection was aborted */
    else if (state != FREE)
        requests->current = NULL; /* the slot stays with its request */
}

void gate__requests_leave(gate__pending *pending)
{
    gate__slot *slot = GATE__OWNER(pending, gate__slot, pending);
    slot->conn = NULL;
    if (pending->answered) {
        free_slot(slot);
        return;
    }
    uint32_t word = word_of(load(slot) >> 8, DEFERRED);
    uint32_t gone = word_of(word >> 8, GONE);
    atomic_compare_exchange_strong(&slot->word, &word, gone); /* else it is in the inbox */
}

void gate__requests_take(gate__requests *requests)
{
    gate__slot *next;
    for (gate__slot *slot = take_inbox(requests); slot; slot = next) {
        next = slot->next;
        if (!slot->conn) {
            gate__chunk_free_list(NULL, slot->answer);
            free_slot(slot);
            continue;
        }
        slot->pending.answer = slot->answer;
        slot->pending.last = (uint8_t)slot->last;
        slot->pending.answered = 1;
        count_answer(requests, slot->last);
        requests->settled(slot->conn, &slot->pending);
    }
}

int gate_request_peer(gate_request *req, char *text, size_t room)
{
    if (!req || !text || !room)
        return -EINVAL;
    text[0] = '\0';
    uint32_t state = state_of(req);
    gate__slot *slot = slot_of(req);
    if (state == FREE || state == GONE || !slot->conn)
        return -EALREADY;
    gate_io *io = slot->requests->io;
    gate__sockaddr addr;
    int rc = io->ops->peer(io, slot->sock, &addr);
    if (!rc)
        gate__addr_format(&addr, text, room);
    return rc;
}

gate_server *gate_request_server(gate_request *req)
{
    return req ? slot_of(req)->requests->server : NULL;
}
