/* SPDX-License-Identifier: MIT */
#include "swarm.h"

#include <stdlib.h>
#include <string.h>

#include "swarm_parts.h"

enum { STREAM_SWARM = 77 };
enum { REQUEST_MAX = 16 << 20, HELD_ROOM_MAX = 4 };

/* From the end of all faults to that of all honest exchanges, one more included. */
static const uint64_t recovery_ns = UINT64_C(10) * SIM_SECOND;
static const uint64_t last_stop_ns = UINT64_C(25) * SIM_SECOND;

uint64_t swarm__below(swarm *all, uint64_t bound)
{
    return sim_rng_below(&all->rng, bound);
}

int swarm__chance(swarm *all, uint32_t pct)
{
    return sim_rng_chance(&all->rng, pct);
}

uint32_t swarm__some(swarm *all, uint32_t pct, uint32_t max)
{
    return swarm__chance(all, pct) ? 1 + (uint32_t)swarm__below(all, max) : 0;
}

const char *swarm_event_name(swarm_event event)
{
    static const char *const names[SWARM_EVENT_COUNT] = {
        [SWARM_HANDLER_SLOW] = "handler slow",
        [SWARM_HANDLER_SILENT] = "handler silent",
        [SWARM_HANDLER_DEFERS] = "handler defers",
        [SWARM_HANDLER_TWICE] = "handler answers twice",
        [SWARM_HANDLER_FORGETS] = "handler forgets",
        [SWARM_HANDLER_REJECTS] = "handler rejects",
        [SWARM_HANDLER_STOPS] = "handler stops the server",
        [SWARM_PEER_HONEST] = "peer honest",
        [SWARM_PEER_SLOW] = "peer reads slowly",
        [SWARM_PEER_SILENT] = "peer silent",
        [SWARM_PEER_STOPS_READING] = "peer stops reading",
        [SWARM_PEER_CUTS_A_FRAME] = "peer cuts a frame",
        [SWARM_PEER_GREEDY] = "peer greedy",
        [SWARM_PEER_RESETS] = "peer resets",
        [SWARM_PEER_LIES] = "peer lies",
        [SWARM_WORKERS] = "several workers",
        [SWARM_NOT_STARTED] = "start failed",
        [SWARM_ANSWER_REFUSED] = "answer refused",
        [SWARM_OVER_BUDGET] = "over buffers_max",
        [SWARM_HEALED] = "healed",
        [SWARM_STOP_AT_STEP] = "stop at a step",
        [SWARM_STOP_AT_TIME] = "stop at a time",
        [SWARM_DRAIN_CUT] = "drain cut off",
    };

    return names[event];
}

/* Bytes in a second: what a peer announces changes its time by milliseconds only. */
enum { RATE_MIN = 64 << 20, SLICE = 1 << 20 };

/* ---- Drawing a seed ------------------------------------------------------------------------ */

static void draw_codec(swarm *all)
{
    static const char *const names[] = {"raw",   "line",  "varint",   "netstring",
                                        "eof",   "u8",    "u16",      "u32",
                                        "u16le", "u32le", "fixed:64", "delimiter:<>"};

    all->codec_name = names[swarm__below(all, sizeof(names) / sizeof(names[0]))];
    if (gate_codec_parse(&all->codec, all->codec_name) != 0) {
        abort();
    }
}

static void draw_options(swarm *all)
{
    uint32_t timeout_ms = all->strict ? 3600000 : 1 + (uint32_t)swarm__below(all, 5000);
    int is_sized = all->codec_name[0] == 'r' || all->codec_name[0] == 'f';

    all->options = (gate_options){
        .handler = swarm__handle,
        .user = all,
        .codec = &all->codec,
        .workers = swarm__chance(all, 25) ? 2 + (uint32_t)swarm__below(all, 3) : 1,
        .timeout_ms = timeout_ms,
        .drain_timeout_ms = swarm__chance(all, 50) ? 1 + (uint32_t)swarm__below(all, 5000) : 30000,
        .request_max = !is_sized && swarm__chance(all, 50) ? REQUEST_MAX : 0,
        .output_max = swarm__some(all, 30, 500),
        .connections_max = swarm__some(all, 20, 3),
        .peer_connections_max = swarm__some(all, 30, 3),
        .inflight_max = swarm__some(all, 30, 3),
        .log_level = swarm__chance(all, 50) ? GATE_LOG_DEBUG : 0,
        .rate_min = swarm__chance(all, 50) ? RATE_MIN : GATE_NEVER,
    };
    if (swarm__chance(all, 15)) { /* enough for one connection of each worker */
        all->options.buffers_max = all->options.workers * ((20 << 10) + swarm__below(all, 65536));
    }
    all->slow_pct = (int)swarm__some(all, 20, 50);
    all->seen[SWARM_WORKERS] += all->options.workers > 1;
}

static void draw_knobs(swarm *all, sim_knobs *knobs)
{
    sim_knobs_draw(knobs, &all->rng);
    sim_knobs_draw_want(knobs, &all->rng);
    if (knobs->descriptors_max != 0) {
        knobs->descriptors_max += all->options.workers - 1;
    }
    /* Where completions are held, one may wait for those of some other connections. */
    all->tick_ns = 15 * SIM_MS + knobs->late_max_ns + 40 * knobs->held_max_ns;
    if (all->options.rate_min == RATE_MIN) { /* a slice has the time of its bytes besides */
        all->tick_ns += SLICE * (uint64_t)SIM_SECOND / RATE_MIN;
    }
}

