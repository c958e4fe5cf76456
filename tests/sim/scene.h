/* SPDX-License-Identifier: MIT */
#ifndef GATE_SIM_SCENE_H
#define GATE_SIM_SCENE_H

/* The real server in a simulated world. What shall happen is put into sim_at() between opening and
 * scene_serve(), which returns when the server has stopped. */

#include <gate/gate.h>

#include "sim.h"

typedef struct scene {
    sim_world *world;
    gate_server *server;
    gate__sockaddr addr; /* where it listens */
    uint64_t start_ns;
    uint64_t end_ns; /* serve has returned */
    gate_stats stats; /* after serve */
    uint64_t closed_ns[GATE_CLOSE_COUNT]; /* when one was last closed for this reason */
    int serving;
    int result; /* serve's */
} scene;

/* options: handler is required, the log is the scene's; user is handed on. */
void scene_open(scene *scene, uint64_t seed, const sim_knobs *knobs, const gate_options *options,
                int backlog);

/* A peer that connects at once. */
sim_peer *scene_peer(scene *scene, const char *from);

/* Stops the server that long after the start. */
void scene_stop_in(scene *scene, uint64_t ns);

/* Serves, then checks what holds after every run: each accepted connection was closed for one
 * reason, nothing was lost in the queue, no descriptor, operation or gate_io is left. */
void scene_serve(scene *scene);

/* Frees the world; the peers end with it. */
void scene_close(scene *scene);

#endif
