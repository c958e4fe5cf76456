/* SPDX-License-Identifier: MIT */
#include "request.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "core/codec.h"

enum { SLOT_SIZE = GATE__SLOT_SIZE };

enum { FREE, RUNNING, HELD, DEFERRED, ANSWERED, GONE, LEFT };

struct gate__slot {
    _Alignas(SLOT_SIZE) _Atomic uint32_t word; /* generation << 8 | state */
    gate__pending pending;
    gate__requests *requests;
    gate__conn *conn; /* the worker's; NULL once the connection has let go */
    gate__block *block;
    gate__debt *debt;    /* of a deferred one: its connection's, or NULL */
    gate__sockaddr peer; /* of a deferred one; its len is 0 where it is not known */
    gate__slot *next;    /* in the inbox */
    gate__chunk *answer; /* on its way through the inbox */
    size_t coming;       /* how much that counts */
    gate_reason last;
};

_Static_assert(sizeof(gate__slot) == SLOT_SIZE, "a handle's low byte is the generation");
_Static_assert((int)GATE__REQUEST_MEMORY == (int)SLOT_SIZE, "a request that waits takes a slot");

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

static void free_slot(gate__slot *slot)
{
    gate__debt_drop(slot->debt);
    retire(slot);
    gate__slots_put(&slot->requests->slots, slot->block, slot, load(slot) >> 8);
}

