/* SPDX-License-Identifier: MIT */
#ifndef GATE_SIM_DESK_H
#define GATE_SIM_DESK_H

/* A scene with a handler that does what the requests tell it: "1" is welcomed, "e..." comes back,
 * "b" gets reply_len bytes, "dX" is deferred, to be answered with X, "f" is forgotten, anything
 * else is rejected. */

#include "scene.h"

enum { DEFERRED_MAX = 8 };

/* What the handler has seen and kept. */
typedef struct desk {
    scene scene;
    gate_options options;
    gate_request *deferred[DEFERRED_MAX];
    char bodies[DEFERRED_MAX];
    int deferred_count;
    int backlog; /* 0: 5 */
    int handled;
    int answer_result;
    size_t reply_len; /* of a 'b'ig reply */
} desk;

/* Answers the deferred request of that index with its letter, or with nothing. */
typedef struct late {
    desk *desk;
    int index;
    int empty;
} late;

/* A send at a time. */
typedef struct line {
    sim_peer *peer;
    const char *text;
} line;

/* options are the desk's own, with its handler, the codec, and a log of everything unless it has a
 * level. */
void desk_open(desk *all, const sim_knobs *knobs, const gate_codec *codec);

/* One peer that sends text; served for 20 s. */
sim_peer *desk_serve_one(desk *all, const sim_knobs *knobs, const gate_codec *codec,
                         const char *text, int half_close);

/* Fails the test unless the peer received exactly text. */
void desk_got(const sim_peer *peer, const char *text);

/* For sim_at: arg is a late, a line, a peer, a peer. */
sim_event desk_answer_late;
sim_event desk_send;
sim_event desk_reset;
sim_event desk_close_peer;

#endif
