/* SPDX-License-Identifier: MIT */
#ifndef GATE_SIM_PLAIN_H
#define GATE_SIM_PLAIN_H

/*
 * Plain ends: descriptors of a world that a test uses as it would use the kernel's sockets, with
 * calls that wait. A call moves the world as far as it has to; completions of gate_ios run in none
 * of them. Listeners are made by sim_listen_fd(). All of them are closed before the world is.
 */

#include "sim.h"

/* A connection to the listener at *addr. */
int sim_plain_connect(sim_world *world, const gate__sockaddr *addr);

/* The next connection of a plain listener. */
int sim_plain_accept(sim_world *world, int listener);

void sim_plain_send(sim_world *world, int fd, const void *bytes, size_t len);

/* Reads len bytes, or up to the end of the input or a reset. */
size_t sim_plain_recv(sim_world *world, int fd, void *bytes, size_t len);

/* Whether a reset has come. */
int sim_plain_was_reset(sim_world *world, int fd);

/* Ends the output. */
void sim_plain_end(sim_world *world, int fd);

void sim_plain_close(sim_world *world, int fd);

/* Closes with a reset. */
void sim_plain_reset(sim_world *world, int fd);

/* The end is io's from now on. */
void sim_plain_give(int fd, gate_io *io);

#endif
