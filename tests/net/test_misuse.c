/* SPDX-License-Identifier: MIT */

/* Calls that cannot be meant: they say so, and harm nobody. */

#include "net.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- In a handler -------------------------------------------------------------------------- */

static void misuse(gate_request *req, const void *body, size_t len, void *user)
{
    atomic_int *refused = user;
    char text[8];

    *refused += gate_reply(NULL, body, len) == -EINVAL;
    *refused += gate_reply(req, NULL, 1) == -EINVAL;
    *refused += gate_reject(req, NULL, 1) == -EINVAL;
    *refused += gate_reply_borrowed(req, NULL, 1, NULL, NULL) == -EINVAL;
    *refused += gate_reply(req, body, SIZE_MAX) == -ENOMEM;
    *refused += gate_defer(NULL) == -EINVAL;
    *refused += gate_request_peer(NULL, text, sizeof text) == -EINVAL;
    *refused += gate_request_peer(req, NULL, sizeof text) == -EINVAL;
    *refused += gate_request_peer(req, text, 0) == -EINVAL;
    *refused += gate_request_server(NULL) == NULL;
    gate_reply(req, body, len);
}

static void test_a_request_is_still_there_after_calls_that_were_refused(void **state)
{
    (void)state;
    atomic_int refused = 0;
    gate_options options = net_options(misuse, gate_codec_netstring());
    options.user = &refused;
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    net_put(fd, "1:a,");
    net_expect(fd, "1:a,");
    assert_int_equal(refused, 10);
    net_put(fd, "1:b,");
    net_expect(fd, "1:b,");
    net_close(fd);
    net_stop(s);
}

/* ---- The server ---------------------------------------------------------------------------- */

static void test_stats_without_a_size_are_refused(void **state)
{
    (void)state;
    gate_options options = net_options(net_echo, NULL);
    gate_stats stats = {.size = 0};
    gate_server *server;
    assert_int_equal(gate_server_open(&server, &options), 0);
    assert_int_equal(gate_server_stats(server, &stats), -EINVAL);
    assert_int_equal(gate_server_stats(server, NULL), -EINVAL);
    stats.size = sizeof stats;
    assert_int_equal(gate_server_stats(NULL, &stats), -EINVAL);
    assert_int_equal(gate_server_stats(server, &stats), 0);
    gate_server_close(server);
}

static void test_no_server_is_not_served(void **state)
{
    (void)state;
    assert_int_equal(gate_server_serve(NULL), -EINVAL);
    gate_server_stop(NULL);
    gate_server_close(NULL);
    gate_client_close(NULL);
}

static void test_options_out_of_range_are_refused(void **state)
{
    (void)state;
    gate_server *server;
    gate_options many = net_options(net_echo, NULL), loud = many, strange = many;
    many.workers = UINT32_MAX;
    loud.log_level = GATE_LOG_DEBUG + 1;
    strange.io = GATE_IO_URING + 1;
    assert_int_equal(gate_server_open(&server, &many), -EINVAL);
    assert_int_equal(gate_server_open(&server, &loud), -EINVAL);
    assert_int_equal(gate_server_open(&server, &strange), -EINVAL);
}

static void test_limits_may_be_as_large_as_their_type(void **state)
{
    (void)state;
    static char line[400000], reply[sizeof line];
    gate_options options = net_options(net_echo, gate_codec_line());
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\n';
    options.request_max = options.output_max = options.buffers_max = UINT64_MAX;
    options.inflight_max = options.connections_max = UINT32_MAX;
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    net_write(fd, line, sizeof line);
    assert_int_equal(net_read(fd, reply, sizeof reply), sizeof reply);
    assert_memory_equal(reply, line, sizeof line);
    net_close(fd);
    net_stop(s);
}

/* ---- The client ---------------------------------------------------------------------------- */

static void test_a_client_is_still_there_after_calls_that_were_refused(void **state)
{
    (void)state;
    gate_options options = net_options(net_echo, gate_codec_line());
    const gate_client_options ours = {
        .size = sizeof ours, .timeout_ms = GATE_NEVER, .codec = gate_codec_line()};
    net_server *s = net_start(&options);
    gate_client *client;
    char reply[8];
    size_t len = sizeof reply;
    assert_int_equal(gate_client_open(&client, "127.0.0.1", s->port, &ours), 0);
    assert_int_equal(gate_client_call(client, NULL, 1, reply, &len, 0), -EINVAL);
    assert_int_equal(gate_client_call(client, "1", 1, NULL, &len, 0), -EINVAL);
    assert_int_equal(gate_client_call(client, "1", 1, reply, NULL, 0), -EINVAL);
    assert_int_equal(gate_client_call(client, "1", 1, reply, &len, -2), -EINVAL);
    assert_int_equal(gate_client_call(client, "1", 1, reply, &len, 0), 0);
    assert_int_equal(len, 1);
    len = 0;
    assert_int_equal(gate_client_call(client, NULL, 0, NULL, &len, 0), 0);
    assert_int_equal(len, 0);
    gate_client_close(client);
    net_stop(s);
}

/* ---- No limit, where a time-out is an int ---- */

static void answer_and_stop(gate_request *req, const void *body, size_t len, void *user)
{
    (void)user;
    gate_server_stop(gate_request_server(req));
    gate_reply(req, body, len);
}

static atomic_int run_result;

static void *run_without_a_limit(void *addr)
{
    run_result = gate_server_run(addr, 0, 5, (int)GATE_NEVER, answer_and_stop);
    return NULL;
}

static void test_no_limit_is_a_time_out(void **state)
{
    (void)state;
    char addr[64], reply[8];
    pthread_t thread;
    size_t len = sizeof reply;
    snprintf(addr, sizeof addr, "unix:@gate-misuse-%d", (int)getpid());
    run_result = 1;
    assert_int_equal(pthread_create(&thread, NULL, run_without_a_limit, addr), 0);
    do
        len = sizeof reply;
    while (run_result == 1 && gate_client_exchange(addr, 0, "1", 1, reply, &len, -1));
    pthread_join(thread, NULL);
    assert_int_equal(run_result, 0);
    assert_int_equal(len, 1);
    assert_int_equal(gate_client_exchange(addr, 0, "1", 1, reply, &len, -2), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(test_a_request_is_still_there_after_calls_that_were_refused),
        NET_TEST(test_stats_without_a_size_are_refused),
        NET_TEST(test_no_server_is_not_served),
        NET_TEST(test_options_out_of_range_are_refused),
        NET_TEST(test_limits_may_be_as_large_as_their_type),
        NET_TEST(test_a_client_is_still_there_after_calls_that_were_refused),
        NET_TEST(test_no_limit_is_a_time_out),
    };
    return cmocka_run_group_tests_name("misuse", tests, NULL, NULL);
}
