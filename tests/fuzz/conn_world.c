/* SPDX-License-Identifier: MIT */
#include "conn_world.h"

#include <stdlib.h>
#include <string.h>

#include "core/codec.h"

enum { ANSWER_MAX = 12000, WRAP_MAX = 24 };

static world *of(gate__conn *conn)
{
    return (world *)(void *)conn;
}

/* ---- Answers ---- */

static uint8_t answer_byte(size_t number, size_t at)
{
    return (uint8_t)(number * 131 + at * 7 + (at >> 8));
}

typedef struct answer {
    gate_wrap wrap;
    uint8_t *body; /* to be freed, or lent */
    size_t len;
    gate_reason last;
    int borrowed;
} answer;

static void fill(uint8_t *bytes, size_t len, size_t number, size_t from)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = answer_byte(number, from + i);
}

static void draw_answer(world *w, size_t number, answer *a)
{
    static const size_t lengths[] = {0, 1, 2, 7, 100, 1000, 4000, ANSWER_MAX};
    uint8_t draw = fuzz_byte(w->script);

    *a = (answer){.len = lengths[draw % 8], .borrowed = (draw & 8) != 0};
    if (draw & 16)
        a->wrap.head_len = draw % WRAP_MAX;
    if (draw & 32)
        a->wrap.tail_len = draw % 3 + 1;
    if (draw >= 224)
        a->last = draw & 1 ? GATE_CLOSE_REJECTED : GATE_CLOSE_UNANSWERED;
    a->body = malloc(a->len ? a->len : 1);
    CHECK(a->body != NULL);
    fill(a->wrap.head, a->wrap.head_len, number, 0);
    fill(a->body, a->len, number, a->wrap.head_len);
    fill(a->wrap.tail, a->wrap.tail_len, number, a->wrap.head_len + a->len);
}

typedef struct loan {
    world *w;
    uint8_t *body;
} loan;

static void give_back(void *arg)
{
    loan *lent = arg;

    lent->w->lent--;
    free(lent->body);
    free(lent);
}

static gate__chunk *lend(world *w, const answer *a)
{
    loan *lent = malloc(sizeof(*lent));

    CHECK(lent != NULL);
    *lent = (loan){w, a->body};
    gate__chunk *chunk = gate__chunk_borrow(a->body, a->len, give_back, lent);
    CHECK(chunk != NULL);
    w->lent++;
    return chunk;
}

static gate__chunk *copy_chunk(world *w, const void *bytes, size_t len)
{
    gate__chunk *chunk = gate__chunk_new(&w->pool, len);

    CHECK(chunk != NULL);
    gate__chunk_add(chunk, bytes, len);
    return chunk;
}

/* Takes the answer's body; NULL for an empty answer. */
static gate__chunk *build_chunks(world *w, answer *a)
{
    gate__chunk *list = NULL, **end = &list;

    if (a->wrap.head_len)
        *end = copy_chunk(w, a->wrap.head, a->wrap.head_len);
    end = *end ? &(*end)->next : end;
    if (a->len)
        *end = a->borrowed ? lend(w, a) : copy_chunk(w, a->body, a->len);
    if (!a->len || !a->borrowed)
        free(a->body);
    end = *end ? &(*end)->next : end;
    if (a->wrap.tail_len)
        *end = copy_chunk(w, a->wrap.tail, a->wrap.tail_len);
    return list;
}

static void note_answer(world_request *request, const answer *a)
{
    request->len = a->len + a->wrap.head_len + a->wrap.tail_len;
    request->answered = 1;
    request->last = (uint8_t)a->last;
}

/* ---- The handler ---- */

static world_slot *make_slot(world *w, size_t number)
{
    world_slot *slot = calloc(1, sizeof(*slot));

    CHECK(slot != NULL);
    slot->number = number;
    w->request[number].slot = slot;
    w->slots++;
    return slot;
}

static void reply(world *w, size_t number)
{
    answer a;

    draw_answer(w, number, &a);
    note_answer(&w->request[number], &a);
    if (w->conn.pending) {
        world_slot *slot = make_slot(w, number);
        slot->pending.answer = build_chunks(w, &a);
        slot->pending.answered = 1;
        slot->pending.last = (uint8_t)a.last;
        gate__conn_hold(&w->conn, &slot->pending);
    } else if (a.borrowed && a.len && !a.last) {
        gate__conn_answer_chunks(&w->conn, build_chunks(w, &a));
    } else {
        CHECK(gate__conn_answer(&w->conn, &a.wrap, a.body, a.len, a.last) == 0);
        free(a.body);
    }
}

