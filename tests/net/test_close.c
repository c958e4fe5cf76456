/* SPDX-License-Identifier: MIT */

/* A connection that ends while a large reply is still on its way, and a peer that sends something
 * more: the reply must not go down with a reset. */

#include "net.h"

#include <stdlib.h>
#include <string.h>

/* What the kernel takes at once though nobody reads it, and what it never does. */
enum { IN_KERNEL = 1 << 20, BEYOND = 8 << 20 };

static uint8_t *bytes; /* each position shows in its byte */

static int make_bytes(void **state)
{
    (void)state;
    bytes = malloc(BEYOND);
    for (size_t i = 0; bytes && i < BEYOND; i++)
        bytes[i] = (uint8_t)('a' + (i * 7 + (i >> 13)) % 26); /* no line ends */
    return bytes ? 0 : -1;
}

static int free_bytes(void **state)
{
    (void)state;
    free(bytes);
    return 0;
}

/* "b" gets *user bytes, anything else comes back. */
static void answer(gate_request *req, const void *body, size_t len, void *user)
{
    if (len == 1 && *(const char *)body == 'b')
        gate_reply(req, bytes, *(const size_t *)user);
    else
        gate_reply(req, body, len);
}

static void read_bytes(int fd, size_t size)
{
    static uint8_t part[1 << 16];
    for (size_t at = 0; at < size; at += sizeof part) {
        assert_int_equal(net_read(fd, part, sizeof part), sizeof part);
        assert_memory_equal(part, bytes + at, sizeof part);
    }
}

/* ---- Framed ---- */

static gate_options line_options(void **state, const size_t *size)
{
    gate_options options = net_options(answer, gate_codec_line());
    options.user = (void *)(uintptr_t)size;
    options.io = net_io(state);
    options.write_timeout_ms = 60000;
    options.output_max = BEYOND * 2; /* it is read though its reply waits */
    return options;
}

/* A peer that has asked for IN_KERNEL bytes and reads none of them, all of which are sent. */
static int ask_for_bytes(const net_server *s)
{
    int fd = net_connect(s->port);
    net_put(fd, "b\n");
    NET_UNTIL(net_stats(s).bytes_out == IN_KERNEL + 1);
    return fd;
}

/* A peer whose time runs out later than that of those before: seeing its end one knows theirs. */
static int ask_for_little(const net_server *s)
{
    int fd = net_connect(s->port);
    net_put(fd, "hi\n");
    net_expect(fd, "hi\n");
    return fd;
}

static void assert_whole(int fd, size_t size)
{
    read_bytes(fd, size);
    net_expect(fd, "\n");
    net_expect_end(fd);
    net_close(fd);
}

static void test_a_stop_leaves_the_reply_that_the_kernel_holds(void **state)
{
    const size_t size = IN_KERNEL;
    gate_options options = line_options(state, &size);
    net_server *s = net_start(&options);
    int fd = ask_for_bytes(s);
    int witness = ask_for_little(s);
    uint64_t asked = 2;
    /* Until the first one has been silent for longer than a stop waits for a further request. */
    for (uint64_t start = net_now_ms(); net_now_ms() - start < 100; asked++) {
        net_put(witness, "hi\n");
        net_expect(witness, "hi\n");
    }
    gate_server_stop(s->server);
    net_expect_end(witness);
    net_close(witness);
    net_put(fd, "too late\n");
    assert_whole(fd, size);
    net_join(s);
    gate_stats stats = net_stats(s);
    net_assert_balance(&stats);
    assert_int_equal(stats.closed[GATE_CLOSE_STOPPED], 2);
    assert_int_equal(stats.requests, asked);
    net_free(s);
}

static void test_an_idle_close_leaves_the_reply_that_the_kernel_holds(void **state)
{
    const size_t size = IN_KERNEL;
    gate_options options = line_options(state, &size);
    options.idle_timeout_ms = 100;
    net_server *s = net_start(&options);
    int fd = ask_for_bytes(s);
    int witness = ask_for_little(s);
    net_expect_end(witness);
    net_close(witness);
    net_put(fd, "too late\n");
    assert_whole(fd, size);
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_IDLE] == 2);
    assert_int_equal(net_stats(s).requests, 2);
    net_stop(s);
}

/* Half a request follows at once, the rest when its time is over. */
static void time_out_behind_a_reply(const net_server *s, int fd, size_t size)
{
    uint64_t came = net_stats(s).bytes_in;
    net_put(fd, "ha");
    NET_UNTIL(net_stats(s).bytes_in == came + 2);
    int witness = ask_for_little(s);
    net_put(witness, "ha");
    net_expect_end(witness);
    net_close(witness);
    net_put(fd, "lf\nmore\n");
    assert_whole(fd, size);
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_TIMEOUT] == 2);
    assert_int_equal(net_stats(s).requests, 2);
}

static void test_a_request_that_times_out_leaves_the_reply_before_it(void **state)
{
    size_t size = IN_KERNEL;
    gate_options options = line_options(state, &size);
    options.timeout_ms = 200;
    options.idle_timeout_ms = 60000;
    net_server *s = net_start(&options);
    time_out_behind_a_reply(s, ask_for_bytes(s), size);
    net_stop(s);
    size = BEYOND; /* now some of it is still the server's */
    s = net_start(&options);
    int fd = net_connect(s->port);
    net_put(fd, "b\n");
    NET_UNTIL(net_stats(s).replies == 1);
    time_out_behind_a_reply(s, fd, size);
    net_stop(s);
}

/* ---- One-shot ---- */

static void test_a_byte_behind_a_one_shot_request_leaves_its_reply(void **state)
{
    size_t size = IN_KERNEL;
    gate_options options = net_options(answer, NULL);
    options.user = &size;
    options.io = net_io(state);
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    net_put(fd, "b");
    NET_UNTIL(net_stats(s).bytes_out == size);
    net_put(fd, "\n");
    read_bytes(fd, size);
    net_expect_end(fd);
    net_close(fd);
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_ANSWERED] == 1);
    net_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST_EACH_IO(test_a_stop_leaves_the_reply_that_the_kernel_holds),
        NET_TEST_EACH_IO(test_an_idle_close_leaves_the_reply_that_the_kernel_holds),
        NET_TEST_EACH_IO(test_a_request_that_times_out_leaves_the_reply_before_it),
        NET_TEST_EACH_IO(test_a_byte_behind_a_one_shot_request_leaves_its_reply),
    };
    return cmocka_run_group_tests_name("close", tests, make_bytes, free_bytes);
}
