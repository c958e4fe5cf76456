/* SPDX-License-Identifier: MIT */
#ifndef GATE_SIM_SCENE_H
#define GATE_SIM_SCENE_H

/* The real server in a simulated world. What shall happen is put into sim_at() between opening and
 * scene_serve(), which returns when the server has stopped. */

#include <gate/gate.h>

#include "sim.h"

enum { SCENE_WORKERS_MAX = 4 };

typedef struct scene {
    sim_world *world;
    gate_server *server;
    gate__sockaddr addr; /* where it listens */
    uint64_t start_ns;
    uint64_t end_ns;                       /* serve has returned */
    gate_stats stats;                      /* after serve */
    uint64_t closed_ns[GATE_CLOSE_COUNT];  /* when one was last closed for this reason */
    uint64_t closed_by[SCENE_WORKERS_MAX]; /* how many each worker has closed */
    uint32_t paused;                       /* events that accepting pauses */
    uint32_t resumed;                      /* and that it goes on */
    uint64_t close_ns;                     /* that telling of one takes */
    int serving;
    int result;               /* serve's, or of what has failed before it */
    uint64_t stopped_ns;      /* first told to stop; UINT64_MAX: not yet */
    uint64_t spent_ns;        /* by callbacks until then */
    uint64_t drain_ns;        /* how long it may take to end */
    uint64_t connections_max; /* more than that are never open; 0: not checked */
    uint64_t bytes_max;       /* the library holds no more memory; 0: not checked */
} scene;

/* options: handler is required, the log is the scene's, which wants a level; user is handed on. It
 * may fail only where a knob has made it: then there is no server, result says why, and nothing may
 * be left. */
void scene_open(scene *scene, uint64_t seed, const sim_knobs *knobs, const gate_options *options,
                int backlog);

/* A peer that connects at once. */
sim_peer *scene_peer(scene *scene, const char *from);

/* Stops the server, from anywhere. */
void scene_stop(scene *scene);

/* Stops the server that long after the start. */
void scene_stop_in(scene *scene, uint64_t ns);

/* Checks what holds whenever a worker begins to wait: each connection is counted once, none is
 * over the limits. Called by itself unless sim_on_run() is given something else. */
void scene_check(scene *scene);

/* Serves, then checks what holds after every run: each accepted connection was closed for one
 * reason, nothing was lost in the queue, no descriptor, operation, gate_io or memory is left, and
 * the end came in time. */
void scene_serve(scene *scene);

/* 1: it was stopped and has come to its deadline. */
int scene_was_cut(const scene *scene);

/* Lets arrive, in so long, what was under way when the server ended. */
void scene_settle(scene *scene, uint64_t ns);

/* Frees the world; the peers end with it. */
void scene_close(scene *scene);

#endif
