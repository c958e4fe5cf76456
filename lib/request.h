/* SPDX-License-Identifier: MIT */
#ifndef GATE_REQUEST_H
#define GATE_REQUEST_H

/*
 * Requests between the connection that they came from and whoever answers them.
 *
 * Each request has a slot. A gate_request * is an address inside its slot: the slot's start says
 * which slot, the distance from it which generation of it. So a used-up handle is told from the
 * slot's next request without any table, and a late second answer is -EALREADY. The generation has
 * 8 bits: it guards against a mistake, for the next 255 requests of the slot. The addresses stay
 * until the server is closed, the memory does not (slots.h): but for its word, only whoever has a
 * right to a slot looks at it.
 *
 * A slot's word holds its generation and state:
 *
 *   FREE -> RUNNING -> FREE                      answered inside the handler, the common case
 *                   -> HELD -> FREE              answered, but an earlier request was not yet
 *                   -> DEFERRED -> ANSWERED -> FREE    by any thread, handed over by the inbox
 *                               -> GONE -> ANSWERED -> FREE   the connection went first
 *
 * Whoever answers takes the slot (ANSWERED) before anything is copied. If the answer then cannot be
 * given it goes back to DEFERRED, or to the inbox without an answer if the connection went
 * meanwhile (LEFT). These states are left by compare-and-swap, for here two threads meet. The inbox
 * is a stack that any thread pushes on; the worker takes all of it at once and reverses it.
 *
 * An answer from another thread counts in the budget, and for its connection, before it is copied:
 * over buffers_max, or where the connection holds answers_max already, it is refused.
 */

#include <gate/gate.h>
#include <stdatomic.h>

#include "core/conn.h"
#include "io/io.h"
#include "slots.h"

typedef struct gate__slot gate__slot;
typedef struct gate__requests gate__requests;

struct gate__requests {
    gate_server *server;
    gate_handler *handler;
    void *user;
    const gate_codec *codec;
    gate__metrics *metrics;
    gate__chunk_pool *pool;
    gate__budget *budget;
    size_t answers_max; /* of a connection's memory, for answers of other threads */
    gate_io *io;        /* woken by an answer from elsewhere */
    /* This pending request of the connection has its answer; calls gate__conn_settle. */
    void (*settled)(gate__conn *conn, const gate__pending *answered);
    /* The address of the connection's peer. 0, -errno. */
    int (*peer)(gate__conn *conn, gate__sockaddr *addr);
    gate__slot *current; /* the next request's, where one is ready */
    gate__slots slots;
    _Atomic(gate__slot *) inbox;
    _Atomic uint32_t answering; /* threads between taking the right to answer and having woken io */
};

void gate__requests_init(gate__requests *requests);
/* Waits for the answer that let the server finish: it may still be on its way out of gate_reply. */
void gate__requests_finish(gate__requests *requests);
/* Frees all slots, and the answers that nobody took. */
void gate__requests_free(gate__requests *requests);

/* Runs the handler; a gate__conn_config's deliver calls it. */
void gate__requests_deliver(gate__requests *requests, gate__conn *conn, const uint8_t *body,
                            size_t len);

/* What gate__conn_config's leave calls. */
void gate__requests_leave(gate__pending *pending);

/* Takes the answers that came from elsewhere. Worker's thread, outside of completions. */
void gate__requests_take(gate__requests *requests);

#endif
