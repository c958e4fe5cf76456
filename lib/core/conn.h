/* SPDX-License-Identifier: MIT */
#ifndef GATE_CORE_CONN_H
#define GATE_CORE_CONN_H

/*
 * One connection of a server, without its socket: bytes, the end of input, answers and time go in;
 * requests, bytes to send and a wish (read, send, end our side, close) come out. It does no I/O and
 * knows no clock, so each of its scenarios is a test with bytes and numbers.
 *
 *   OPEN ------> ENDING -------> FLUSHING ------> LINGERING -----> CLOSED
 *   requests     no more are     all answers      our side is      the owner
 *   are taken    taken; some     are given; some  ended; input is  closes the
 *                await answers   await sending    thrown away      socket
 *
 * Phases only go forward. A phase with nothing to do is passed at once; abort goes to CLOSED from
 * anywhere. LINGERING is entered only where closing with unread input would make the kernel reset
 * the connection and could destroy a reply that the peer has not read yet.
 *
 * Transfers are timed in slices of 1 MiB, or of what there is. A slice of output is what waits when
 * the one before is sent, or when the first byte waits; a slice of input is the next part of one
 * request. Each has its time-out, and what its bytes take at the least rate, from the moment when
 * the one before was complete. So a deadline never moves before its slice is complete, and there
 * is always a complete one that pays for the next. The first slice of a request whose length is not
 * known has the time-out alone; once it is known, that is made up for, once.
 *
 * Invariants:
 *  - A request is pending from its delivery to its answer, and pending ones are answered in order.
 *  - deliver() is called only in OPEN, never inside itself, and not while the connection is blocked
 *    (too much unsent output, too many pending requests).
 *  - Each pending request leaves through leave(), once.
 *  - The reason is set when OPEN is left; abort replaces it unless the connection lingers.
 */

#include <gate/gate.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/metrics.h"

typedef struct gate__conn gate__conn;

/* A request that was not answered inside its delivery; embedded by its owner. */
typedef struct gate__pending gate__pending;
struct gate__pending {
    gate__pending *next;
    gate__chunk *answer; /* waits here for the answers before it */
    uint64_t born_ns;
    uint8_t answered;
    uint8_t last; /* the connection ends behind this answer: a gate_reason, or 0 */
    /* Only its answer is waited for, and answers behind it may be all that is in memory: it has to
     * be taken, whatever the limits say. Set by the worker, read by whoever answers. */
    _Atomic uint8_t due;
};

/* What a request counts from its delivery to its answer, if it is not answered inside that. */
enum { GATE__REQUEST_MEMORY = 256 };

enum { GATE__SLICE = 1 << 20 };

/* What the connections of one worker hold together: parts of requests, requests that wait, and
 * copied replies. Over `tight` none gets far ahead of a peer that does not read; who takes it over
 * `max` is closed, and who holds more than a chunk is closed a quarter before. */
typedef struct gate__budget {
    _Atomic size_t held;   /* written by the worker */
    _Atomic size_t coming; /* answers of other threads on their way; written by any thread */
    size_t tight;
    size_t max;
} gate__budget;

static inline void gate__budget_add(gate__budget *budget, size_t n)
{
    size_t held = atomic_load_explicit(&budget->held, memory_order_relaxed);
    atomic_store_explicit(&budget->held, held + n, memory_order_relaxed);
}

static inline size_t gate__budget_sum(const gate__budget *budget)
{
    return atomic_load_explicit(&budget->held, memory_order_relaxed) +
           atomic_load_explicit(&budget->coming, memory_order_relaxed);
}

/* How much of it those who hold so much may take. */
static inline size_t gate__budget_max(const gate__budget *budget, size_t own)
{
    return budget->max - (own > GATE__CHUNK_SIZE ? budget->max / 4 : 0);
}

/* What a connection holds, for the threads that answer its deferred requests: those outlive it. */
typedef struct gate__debt {
    _Atomic size_t coming; /* as in the budget */
    _Atomic size_t kept;   /* answers, as of the connection's last event; written by the worker */
    size_t holders;        /* the worker's: the connection, and its deferred requests */
} gate__debt;

void gate__debt_drop(gate__debt *debt);

/* What connections of one worker share. Times are nanoseconds; UINT64_MAX is never. */
typedef struct gate__conn_config {
    const gate_codec *codec;
    size_t body_max;
    size_t output_max;
    uint64_t timeout_ns;
    uint64_t idle_ns;
    uint64_t write_ns;
    uint64_t handler_ns;
    uint64_t slice_ns; /* that a slice takes at the least rate; 0: no slices */
    uint64_t linger_ns;
    size_t linger_max; /* bytes thrown away before giving up */
    uint32_t inflight_max;
    uint32_t exchanges_max;
    gate__chunk_pool *pool;
    gate__metrics *metrics;
    gate__budget *budget;
    /* A complete request; the body is borrowed until this returns. Before it does, the request is
     * answered by gate__conn_answer, or made pending by gate__conn_hold. */
    void (*deliver)(gate__conn *conn, const uint8_t *body, size_t len);
    /* The time, read anew: handlers have run since the call's now_ns. */
    uint64_t (*clock)(gate__conn *conn);
    /* The pending request is off the connection: if `answered` is set it is done with (its answer
     * is on its way, or can't be sent any more), else its answer will find nobody. */
    void (*leave)(gate__conn *conn, gate__pending *pending);
} gate__conn_config;

