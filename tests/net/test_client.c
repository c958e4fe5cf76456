/* SPDX-License-Identifier: MIT */

/* What the client says became of a request, against peers that play each part. */

#include "net.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- A peer with a script ---- */

enum { CLOSE, RESET, HOLD }; /* HOLD: until the client closes */

typedef struct act {
    size_t reads; /* bytes; SIZE_MAX: to the end */
    const char *writes;
    int then;
} act;

typedef struct peer {
    const act *acts; /* one for each connection */
    size_t count;
    int fd;
    uint16_t port;
    pthread_t thread;
    char got[256]; /* of the last connection */
    size_t got_len;
    atomic_int connections;
    atomic_int ended;
} peer;

static void play(peer *p, const act *part, int fd)
{
    const struct linger reset = {.l_onoff = 1};
    char rest[256];
    p->got_len = 0;
    while (p->got_len < part->reads) {
        ssize_t got = recv(fd, p->got + p->got_len, sizeof p->got - p->got_len, 0);
        if (got <= 0)
            break;
        p->got_len += (size_t)got;
    }
    if (part->writes && send(fd, part->writes, strlen(part->writes), MSG_NOSIGNAL) < 0)
        p->connections = -1;
    while (part->then == HOLD && recv(fd, rest, sizeof rest, 0) > 0)
        ;
    if (part->then == RESET)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
    p->ended++;
}

static void *perform(void *arg)
{
    peer *p = arg;
    for (size_t i = 0; i < p->count; i++) {
        int fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            break;
        p->connections++;
        play(p, &p->acts[i], fd);
    }
    return NULL;
}

static void start_peer(peer *p, const act *acts, size_t count)
{
    *p = (peer){.acts = acts, .count = count};
    p->fd = net_listen(&p->port, 5);
    assert_int_equal(pthread_create(&p->thread, NULL, perform, p), 0);
}

static void end_peer(peer *p)
{
    shutdown(p->fd, SHUT_RDWR); /* ends an accept that waits in vain */
    pthread_join(p->thread, NULL);
    net_close(p->fd);
}

/* ---- One exchange, and what it comes to ---- */

typedef struct fate {
    act part;
    const gate_codec *codec; /* NULL: raw */
    size_t room;
    int timeout_ms;
    int code;
    int outcome;
    const char *reply;
} fate;

static void assert_fate(const fate *f)
{
    peer p;
    char reply[64];
    size_t len = f->room;
    const gate_client_options options = {.size = sizeof options, .codec = f->codec};
    gate_client *client;
    start_peer(&p, &f->part, 1);
    assert_int_equal(gate_client_open(&client, "127.0.0.1", p.port, &options), 0);
    int rc = gate_client_call(client, "hi", 2, reply, &len, f->timeout_ms);
    gate_client_close(client);
    end_peer(&p);
    assert_int_equal(rc, f->code);
    assert_int_equal(gate_outcome(rc), f->outcome);
    assert_int_equal(len, strlen(f->reply));
    assert_memory_equal(reply, f->reply, len);
}

static void test_a_raw_exchange_ends_as_it_says(void **state)
{
    (void)state;
    static const fate fates[] = {
        {{2, "hello", CLOSE}, NULL, 64, 20000, 0, GATE_ANSWERED, "hello"},
        {{2, "hello", CLOSE}, NULL, 5, 20000, 0, GATE_ANSWERED, "hello"},
        {{2, "hello", CLOSE}, NULL, 4, 20000, GATE_EROOM, GATE_ANSWERED, "hell"},
        {{2, "hello", HOLD}, NULL, 4, 20000, GATE_EROOM, GATE_ANSWERED, "hell"},
        {{2, "hello", CLOSE}, NULL, 0, 20000, GATE_EROOM, GATE_ANSWERED, ""},
        {{2, NULL, CLOSE}, NULL, 64, 20000, GATE_ECLOSED, GATE_MAYBE_EXECUTED, ""},
        {{2, NULL, RESET}, NULL, 64, 20000, GATE_ECLOSED, GATE_MAYBE_EXECUTED, ""},
        {{2, "half", RESET}, NULL, 64, 20000, GATE_ETRUNCATED, GATE_MAYBE_EXECUTED, "half"},
        {{2, NULL, HOLD}, NULL, 64, 150, GATE_ELATE, GATE_MAYBE_EXECUTED, ""},
        {{2, "half", HOLD}, NULL, 64, 150, GATE_ELATE, GATE_MAYBE_EXECUTED, "half"},
    };
    for (size_t i = 0; i < sizeof fates / sizeof fates[0]; i++)
        assert_fate(&fates[i]);
}

