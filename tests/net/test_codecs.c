/* SPDX-License-Identifier: MIT */

/* Each codec over real connections: pipelined, in any pieces, again and again. */

#include "net.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "../core/seed.h"

enum { REQUESTS = 60, BODY_MAX = 200, ROUNDS = 10 };

typedef struct stream {
    uint8_t bytes[REQUESTS * (BODY_MAX + 48)];
    size_t len;
} stream;

static void append(stream *to, const void *bytes, size_t len)
{
    assert_true(len <= sizeof to->bytes - to->len);
    memcpy(to->bytes + to->len, bytes, len);
    to->len += len;
}

/* A body that each codec can carry: no ends in it, and not empty where two ends would meet. */
static size_t make_body(const gate_codec *codec, uint8_t *body)
{
    size_t len = codec->decode == gate_codec_prefix_be(1)->decode ? seed_below(BODY_MAX)
                                                                  : 1 + seed_below(BODY_MAX - 1);
    gate_codec fixed;
    gate_codec_fixed(&fixed, 1);
    if (codec->decode == fixed.decode)
        len = (size_t)codec->number;
    for (size_t i = 0; i < len; i++)
        body[i] = (uint8_t)('a' + seed_below(26));
    return len;
}

/* Framed as the codec frames replies, so that an echo gives the same bytes back. */
static void make_stream(const gate_codec *codec, stream *all)
{
    uint8_t body[BODY_MAX];
    all->len = 0;
    for (int i = 0; i < REQUESTS; i++) {
        gate_wrap wrap = {0};
        size_t len = make_body(codec, body);
        assert_int_equal(codec->encode(codec, body, len, &wrap), 0);
        append(all, wrap.head, wrap.head_len);
        append(all, body, len);
        append(all, wrap.tail, wrap.tail_len);
    }
}

static void write_in_pieces(int fd, const stream *all)
{
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    for (size_t at = 0; at < all->len;) {
        size_t piece = 1 + seed_below(seed_below(8) ? 40 : 2000);
        piece = piece < all->len - at ? piece : all->len - at;
        net_write(fd, all->bytes + at, piece);
        at += piece;
    }
}

static void test_pipelined_requests_in_any_pieces_are_answered_in_order(void **state)
{
    (void)state;
    static const char *const names[] = {"line",  "varint", "netstring", "u8",       "u16",
                                        "u32",   "u16le",  "u32le",     "fixed:33", "delimiter:--"};
    static stream sent, got;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        gate_codec codec;
        assert_int_equal(gate_codec_parse(&codec, names[i]), 0);
        gate_options options = net_options(net_echo, &codec);
        net_server *s = net_start(&options);
        int fd = net_connect(s->port);
        for (int round = 1; round <= ROUNDS; round++) { /* on one connection */
            make_stream(&codec, &sent);
            write_in_pieces(fd, &sent);
            assert_int_equal(net_read(fd, got.bytes, sent.len), sent.len);
            assert_memory_equal(got.bytes, sent.bytes, sent.len);
            assert_int_equal(net_stats(s).requests, round * REQUESTS);
        }
        net_finish(fd);
        net_expect_end(fd);
        net_close(fd);
        net_stop(s);
    }
}

static void test_raw_answers_once_what_one_read_gave(void **state)
{
    (void)state;
    gate_options options = net_options(net_echo, NULL);
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    net_put(fd, "hello\nworld");
    net_expect(fd, "hello\nworld");
    net_expect_end(fd);
    net_close(fd);
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_ANSWERED] == 1);
    net_stop(s);
}

static void test_raw_takes_no_more_than_its_limit(void **state)
{
    (void)state;
    char bytes[1025];
    memset(bytes, 'a', sizeof bytes);
    gate_options options = net_options(net_echo, NULL);
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    net_write(fd, bytes, sizeof bytes);
    assert_int_equal(net_read(fd, bytes, sizeof bytes), 1024);
    net_close(fd);
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_ANSWERED] == 1);
    net_stop(s);
}

static void test_until_eof_answers_when_the_peer_has_ended(void **state)
{
    (void)state;
    stream all = {0};
    while (all.len < 10000)
        append(&all, "0123456789", 10);
    gate_options options = net_options(net_echo, gate_codec_eof());
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    write_in_pieces(fd, &all);
    NET_UNTIL(net_stats(s).bytes_in == all.len);
    assert_int_equal(net_stats(s).requests, 0);
    net_finish(fd);
    static stream got;
    assert_int_equal(net_read(fd, got.bytes, sizeof got.bytes), all.len);
    assert_memory_equal(got.bytes, all.bytes, all.len);
    net_close(fd);
    net_stop(s);
}

