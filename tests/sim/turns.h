/* SPDX-License-Identifier: MIT */
#ifndef GATE_SIM_TURNS_H
#define GATE_SIM_TURNS_H

/*
 * Two callers that block in one world, such as a server and a client: the test's thread, and one
 * beside it. One of them runs at a time. The other has its turn when the first waits and has
 * nothing left to do at this moment; time moves when neither has. So the history depends on the
 * seed only, as with one thread.
 */

#include "sim.h"

typedef void sim_beside_fn(void *arg);

/* fn(arg) has its first turn when the test's thread waits for the first time. */
void sim_beside(sim_world *world, sim_beside_fn *fn, void *arg);

/* Leaves the world to fn until it returns. */
void sim_beside_join(sim_world *world);

#endif
