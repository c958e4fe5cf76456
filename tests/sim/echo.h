/* SPDX-License-Identifier: MIT */
#ifndef GATE_SIM_ECHO_H
#define GATE_SIM_ECHO_H

/* A server on bare gate_io that sends back what it gets: what the simulator is tested with. */

#include "sim.h"

enum { PORT = 7000, LINKS_MAX = 8, MESSAGE_MAX = 512 };

typedef struct echo_link {
    gate_sock sock;
    struct echo *echo;
    uint8_t bytes[65536];
    size_t len;
    size_t off;
    int over;
    int closed;
    int last_result;
} echo_link;

typedef struct echo {
    sim_world *world;
    gate_io *io;
    gate_sock listener;
    gate__sockaddr addr;
    echo_link *links[LINKS_MAX];
    size_t count;
    int accept_result;
    int accept_over;
    int listener_closed;
    char message[MESSAGE_MAX]; /* of the last failure */
} echo;

/* Listens in a world of its own, which keeps the first failure's message. */
echo *echo_open(uint64_t seed, const sim_knobs *knobs);

void echo_run(echo *all, uint64_t ns);

/* Resets these peers, ends the listener and checks that nothing is left. */
void echo_close(echo *all, sim_peer *const *peers, size_t count);

/* Frees all without a check. */
void echo_free(echo *all);

/* Its completions. */
gate_op_done echo_accept;
gate_op_done echo_recv;
gate_op_done echo_sent;
gate_op_done echo_closed;

#endif
