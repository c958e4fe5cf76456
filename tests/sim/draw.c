/* SPDX-License-Identifier: MIT */

/* Knobs for one seed: some off, the rest drawn, so that the seeds differ in kind. */

#include <errno.h>
#include <string.h>

#include "sim.h"

static uint32_t some(sim_rng *rng, uint32_t pct, uint32_t max)
{
    return sim_rng_chance(rng, pct) ? 1 + (uint32_t)sim_rng_below(rng, max) : 0;
}

static void draw_faults(sim_rng *rng, sim_faults *faults, const int *errors, uint32_t count)
{
    faults->pct = some(rng, 20, 15);
    faults->count = count;
    memcpy(faults->errors, errors, count * sizeof(*errors));
}

void sim_knobs_draw(sim_knobs *knobs, sim_rng *rng)
{
    static const int accept_errors[] = {ECONNABORTED, EINTR,        EPROTO, EPERM,
                                        ENETDOWN,     EHOSTUNREACH, EMFILE, ENFILE,
                                        ENOBUFS,      ENOMEM,       EIO};
    static const int recv_errors[] = {ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENOBUFS, EIO};
    static const int send_errors[] = {ECONNRESET, EPIPE, ETIMEDOUT, ENOBUFS, ENETDOWN};
    static const int shutdown_errors[] = {ENOTCONN, EIO};
    static const int close_errors[] = {EINTR, EIO};

    knobs->recv_partial_pct = some(rng, 50, 100);
    knobs->recv_max = some(rng, 30, 20);
    knobs->lend_one_pct = sim_rng_chance(rng, 25) ? 100 : some(rng, 20, 50);
    knobs->full_pct = some(rng, 30, 50);
    knobs->send_partial_pct = some(rng, 50, 50);
    knobs->send_max = sim_rng_chance(rng, 20) ? 1 : some(rng, 20, 30);
    knobs->last_kept_pct = some(rng, 30, 50);
    knobs->latency_max_ns = sim_rng_chance(rng, 50) ? sim_rng_below(rng, 50 * SIM_MS) : 0;
    knobs->clog_pct = some(rng, 20, 20);
    knobs->clog_max_ns = 250 * SIM_MS;
    knobs->reset_loses_pct = some(rng, 50, 100);
    draw_faults(rng, &knobs->accept, accept_errors, 11);
    draw_faults(rng, &knobs->recv, recv_errors, 5);
    draw_faults(rng, &knobs->send, send_errors, 5);
    draw_faults(rng, &knobs->shutdown, shutdown_errors, 2);
    draw_faults(rng, &knobs->close, close_errors, 2);
    knobs->at_once_pct = sim_rng_chance(rng, 25) ? 100 : some(rng, 25, 60);
    knobs->cancel_race_pct = some(rng, 60, 100);
    knobs->recv_multishot = (uint32_t)sim_rng_chance(rng, 50);
    knobs->multishot_end_pct = some(rng, 50, 50);
    knobs->accept_named = (uint32_t)sim_rng_chance(rng, 50);
    knobs->accept_end_pct = some(rng, 30, 50);
    knobs->shuffle = (uint32_t)sim_rng_chance(rng, 50);
    knobs->batch_max = sim_rng_chance(rng, 25) ? 1 : 0;
    knobs->early_pct = some(rng, 20, 30);
    knobs->late_max_ns = sim_rng_chance(rng, 20) ? 20 * SIM_MS : 0;
    knobs->turn_max_ns = sim_rng_chance(rng, 50) ? 100000 : 0;
    knobs->descriptors_max = sim_rng_chance(rng, 15) ? 2 + (uint32_t)sim_rng_below(rng, 3) : 0;
    knobs->held_pct = some(rng, 25, 40);
    knobs->held_room = some(rng, 50, 4);
    knobs->held_max_ns = sim_rng_chance(rng, 50) ? 2 * SIM_MS : 0;
    knobs->flow_max = sim_rng_chance(rng, 30) ? 1 + (uint32_t)sim_rng_below(rng, 200) : 0;
}

void sim_knobs_draw_want(sim_knobs *knobs, sim_rng *rng)
{
    static const int open_errors[] = {EMFILE, ENOMEM, EPERM, ENOSYS};
    static const int listen_errors[] = {EADDRINUSE, EACCES, EADDRNOTAVAIL, ENOBUFS, EMFILE};
    static const int thread_errors[] = {EAGAIN, ENOMEM};

    if (sim_rng_chance(rng, 25)) {
        /* Most are in the middle of what goes on, some at the start. */
        knobs->alloc_fails_at = 1 + sim_rng_below(rng, UINT64_C(4) << sim_rng_below(rng, 7));
        knobs->alloc_fails_for = sim_rng_chance(rng, 50)   ? 1
                                 : sim_rng_chance(rng, 50) ? 1 + sim_rng_below(rng, 20)
                                                           : UINT64_MAX;
    }
    draw_faults(rng, &knobs->open, open_errors, 4);
    draw_faults(rng, &knobs->listen, listen_errors, 5);
    draw_faults(rng, &knobs->thread, thread_errors, 2);
    /* Seldom, for then there is nothing else to see. */
    knobs->open.pct = sim_rng_chance(rng, 2) ? 50 : 0;
    knobs->listen.pct = sim_rng_chance(rng, 2) ? 50 : 0;
    knobs->thread.pct = sim_rng_chance(rng, 4) ? 50 : 0;
}