/* The request is what the codec finds in the peer's bytes when it looks at them anew. */
static void check_request(world *w, const uint8_t *body, size_t len)
{
    const gate__conn_config *config = &w->config;
    const gate__conn *conn = &w->conn;
    int at_end = (config->codec->flags & GATE_CODEC_UNTIL_EOF) != 0;
    int is_final = config->exchanges_max && conn->exchanges == config->exchanges_max;
    gate_frame frame = {0};

    CHECK(!w->delivering);
    CHECK(w->phase == GATE__OPEN);
    CHECK(conn->phase == (is_final ? GATE__ENDING : GATE__OPEN));
    CHECK(!conn->blocked && conn->inflight < config->inflight_max);
    CHECK(conn->out.bytes + conn->held < config->output_max);
    CHECK(w->parsed < w->input_len);
    const uint8_t *bytes = w->input + w->parsed;
    CHECK(config->codec->decode(config->codec, bytes, w->input_len - w->parsed, config->body_max,
                                at_end, &frame) == 1);
    CHECK(frame.body_len == len && memcmp(bytes + frame.body, body, len) == 0);
    w->parsed += frame.total;
}

static void deliver(gate__conn *conn, const uint8_t *body, size_t len)
{
    world *w = of(conn);
    size_t number = w->count;
    uint8_t draw = fuzz_byte(w->script);

    check_request(w, body, len);
    if (number == WORLD_REQUESTS_MAX) {
        gate__conn_abort(conn, GATE_CLOSE_NO_MEMORY);
        return;
    }
    w->count++;
    w->delivering = 1;
    if (draw % 16 == 15)
        gate__conn_abort(conn, GATE_CLOSE_NO_MEMORY);
    else if (draw % 4 == 3)
        gate__conn_hold(conn, &make_slot(w, number)->pending);
    else
        reply(w, number);
    if (draw & 16)
        w->now += draw & 32 ? 6 * WORLD_S : 2 * WORLD_MS;
    w->delivering = 0;
}

static void leave(gate__conn *conn, gate__pending *pending)
{
    world *w = of(conn);
    world_slot *slot = (world_slot *)(void *)pending;

    CHECK(slot->number < w->count && w->request[slot->number].slot == slot);
    CHECK(pending->answer == NULL);
    w->request[slot->number].slot = NULL;
    w->slots--;
    free(slot);
}

static uint64_t read_clock(gate__conn *conn)
{
    return of(conn)->now;
}

int world_settle(world *w, size_t nth)
{
    for (size_t i = 0; i < w->count; i++) {
        world_slot *slot = w->request[i].slot;
        if (slot == NULL || slot->pending.answered || nth-- > 0)
            continue;
        answer a;
        draw_answer(w, i, &a);
        note_answer(&w->request[i], &a);
        slot->pending.answer = build_chunks(w, &a);
        slot->pending.last = (uint8_t)a.last;
        slot->pending.answered = 1;
        gate__conn_settle(&w->conn, &slot->pending, w->now);
        return 1;
    }
    return 0;
}

/* ---- The peer ---- */

void world_keep_input(world *w, const uint8_t *bytes, size_t len)
{
    w->bytes_in += len;
    if (w->conn.phase != GATE__OPEN || !len)
        return;
    uint8_t *grown = realloc(w->input, w->input_len + len);
    CHECK(grown != NULL);
    memcpy(grown + w->input_len, bytes, len);
    w->input = grown;
    w->input_len += len;
}

void world_take_output(world *w, const uint8_t *bytes, size_t len)
{
    w->bytes_out += len;
    for (size_t i = 0; i < len; i++) {
        while (w->sent < w->count && w->request[w->sent].answered && !w->request[w->sent].last &&
               w->sent_off == w->request[w->sent].len) {
            w->sent++;
            w->sent_off = 0;
        }
        CHECK(w->sent < w->count && w->request[w->sent].answered);
        CHECK(w->sent_off < w->request[w->sent].len);
        CHECK(bytes[i] == answer_byte(w->sent, w->sent_off));
        w->sent_off++;
    }
}

void world_check_sent(const world *w)
{
    uint64_t expected = 0;

    for (size_t i = 0; i < w->count && w->request[i].answered; i++) {
        expected += w->request[i].len;
        if (w->request[i].last)
            break;
    }
    CHECK(w->cut || expected == w->bytes_out);
}

/* ---- Checks ---- */

static void check_sums(const world *w)
{
    const gate__conn *conn = &w->conn;
    size_t bytes = 0, held = 0, inflight = 0, memory = conn->in.cap;

    for (const gate__chunk *chunk = conn->out.head; chunk; chunk = chunk->next) {
        CHECK(chunk->sent < chunk->len);
        bytes += chunk->len - chunk->sent;
        memory += gate__chunk_memory(chunk);
    }
    for (const gate__pending *pending = conn->pending; pending; pending = pending->next) {
        inflight++;
        memory += GATE__REQUEST_MEMORY;
        for (const gate__chunk *chunk = pending->answer; chunk; chunk = chunk->next) {
            held += chunk->len;
            memory += gate__chunk_memory(chunk);
        }
    }
    CHECK(conn->phase == GATE__CLOSED || memory == w->budget.held);
    CHECK(conn->phase == GATE__CLOSED || memory <= w->budget.max);
    CHECK(bytes == conn->out.bytes && held == conn->held);
    CHECK(inflight == conn->inflight && inflight == (size_t)w->slots);
    CHECK(!conn->pending || !conn->pending->answered);
    CHECK(gate__count_get(&w->metrics.bytes_in) == w->bytes_in);
    CHECK(gate__count_get(&w->metrics.bytes_out) == w->bytes_out);
}

