/* SPDX-License-Identifier: MIT */

/* Replies that are large, slow to leave, borrowed, or followed by a close. */

#include "net.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BIG ((size_t)10 << 20)

static uint8_t *big; /* each position shows in its byte */

static int make_big(void **state)
{
    (void)state;
    big = malloc(BIG);
    for (size_t i = 0; big && i < BIG; i++)
        big[i] = (uint8_t)(i * 31 + (i >> 13));
    return big ? 0 : -1;
}

static int free_big(void **state)
{
    (void)state;
    free(big);
    return 0;
}

/* What malloc has given out; 0 under a sanitizer. */
static size_t in_use(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void reply_big(gate_request *req, const void *body, size_t len, void *user)
{
    (void)body, (void)len, (void)user;
    gate_reply(req, big, BIG);
}

static void count_release(void *arg)
{
    atomic_int *count = arg;
    ++*count;
}

static void lend_big(gate_request *req, const void *body, size_t len, void *user)
{
    (void)body, (void)len;
    gate_reply_borrowed(req, big, BIG, count_release, user);
}

static void read_big_by_the_kilobyte(int fd)
{
    uint8_t part[1024];
    for (size_t at = 0; at < BIG; at += sizeof part) {
        assert_int_equal(net_read(fd, part, sizeof part), sizeof part);
        assert_memory_equal(part, big + at, sizeof part);
    }
    net_expect_end(fd);
}

/* ---- Large ---- */

static void test_a_large_reply_reaches_a_slow_reader_whole(void **state)
{
    (void)state;
    gate_options options = net_options(reply_big, NULL);
    net_server *s = net_start(&options);
    int fd = net_connect_small(s->port, 4096);
    size_t before = in_use();
    net_put(fd, "1");
    NET_UNTIL(net_stats(s).replies == 1);
    size_t grown = in_use() - before;
    assert_true(!in_use() || grown < BIG + (1 << 20)); /* one copy of it */
    read_big_by_the_kilobyte(fd);
    net_close(fd);
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_ANSWERED] == 1);
    assert_int_equal(net_stats(s).bytes_out, BIG);
    net_stop(s);
}

static void test_a_borrowed_reply_is_sent_from_where_it_is(void **state)
{
    (void)state;
    atomic_int released = 0;
    gate_options options = net_options(lend_big, NULL);
    options.user = &released;
    net_server *s = net_start(&options);
    int fd = net_connect_small(s->port, 4096);
    size_t before = in_use();
    net_put(fd, "1");
    NET_UNTIL(net_stats(s).replies == 1);
    assert_true(in_use() - before < 1 << 20);
    assert_int_equal(released, 0);
    read_big_by_the_kilobyte(fd);
    net_close(fd);
    NET_UNTIL(net_stats(s).connections == 0);
    assert_int_equal(released, 1);
    net_stop(s);
    assert_int_equal(released, 1);
}

static void test_a_reader_that_stops_is_cut_off_at_the_write_deadline(void **state)
{
    (void)state;
    atomic_int released = 0;
    gate_options options = net_options(lend_big, NULL);
    options.user = &released;
    options.write_timeout_ms = 300;
    net_server *s = net_start(&options);
    int fd = net_connect_small(s->port, 4096);
    uint64_t start = net_now_ms();
    net_put(fd, "1");
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_WRITE_TIMEOUT] == 1);
    assert_true(net_now_ms() - start >= 300);
    NET_UNTIL(net_stats(s).connections == 0);
    assert_int_equal(released, 1);
    net_expect_gone(fd);
    net_close(fd);
    net_stop(s);
}

static void test_a_reader_that_drips_does_not_extend_the_write_deadline(void **state)
{
    (void)state;
    gate_options options = net_options(reply_big, NULL);
    options.write_timeout_ms = 300;
    options.rate_min = 4 << 20;
    net_server *s = net_start(&options);
    int fd = net_connect_small(s->port, 4096);
    char bytes[512];
    net_put(fd, "1");
    NET_UNTIL(recv(fd, bytes, sizeof bytes, 0) <= 0 || /* one a millisecond: far too slow */
              net_stats(s).closed[GATE_CLOSE_WRITE_TIMEOUT]);
    assert_int_equal(net_stats(s).closed[GATE_CLOSE_WRITE_TIMEOUT], 1);
    assert_true(net_stats(s).bytes_out < BIG);
    net_close(fd);
    net_stop(s);
}

/* ---- Backpressure ---- */

/* Sends what goes, until the server has taken nothing for a while: how many requests that were. */
static size_t stuff(int fd, const char *request, const net_server *s)
{
    const size_t len = strlen(request);
    size_t sent = 0;
    uint64_t last = net_now_ms();
    while (net_now_ms() - last < 200) {
        uint64_t took = net_stats(s).bytes_in;
        ssize_t part =
            send(fd, request + sent % len, len - sent % len, MSG_DONTWAIT | MSG_NOSIGNAL);
        assert_true(part > 0 || errno == EAGAIN);
        if (part > 0)
            sent += (size_t)part;
        if (part > 0 || net_stats(s).bytes_in != took)
            last = net_now_ms();
    }
    return sent;
}

/* What a peer can put into memory beyond output_max is what one turn reads from it, twice (the
 * buffer doubles). */