enum gate__phase { GATE__OPEN, GATE__ENDING, GATE__FLUSHING, GATE__LINGERING, GATE__CLOSED };

struct gate__conn {
    const gate__conn_config *config;
    gate__inbuf in;
    size_t scanned; /* the codec's, for the frame at the front of in */
    union {
        size_t need;     /* OPEN: the codec's, too */
        size_t lingered; /* later: bytes thrown away */
    };
    gate__outbuf out;
    gate__pending *pending;
    gate__pending *pending_tail;
    size_t held;        /* bytes of answers that wait for earlier ones */
    size_t held_memory; /* ... and of their chunks */
    size_t counted;     /* how much of the budget is its own */
    gate__debt *debt;   /* NULL: it never deferred a request */
    uint64_t now_ns;    /* of the call under way, or as read since */
    union {
        uint64_t read_deadline;   /* OPEN */
        uint64_t linger_deadline; /* LINGERING */
    };
    uint64_t write_deadline; /* of slice_out */
    size_t slice_out;        /* unsent bytes of the slice of output under way; 0: there is none */
    size_t slice_in;         /* when so much of the request is there its slice is; 0: first one */
    uint64_t drain_deadline;
    uint64_t exchanges;
    uint32_t inflight;
    uint8_t phase;
    uint8_t reason;   /* gate_reason */
    bool eof : 1;     /* the peer has ended its side */
    bool unread : 1;  /* there may be input in the kernel that we have not read */
    bool partial : 1; /* part of a request waits in in */
    bool blocked : 1; /* reading waits for the output to shrink or for answers */
    bool stopping : 1;
    uint8_t look : 2; /* ... and the last look for a request is due */
};

void gate__conn_init(gate__conn *conn, const gate__conn_config *config, uint64_t now_ns);
/* Frees what it holds; pending requests are dropped. */
void gate__conn_free(gate__conn *conn);

/* ---- What happens to it ---- */

/* Bytes from the peer (borrowed), len > 0. full: the kernel may hold more already. */
void gate__conn_input(gate__conn *conn, const uint8_t *bytes, size_t len, int full,
                      uint64_t now_ns);
void gate__conn_eof(gate__conn *conn, uint64_t now_ns);
/* n bytes of gate__conn_output are sent. */
void gate__conn_sent(gate__conn *conn, size_t n, uint64_t now_ns);
/* Our side is ended, as GATE__WANT_FIN asked. */
void gate__conn_fin(gate__conn *conn, uint64_t now_ns);
/* The socket failed, or the owner gives up: nothing more is sent. */
void gate__conn_abort(gate__conn *conn, gate_reason reason);
/* The server stops: one that waits for its next request ends after a last look for that, any other
 * when it has been answered, or at the deadline. */
void gate__conn_stop(gate__conn *conn, uint64_t drain_deadline_ns, uint64_t now_ns);
/* The look that GATE__WANT_LOOK asked for found nothing. flushed: the peer's side has all that was
 * sent. */
void gate__conn_quiet(gate__conn *conn, int flushed, uint64_t now_ns);
/* Time has come to gate__conn_deadline(). Does nothing before that. */
void gate__conn_expire(gate__conn *conn, uint64_t now_ns);

/* ---- Answers ---- */

/* Answers the request that is being delivered; only with nothing pending. last: a gate_reason that
 * ends the connection behind this answer, or 0. 0, -ENOMEM (still unanswered). */
int gate__conn_answer(gate__conn *conn, const gate_wrap *wrap, const void *body, size_t len,
                      gate_reason last);
/* As gate__conn_answer, with chunks that become the connection's; it goes on behind them. */
void gate__conn_answer_chunks(gate__conn *conn, gate__chunk *list);
/* Makes the request that is being delivered pending. One with `answered` set waits for its turn. */
void gate__conn_hold(gate__conn *conn, gate__pending *pending);
/* This pending request got its answer (its fields are set). Never inside deliver. */
void gate__conn_settle(gate__conn *conn, const gate__pending *answered, uint64_t now_ns);

/* ---- What it wants ---- */

enum {
    GATE__WANT_READ = 1,
    GATE__WANT_SEND = 2,
    GATE__WANT_FIN = 4,
    GATE__WANT_CLOSE = 8,
    GATE__WANT_LOOK = 16 /* a read that does not wait: input, eof or quiet comes of it */
};
unsigned gate__conn_wants(const gate__conn *conn);

/* Whether bytes to send are the last, behind which our side ends, or the socket can be closed. */
enum { GATE__LAST_NOT = 0, GATE__LAST_END, GATE__LAST_CLOSE };

/* The next bytes to send, where GATE__WANT_SEND says that there are some. *more: others follow.
 * *last: GATE__LAST_... */
size_t gate__conn_output(const gate__conn *conn, const uint8_t **bytes, int *more, int *last);

/* When gate__conn_expire is due; UINT64_MAX: not. */
uint64_t gate__conn_deadline(const gate__conn *conn);

#endif