/* No whole request lies about while nothing keeps it from being delivered. */
static void check_awake(const world *w)
{
    const gate_codec *codec = w->config.codec;
    gate_frame frame = {0};

    if (w->conn.phase != GATE__OPEN || w->conn.blocked || w->parsed == w->input_len)
        return;
    CHECK(!w->conn.eof);
    CHECK(codec->decode(codec, w->input + w->parsed, w->input_len - w->parsed, w->config.body_max,
                        0, &frame) == 0);
    CHECK(w->conn.in.len == w->input_len - w->parsed);
}

static void check_wants(const world *w)
{
    const uint8_t *bytes;
    int more = 0, last = 0;
    unsigned wants = gate__conn_wants(&w->conn);
    uint64_t deadline = gate__conn_deadline(&w->conn);

    CHECK((wants == GATE__WANT_CLOSE) == (w->conn.phase == GATE__CLOSED));
    if (w->conn.phase == GATE__CLOSED) {
        CHECK(deadline == UINT64_MAX && !w->conn.pending);
        return;
    }
    CHECK(!w->finite || deadline != UINT64_MAX || (wants & GATE__WANT_FIN));
    CHECK(!(wants & GATE__WANT_READ) || !w->conn.eof);
    if (wants & GATE__WANT_SEND) {
        CHECK(gate__conn_output(&w->conn, &bytes, &more, &last) > 0);
        CHECK(!(more && last) && !(wants & GATE__WANT_FIN));
    }
}

void world_check(world *w)
{
    const gate__conn *conn = &w->conn;

    CHECK(conn->phase >= w->phase);
    CHECK((conn->phase == GATE__OPEN) == (conn->reason == GATE_CLOSE_NONE));
    CHECK(w->phase < GATE__LINGERING || conn->reason == w->reason);
    if (conn->phase == GATE__CLOSED && w->phase != GATE__CLOSED)
        w->cut = conn->out.bytes > 0 || conn->reason == GATE_CLOSE_NO_MEMORY;
    w->phase = conn->phase;
    w->reason = conn->reason;
    check_sums(w);
    check_awake(w);
    check_wants(w);
}

/* ---- From open to close ---- */

static uint64_t draw_span(world *w)
{
    return w->finite ? (uint64_t)(1 + fuzz_byte(w->script) % 8u) * WORLD_S : UINT64_MAX;
}

static uint32_t draw_exchanges(world *w)
{
    uint8_t draw = fuzz_byte(w->script);

    return w->config.codec->flags & GATE_CODEC_ONE_SHOT ? 1 : draw < 192 ? 0 : draw % 4u;
}

static const gate_codec *draw_codec(world *w)
{
    if (!w->script->left || *w->script->at % 16 != 15)
        return fuzz_codec(w->script, &w->own);
    w->own = fuzz_own_codec(fuzz_byte(w->script) & 16 ? GATE_CODEC_UNTIL_EOF : 0);
    return &w->own;
}

void world_open(world *w, fuzz_input *script)
{
    memset(w, 0, sizeof(*w));
    w->script = script;
    w->now = 100 * WORLD_S;
    unsigned draw = fuzz_byte(script);
    w->finite = draw % 8 != 7;
    w->budget.tight = draw / 8 ? draw / 8 * (size_t)512 : SIZE_MAX / 2;
    w->budget.max = w->budget.tight * 2;
    w->config = (gate__conn_config){
        .pool = &w->pool,
        .metrics = &w->metrics,
        .budget = &w->budget,
        .deliver = deliver,
        .clock = read_clock,
        .leave = leave,
        .codec = draw_codec(w),
    };
    w->config.body_max = 1 + fuzz_byte(script) % 200u;
    w->config.output_max = 1 + (size_t)fuzz_byte(script) * 64;
    w->config.linger_max = 1 + (size_t)fuzz_byte(script) * 4;
    w->config.inflight_max = 1 + fuzz_byte(script) % 8u;
    w->config.timeout_ns = draw_span(w);
    w->config.idle_ns = draw_span(w);
    w->config.write_ns = draw_span(w);
    w->config.handler_ns = draw_span(w);
    w->config.linger_ns = draw_span(w);
    w->config.slice_ns = w->config.linger_ns % (4 * WORLD_S); /* 0: no slices */
    w->config.exchanges_max = draw_exchanges(w);
    gate__conn_init(&w->conn, &w->config, w->now);
    world_check(w);
}

void world_close(world *w)
{
    gate__conn_free(&w->conn);
    CHECK(w->slots == 0 && w->lent == 0 && w->budget.held == 0);
    CHECK(w->conn.in.data == NULL && w->conn.out.head == NULL && w->conn.pending == NULL);
    gate__chunk_pool_free(&w->pool);
    free(w->input);
}