static void stop_reading(uint32_t io, size_t turn_max)
{
    char request[1001], reply[1000];
    memset(request, 'r', 999);
    strcpy(request + 999, "\n");
    gate_options options = net_options(net_echo, gate_codec_line());
    options.output_max = 65536;
    options.io = io;
    options.write_timeout_ms = GATE_NEVER;
    net_server *s = net_start(&options);
    int fd = net_connect_small(s->port, 65536);
    size_t before = in_use();
    size_t sent = stuff(fd, request, s);
    gate_stats stats = net_stats(s);
    assert_true(!in_use() || in_use() - before < (384 << 10) + 2 * turn_max);
    assert_true(stats.bytes_in < sent);
    assert_true(stats.requests < sent / 1000);
    for (size_t i = 0; i < sent / 1000; i++) { /* and nothing is lost */
        assert_int_equal(net_read(fd, reply, sizeof reply), sizeof reply);
        assert_memory_equal(reply, request, sizeof reply);
    }
    net_close(fd);
    net_stop(s);
}

static void test_a_peer_that_never_reads_is_not_read_any_more(void **state)
{
    (void)state;
    stop_reading(GATE_IO_EPOLL, getenv("GATE_IO") ? 512 * 4096 : 64 << 10);
}

/* The kernel may have filled all buffers of the ring before it is told to stop. */
static void test_no_backend_reads_a_peer_that_never_reads_for_ever(void **state)
{
    (void)state;
    stop_reading(GATE_IO_AUTO, 512 * 4096);
}

/* ---- Closing behind a reply ---- */

static void reject(gate_request *req, const void *body, size_t len, void *user)
{
    (void)body, (void)len, (void)user;
    gate_reject(req, "please go out!", 14);
}

/* The peer's megabyte is on its way while the rejection is: it must be there to read after it. */
static void send_a_megabyte_and_read_the_rejection(uint16_t port, const char *expected)
{
    static const char zeros[1 << 16];
    int fd = net_connect(port);
    for (int i = 0; i < 16; i++)
        if (send(fd, zeros, sizeof zeros, MSG_NOSIGNAL) < 0)
            break; /* it may be closed already, and yet have answered */
    net_expect(fd, expected);
    net_close(fd);
}

static void test_a_rejection_arrives_though_the_peer_sends_on(void **state)
{
    (void)state;
    gate_options options = net_options(reject, NULL);
    net_server *raw = net_start(&options);
    options.codec = gate_codec_prefix_be(1);
    net_server *framed = net_start(&options);
    for (int i = 0; i < 20; i++) {
        send_a_megabyte_and_read_the_rejection(raw->port, "please go out!");
        send_a_megabyte_and_read_the_rejection(framed->port, "\016please go out!");
    }
    NET_UNTIL(net_stats(raw).closed[GATE_CLOSE_REJECTED] == 20);
    NET_UNTIL(net_stats(framed).closed[GATE_CLOSE_REJECTED] == 20);
    assert_int_equal(net_stats(framed).requests, 20);
    net_stop(raw);
    net_stop(framed);
}

static void test_what_is_left_unread_does_not_reset_the_connection(void **state)
{
    (void)state;
    static const char zeros[100000];
    gate_options options = net_options(reject, NULL);
    net_server *s = net_start(&options);
    for (int i = 0; i < 20; i++) {
        int fd = net_connect(s->port);
        net_write(fd, zeros, sizeof zeros);
        net_expect(fd, "please go out!");
        net_expect_end(fd);
        net_close(fd);
    }
    net_stop(s);
}

static void test_a_rejected_peer_that_waits_sees_the_end_and_no_reset(void **state)
{
    (void)state;
    gate_options options = net_options(reject, gate_codec_line());
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    net_put(fd, "first\nsecond\nthird\n");
    net_expect(fd, "please go out!\n");
    net_expect_end(fd);
    net_put(fd, "fourth\n"); /* is thrown away, while the server lingers */
    net_expect_end(fd);
    net_close(fd);
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_REJECTED] == 1);
    assert_int_equal(net_stats(s).requests, 1);
    assert_int_equal(net_stats(s).rejections, 1);
    net_stop(s);
}

static void test_a_half_closed_peer_is_answered(void **state)
{
    (void)state;
    gate_options options = net_options(reply_big, NULL);
    net_server *s = net_start(&options);
    int fd = net_connect_small(s->port, 4096);
    net_put(fd, "1");
    net_finish(fd);
    read_big_by_the_kilobyte(fd);
    net_close(fd);
    options = net_options(net_echo, gate_codec_line());
    net_server *lines = net_start(&options);
    fd = net_connect(lines->port);
    net_put(fd, "one\ntwo\npart");
    net_finish(fd);
    net_expect(fd, "one\ntwo\n");
    net_expect_end(fd);
    net_close(fd);
    NET_UNTIL(net_stats(lines).closed[GATE_CLOSE_TRUNCATED] == 1);
    net_stop(lines);
    net_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(test_a_large_reply_reaches_a_slow_reader_whole),
        NET_TEST(test_a_borrowed_reply_is_sent_from_where_it_is),
        NET_TEST(test_a_reader_that_stops_is_cut_off_at_the_write_deadline),
        NET_TEST(test_a_reader_that_drips_does_not_extend_the_write_deadline),
        NET_TEST(test_a_peer_that_never_reads_is_not_read_any_more),
        NET_TEST(test_no_backend_reads_a_peer_that_never_reads_for_ever),
        NET_TEST(test_a_rejection_arrives_though_the_peer_sends_on),
        NET_TEST(test_what_is_left_unread_does_not_reset_the_connection),
        NET_TEST(test_a_rejected_peer_that_waits_sees_the_end_and_no_reset),
        NET_TEST(test_a_half_closed_peer_is_answered),
    };
    return cmocka_run_group_tests_name("reply", tests, make_big, free_big);
}