static void test_a_framed_exchange_ends_as_it_says(void **state)
{
    (void)state;
    const gate_codec *line = gate_codec_line(), *net = gate_codec_netstring();
    const fate fates[] = {
        {{3, "hello\n", HOLD}, line, 64, 20000, 0, GATE_ANSWERED, "hello"},
        {{5, "5:hello,", HOLD}, net, 5, 20000, 0, GATE_ANSWERED, "hello"},
        {{5, "0:,", HOLD}, net, 0, 20000, 0, GATE_ANSWERED, ""},
        {{5, "5:hello,", HOLD}, net, 4, 20000, GATE_EROOM, GATE_ANSWERED, ""},
        {{5, "5:hell", CLOSE}, net, 64, 20000, GATE_ETRUNCATED, GATE_MAYBE_EXECUTED, ""},
        {{5, "5:hell", RESET}, net, 64, 20000, GATE_ETRUNCATED, GATE_MAYBE_EXECUTED, ""},
        {{5, NULL, CLOSE}, net, 64, 20000, GATE_ECLOSED, GATE_MAYBE_EXECUTED, ""},
        {{5, NULL, RESET}, net, 64, 20000, GATE_ECLOSED, GATE_MAYBE_EXECUTED, ""},
        {{5, "5:hell", HOLD}, net, 64, 150, GATE_ELATE, GATE_MAYBE_EXECUTED, ""},
        {{5, "05:hello,", HOLD}, net, 64, 20000, GATE_EFRAME, GATE_MAYBE_EXECUTED, ""},
    };
    for (size_t i = 0; i < sizeof fates / sizeof fates[0]; i++)
        assert_fate(&fates[i]);
}

static void test_nobody_there_means_not_sent(void **state)
{
    (void)state;
    uint16_t port;
    char reply[8];
    size_t len = sizeof reply;
    net_close(net_listen(&port, 5)); /* a port that was free a moment ago */
    int rc = gate_client_exchange("127.0.0.1", port, "1", 1, reply, &len, 20000);
    assert_int_equal(rc, -ECONNREFUSED);
    assert_int_equal(gate_outcome(rc), GATE_NOT_SENT);
    assert_int_equal(len, 0);
    gate_client *client = (gate_client *)(uintptr_t)1;
    assert_int_equal(gate_client_open(&client, "127.0.0.1", port, NULL), -ECONNREFUSED);
    assert_null(client);
}

