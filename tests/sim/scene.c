/* SPDX-License-Identifier: MIT */
#include "scene.h"

#include <errno.h>
#include <string.h>

#include "server.h"

static void note_event(const gate_event *event, void *arg)
{
    scene *all = arg;

    if (event->reason != 0 && event->reason < GATE_CLOSE_COUNT) {
        all->closed_ns[event->reason] = sim_now(all->world);
        all->closed_by[event->worker]++;
        sim_spend(all->world, all->close_ns);
        if (event->peer[0] == '\0' || event->listener[0] == '\0') {
            sim_failed(all->world, "a close without its %s: %s",
                       event->peer[0] == '\0' ? "peer" : "listener", event->text);
        }
    }
    all->paused += strncmp(event->text, "cannot accept", 13) == 0;
    all->resumed += strncmp(event->text, "accepting again", 15) == 0;
}

/* 1: a knob has made a set-up call fail like this. */
static int was_made_to(const scene *all, int result)
{
    return (result == -ENOMEM && sim_fired(all->world, SIM_ALLOC) > 0) ||
           sim_fired(all->world, SIM_OPEN_FAULT) > 0 ||
           sim_fired(all->world, SIM_LISTEN_FAULT) > 0 ||
           sim_fired(all->world, SIM_THREAD_FAULT) > 0;
}

static void check_nothing_left(scene *all)
{
    gate_server_close(all->server);
    all->server = NULL;
    sim_check_end(all->world);
}

static void check_running(sim_world *world, void *arg)
{
    (void)world;
    scene_check(arg);
}

static int start(scene *all, const gate_options *options, int backlog)
{
    int rc = gate__server_open_on(&all->server, options, 0, sim_io_for, all->world);

    if (rc == 0) {
        rc = gate_server_listen(all->server, "127.0.0.1", 0, backlog);
    }
    return rc;
}

static uint64_t drain_of(const gate_options *options)
{
    uint32_t ms = options->drain_timeout_ms;

    if (ms == 0) {
        ms = 5000; /* whatever the other times are */
    }
    return ms == GATE_NEVER ? UINT64_MAX / 2 : ms * (uint64_t)SIM_MS;
}

void scene_open(scene *all, uint64_t seed, const sim_knobs *knobs, const gate_options *options,
                int backlog)
{
    gate_options mine = *options;

    memset(all, 0, sizeof(*all));
    mine.size = sizeof(mine);
    if (mine.log_level != 0) {
        mine.log = note_event;
        mine.log_user = all;
    }
    all->world = sim_open(seed, knobs);
    all->start_ns = sim_now(all->world);
    all->stopped_ns = UINT64_MAX;
    all->drain_ns = drain_of(options);
    all->result = start(all, &mine, backlog);
    if (all->result == 0) {
        all->addr = sim_addr("127.0.0.1", gate_server_port(all->server));
        sim_on_run(all->world, check_running, all);
    } else if (was_made_to(all, all->result)) {
        check_nothing_left(all);
    } else {
        sim_failed(all->world, "the server does not start: %s", gate_strerror(all->result));
    }
}

sim_peer *scene_peer(scene *all, const char *from)
{
    return sim_peer_connect(all->world, &all->addr, from);
}

void scene_stop(scene *all)
{
    if (all->stopped_ns == UINT64_MAX) {
        all->stopped_ns = sim_now(all->world);
        all->spent_ns = sim_spent(all->world);
    }
    gate_server_stop(all->server);
}

static void stop(sim_world *world, void *arg)
{
    (void)world;
    scene_stop(arg);
}

void scene_stop_in(scene *all, uint64_t ns)
{
    sim_at(all->world, all->start_ns + ns, stop, all);
}

void scene_check(scene *all)
{
    gate_stats stats = {.size = sizeof(stats)};
    uint64_t closed = 0;

    gate_server_stats(all->server, &stats);
    for (int reason = 0; reason < GATE_CLOSE_COUNT; reason++) {
        closed += stats.closed[reason];
    }
    if (stats.closed[GATE_CLOSE_NONE] != 0) {
        sim_failed(all->world, "a connection was closed without a reason");
    } else if (stats.connections + closed != stats.accepted) {
        sim_failed(all->world, "%llu connections accepted, %llu closed, %u counted as open",
                   (unsigned long long)stats.accepted, (unsigned long long)closed,
                   stats.connections);
    } else if (all->connections_max != 0 && stats.connections > all->connections_max) {
        sim_failed(all->world, "%u connections are open, %llu at most may be", stats.connections,
                   (unsigned long long)all->connections_max);
    } else if (all->bytes_max != 0 && sim_lib_bytes(all->world) > all->bytes_max) {
        sim_failed(all->world, "%llu bytes are held for %u connections",
                   (unsigned long long)sim_lib_bytes(all->world), stats.connections);
    }
}

int scene_was_cut(const scene *all)
{
    return all->stopped_ns != UINT64_MAX && all->end_ns >= all->stopped_ns + all->drain_ns;
}

static void check_end(scene *all)
{
    const uint64_t grace_ns = 100 * SIM_MS + sim_spent(all->world) - all->spent_ns;

    scene_check(all);
    if (all->stats.connections != 0 || sim_descriptors(all->world) != 0) {
        sim_failed(all->world, "descriptors are open after the server has stopped");
    }
    if (sim_queue_lost_ns(all->world) < all->stopped_ns && !scene_was_cut(all)) {
        sim_failed(all->world, "a connection was lost in the queue");
    }
    if (all->stopped_ns == UINT64_MAX) {
        sim_failed(all->world, "the server has ended without a stop");
    } else if (all->end_ns > all->stopped_ns + all->drain_ns + grace_ns) {
        sim_failed(all->world, "draining took %.3f s, and %.3f s were given",
                   (double)(all->end_ns - all->stopped_ns) / SIM_SECOND,
                   (double)all->drain_ns / SIM_SECOND);
    }
}

void scene_serve(scene *all)
{
    all->serving = 1;
    all->result = gate_server_serve(all->server);
    all->serving = 0;
    all->end_ns = sim_now(all->world);
    all->stats.size = sizeof(all->stats);
    gate_server_stats(all->server, &all->stats);
    if (all->result == 0) {
        check_end(all);
    } else if (!was_made_to(all, all->result)) {
        sim_failed(all->world, "serving ended with: %s", gate_strerror(all->result));
    }
    check_nothing_left(all);
}

void scene_settle(scene *all, uint64_t ns)
{
    sim_run_until(all->world, NULL, sim_now(all->world) + ns);
}

void scene_close(scene *all)
{
    sim_close(all->world);
}
