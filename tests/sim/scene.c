/* SPDX-License-Identifier: MIT */
#include "scene.h"

#include <arpa/inet.h>
#include <string.h>

#include "server.h"

static void note_close(const gate_event *event, void *arg)
{
    scene *all = arg;

    if (event->reason != 0 && event->reason < GATE_CLOSE_COUNT) {
        all->closed_ns[event->reason] = sim_now(all->world);
    }
}

void scene_open(scene *all, uint64_t seed, const sim_knobs *knobs, const gate_options *options,
                int backlog)
{
    gate_options mine = *options;
    int rc;

    memset(all, 0, sizeof(*all));
    mine.size = sizeof(mine);
    if (mine.log_level != 0) {
        mine.log = note_close;
        mine.log_user = all;
    }
    all->world = sim_open(seed, knobs);
    all->start_ns = sim_now(all->world);
    rc = gate__server_open_on(&all->server, &mine, sim_io_for, all->world);
    if (rc == 0) {
        rc = gate_server_listen(all->server, "127.0.0.1", 0, backlog);
    }
    if (rc != 0) {
        sim_failed(all->world, "the server does not start: %s", gate_strerror(rc));
    }
    all->addr = sim_addr("127.0.0.1", gate_server_port(all->server));
}

sim_peer *scene_peer(scene *all, const char *from)
{
    return sim_peer_connect(all->world, &all->addr, from);
}

static void stop(sim_world *world, void *arg)
{
    scene *all = arg;

    (void)world;
    gate_server_stop(all->server);
}

void scene_stop_in(scene *all, uint64_t ns)
{
    sim_at(all->world, all->start_ns + ns, stop, all);
}

static void check_counts(scene *all)
{
    uint64_t closed = 0;

    for (int reason = 0; reason < GATE_CLOSE_COUNT; reason++) {
        closed += all->stats.closed[reason];
    }
    if (all->stats.closed[GATE_CLOSE_NONE] != 0) {
        sim_failed(all->world, "a connection was closed without a reason");
    }
    if (all->stats.connections != 0 || closed != all->stats.accepted) {
        sim_failed(all->world, "%llu connections accepted, %llu closed, %u counted as open",
                   (unsigned long long)all->stats.accepted, (unsigned long long)closed,
                   all->stats.connections);
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
        check_counts(all);
        if (sim_descriptors(all->world) != 0) {
            sim_failed(all->world, "descriptors are open after the server has stopped");
        }
        if (sim_queue_lost(all->world) != 0) {
            sim_failed(all->world, "%llu connections were lost in the queue",
                       (unsigned long long)sim_queue_lost(all->world));
        }
    } else {
        sim_failed(all->world, "serving ended with: %s", gate_strerror(all->result));
    }
    gate_server_close(all->server);
    all->server = NULL;
    sim_check_end(all->world);
}

void scene_close(scene *all)
{
    sim_close(all->world);
}
