/* SPDX-License-Identifier: MIT */

/* Limits that hold whatever asks for more: listeners, codecs, memory. */

#include "net.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- Connections ---- */

static void note_connections(gate_request *req, const void *body, size_t len, void *user)
{
    atomic_uint *most = user;
    gate_stats stats = {.size = sizeof stats};
    gate_server_stats(gate_request_server(req), &stats);
    if (stats.connections > *most)
        *most = stats.connections;
    gate_reply(req, body, len);
}

/* They all wait before serving starts, so that the first turn could take one of each. */
static void test_several_listeners_share_the_most_connections(void **state)
{
    enum { LISTENERS = 4 };
    atomic_uint most = 0;
    int fds[LISTENERS];
    gate_server *server;
    gate_options options = net_options(note_connections, NULL);
    options.user = &most;
    options.io = net_io(state);
    options.connections_max = 1;
    assert_int_equal(gate_server_open(&server, &options), 0);
    for (int i = 0; i < LISTENERS; i++) {
        uint16_t port;
        assert_int_equal(gate_server_listen_fd(server, net_listen(&port, 5)), 0);
        fds[i] = net_connect(port);
        net_put(fds[i], "1");
    }
    net_server *s = net_serve(server);
    for (int i = 0; i < LISTENERS; i++) {
        net_expect(fds[i], "1");
        net_expect_end(fds[i]);
        net_close(fds[i]);
    }
    assert_int_equal(most, 1);
    net_stop(s);
}

/* ---- Request bytes ---- */

static void reply_length(gate_request *req, const void *body, size_t len, void *user)
{
    (void)body;
    uint32_t length = (uint32_t)len;
    *(atomic_size_t *)user = len;
    gate_reply(req, &length, sizeof length);
}

static void test_a_fixed_size_is_its_own_default_limit(void **state)
{
    (void)state;
    static const char request[2000000];
    atomic_size_t got = 0;
    uint32_t reply;
    gate_codec codec;
    assert_int_equal(gate_codec_fixed(&codec, sizeof request), 0);
    codec.encode = NULL; /* the reply has another size */
    gate_options options = net_options(reply_length, &codec);
    options.user = &got;
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    for (int i = 0; i < 2; i++) {
        net_write(fd, request, sizeof request);
        assert_int_equal(net_read(fd, &reply, sizeof reply), sizeof reply);
        assert_int_equal(reply, sizeof request);
    }
    assert_int_equal(got, sizeof request);
    net_close(fd);
    net_stop(s);
}

static int decode_never(const gate_codec *codec, const uint8_t *input, size_t len, size_t body_max,
                        int eof, gate_frame *frame)
{
    (void)codec, (void)input, (void)body_max, (void)eof;
    frame->scanned = len;
    return 0;
}

static void test_a_codec_that_never_finds_an_end_is_cut_off(void **state)
{
    static const char part[1 << 16];
    const gate_codec codec = {.size = sizeof codec, .decode = decode_never};
    gate_options options = net_options(net_echo, &codec);
    options.io = net_io(state);
    options.request_max = 1000;
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    for (int i = 0; i < 512; i++)
        if (send(fd, part, sizeof part, MSG_NOSIGNAL) < 0)
            break;
    net_expect_gone(fd);
    net_close(fd);
    NET_UNTIL(net_stats(s).connections == 0);
    assert_int_equal(net_stats(s).closed[GATE_CLOSE_TOO_BIG], 1);
    assert_true(net_stats(s).bytes_in < 1 << 20);
    assert_int_equal(net_stats(s).requests, 0);
    net_stop(s);
}

/* ---- Memory ---- */

static void test_who_takes_the_buffers_over_their_limit_is_closed_alone(void **state)
{
    gate_options options = net_options(net_echo, gate_codec_line());
    options.io = net_io(state);
    options.buffers_max = 1000; /* one part of a request, not two */
    net_server *s = net_start(&options);
    int first = net_connect(s->port);
    net_put(first, "be");
    NET_UNTIL(net_stats(s).bytes_in == 2);
    int second = net_connect(s->port);
    net_put(second, "be");
    net_expect_gone(second);
    net_close(second);
    NET_UNTIL(net_stats(s).connections == 1);
    assert_int_equal(net_stats(s).closed[GATE_CLOSE_NO_MEMORY], 1);
    net_close(first);
    net_stop(s);
}

/* Both wait before serving starts, so that one turn has the bytes of both. */
static void test_who_is_closed_for_the_buffers_gives_them_back_at_once(void **state)
{
    char part[8000];
    uint16_t port;
    gate_server *server;
    gate_options options = net_options(net_echo, gate_codec_line());
    options.io = net_io(state);
    options.buffers_max = sizeof part;
    memset(part, 'a', sizeof part);
    assert_int_equal(gate_server_open(&server, &options), 0);
    assert_int_equal(gate_server_listen_fd(server, net_listen(&port, 5)), 0);
    int greedy = net_connect(port), honest = net_connect(port);
    net_write(greedy, part, sizeof part);
    net_put(honest, "1\n");
    net_server *s = net_serve(server);
    net_expect(honest, "1\n");
    net_expect_gone(greedy);
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_NO_MEMORY] == 1);
    net_close(greedy);
    net_close(honest);
    net_stop(s);
}

static atomic_int no_slots;

/* In place of the library's: requests have their room from here. */
void *aligned_alloc(size_t alignment, size_t size)
{
    void *bytes;
    return no_slots || posix_memalign(&bytes, alignment, size) ? NULL : bytes;
}

static void count_run(gate_request *req, const void *body, size_t len, void *user)
{
    ++*(atomic_int *)user;
    if (len == 2)
        gate_reject(req, body, len);
    else
        gate_reply(req, body, len);
}

static void test_requests_are_those_that_the_handler_was_given(void **state)
{
    (void)state;
    const char *preload = getenv("LD_PRELOAD");
    if (preload && strstr(preload, "vgpreload"))
        skip(); /* valgrind puts its own in place of ours */
    atomic_int runs = 0;
    gate_options options = net_options(count_run, gate_codec_line());
    options.user = &runs;
    net_server *s = net_start(&options);
    no_slots = 1;
    int fd = net_connect(s->port);
    net_put(fd, "lost\n");
    net_expect_gone(fd);
    net_close(fd);
    no_slots = 0;
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_NO_MEMORY] == 1);
    assert_int_equal(runs, 0);
    assert_int_equal(net_stats(s).requests, 0);
    fd = net_connect(s->port);
    net_put(fd, "one\ntwo\nno\nfour\n"); /* none is handled behind the rejection */
    net_expect(fd, "one\ntwo\nno\n");
    net_expect_end(fd);
    net_close(fd);
    assert_int_equal(runs, 3);
    assert_int_equal(net_stats(s).requests, 3);
    assert_int_equal(net_stats(s).replies, 2);
    assert_int_equal(net_stats(s).rejections, 1);
    net_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST_EACH_IO(test_several_listeners_share_the_most_connections),
        NET_TEST(test_a_fixed_size_is_its_own_default_limit),
        NET_TEST_EACH_IO(test_a_codec_that_never_finds_an_end_is_cut_off),
        NET_TEST_EACH_IO(test_who_takes_the_buffers_over_their_limit_is_closed_alone),
        NET_TEST_EACH_IO(test_who_is_closed_for_the_buffers_gives_them_back_at_once),
        NET_TEST(test_requests_are_those_that_the_handler_was_given),
    };
    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
