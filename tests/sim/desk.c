/* SPDX-License-Identifier: MIT */
#include "desk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void answer(gate_request *req, const void *body, size_t len, void *user)
{
    static char big[4000000];
    desk *all = user;
    char first = len > 0 ? *(const char *)body : '\0';

    all->handled++;
    assert_true(all->scene.serving);
    if (len == 1 && first == '1') {
        assert_int_equal(gate_reply(req, "welcome to server!", 18), 0);
    } else if (first == 'e') {
        assert_int_equal(gate_reply(req, body, len), 0);
    } else if (first == 'b') {
        assert_true(all->reply_len <= sizeof(big));
        assert_int_equal(gate_reply(req, big, all->reply_len), 0);
    } else if (first == 'd') {
        assert_true(all->deferred_count < DEFERRED_MAX);
        assert_int_equal(gate_defer(req), 0);
        all->bodies[all->deferred_count] = len > 1 ? ((const char *)body)[1] : 'd';
        all->deferred[all->deferred_count++] = req;
    } else if (first != 'f') { /* which is forgotten */
        assert_int_equal(gate_reject(req, "please go out!", 14), 0);
    }
}

void desk_open(desk *all, const sim_knobs *knobs, const gate_codec *codec)
{
    all->options.handler = answer;
    all->options.user = all;
    all->options.codec = codec;
    if (all->options.log_level == 0) {
        all->options.log_level = GATE_LOG_DEBUG;
    }
    scene_open(&all->scene, 1, knobs, &all->options, all->backlog ? all->backlog : 5);
}

void desk_answer_late(sim_world *world, void *arg)
{
    late *one = arg;
    desk *all = one->desk;

    (void)world;
    all->answer_result =
        gate_reply(all->deferred[one->index], &all->bodies[one->index], !one->empty);
}

void desk_reset(sim_world *world, void *arg)
{
    (void)world;
    sim_peer_reset(arg);
}

void desk_close_peer(sim_world *world, void *arg)
{
    (void)world;
    sim_peer_close(arg);
}

void desk_send(sim_world *world, void *arg)
{
    line *one = arg;

    (void)world;
    sim_peer_send(one->peer, one->text, strlen(one->text));
}

void desk_got(const sim_peer *peer, const char *text)
{
    if (peer->got_len != strlen(text) ||
        (peer->got_len > 0 && memcmp(peer->got, text, peer->got_len) != 0)) {
        fail_msg("got %zu bytes \"%.*s\" instead of \"%s\"", peer->got_len, (int)peer->got_len,
                 peer->got ? (const char *)peer->got : "", text);
    }
}

sim_peer *desk_serve_one(desk *all, const sim_knobs *knobs, const gate_codec *codec,
                         const char *text, int half_close)
{
    sim_peer *peer;

    desk_open(all, knobs, codec);
    peer = scene_peer(&all->scene, NULL);
    sim_peer_send(peer, text, strlen(text));
    if (half_close) {
        sim_peer_half_close(peer);
    }
    scene_stop_in(&all->scene, 20 * (uint64_t)SIM_SECOND);
    scene_serve(&all->scene);
    return peer;
}
