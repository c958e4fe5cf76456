/* SPDX-License-Identifier: MIT */
#ifndef GATE_SIM_SWARM_H
#define GATE_SIM_SWARM_H

/*
 * One seed: a server and a few peers, with codec, limits, faults and behaviour drawn from the seed.
 * Each request says whose it is, which one, and how long, in bytes that only it has, so that the
 * handler can tell a lost, doubled, damaged or misdirected one. What the peer should receive is put
 * together from what the handler answered, and compared.
 *
 * A seed is strict when nothing in it may cut an honest exchange short (all timeouts are an hour):
 * then each request of an honest peer must have been answered when the server is stopped.
 */

#include "scene.h"

/* What has happened in some seeds. */
typedef struct swarm_sums {
    uint64_t steps;
    uint64_t fired[SIM_KNOB_COUNT];
} swarm_sums;

/* Runs a seed. What breaks a rule ends in fail(message, arg), which may return. Adds to the sums;
 * returns sim_hash(). */
uint64_t swarm_run(uint64_t seed, sim_fail *fail, void *arg, swarm_sums *sums);

#endif
