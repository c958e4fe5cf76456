/* SPDX-License-Identifier: MIT */
#ifndef GATE_SIM_SWARM_H
#define GATE_SIM_SWARM_H

/*
 * One seed: a server with one or a few workers and some peers, with codec, limits, faults and
 * behaviour drawn from the seed. Each request says whose it is, which one, and how long, in bytes
 * that only it has, so that the handler can tell a lost, doubled, damaged or misdirected one. What
 * the peer should receive is put together from what the handler answered, and compared.
 *
 * In half of the seeds all that goes wrong ends at some time; soon after that every honest exchange
 * must be over, and one more must work. The others stop the server anywhere in the middle.
 *
 * A seed is strict when none of its timeouts may cut an honest exchange short (they are an hour).
 * Whatever honest exchange is cut short must have its reason: a failed allocation costs one at
 * most, a timeout that of its connection.
 */

#include "scene.h"

/* What is drawn besides the knobs of the network, and counted as they are. */
typedef enum swarm_event {
    SWARM_HANDLER_SLOW,
    SWARM_HANDLER_SILENT,
    SWARM_HANDLER_DEFERS,
    SWARM_HANDLER_TWICE,
    SWARM_HANDLER_FORGETS,
    SWARM_HANDLER_REJECTS,
    SWARM_HANDLER_STOPS,
    SWARM_PEER_HONEST,
    SWARM_PEER_SLOW,
    SWARM_PEER_SILENT,
    SWARM_PEER_STOPS_READING,
    SWARM_PEER_CUTS_A_FRAME,
    SWARM_PEER_GREEDY,
    SWARM_PEER_RESETS,
    SWARM_PEER_LIES,
    SWARM_WORKERS,
    SWARM_NOT_STARTED,
    SWARM_ANSWER_REFUSED, /* for lack of memory, or over buffers_max */
    SWARM_OVER_BUDGET,
    SWARM_HEALED,
    SWARM_STOP_AT_STEP,
    SWARM_STOP_AT_TIME,
    SWARM_DRAIN_CUT, /* at its deadline */
    SWARM_EVENT_COUNT
} swarm_event;

const char *swarm_event_name(swarm_event event);

/* What has happened in some seeds. */
typedef struct swarm_sums {
    uint64_t steps;
    uint64_t fired[SIM_KNOB_COUNT];
    uint64_t seen[SWARM_EVENT_COUNT];
    uint64_t drains;         /* stops in the middle */
    uint64_t drain_requests; /* ... in which honest peers' requests had reached the handler, and */
    uint64_t drain_answers;  /* ... were answered: all, where nothing else went wrong */
    uint64_t drain_excused;  /* requests of seeds where timeouts or a lack of memory may */
    uint64_t drain_over_ns;  /* the longest that one took over its deadline */
} swarm_sums;

/* Runs a seed. What breaks a rule ends in fail(message, arg), which may return. Adds to the sums;
 * returns sim_hash(). */
uint64_t swarm_run(uint64_t seed, sim_fail *fail, void *arg, swarm_sums *sums);

#endif