static void test_a_peer_that_does_not_accept_is_given_up_in_time(void **state)
{
    (void)state;
    uint16_t port;
    char reply[8];
    int fds[8];
    int listener = net_listen(&port, 0);
    for (int i = 0; i < 8; i++) { /* fill the queue: the next ones hang */
        struct sockaddr_storage addr;
        socklen_t len = sizeof addr;
        assert_int_equal(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(fds[i], (struct sockaddr *)&addr, len);
    }
    uint64_t start = net_now_ms();
    size_t len = sizeof reply;
    int rc = gate_client_exchange("127.0.0.1", port, "1", 1, reply, &len, 200);
    uint64_t took = net_now_ms() - start;
    assert_int_equal(rc, -ETIMEDOUT);
    assert_int_equal(gate_outcome(rc), GATE_NOT_SENT);
    assert_true(took >= 199 && took < 20000);
    for (int i = 0; i < 8; i++)
        net_close(fds[i]);
    net_close(listener);
}

/* A peer that takes nothing in: part of the request is gone, so it is late and not "not sent". */
static void test_a_request_that_is_not_taken_in_time_is_late(void **state)
{
    (void)state;
    static const size_t huge = (size_t)64 << 20;
    uint16_t port;
    char reply[8];
    size_t len = sizeof reply;
    int listener = net_listen(&port, 5);
    char *request = calloc(1, huge);
    assert_non_null(request);
    int rc = gate_client_exchange("127.0.0.1", port, request, huge, reply, &len, 300);
    assert_int_equal(rc, GATE_ELATE);
    assert_int_equal(gate_outcome(rc), GATE_MAYBE_EXECUTED);
    free(request);
    net_close(listener);
}

/* The end of what the client sends would say that this is all of the request. */
static void test_a_request_that_was_cut_ends_with_a_reset(void **state)
{
    (void)state;
    static char request[64 << 20];
    const gate_client_options with = {.size = sizeof with, .codec = gate_codec_eof()};
    gate_client *client;
    size_t len = 0;
    uint16_t port;
    int listener = net_listen(&port, 5);
    assert_int_equal(gate_client_open(&client, "127.0.0.1", port, &with), 0);
    assert_int_equal(gate_client_call(client, request, sizeof request, NULL, &len, 100),
                     GATE_ELATE);
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    errno = 0;
    while (recv(fd, request, sizeof request, 0) > 0)
        ;
    assert_int_equal(errno, ECONNRESET);
    gate_client_close(client);
    net_close(fd);
    net_close(listener);
}

/* It answers without reading on, and closes: the answer counts, not that the rest was not taken. */
static void test_an_answer_before_the_request_was_read_is_an_answer(void **state)
{
    (void)state;
    static const act part = {10, "too much", HOLD};
    static char request[1 << 20];
    peer p;
    char reply[8];
    size_t len = sizeof reply;
    start_peer(&p, &part, 1);
    int rc = gate_client_exchange("127.0.0.1", p.port, request, sizeof request, reply, &len, 300);
    end_peer(&p);
    assert_int_equal(rc, GATE_ELATE); /* it holds the connection, and raw ends with the close */
    assert_int_equal(len, 8);
    assert_memory_equal(reply, "too much", 8);
}

/* The reset that ends the request tells that the reply is not whole, whatever came before it. */
static void test_half_a_reply_to_half_a_request_is_truncated(void **state)
{
    (void)state;
    static const act acts[] = {{10, "half", RESET}, {10, NULL, RESET}};
    static const size_t huge = (size_t)64 << 20;
    const gate_codec *codecs[] = {gate_codec_raw(), gate_codec_eof()};
    char *request = calloc(1, huge);
    assert_non_null(request);
    for (int i = 0; i < 4; i++) {
        peer p;
        char reply[64];
        size_t len = sizeof reply;
        gate_client *client;
        const gate_client_options with = {.size = sizeof with, .codec = codecs[i / 2]};
        start_peer(&p, &acts[i % 2], 1);
        assert_int_equal(gate_client_open(&client, "127.0.0.1", p.port, &with), 0);
        int rc = gate_client_call(client, request, huge, reply, &len, 20000);
        gate_client_close(client);
        end_peer(&p);
        assert_int_equal(rc, i % 2 ? GATE_ECLOSED : GATE_ETRUNCATED);
        assert_int_equal(gate_outcome(rc), GATE_MAYBE_EXECUTED);
        assert_int_equal(len, i % 2 ? 0 : 4);
    }
    free(request);
}

/* ---- Connections ---- */

static void test_framed_calls_share_one_connection(void **state)
{
    (void)state;
    const gate_client_options with = {.size = sizeof with, .codec = gate_codec_line()};
    gate_options options = net_options(net_echo, gate_codec_line());
    net_server *s = net_start(&options);
    gate_client *client;
    assert_int_equal(gate_client_open(&client, "127.0.0.1", s->port, &with), 0);
    for (int i = 0; i < 100; i++) {
        char reply[8];
        size_t len = sizeof reply;
        assert_int_equal(gate_client_call(client, "ping", 4, reply, &len, 20000), 0);
        assert_int_equal(len, 4);
        assert_memory_equal(reply, "ping", 4);
    }
    assert_int_equal(net_stats(s).accepted, 1);
    assert_int_equal(net_stats(s).requests, 100);
    gate_client_close(client);
    net_stop(s);
}

static void test_one_shot_calls_connect_anew(void **state)
{
    (void)state;
    gate_options options = net_options(net_echo, NULL);
    net_server *s = net_start(&options);
    gate_client *client;
    assert_int_equal(gate_client_open(&client, "127.0.0.1", s->port, NULL), 0);
    for (int i = 0; i < 10; i++) {
        char reply[8];
        size_t len = sizeof reply;
        assert_int_equal(gate_client_call(client, "ping", 4, reply, &len, 20000), 0);
        assert_int_equal(len, 4);
    }
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_ANSWERED] == 10);
    assert_int_equal(net_stats(s).accepted, 10);
    gate_client_close(client);
    gate_client_close(NULL);
    net_stop(s);
}

