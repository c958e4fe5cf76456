/* SPDX-License-Identifier: MIT */
#include "core/conn.h"

#include <errno.h>
#include <stdlib.h>

#include "core/codec.h"

static uint64_t after(uint64_t now_ns, uint64_t span_ns)
{
    return span_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + span_ns;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static int one_shot(const gate__conn *conn)
{
    return (conn->config->codec->flags & GATE_CODEC_ONE_SHOT) != 0;
}

static int until_eof(const gate__conn *conn)
{
    return (conn->config->codec->flags & GATE_CODEC_UNTIL_EOF) != 0;
}

void gate__conn_init(gate__conn *conn, const gate__conn_config *config, uint64_t now_ns)
{
    *conn = (gate__conn){
        .config = config,
        .now_ns = now_ns,
        .read_deadline = after(now_ns, config->timeout_ns),
        .drain_deadline = UINT64_MAX,
    };
}

/* ---- Leaving OPEN ---- */

static void drop_pending(gate__conn *conn)
{
    while (conn->pending) {
        gate__pending *pending = conn->pending;
        conn->pending = pending->next;
        gate__chunk_free_list(conn->config->pool, pending->answer);
        pending->answer = NULL;
        conn->config->leave(conn, pending);
    }
    conn->pending_tail = NULL;
    conn->inflight = 0;
    conn->held = 0;
    conn->held_memory = 0;
}

static void close_now(gate__conn *conn)
{
    conn->phase = GATE__CLOSED;
    drop_pending(conn);
}

/* A reply up to this size is on its way when send has taken it; of a larger one the rest waits in
 * the kernel for the peer's window, and a reset would drop it. */
enum { AT_ONCE_MAX = 8 * 1024, INPUT_SLACK = 64 * 1024 };
#define LATE_NS UINT64_C(1000000)

/* Could closing now reset the connection before the peer has read what we sent? A peer of a framed
 * codec may be sending more at any time. A one-shot peer may if the last read left something, if it
 * was as long as a request may be (then it was cut, and the rest may be on its way), or if there
 * was time for more to come, since the answer came later or did not go out at once. */
static int must_linger(const gate__conn *conn)
{
    return conn->exchanges > 0 && !conn->eof && (conn->unread || !one_shot(conn));
}

/* Brings the budget up to date. Its last quarter is for those who hold little, or a few who never
 * read would leave nothing to all others. */
static void recount(gate__conn *conn)
{
    gate__budget *budget = conn->config->budget;
    size_t before = conn->counted;
    conn->counted = conn->in.cap + conn->out.memory + conn->held_memory +
                    (size_t)conn->inflight * GATE__REQUEST_MEMORY;
    if (conn->debt)
        atomic_store_explicit(&conn->debt->kept, conn->out.memory + conn->held_memory,
                              memory_order_relaxed);
    if (conn->counted == before)
        return;
    gate__budget_add(budget, conn->counted - before);
    if (conn->counted > before &&
        gate__budget_sum(budget) > gate__budget_max(budget, conn->counted))
        gate__conn_abort(conn, GATE_CLOSE_NO_MEMORY);
}

/* ---- Slices: see conn.h ---- */

static size_t slice_of(const gate__conn_config *config, size_t bytes)
{
    return config->slice_ns && bytes > GATE__SLICE ? GATE__SLICE : bytes;
}

/* From now on. */
static uint64_t slice_end(const gate__conn *conn, uint64_t span_ns, size_t bytes)
{
    uint64_t slice_ns = conn->config->slice_ns;
    uint64_t extra = slice_ns;
    if (bytes < GATE__SLICE) /* no product that overflows */
        extra = slice_ns / GATE__SLICE * bytes + slice_ns % GATE__SLICE * bytes / GATE__SLICE;
    return after(after(conn->now_ns, span_ns), extra);
}

/* Once all that an event brings is queued: a slow handler spends nobody's time. */
static void time_output(gate__conn *conn)
{
    if (conn->slice_out || !conn->out.bytes)
        return;
    conn->slice_out = slice_of(conn->config, conn->out.bytes);
    conn->write_deadline = slice_end(conn, conn->config->write_ns, conn->slice_out);
}

/* Of the part of a request that waits in the buffer. begun: it is another one than before, and its
 * clock was set. */
static void time_input(gate__conn *conn, int begun)
{
    const gate__conn_config *config = conn->config;
    size_t have = conn->in.len;
    if (begun)
        conn->slice_in = 0;
    if (!config->slice_ns || !have)
        return;
    if (!conn->slice_in && conn->need > have) { /* its size is known by now */
        conn->slice_in = slice_of(config, conn->need);
        uint64_t extra = slice_end(conn, 0, conn->slice_in) - conn->now_ns;
        conn->read_deadline = after(conn->read_deadline, extra);
    }
    if (have < (conn->slice_in ? conn->slice_in : GATE__SLICE))
        return;
    size_t size = slice_of(config, conn->need > have ? conn->need - have : GATE__SLICE);
    conn->slice_in = have + size;
    conn->read_deadline = slice_end(conn, config->timeout_ns, size);
}

/* Passes each phase that has nothing left to do. */
static void advance(gate__conn *conn)
{
    recount(conn);
    time_output(conn);
    if (conn->pending)
        atomic_store_explicit(&conn->pending->due, !conn->out.head && conn->held,
                              memory_order_relaxed);
    if (conn->phase == GATE__ENDING && !conn->pending)
        conn->phase = GATE__FLUSHING;
    if (conn->out.bytes > AT_ONCE_MAX)
        conn->unread = 1;
    if (conn->phase == GATE__FLUSHING && !conn->out.bytes && !must_linger(conn))
        conn->phase = GATE__CLOSED;
}

static void end(gate__conn *conn, gate_reason reason)
{
    if (conn->phase != GATE__OPEN)
        return;
    conn->phase = GATE__ENDING;
    conn->lingered = 0;
    conn->reason = (uint8_t)reason;
    conn->blocked = 0;
    conn->look = 0;
}

void gate__conn_abort(gate__conn *conn, gate_reason reason)
{
    if (conn->phase < GATE__LINGERING)
        conn->reason = (uint8_t)reason;
    close_now(conn);
}

/* An answer with `last` set is on its way: requests behind it are not answered any more. */
static void end_behind(gate__conn *conn, gate_reason last)
{
    drop_pending(conn);
    if (conn->phase == GATE__OPEN)
        end(conn, last);
    else /* it was ending already */
        conn->reason = (uint8_t)last;
}

/* ---- Input ---- */

static void check_blocked(gate__conn *conn)
{
    const gate__conn_config *config = conn->config;
    size_t output_max = config->output_max;
    if (gate__budget_sum(config->budget) > config->budget->tight && output_max > GATE__CHUNK_SIZE)
        output_max = GATE__CHUNK_SIZE;
    conn->blocked =
        conn->phase == GATE__OPEN && (gate__outbuf_weight(&conn->out) + conn->held >= output_max ||
                                      conn->inflight >= config->inflight_max);
}

static void refuse(gate__conn *conn, int code)
{
    end(conn, code == GATE_ETOOBIG ? GATE_CLOSE_TOO_BIG : GATE_CLOSE_BAD_FRAME);
}

static void deliver(gate__conn *conn, const uint8_t *body, size_t len)
{
    const gate__conn_config *config = conn->config;
    conn->exchanges++;
    if (conn->exchanges == config->exchanges_max)
        end(conn, GATE_CLOSE_ANSWERED);
    config->deliver(conn, body, len);
    check_blocked(conn);
}

/* After handlers: nobody else pays for the time that they took. `older` was the last pending
 * request before them, or NULL: those after it were delivered meanwhile. */
static void read_clock(gate__conn *conn, const gate__pending *older)
{
    uint64_t before = conn->now_ns;
    conn->now_ns = conn->config->clock(conn);
    if (conn->now_ns - before < LATE_NS)
        return;
    if (!conn->pending)
        return; /* and `older` may have left with the rest */
    gate__pending *pending = older ? older->next : conn->pending;
    for (; pending; pending = pending->next)
        pending->born_ns = conn->now_ns;
}

/* Delivers the requests in the bytes, as far as it may; returns how many bytes they took. */
static size_t parse(gate__conn *conn, const uint8_t *bytes, size_t len)
{
    const gate_codec *codec = conn->config->codec;
    int at_end = conn->eof && until_eof(conn);
    uint64_t before = conn->exchanges;
    const gate__pending *older = conn->pending_tail;
    size_t off = 0;
    while (conn->phase == GATE__OPEN && !conn->blocked && off < len) {
        gate_frame frame = {.scanned = conn->scanned};
        int rc =
            codec->decode(codec, bytes + off, len - off, conn->config->body_max, at_end, &frame);
        if (rc == 0) {
            conn->scanned = frame.scanned;
            conn->need = frame.need;
            break;
        }
        conn->scanned = 0;
        conn->need = 0;
        if (rc < 0 || !gate__frame_fits(&frame, len - off)) {
            refuse(conn, rc);
            break;
        }
        const uint8_t *body = bytes + off + frame.body;
        off += frame.total;
        deliver(conn, body, frame.body_len);
    }
    if (conn->exchanges != before)
        read_clock(conn, older);
    return off;
}

/* Keeps what is left of a request. A codec of one's own that never comes to an end is cut off; what
 * comes in before the backend has stopped reading for a blocked connection is not its doing. Of
 * that little more comes: it gets little room to grow. */
static void keep(gate__conn *conn, const uint8_t *bytes, size_t len)
{
    size_t total = conn->in.len + len;
    size_t need = conn->blocked ? total + total / 4 : conn->need;
    if (!conn->blocked && conn->in.len / 2 > conn->config->body_max + INPUT_SLACK)
        end(conn, GATE_CLOSE_TOO_BIG);
    else if (gate__inbuf_append(&conn->in, bytes, len, need))
        gate__conn_abort(conn, GATE_CLOSE_NO_MEMORY);
}

/* Parses what waits in the buffer; 1: something was delivered or refused. */
static int parse_waiting(gate__conn *conn)
{
    if (!conn->in.len)
        return 0;
    size_t used = parse(conn, gate__inbuf_bytes(&conn->in), conn->in.len);
    if (used)
        gate__inbuf_consume(&conn->in, used);
    return used > 0;
}

static int is_idle(const gate__conn *conn)
{
    return conn->exchanges > 0 && !conn->in.len && !conn->pending && !conn->blocked;
}

/* A server that stops ends a connection between two requests, but first looks whether one has come:
 * a close over input that is unread is a reset. A peer that still waits for an answer sends nothing
 * meanwhile, and is told of the end in that answer's segment. One that has its answer may be
 * sending just now: it gets a moment to do so, and the end comes with the answer to that, or after
 * a silence. */
enum { LOOK_NOT, LOOK_SILENT, LOOK_ANSWERED };
#define SILENCE_NS UINT64_C(50000000)

static void find_end(gate__conn *conn, uint64_t silent_since_ns)
{
    if (!conn->stopping || conn->phase != GATE__OPEN || !is_idle(conn))
        return;
    uint64_t until_ns = after(silent_since_ns, SILENCE_NS);
    if (conn->out.head)
        conn->look = LOOK_ANSWERED;
    else if (until_ns <= conn->now_ns)
        conn->look = LOOK_SILENT;
    else
        conn->read_deadline = sooner(conn->read_deadline, until_ns);
}

/* Sets the deadline of what is read next. taken: a request has ended, so a new clock starts. */
static void start_clock(gate__conn *conn, int taken)
{
    const gate__conn_config *config = conn->config;
    if (conn->phase != GATE__OPEN)
        return;
    int begun = conn->in.len > 0 && (taken || !conn->partial);
    conn->partial = conn->in.len > 0;
    if (!conn->exchanges) /* its time runs from accept */
        begun = begun && !conn->slice_in;
    else if (!conn->partial)
        conn->read_deadline = after(conn->now_ns, config->idle_ns);
    else if (begun)
        conn->read_deadline = after(conn->now_ns, config->timeout_ns);
    time_input(conn, begun);
}

static void finish_eof(gate__conn *conn)
{
    if (conn->phase != GATE__OPEN || conn->blocked)
        return;
    if (until_eof(conn)) /* an empty input is a peer that only came and went */
        parse_waiting(conn);
    if (!conn->blocked)
        end(conn, conn->in.len ? GATE_CLOSE_TRUNCATED : GATE_CLOSE_PEER);
}

static void linger_input(gate__conn *conn, size_t len)
{
    conn->lingered += len;
    if (conn->phase == GATE__LINGERING && conn->lingered > conn->config->linger_max)
        conn->phase = GATE__CLOSED;
}

void gate__conn_input(gate__conn *conn, const uint8_t *bytes, size_t len, int full, uint64_t now_ns)
{
    conn->now_ns = now_ns;
    uint8_t more = full || (one_shot(conn) && len >= conn->config->body_max);
    gate__count_add(&conn->config->metrics->bytes_in, len);
    if (conn->phase != GATE__OPEN) {
        conn->unread |= more; /* what gave time for more to come still holds */
        linger_input(conn, len);
        return;
    }
    conn->unread = more;
    conn->look = LOOK_NOT;
    int taken;
    if (conn->in.len) {
        keep(conn, bytes, len);
        taken = parse_waiting(conn);
    } else {
        size_t used = parse(conn, bytes, len);
        taken = used > 0;
        if (conn->phase == GATE__OPEN && used < len)
            keep(conn, bytes + used, len - used);
    }
    start_clock(conn, taken);
    find_end(conn, conn->now_ns);
    advance(conn);
}

void gate__conn_eof(gate__conn *conn, uint64_t now_ns)
{
    conn->now_ns = now_ns;
    conn->eof = 1;
    conn->unread = 0;
    conn->look = LOOK_NOT; /* it has seen all */
    if (conn->phase == GATE__LINGERING)
        conn->phase = GATE__CLOSED;
    finish_eof(conn);
    advance(conn);
}

/* After output has gone or an answer has come: takes up what had to wait for that. */
static void resume(gate__conn *conn)
{
    int was_blocked = conn->blocked;
    check_blocked(conn);
    if (was_blocked && !conn->blocked) {
        parse_waiting(conn);
        start_clock(conn, 1);
    }
    if (conn->eof)
        finish_eof(conn);
    find_end(conn, conn->now_ns);
    advance(conn);
}

/* ---- Answers ---- */

int gate__conn_answer(gate__conn *conn, const gate_wrap *wrap, const void *body, size_t len,
                      gate_reason last)
{
    int rc = gate__outbuf_put(&conn->out, conn->config->pool, wrap, body, len);
    if (!rc && last)
        end_behind(conn, last);
    return rc;
}

void gate__conn_answer_chunks(gate__conn *conn, gate__chunk *list)
{
    gate__outbuf_push(&conn->out, list);
}

static void count_held(gate__conn *conn, const gate__chunk *chunk)
{
    for (; chunk; chunk = chunk->next) {
        conn->held += chunk->len;
        conn->held_memory += gate__chunk_memory(chunk);
    }
}

static void uncount_held(gate__conn *conn, const gate__chunk *chunk)
{
    for (; chunk; chunk = chunk->next) {
        conn->held -= chunk->len;
        conn->held_memory -= gate__chunk_memory(chunk);
    }
}

void gate__conn_hold(gate__conn *conn, gate__pending *pending)
{
    pending->next = NULL;
    pending->born_ns = conn->now_ns;
    if (conn->pending)
        conn->pending_tail->next = pending;
    else
        conn->pending = pending;
    conn->pending_tail = pending;
    conn->inflight++;
    conn->unread = 1;
    if (pending->answered) {
        count_held(conn, pending->answer);
        if (pending->last)
            end(conn, GATE_CLOSE_REJECTED);
    }
}

/* Touches the request that got its answer and those that leave, not all that wait: there may be
 * very many. */
void gate__conn_settle(gate__conn *conn, const gate__pending *answered, uint64_t now_ns)
{
    conn->now_ns = now_ns;
    count_held(conn, answered->answer);
    while (conn->pending && conn->pending->answered) {
        gate__pending *first = conn->pending;
        gate_reason last = (gate_reason)first->last;
        conn->pending = first->next;
        conn->inflight--;
        uncount_held(conn, first->answer);
        gate__outbuf_push(&conn->out, first->answer);
        first->answer = NULL;
        conn->config->leave(conn, first);
        if (last)
            end_behind(conn, last);
    }
    if (!conn->pending)
        conn->pending_tail = NULL; /* it has left: see read_clock */
    if (!conn->pending && conn->phase == GATE__OPEN)
        start_clock(conn, 0);
    resume(conn);
}

/* ---- Output ---- */

size_t gate__conn_output(const gate__conn *conn, const uint8_t **bytes, int *more, int *last)
{
    const gate__chunk *chunk = conn->out.head;
    size_t len = chunk->len - chunk->sent;
    *bytes = chunk->data + chunk->sent;
    *more = chunk->next != NULL;
    *last = GATE__LAST_NOT;
    if (!*more && conn->phase == GATE__FLUSHING)
        *last = must_linger(conn) ? GATE__LAST_END : GATE__LAST_CLOSE;
    return len;
}

void gate__conn_sent(gate__conn *conn, size_t n, uint64_t now_ns)
{
    conn->now_ns = now_ns;
    gate__count_add(&conn->config->metrics->bytes_out, n);
    gate__outbuf_sent(&conn->out, conn->config->pool, n);
    conn->slice_out -= n < conn->slice_out ? n : conn->slice_out;
    if (conn->out.head)
        conn->unread = 1;
    if (conn->phase == GATE__OPEN && !conn->out.head && !conn->pending && !conn->blocked)
        start_clock(conn, 0);
    resume(conn);
}

void gate__conn_fin(gate__conn *conn, uint64_t now_ns)
{
    if (conn->phase != GATE__FLUSHING)
        return;
    conn->phase = GATE__LINGERING;
    conn->linger_deadline = after(now_ns, conn->config->linger_ns);
}

unsigned gate__conn_wants(const gate__conn *conn)
{
    unsigned wants = 0;
    if (conn->phase == GATE__CLOSED)
        return GATE__WANT_CLOSE;
    if (conn->look) /* first, for the end has to leave with the last answer */
        return GATE__WANT_LOOK;
    if ((conn->phase == GATE__OPEN && !conn->eof && !conn->blocked) ||
        conn->phase == GATE__LINGERING)
        wants |= GATE__WANT_READ;
    if (conn->out.head)
        wants |= GATE__WANT_SEND;
    else if (conn->phase == GATE__FLUSHING)
        wants |= GATE__WANT_FIN;
    return wants;
}

/* ---- Time ---- */

/* The deadline of what the peer has to send; UINT64_MAX while it is not its turn. */
static uint64_t read_deadline(const gate__conn *conn)
{
    if (conn->phase != GATE__OPEN || conn->blocked || conn->look)
        return UINT64_MAX;
    if (conn->exchanges && !conn->partial && (conn->pending || conn->out.head))
        return UINT64_MAX;
    return conn->read_deadline;
}

static uint64_t write_deadline(const gate__conn *conn)
{
    return conn->slice_out ? conn->write_deadline : UINT64_MAX;
}

static uint64_t linger_deadline(const gate__conn *conn)
{
    return conn->phase == GATE__LINGERING ? conn->linger_deadline : UINT64_MAX;
}

static uint64_t handler_deadline(const gate__conn *conn)
{
    return conn->pending ? after(conn->pending->born_ns, conn->config->handler_ns) : UINT64_MAX;
}

uint64_t gate__conn_deadline(const gate__conn *conn)
{
    if (conn->phase == GATE__CLOSED)
        return UINT64_MAX;
    uint64_t deadline = sooner(read_deadline(conn), conn->drain_deadline);
    if (conn->pending)
        deadline = sooner(deadline, handler_deadline(conn));
    if (conn->out.head)
        deadline = sooner(deadline, write_deadline(conn));
    return sooner(deadline, linger_deadline(conn));
}

void gate__conn_expire(gate__conn *conn, uint64_t now_ns)
{
    conn->now_ns = now_ns;
    if (conn->drain_deadline <= now_ns)
        gate__conn_abort(conn, GATE_CLOSE_DRAIN_TIMEOUT);
    else if (linger_deadline(conn) <= now_ns)
        close_now(conn);
    else if (write_deadline(conn) <= now_ns)
        gate__conn_abort(conn, GATE_CLOSE_WRITE_TIMEOUT);
    else if (handler_deadline(conn) <= now_ns)
        end_behind(conn, GATE_CLOSE_HANDLER_TIMEOUT);
    else if (read_deadline(conn) <= now_ns && conn->stopping && is_idle(conn))
        conn->look = LOOK_SILENT;
    else if (read_deadline(conn) <= now_ns)
        end(conn, conn->exchanges && !conn->partial ? GATE_CLOSE_IDLE : GATE_CLOSE_TIMEOUT);
    advance(conn);
}

void gate__conn_stop(gate__conn *conn, uint64_t drain_deadline_ns, uint64_t now_ns)
{
    uint64_t idle_ns = conn->config->idle_ns;
    conn->now_ns = now_ns;
    conn->stopping = 1;
    conn->drain_deadline = drain_deadline_ns;
    if (!conn->out.head) /* else what is under way may be all of it: gate__conn_sent will see */
        find_end(conn, idle_ns == UINT64_MAX ? now_ns : conn->read_deadline - idle_ns);
}

void gate__conn_quiet(gate__conn *conn, int flushed, uint64_t now_ns)
{
    int was_silent = conn->look == LOOK_SILENT;
    if (!conn->look || conn->phase != GATE__OPEN)
        return;
    conn->now_ns = now_ns;
    conn->look = LOOK_NOT;
    end(conn, GATE_CLOSE_STOPPED);
    if (was_silent && flushed && !conn->out.head)
        close_now(conn); /* nothing that a reset could destroy */
    advance(conn);
}

void gate__conn_free(gate__conn *conn)
{
    drop_pending(conn);
    gate__chunk_free_list(conn->config->pool, conn->out.head);
    gate__inbuf_consume(&conn->in, conn->in.len);
    conn->out = (gate__outbuf){0};
    gate__budget_add(conn->config->budget, 0 - conn->counted);
    conn->counted = 0;
    gate__debt_drop(conn->debt);
    conn->debt = NULL;
}

void gate__debt_drop(gate__debt *debt)
{
    if (debt && !--debt->holders)
        free(debt);
}