/* What the library may hold and have open, with so many connections. */
static void set_limits(swarm *all)
{
    scene *seen = &all->scene;
    uint64_t workers = all->options.workers;
    uint64_t most = PEERS_MAX * (1 + EXTRAS_MAX) + 1;

    if (all->options.connections_max != 0) {
        /* Over several workers it is exact. With one, a connection may come in while the accept is
         * being cancelled, and some may be held. */
        seen->connections_max =
            all->options.connections_max + (workers > 1 ? 0 : 1 + HELD_ROOM_MAX);
    }
    seen->bytes_max = sim_lib_bytes(seen->world) + workers * (128 << 10) + most * (32 << 10);
    if (!all->strict && all->slow_pct == 0) {
        uint64_t longest_ms = all->options.timeout_ms > 1000 ? all->options.timeout_ms : 1000;

        sim_watch_lives(seen->world, longest_ms * SIM_MS + all->tick_ns);
    }
}

/* ---- What happens -------------------------------------------------------------------------- */

static void join(sim_world *world, void *arg)
{
    (void)world;
    swarm__draw_link(arg);
}

static void heal(swarm *all)
{
    sim_heal(all->scene.world);
    all->healed = 1;
    for (int i = 0; i < all->count; i++) {
        swarm__heal_link(&all->links[i]);
    }
}

static void recover(sim_world *world, void *arg)
{
    swarm *all = arg;

    (void)world;
    heal(all);
    all->seen[SWARM_HEALED]++;
}

/* Late answers to the others have been given by then. */
static void probe(sim_world *world, void *arg)
{
    (void)world;
    swarm__add_probe(arg);
}

static void judge_liveness(sim_world *world, void *arg)
{
    (void)world;
    swarm__judge_liveness(arg);
}

static void stop(sim_world *world, void *arg)
{
    (void)world;
    swarm__note_stop(arg);
    scene_stop(&((swarm *)arg)->scene);
}

static void watch(sim_world *world, void *arg)
{
    (void)world;
    swarm__watch(arg);
}

static void plan(swarm *all)
{
    sim_world *world = all->scene.world;
    uint64_t heal_ns = swarm__below(all, 20 * (uint64_t)SIM_SECOND);

    sim_on_run(world, watch, all);
    all->count = 1 + (int)swarm__below(all, PEERS_MAX);
    for (int i = 0; i < all->count; i++) {
        all->links[i].swarm = all;
        all->links[i].id = i;
        sim_in(world, swarm__chance(all, 30) ? swarm__below(all, 2 * (uint64_t)SIM_SECOND) : 0,
               join, &all->links[i]);
    }
    all->early = swarm__chance(all, 50);
    if (!all->early) {
        sim_in(world, heal_ns, recover, all);
        sim_in(world, heal_ns + recovery_ns / 2, probe, all);
        sim_in(world, heal_ns + recovery_ns, judge_liveness, all);
        sim_in(world, heal_ns + recovery_ns + SIM_SECOND, stop, all);
        return;
    }
    all->stop_pct = swarm__chance(all, 25) ? 1 + (int)swarm__below(all, 10) : 0;
    if (swarm__chance(all, 50)) {
        all->seen[SWARM_STOP_AT_STEP]++;
        sim_at_step(world, 1 + swarm__below(all, UINT64_C(16) << swarm__below(all, 8)), stop, all);
    } else {
        all->seen[SWARM_STOP_AT_TIME]++;
        sim_in(world, swarm__below(all, UINT64_C(100) * SIM_MS << swarm__below(all, 8)), stop, all);
    }
    sim_in(world, last_stop_ns, stop, all);
}

static void serve(swarm *all)
{
    set_limits(all);
    plan(all);
    scene_serve(&all->scene);
    sim_at_step(all->scene.world, 0, NULL, NULL);
    if (all->early) {
        heal(all); /* and what is under way arrives */
        all->healed = 0;
    }
    scene_settle(&all->scene, 5 * (uint64_t)SIM_SECOND);
    swarm__judge(all);
}

static void add_up(const swarm *all, swarm_sums *sums)
{
    const scene *seen = &all->scene;

    sums->steps += sim_steps(seen->world);
    for (int knob = 0; knob < SIM_KNOB_COUNT; knob++) {
        sums->fired[knob] += sim_fired(seen->world, (sim_knob)knob);
    }
    for (int event = 0; event < SWARM_EVENT_COUNT; event++) {
        sums->seen[event] += all->seen[event];
    }
    if (all->early && seen->result == 0) {
        sums->drains++;
        sums->drain_requests += all->requests;
        sums->drain_answers += all->answers;
        sums->drain_excused += all->excused;
        if (scene_was_cut(seen)) {
            uint64_t spent_ns = sim_spent(seen->world) - seen->spent_ns;
            uint64_t over_ns = seen->end_ns - seen->stopped_ns - seen->drain_ns;

            over_ns -= over_ns < spent_ns ? over_ns : spent_ns;
            sums->drain_over_ns = over_ns > sums->drain_over_ns ? over_ns : sums->drain_over_ns;
        }
    }
}

uint64_t swarm_run(uint64_t seed, sim_fail *fail, void *arg, swarm_sums *sums)
{
    swarm all = {.strict = 0};
    sim_knobs knobs = {0};
    uint64_t hash;

    sim_rng_init(&all.rng, seed, STREAM_SWARM);
    all.strict = swarm__chance(&all, 75);
    draw_codec(&all);
    draw_options(&all);
    draw_knobs(&all, &knobs);
    scene_open(&all.scene, seed, &knobs, &all.options, 1 + (int)swarm__below(&all, 8));
    sim_on_fail(all.scene.world, fail, arg);
    if (all.scene.result == 0) {
        serve(&all);
    } else {
        all.seen[SWARM_NOT_STARTED]++;
    }
    hash = sim_hash(all.scene.world);
    add_up(&all, sums);
    scene_close(&all.scene);
    for (int i = 0; i < all.count; i++) {
        free(all.links[i].stream);
    }
    return hash;
}