static void test_a_connection_ends_behind_its_last_exchange(void **state)
{
    (void)state;
    gate_options options = net_options(net_echo, gate_codec_line());
    options.exchanges_max = 3;
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    net_put(fd, "one\n");
    net_expect(fd, "one\n");
    net_put(fd, "two\nthree\nfour\n");
    net_expect(fd, "two\nthree\n");
    net_expect_end(fd);
    net_close(fd);
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_ANSWERED] == 1);
    assert_int_equal(net_stats(s).requests, 3);
    net_stop(s);
}

static void test_what_the_codec_refuses_ends_the_connection_with_its_reason(void **state)
{
    (void)state;
    gate_options options = net_options(net_echo, gate_codec_netstring());
    options.request_max = 10;
    net_server *s = net_start(&options);
    int bad = net_connect(s->port), big = net_connect(s->port), part = net_connect(s->port);
    net_put(bad, "2:ab,01:x,");
    net_put(big, "2:ab,11:");
    net_put(part, "2:ab,10:ab");
    net_expect(bad, "2:ab,");
    net_expect(big, "2:ab,");
    net_expect(part, "2:ab,");
    net_expect_end(bad);
    net_expect_end(big);
    net_close(bad);
    net_close(big);
    net_close(part);
    NET_UNTIL(net_stats(s).connections == 0);
    assert_int_equal(net_stats(s).closed[GATE_CLOSE_BAD_FRAME], 1);
    assert_int_equal(net_stats(s).closed[GATE_CLOSE_TOO_BIG], 1);
    assert_int_equal(net_stats(s).closed[GATE_CLOSE_TRUNCATED], 1);
    net_stop(s);
}

/* A silent peer, one inside a request, and one between requests. */
static void test_each_kind_of_waiting_has_its_own_deadline(void **state)
{
    (void)state;
    gate_options options = net_options(net_echo, gate_codec_line());
    options.timeout_ms = 150;
    options.idle_timeout_ms = 300;
    net_server *s = net_start(&options);
    uint64_t start = net_now_ms();
    int silent = net_connect(s->port), begun = net_connect(s->port), idle = net_connect(s->port);
    net_put(begun, "par");
    net_put(idle, "whole\n");
    net_expect(idle, "whole\n");
    net_expect_gone(silent);
    net_expect_gone(begun);
    assert_true(net_now_ms() - start >= 150);
    net_expect_gone(idle);
    assert_true(net_now_ms() - start >= 300);
    NET_UNTIL(net_stats(s).connections == 0);
    assert_int_equal(net_stats(s).closed[GATE_CLOSE_TIMEOUT], 2);
    assert_int_equal(net_stats(s).closed[GATE_CLOSE_IDLE], 1);
    net_close(silent);
    net_close(begun);
    net_close(idle);
    net_stop(s);
}

/* A byte every few milliseconds: the deadline stays where it was. */
static void test_dripping_does_not_extend_the_deadline(void **state)
{
    (void)state;
    gate_options options = net_options(net_echo, gate_codec_line());
    options.timeout_ms = 200;
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    NET_UNTIL(send(fd, "x", 1, MSG_NOSIGNAL) < 0 || net_stats(s).closed[GATE_CLOSE_TIMEOUT]);
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_TIMEOUT] == 1);
    net_close(fd);
    net_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(test_pipelined_requests_in_any_pieces_are_answered_in_order),
        NET_TEST(test_raw_answers_once_what_one_read_gave),
        NET_TEST(test_raw_takes_no_more_than_its_limit),
        NET_TEST(test_until_eof_answers_when_the_peer_has_ended),
        NET_TEST(test_a_connection_ends_behind_its_last_exchange),
        NET_TEST(test_what_the_codec_refuses_ends_the_connection_with_its_reason),
        NET_TEST(test_each_kind_of_waiting_has_its_own_deadline),
        NET_TEST(test_dripping_does_not_extend_the_deadline),
    };
    seed_start();
    return cmocka_run_group_tests_name("codecs", tests, NULL, NULL);
}