static void test_after_a_failure_the_next_call_connects_anew(void **state)
{
    (void)state;
    static const act acts[] = {{3, "tr", CLOSE}, {3, "ok\nmore\n", HOLD}, {3, "fine\n", HOLD}};
    const gate_client_options with = {.size = sizeof with, .codec = gate_codec_line()};
    peer p;
    gate_client *client;
    char reply[8];
    start_peer(&p, acts, 3);
    assert_int_equal(gate_client_open(&client, "127.0.0.1", p.port, &with), 0);
    size_t len = sizeof reply;
    assert_int_equal(gate_client_call(client, "hi", 2, reply, &len, 20000), GATE_ETRUNCATED);
    len = sizeof reply;
    assert_int_equal(gate_client_call(client, "hi", 2, reply, &len, 20000), 0);
    assert_memory_equal(reply, "ok", len);
    len = sizeof reply; /* "more" was not asked for: it must not become this call's reply */
    assert_int_equal(gate_client_call(client, "hi", 2, reply, &len, 20000), 0);
    assert_memory_equal(reply, "fine", len);
    gate_client_close(client);
    assert_int_equal(p.connections, 3);
    end_peer(&p);
}

static void test_a_kept_connection_that_the_peer_has_closed_is_replaced(void **state)
{
    (void)state;
    static const act acts[] = {{3, "ok\n", CLOSE}, {3, "fine\n", HOLD}};
    const gate_client_options with = {.size = sizeof with, .codec = gate_codec_line()};
    peer p;
    gate_client *client;
    char reply[8];
    size_t len = sizeof reply;
    start_peer(&p, acts, 2);
    assert_int_equal(gate_client_open(&client, "127.0.0.1", p.port, &with), 0);
    assert_int_equal(gate_client_call(client, "hi", 2, reply, &len, 20000), 0);
    NET_UNTIL(p.ended == 1);
    len = sizeof reply;
    assert_int_equal(gate_client_call(client, "hi", 2, reply, &len, 20000), 0);
    assert_int_equal(len, 4);
    assert_memory_equal(reply, "fine", len);
    gate_client_close(client);
    assert_int_equal(p.connections, 2);
    end_peer(&p);
}

/* Nothing says that it was closed for idleness: the peer may be one that refuses us. */
static void test_a_new_connection_that_the_peer_has_closed_is_an_error(void **state)
{
    (void)state;
    static const act acts[] = {{0, NULL, CLOSE}, {3, "ok\n", HOLD}};
    const gate_client_options with = {.size = sizeof with, .codec = gate_codec_line()};
    peer p;
    gate_client *client;
    char reply[8];
    size_t len = sizeof reply;
    start_peer(&p, acts, 2);
    assert_int_equal(gate_client_open(&client, "127.0.0.1", p.port, &with), 0);
    NET_UNTIL(p.ended == 1);
    assert_int_equal(gate_client_call(client, "hi", 2, reply, &len, 20000), GATE_ECLOSED);
    assert_int_equal(p.connections, 1);
    len = sizeof reply;
    assert_int_equal(gate_client_call(client, "hi", 2, reply, &len, 20000), 0);
    gate_client_close(client);
    assert_int_equal(p.connections, 2);
    end_peer(&p);
}

static void test_until_eof_ends_our_side_behind_the_request(void **state)
{
    (void)state;
    static const act part = {SIZE_MAX, "all read", CLOSE};
    const gate_client_options with = {.size = sizeof with, .codec = gate_codec_eof()};
    peer p;
    gate_client *client;
    char reply[16];
    size_t len = sizeof reply;
    start_peer(&p, &part, 1);
    assert_int_equal(gate_client_open(&client, "127.0.0.1", p.port, &with), 0);
    assert_int_equal(gate_client_call(client, "whole", 5, reply, &len, 20000), 0);
    assert_int_equal(len, 8);
    gate_client_close(client);
    end_peer(&p);
    assert_int_equal(p.got_len, 5);
}

