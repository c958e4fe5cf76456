/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_BENCH_CONN_H
#define GATE_CLI_BENCH_CONN_H

/* One connection of the load: sends copies of one framed message, finds the ends of the answers.
 * It decides nothing: what it learns it tells the load through the three functions at the end. */

#include "bench_load.h"

typedef struct bench_conn {
    int fd;            /* -1: closed */
    uint32_t inflight; /* asked and not answered */
    uint32_t first;    /* where the oldest of them stands in begun */
    uint8_t is_idle;   /* one that says nothing */
    uint8_t connected;
    uint8_t watched;  /* registered with epoll */
    uint8_t ready;    /* counted as one that stands */
    uint8_t listed;   /* open loop: among those with room */
    uint8_t resting;  /* has failed; tried again later */
    uint8_t queued;   /* among those that a Unix socket has no room for */
    uint8_t differs;  /* until EOF: the answer so far is not the expected one */
    uint64_t unsent;  /* bytes */
    size_t at;        /* where in the message the next byte stands */
    uint64_t head_ns; /* since when the oldest in flight is the oldest */
    uint64_t room_ns; /* open loop: when it was listed */
    uint64_t *begun;  /* a ring of plan->pipeline times */
    uint8_t *in;      /* an answer that is not complete */
    size_t in_len;
    size_t in_room;
    size_t scanned;
    uint64_t got; /* until EOF: bytes of the answer */
} bench_conn;

typedef struct bench_load bench_load;

/* What the connections share. */
typedef struct bench_wire {
    const bench_plan *plan;
    bench_result *result;
    bench_load *load;
    int epoll_fd;
    int until_eof;   /* an answer ends where the peer closes */
    int ends_input;  /* our end of input ends the request */
    uint32_t opened; /* so far; spreads the source addresses */
    uint64_t now_ns; /* of the event that is worked on */
    uint64_t held;   /* bytes of room for answers that are not complete */
    bench_first first;
    const bench_conn *first_conn; /* until EOF: which one the first answer comes from */
    uint8_t *requests;            /* copies of the message in its frame: what one send takes */
    size_t requests_len;
    size_t frame_len;
    size_t expect_len;
    uint8_t *scratch;
} bench_wire;

/* 0, -ENOMEM, or codec's refusal of the message. */
int bench_wire_init(bench_wire *wire);
void bench_wire_free(bench_wire *wire);

/* Opens a connection. 0, -errno: it is closed again, and what it is to send stays. -EAGAIN: the
 * queue of a Unix socket is full. */
int bench_conn_open(bench_wire *wire, bench_conn *conn);
void bench_conn_close(bench_wire *wire, bench_conn *conn);

/* Puts one more request after those in flight, of which there are fewer than the pipeline holds.
 * Nothing is sent before the flush. */
void bench_conn_ask(bench_wire *wire, bench_conn *conn, uint64_t begun_ns);
/* Sends what can be sent and watches for the rest. 0, -errno. */
int bench_conn_flush(bench_wire *wire, bench_conn *conn);

/* Handles epoll's events, and bounds what it reads: a peer that sends without end gets its turn
 * again after the others. May close the connection. */
void bench_conn_event(bench_wire *wire, bench_conn *conn, uint32_t events);

/* ---- Told to the load ---- */

/* The oldest request is answered; matches: as expected. */
void bench_load_answered(bench_load *load, bench_conn *conn, int matches);
/* The connection is over, with error for what is still in flight; has to be closed. */
void bench_load_over(bench_load *load, bench_conn *conn, bench_error error, int code);
/* At the end of each event: answers may have made room, or the connection is made, or is over. */
void bench_load_room(bench_load *load, bench_conn *conn);

#endif
