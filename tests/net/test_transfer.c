/* SPDX-License-Identifier: MIT */

/* Large requests and replies take longer than the time-outs: they are timed in slices. */

#include "net.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LARGE = 16 << 20, PIECE = 64 << 10, NAP_MS = 4, TIMEOUT_MS = 200, RATE_MIN = 256 << 10 };

static char large[LARGE];

static void lend_large(gate_request *req, const void *body, size_t len, void *user)
{
    (void)body, (void)len, (void)user;
    gate_reply_borrowed(req, large, sizeof large, NULL, NULL);
}

static void reply_length(gate_request *req, const void *body, size_t len, void *user)
{
    uint32_t length = (uint32_t)len;
    (void)body, (void)user;
    gate_reply(req, &length, sizeof length);
}

static net_server *start(void **state, gate_handler *handler, const gate_codec *codec,
                         uint32_t rate_min)
{
    gate_options options = net_options(handler, codec);
    options.io = net_io(state);
    options.request_max = LARGE;
    options.timeout_ms = TIMEOUT_MS;
    options.idle_timeout_ms = 30000;
    options.rate_min = rate_min;
    return net_start(&options);
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = NAP_MS * 1000000}, NULL);
}

static void test_a_large_reply_to_an_honest_reader_arrives_whole(void **state)
{
    static char bytes[PIECE];
    net_server *s = start(state, lend_large, NULL, RATE_MIN);
    int fd = net_connect_small(s->port, PIECE);
    uint64_t begin = net_now_ms();
    net_put(fd, "?");
    for (size_t got = 0; got < LARGE; got += PIECE) {
        assert_int_equal(net_read(fd, bytes, PIECE), PIECE);
        nap();
    }
    net_expect_end(fd);
    assert_true(net_now_ms() - begin > 2 * TIMEOUT_MS);
    net_close(fd);
    net_stop(s);
}

static void test_a_large_request_of_an_honest_sender_is_handled(void **state)
{
    uint32_t length;
    uint8_t prefix[4] = {LARGE >> 24, (LARGE >> 16) & 0xff, (LARGE >> 8) & 0xff, LARGE & 0xff};
    net_server *s = start(state, reply_length, gate_codec_prefix_be(4), RATE_MIN);
    int fd = net_connect_small(s->port, PIECE);
    uint64_t begin = net_now_ms();
    net_write(fd, prefix, sizeof prefix);
    for (size_t put = 0; put < LARGE; put += PIECE) {
        net_write(fd, large, PIECE);
        nap();
    }
    assert_int_equal(net_read(fd, prefix, sizeof prefix), sizeof prefix);
    assert_int_equal(net_read(fd, &length, sizeof length), sizeof length);
    assert_int_equal(length, LARGE);
    assert_true(net_now_ms() - begin > 2 * TIMEOUT_MS);
    net_close(fd);
    net_stop(s);
}

static void test_a_large_reply_that_nobody_reads_has_one_slice(void **state)
{
    net_server *s = start(state, lend_large, NULL, 2 << 20);
    int fd = net_connect_small(s->port, 4096);
    uint64_t begin = net_now_ms();
    net_put(fd, "?");
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_WRITE_TIMEOUT] == 1);
    assert_true(net_now_ms() - begin >= TIMEOUT_MS + 500);
    net_close(fd);
    net_stop(s);
}

static void test_without_a_rate_the_time_out_is_for_all_of_a_reply(void **state)
{
    net_server *s = start(state, lend_large, NULL, GATE_NEVER);
    int fd = net_connect_small(s->port, 4096);
    net_put(fd, "?");
    for (int i = 0; i < 100 && !net_stats(s).closed[GATE_CLOSE_WRITE_TIMEOUT]; i++) {
        char byte;
        net_read(fd, &byte, 1);
        nap();
    }
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_WRITE_TIMEOUT] == 1);
    net_close(fd);
    net_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST_EACH_IO(test_a_large_reply_to_an_honest_reader_arrives_whole),
        NET_TEST_EACH_IO(test_a_large_request_of_an_honest_sender_is_handled),
        NET_TEST_EACH_IO(test_a_large_reply_that_nobody_reads_has_one_slice),
        NET_TEST_EACH_IO(test_without_a_rate_the_time_out_is_for_all_of_a_reply),
    };
    return cmocka_run_group_tests_name("transfer", tests, NULL, NULL);
}