static gate__slot *take_slot(gate__requests *requests)
{
    if (requests->current)
        return requests->current;
    gate__block *block;
    uint32_t generation;
    gate__slot *slot = gate__slots_take(&requests->slots, &block, &generation);
    if (!slot)
        return NULL;
    memset((char *)slot + sizeof slot->word, 0, sizeof *slot - sizeof slot->word);
    slot->requests = requests;
    slot->block = block;
    atomic_store_explicit(&slot->word, word_of(generation, FREE), memory_order_release);
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
    for (gate__slot *slot = take_inbox(requests); slot; slot = slot->next) {
        gate__chunk_free_list(NULL, slot->answer);
        gate__debt_drop(slot->debt);
    }
    gate__slots_free(&requests->slots);
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

/* Takes the right to answer from one state. 1: it is ours, and push_inbox or give_up follows; until
 * then nobody else frees the slot. */
static int claim(gate_request *req, uint32_t state)
{
    gate__slot *slot = slot_of(req);
    uint32_t generation = (uint32_t)((uintptr_t)req & (SLOT_SIZE - 1));
    uint32_t from = word_of(generation, state);
    if (!atomic_compare_exchange_strong_explicit(&slot->word, &from, word_of(generation, ANSWERED),
                                                 memory_order_acq_rel, memory_order_acquire))
        return 0;
    atomic_fetch_add_explicit(&slot->requests->answering, 1, memory_order_relaxed);
    return 1;
}

/* There is no answer after all: the request waits again, unless its connection has gone. */
static int give_up(gate__slot *slot, int rc)
{
    gate__requests *requests = slot->requests;
    uint32_t from = word_of(load(slot) >> 8, ANSWERED);
    if (atomic_compare_exchange_strong_explicit(&slot->word, &from, word_of(from >> 8, DEFERRED),
                                                memory_order_acq_rel, memory_order_acquire)) {
        atomic_fetch_sub_explicit(&requests->answering, 1, memory_order_release);
        return rc;
    }
    push_inbox(slot);
    return GATE_EGONE;
}

static int answer_gone(gate_request *req)
{
    if (!claim(req, GONE))
        return -EALREADY;
    push_inbox(slot_of(req));
    return GATE_EGONE;
}

static void uncount_coming(gate__budget *budget, gate__debt *debt, size_t n)
{
    atomic_fetch_sub_explicit(&budget->coming, n, memory_order_relaxed);
    if (debt)
        atomic_fetch_sub_explicit(&debt->coming, n, memory_order_relaxed);
}

/* Counts what the answer will take. 0, -ENOBUFS: too much, and nothing is counted. */
static int count_coming(gate__slot *slot, const answer *a)
{
    gate__budget *budget = slot->requests->budget;
    gate__debt *debt = slot->debt;
    size_t copied = a->borrowed ? 0 : a->len;
    size_t most = SIZE_MAX / 2 - 3 * sizeof(gate__chunk) - sizeof a->wrap;
    if (copied > most)
        return -ENOBUFS;
    size_t n = copied + a->wrap.head_len + a->wrap.tail_len + sizeof(gate__chunk);
    size_t before = 0;
    atomic_fetch_add_explicit(&budget->coming, n, memory_order_relaxed);
    if (debt)
        before = atomic_fetch_add_explicit(&debt->coming, n, memory_order_relaxed) +
                 atomic_load_explicit(&debt->kept, memory_order_relaxed);
    if (atomic_load_explicit(&slot->pending.due, memory_order_relaxed) ||
        (before < slot->requests->answers_max &&
         gate__budget_sum(budget) <= gate__budget_max(budget, before + n))) {
        slot->coming = n;
        return 0;
    }
    uncount_coming(budget, debt, n);
    return -ENOBUFS;
}

/* After gate_defer, on any thread. */
__attribute__((noinline)) static int answer_deferred(gate_request *req, answer *a)
{
    if (!claim(req, DEFERRED))
        return answer_gone(req);
    gate__slot *slot = slot_of(req);
    int rc = gate__codec_encode(slot->requests->codec, a->body, a->len, &a->wrap);
    if (!rc)
        rc = count_coming(slot, a);
    if (rc)
        return give_up(slot, rc);
    rc = build(NULL, a, &slot->answer);
    if (rc) {
        uncount_coming(slot->requests->budget, slot->debt, slot->coming);
        slot->coming = 0;
        return give_up(slot, rc);
    }
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
    if (state == DEFERRED || state == GONE)
        return answer_deferred(req, a);
    if (state != RUNNING)
        return -EALREADY;
    gate__slot *slot = slot_of(req);
    int rc = gate__codec_encode(slot->requests->codec, a->body, a->len, &a->wrap);
    return rc ? rc : answer_running(slot, a);
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

/* Without memory for it the request goes without: the budget still holds. */
static gate__debt *share_debt(gate__conn *conn)
{
    if (!conn->debt && (conn->debt = malloc(sizeof *conn->debt)))
        *conn->debt = (gate__debt){.holders = 1};
    if (conn->debt)
        conn->debt->holders++;
    return conn->debt;
}

int gate_defer(gate_request *req)
{
    if (!req)
        return -EINVAL;
    if (state_of(req) != RUNNING)
        return -EALREADY;
    gate__slot *slot = slot_of(req);
    slot->pending = (gate__pending){0};
    slot->debt = share_debt(slot->conn);
    /* From now on another thread may ask for it, and the connection may go. */
    if (slot->requests->peer(slot->conn, &slot->peer))
        slot->peer.len = 0;
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

void gate__requests_deliver(gate__requests *requests, gate__conn *conn, const uint8_t *body,
                            size_t len)
{
    gate__slot *slot = take_slot(requests);
    if (!slot) {
        gate__conn_abort(conn, GATE_CLOSE_NO_MEMORY);
        return;
    }
    gate__count_add(&requests->metrics->requests, 1);
    slot->conn = conn;
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
    gate__budget_add(slot->requests->budget, GATE__REQUEST_MEMORY); /* what is left of it counts */
    uint32_t generation = load(slot) >> 8;
    for (;;) {
        uint32_t waits = word_of(generation, DEFERRED), taken = word_of(generation, ANSWERED);
        if (atomic_compare_exchange_strong(&slot->word, &waits, word_of(generation, GONE)))
            break;
        if (atomic_compare_exchange_strong(&slot->word, &taken, word_of(generation, LEFT)))
            return; /* it comes through the inbox */
    }
    gate__debt_drop(slot->debt); /* it may never be answered */
    slot->debt = NULL;
}

/* The answer of a request whose connection has gone, if it has one. */
static void drop_late(gate__requests *requests, gate__slot *slot)
{
    uncount_coming(requests->budget, slot->debt, slot->coming);
    gate__chunk_free_list(NULL, slot->answer);
    gate__budget_add(requests->budget, 0 - (size_t)GATE__REQUEST_MEMORY);
    free_slot(slot);
}

void gate__requests_take(gate__requests *requests)
{
    gate__slot *next;
    for (gate__slot *slot = take_inbox(requests); slot; slot = next) {
        next = slot->next;
        if (!slot->conn) {
            drop_late(requests, slot);
            continue;
        }
        gate__debt *debt = slot->debt; /* the slot may leave in what follows */
        size_t coming = slot->coming;
        if (debt)
            debt->holders++;
        atomic_fetch_sub_explicit(&requests->budget->coming, coming, memory_order_relaxed);
        slot->pending.answer = slot->answer;
        slot->pending.last = (uint8_t)slot->last;
        slot->pending.answered = 1;
        count_answer(requests, slot->last);
        requests->settled(slot->conn, &slot->pending);
        if (debt) {
            atomic_fetch_sub_explicit(&debt->coming, coming, memory_order_relaxed);
            gate__debt_drop(debt);
        }
    }
}

int gate_request_peer(gate_request *req, char *text, size_t room)
{
    if (!req || !text || !room)
        return -EINVAL;
    text[0] = '\0';
    uint32_t state = state_of(req);
    gate__slot *slot = slot_of(req);
    if (state == DEFERRED || state == GONE) {
        if (!slot->peer.len)
            return -ENOTCONN;
        gate__addr_format(&slot->peer, text, room);
        return 0;
    }
    if ((state != RUNNING && state != HELD) || !slot->conn)
        return -EALREADY;
    gate__sockaddr addr;
    int rc = slot->requests->peer(slot->conn, &addr);
    if (!rc)
        gate__addr_format(&addr, text, room);
    return rc;
}

gate_server *gate_request_server(gate_request *req)
{
    return req ? slot_of(req)->requests->server : NULL;
}
