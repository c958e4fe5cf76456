/* SPDX-License-Identifier: MIT */

/* The real server that a client meets. Its handler knows a request by its first byte. */

#include <stdlib.h>
#include <string.h>

#include "calls.h"
#include "lib_calls.h"
#include "scene.h"

typedef struct ticket {
    calls *all;
    gate_request *req;
    int index;
} ticket;

struct calls_server {
    scene scene;
    calls *all;
    pthread_t thread; /* a fiber: the client's waiting gives it its turns */
    ticket tickets[CALLS_MAX];
};

static void answer(calls *all, gate_request *req, int index)
{
    int rc = gate_reply(req, all->calls[index].reply, all->calls[index].reply_len);

    if (rc != 0 && rc != GATE_EGONE) {
        sim_failed(all->world, "an answer failed: %s", gate_strerror(rc));
    }
}

static void answer_late(sim_world *world, void *arg)
{
    ticket *one = arg;

    (void)world;
    answer(one->all, one->req, one->index);
}

static int check_request(calls *all, const uint8_t *body, size_t len)
{
    int index = len > 0 ? body[0] - 'A' : -1;
    call *asked;

    if (index < 0 || index >= all->count) {
        sim_failed(all->world, "%s: a request that nobody made", all->codec_name);
        return -1;
    }
    asked = &all->calls[index];
    if (all->codec_name[0] == 'r' && len < asked->request_len) {
        all->cut_raw = 1;
    } else if (len != asked->request_len) {
        sim_failed(all->world, "%s: request %d has another length", all->codec_name, index);
        return -1;
    }
    if (memcmp(body, asked->request, len) != 0 || ++asked->ran > 1) {
        sim_failed(all->world, "%s: request %d came damaged, or twice", all->codec_name, index);
        return -1;
    }
    return index;
}

static void handle(gate_request *req, const void *body, size_t len, void *user)
{
    calls_server *server = user;
    calls *all = server->all;
    int index = check_request(all, body, len);

    if (index < 0) {
        return;
    }
    if (sim_rng_chance(&all->rng, 70)) {
        answer(all, req, index);
    } else if (gate_defer(req) == 0) {
        server->tickets[index] = (ticket){.all = all, .req = req, .index = index};
        sim_in(all->world, sim_rng_below(&all->rng, 2 * (uint64_t)SIM_SECOND), answer_late,
               &server->tickets[index]);
    }
}

static void *serve(void *arg)
{
    scene_serve(arg);
    return NULL;
}

calls_server *calls_server_open(calls *all, uint64_t seed, const sim_knobs *knobs)
{
    calls_server *server = calloc(1, sizeof(*server));
    gate_options options = {.handler = handle, .user = server, .codec = &all->codec};

    if (server == NULL) {
        abort();
    }
    server->all = all;
    options.timeout_ms = all->strict ? 3600000 : 1 + (uint32_t)sim_rng_below(&all->rng, 5000);
    options.drain_timeout_ms = 5000;
    scene_open(&server->scene, seed, knobs, &options, 5);
    all->world = server->scene.world;
    all->addr = server->scene.addr;
    sim_lib_pthread_create(&server->thread, NULL, serve, &server->scene);
    return server;
}

void calls_server_close(calls_server *server)
{
    scene_stop(&server->scene);
    sim_lib_pthread_join(server->thread, NULL);
    free(server);
}
