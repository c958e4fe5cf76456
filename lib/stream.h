/* SPDX-License-Identifier: MIT */
#ifndef GATE_STREAM_H
#define GATE_STREAM_H

/*
 * A stream drives one core/conn over gate_io: it turns what the connection wants into operations,
 * and completions, timers and answers into calls of the connection. It decides nothing itself.
 *
 * Lifetime: opened on accept; closing begins when the connection wants it. Then operations in
 * flight are cancelled, their completions awaited, the descriptor closed, and in the completion of
 * that the stream is freed. Each event ends in one update(), which is the only place that submits.
 *
 * The timer is moved only when the deadline comes nearer; when it fires early, it is set again.
 */

#include "core/conn.h"
#include "core/peer.h"
#include "core/timers.h"
#include "io/io.h"
#include "quota.h"
#include "log.h"
#include "request.h"

typedef struct gate__stream gate__stream;
typedef struct gate__streams gate__streams;

/* The streams of one worker and what they share. */
struct gate__streams {
    gate_io *io;
    gate__timers timers;
    gate__conn_config config; /* of every stream's connection, which finds the rest by it */
    gate__requests requests;
    gate__metrics metrics;
    gate__budget budget;
    gate__chunk_pool pool;
    gate__log log;
    gate__limits *limits; /* of the whole server */
    uint32_t count;
    uint64_t drain_until; /* UINT64_MAX: not stopping */
    gate__stream *first;
    void (*closed)(gate__streams *streams); /* one has been freed */
};

struct gate__stream {
    gate__conn conn;
    gate_sock sock;
    gate__timer timer;
    gate__stream *next;
    gate__stream **link;
    const gate_listener *listener; /* where it was accepted */
    uint64_t opened_ns;
    uint64_t bytes_in;
    uint64_t bytes_out;
    gate__peer peer; /* see gate__stream_peer */
    uint8_t counted; /* its address, for the limit of connections of one */
    uint8_t closing;
    uint8_t cut;       /* its reply ends too early, and must not look as if it were whole */
    uint8_t multishot; /* the recv in flight completes more than once */
    uint8_t looking;   /* ... does not wait for input: the stop's last look */
};

/* An idle connection costs this and nothing else. */
_Static_assert(sizeof(gate__stream) <= 392, "an idle connection takes 400 bytes of malloc");

/* Takes a descriptor that was accepted on a listener. peer: its address, or NULL. NULL: no
 * memory; the descriptor is closed. */
gate__stream *gate__stream_open(gate__streams *streams, const gate_listener *listener, int fd,
                                const gate__sockaddr *peer);

/* Stores the peer's address, where accept did not give it, and copies it to *addr unless that is
 * NULL. It is asked for when somebody needs it, and always before the descriptor goes. 0, or
 * -errno. */
int gate__stream_peer(gate__stream *stream, gate__sockaddr *addr);

/* Runs timers that were due when the turn began: what came since has not been read. Those that are
 * too many for one turn are due at once in the next. */
void gate__streams_expire(gate__streams *streams);
/* Stops all, see gate__conn_stop. New ones may be opened: they are stopped too. */
void gate__streams_stop(gate__streams *streams, uint64_t drain_deadline_ns);
/* What a loop that has failed leaves: closes the descriptors; then, with the loop gone, frees. */
void gate__streams_discard(gate__streams *streams);
void gate__streams_free(gate__streams *streams);

/* gate__conn_config's and gate__requests' callbacks. */
void gate__stream_deliver(gate__conn *conn, const uint8_t *body, size_t len);
uint64_t gate__stream_clock(gate__conn *conn);
int gate__stream_conn_peer(gate__conn *conn, gate__sockaddr *addr);
void gate__stream_leave(gate__conn *conn, gate__pending *pending);
void gate__stream_settled(gate__conn *conn, const gate__pending *answered);

#endif