static void test_a_large_exchange_is_whole(void **state)
{
    (void)state;
    static const size_t size = (size_t)4 << 20;
    const gate_client_options with = {.size = sizeof with, .codec = gate_codec_prefix_be(4)};
    gate_options options = net_options(net_echo, gate_codec_prefix_be(4));
    options.request_max = size;
    net_server *s = net_start(&options);
    uint8_t *request = malloc(size), *reply = malloc(size);
    assert_true(request && reply);
    for (size_t i = 0; i < size; i++)
        request[i] = (uint8_t)(i * 7 + (i >> 12));
    gate_client *client;
    assert_int_equal(gate_client_open(&client, "127.0.0.1", s->port, &with), 0);
    for (int i = 0; i < 3; i++) {
        size_t len = size;
        assert_int_equal(gate_client_call(client, request, size, reply, &len, 20000), 0);
        assert_int_equal(len, size);
        assert_memory_equal(reply, request, size);
    }
    gate_client_close(client);
    free(request);
    free(reply);
    net_stop(s);
}

/* ---- Misuse ---- */

static void test_arguments_that_mean_nothing_are_refused(void **state)
{
    (void)state;
    char reply[8], long_name[300];
    size_t len = sizeof reply;
    gate_client *client;
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    assert_int_equal(gate_client_exchange(NULL, 1, "1", 1, reply, &len, 0), -EINVAL);
    assert_int_equal(gate_client_exchange("", 1, "1", 1, reply, &len, 0), -EINVAL);
    len = sizeof reply;
    assert_int_equal(gate_client_exchange("127.0.0.1", 1, NULL, 1, reply, &len, 0), -EINVAL);
    assert_int_equal(gate_client_exchange("127.0.0.1", 1, "1", 1, NULL, &len, 0), -EINVAL);
    assert_int_equal(gate_client_exchange("127.0.0.1", 1, "1", 1, reply, NULL, 0), -EINVAL);
    assert_int_equal(gate_client_exchange("127.0.0.1", 1, "1", 1, reply, &len, -2), -EINVAL);
    assert_int_equal(gate_client_exchange(long_name, 1, "1", 1, reply, &len, 0), -ENAMETOOLONG);
    assert_int_equal(gate_client_open(NULL, "127.0.0.1", 1, NULL), -EINVAL);
    const gate_client_options odd = {.size = 3};
    assert_int_equal(gate_client_open(&client, "127.0.0.1", 1, &odd), -EINVAL);
    assert_int_equal(gate_client_call(NULL, "1", 1, reply, &len, 0), -EINVAL);
}

static void test_a_request_that_cannot_be_framed_leaves_the_connection_open(void **state)
{
    (void)state;
    const gate_client_options with = {.size = sizeof with, .codec = gate_codec_prefix_be(1)};
    gate_options options = net_options(net_echo, gate_codec_prefix_be(1));
    net_server *s = net_start(&options);
    static const char large[300];
    char reply[8];
    size_t len = sizeof reply;
    gate_client *client;
    assert_int_equal(gate_client_open(&client, "127.0.0.1", s->port, &with), 0);
    assert_int_equal(gate_client_call(client, large, sizeof large, reply, &len, 0), -EMSGSIZE);
    len = sizeof reply;
    assert_int_equal(gate_client_call(client, "ok", 2, reply, &len, 20000), 0);
    assert_int_equal(net_stats(s).accepted, 1);
    gate_client_close(client);
    net_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(test_a_raw_exchange_ends_as_it_says),
        NET_TEST(test_a_framed_exchange_ends_as_it_says),
        NET_TEST(test_nobody_there_means_not_sent),
        NET_TEST(test_a_peer_that_does_not_accept_is_given_up_in_time),
        NET_TEST(test_a_request_that_is_not_taken_in_time_is_late),
        NET_TEST(test_a_request_that_was_cut_ends_with_a_reset),
        NET_TEST(test_an_answer_before_the_request_was_read_is_an_answer),
        NET_TEST(test_half_a_reply_to_half_a_request_is_truncated),
        NET_TEST(test_framed_calls_share_one_connection),
        NET_TEST(test_one_shot_calls_connect_anew),
        NET_TEST(test_after_a_failure_the_next_call_connects_anew),
        NET_TEST(test_a_kept_connection_that_the_peer_has_closed_is_replaced),
        NET_TEST(test_a_new_connection_that_the_peer_has_closed_is_an_error),
        NET_TEST(test_until_eof_ends_our_side_behind_the_request),
        NET_TEST(test_a_large_exchange_is_whole),
        NET_TEST(test_arguments_that_mean_nothing_are_refused),
        NET_TEST(test_a_request_that_cannot_be_framed_leaves_the_connection_open),
    };
    return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
