/* SPDX-License-Identifier: MIT */
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/codec.h"

static rig *of(gate__conn *conn)
{
    return (rig *)(void *)conn;
}

static void count_release(void *arg)
{
    rig *r = arg;
    r->released++;
}

/* As request.c does: at once, or behind the requests that still wait. */
static void answer(rig *r, gate__pending *slot, const uint8_t *body, size_t len, gate_reason last)
{
    gate_wrap wrap = {0};
    assert_int_equal(gate__codec_encode(r->config.codec, body, len, &wrap), 0);
    if (!r->conn.pending) {
        assert_int_equal(gate__conn_answer(&r->conn, &wrap, body, len, last), 0);
        return;
    }
    gate__chunk *chunk = gate__chunk_new(&r->pool, len + wrap.head_len + wrap.tail_len + 1);
    assert_non_null(chunk);
    gate__chunk_add(chunk, wrap.head, wrap.head_len);
    gate__chunk_add(chunk, body, len);
    gate__chunk_add(chunk, wrap.tail, wrap.tail_len);
    *slot = (gate__pending){.answer = chunk, .answered = 1, .last = (uint8_t)last};
    gate__conn_hold(&r->conn, slot);
}

static void deliver(gate__conn *conn, const uint8_t *body, size_t len)
{
    rig *r = of(conn);
    r->body = body;
    size_t used = strlen(r->seen);
    assert_true(used + len + 2 < sizeof r->seen && r->slot_count < RIG_SLOTS);
    snprintf(r->seen + used, sizeof r->seen - used, " %.*s", (int)len, (const char *)body);
    gate__pending *slot = &r->slots[r->slot_count];
    int kind = len ? body[0] : 0;
    if (kind == 'z')
        r->now += 6 * S;
    if (kind == 'd') {
        *slot = (gate__pending){0};
        gate__conn_hold(conn, slot);
    } else {
        answer(r, slot, body, len, kind == 'x' ? GATE_CLOSE_REJECTED : GATE_CLOSE_NONE);
    }
    if (kind == 'd' || conn->pending)
        r->slot_count++;
}

static void leave(gate__conn *conn, gate__pending *pending)
{
    rig *r = of(conn);
    assert_null(pending->answer); /* on its way, or freed */
    if (pending->answered)
        r->left_answered++;
    else
        r->left_gone++;
}

static uint64_t read_clock(gate__conn *conn)
{
    return of(conn)->now;
}

void rig_open(rig *r, const gate_codec *codec)
{
    memset(r, 0, sizeof *r);
    codec = codec ? codec : gate_codec_line();
    r->now = RIG_START_S * S;
    r->config = (gate__conn_config){
        .codec = codec,
        .body_max = 64,
        .output_max = 1000,
        .timeout_ns = 5 * S,
        .idle_ns = 7 * S,
        .write_ns = 3 * S,
        .handler_ns = 4 * S,
        .linger_ns = 1 * S,
        .linger_max = 100,
        .inflight_max = 4,
        .exchanges_max = codec->flags & GATE_CODEC_ONE_SHOT ? 1 : 0,
        .pool = &r->pool,
        .metrics = &r->metrics,
        .budget = &r->budget,
        .deliver = deliver,
        .clock = read_clock,
        .leave = leave,
    };
    r->budget = (gate__budget){.tight = SIZE_MAX, .max = SIZE_MAX};
    gate__conn_init(&r->conn, &r->config, r->now);
}

void rig_close(rig *r)
{
    gate__conn_free(&r->conn);
    assert_int_equal(r->budget.held, 0);
    gate__chunk_pool_free(&r->pool);
}

/* From memory of exactly that size, so that a sanitizer sees what is read beyond it. */
void rig_bytes(rig *r, const void *bytes, size_t len)
{
    uint8_t *copy = malloc(len);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    gate__conn_input(&r->conn, copy, len, 0, r->now);
    free(copy);
}

void rig_input(rig *r, const char *text)
{
    rig_bytes(r, text, strlen(text));
}

void rig_eof(rig *r)
{
    gate__conn_eof(&r->conn, r->now);
}

void rig_send(rig *r, size_t max)
{
    while (max && gate__conn_wants(&r->conn) & GATE__WANT_SEND) {
        const uint8_t *bytes;
        int more;
        size_t len = gate__conn_output(&r->conn, &bytes, &more, &r->last);
        assert_true(len > 0 && !(more && r->last));
        len = len < max ? len : max;
        assert_true(r->sent_len + len < sizeof r->sent);
        memcpy(r->sent + r->sent_len, bytes, len);
        r->sent_len += len;
        max -= len;
        gate__conn_sent(&r->conn, len, r->now);
    }
}

void rig_flush(rig *r)
{
    rig_send(r, SIZE_MAX);
    if (gate__conn_wants(&r->conn) & GATE__WANT_FIN)
        gate__conn_fin(&r->conn, r->now);
}

void rig_answer(rig *r, size_t i, const char *text, gate_reason last)
{
    gate__pending *slot = &r->slots[i];
    if (text[0])
        assert_non_null(slot->answer = gate__chunk_borrow(text, strlen(text), count_release, r));
    slot->answered = 1;
    slot->last = (uint8_t)last;
    gate__conn_settle(&r->conn, slot, r->now);
}

void rig_pass(rig *r, uint64_t ns)
{
    r->now += ns;
    gate__conn_expire(&r->conn, r->now);
}

void rig_assert_seen(const rig *r, const char *bodies)
{
    assert_string_equal(r->seen, bodies);
}

void rig_assert_sent(const rig *r, const char *bytes)
{
    assert_int_equal(r->sent_len, strlen(bytes));
    assert_memory_equal(r->sent, bytes, r->sent_len);
}

void rig_assert_ends(rig *r, gate_reason reason)
{
    assert_int_equal(r->conn.phase, GATE__FLUSHING);
    rig_flush(r);
    assert_int_equal(r->conn.phase, GATE__LINGERING);
    rig_eof(r);
    rig_assert_closed(r, reason);
}

void rig_assert_closed(const rig *r, gate_reason reason)
{
    assert_int_equal(r->conn.reason, reason);
    assert_int_equal(gate__conn_wants(&r->conn), GATE__WANT_CLOSE);
    assert_true(gate__conn_deadline(&r->conn) == NEVER);
    assert_null(r->conn.pending);
}

void rig_assert_deadline(const rig *r, uint64_t from_now)
{
    uint64_t deadline = gate__conn_deadline(&r->conn);
    if (from_now == NEVER)
        assert_true(deadline == NEVER);
    else
        assert_int_equal(deadline - r->now, from_now);
}
