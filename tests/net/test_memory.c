/* SPDX-License-Identifier: MIT */

/* What requests that wait and answers from elsewhere may take, and that it is released. */

#include "net.h"

#include <errno.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEASURED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MEASURED 0
#endif
#endif
#ifndef MEASURED
#define MEASURED 1 /* a sanitizer keeps what was freed */
#endif

enum { MANY = 40000, MIB = 1 << 20, AHEAD = 128 };

typedef struct shelf {
    gate_request *kept[2 * MANY];
    atomic_int count;
} shelf;

static void keep(gate_request *req, const void *body, size_t len, void *user)
{
    shelf *s = user;
    (void)body, (void)len;
    if (gate_defer(req) == 0) {
        s->kept[s->count] = req;
        s->count++; /* now the test may use it */
    }
}

static net_server *start_keeping(void **state, shelf *s, gate_options options)
{
    options.user = s;
    options.io = net_io(state);
    options.handler_timeout_ms = GATE_NEVER;
    options.write_timeout_ms = GATE_NEVER;
    options.inflight_max = MANY + 1;
    return net_start(&options);
}

static void ask(int fd, int times)
{
    static char lines[2 * MANY];
    for (int i = 0; i < times; i++)
        memcpy(lines + 2 * i, "k\n", 2);
    net_write(fd, lines, 2 * (size_t)times);
}

/* Reads and drops so many bytes. */
static void drain(int fd, size_t len)
{
    static char bytes[1 << 16];
    while (len) {
        size_t part = len < sizeof bytes ? len : sizeof bytes;
        assert_int_equal(net_read(fd, bytes, part), part);
        len -= part;
    }
}

static void test_answers_that_a_peer_does_not_read_are_refused_and_wait(void **state)
{
    static char body[MIB - 1];
    static shelf kept;
    kept.count = 0;
    net_server *s = start_keeping(state, &kept, net_options(keep, gate_codec_line()));
    int fd = net_connect_small(s->port, 4096);
    ask(fd, AHEAD);
    NET_UNTIL(kept.count == AHEAD);
    int given = 0, rc = 0;
    memset(body, 'a', sizeof body);
    while (given < AHEAD && !(rc = gate_reply(kept.kept[given], body, sizeof body)))
        given++;
    assert_int_equal(rc, -ENOBUFS);
    /* 8 times output_max, and one that was begun there. */
    assert_true((uint64_t)given * MIB <= net_stats(s).bytes_out + 9 * MIB + MIB / 2);
    assert_true(given >= 8);
    for (int done = 0; done < AHEAD; done++) { /* each of them still waits, and is answered */
        while (given < AHEAD && !gate_reply(kept.kept[given], body, sizeof body))
            given++;
        assert_true(given > done);
        drain(fd, MIB);
    }
    assert_int_equal(given, AHEAD);
    NET_UNTIL(net_stats(s).bytes_out == (uint64_t)AHEAD * MIB);
    net_close(fd);
    net_stop(s);
}

static void test_an_answer_over_all_buffers_is_refused_and_waits(void **state)
{
    static char body[700 << 10], part[300 << 10];
    static shelf kept;
    kept.count = 0;
    memset(body, 'a', sizeof body);
    memset(part, 'a', sizeof part);
    gate_options options = net_options(keep, gate_codec_line());
    options.buffers_max = MIB;
    options.timeout_ms = GATE_NEVER;
    net_server *s = start_keeping(state, &kept, options);
    int holding = net_connect(s->port), fd = net_connect(s->port);
    net_write(holding, part, sizeof part); /* of a request: as much as that is held */
    NET_UNTIL(net_stats(s).bytes_in == sizeof part);
    ask(fd, 2);
    NET_UNTIL(kept.count == 2);
    assert_int_equal(gate_reply(kept.kept[1], body, sizeof body), -ENOBUFS);
    assert_int_equal(gate_reply(kept.kept[0], "x", 1), 0); /* little still gets through */
    net_expect(fd, "x\n");
    net_put(holding, "\n");
    NET_UNTIL(gate_reply(kept.kept[1], body, sizeof body) == 0);
    drain(fd, sizeof body + 1);
    assert_int_equal(net_stats(s).connections, 2);
    net_close(holding);
    net_close(fd);
    net_stop(s);
}

static size_t resident(void)
{
    unsigned long size, pages;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &size, &pages), 2);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void test_memory_of_requests_goes_down_again(void **state)
{
    static shelf kept;
    const char *preload = getenv("LD_PRELOAD");
    memset(kept.kept, 1, sizeof kept.kept); /* what it takes itself is there before */
#ifdef __GLIBC__
    malloc_trim(0); /* what other tests have freed */
#endif
    kept.count = 0;
    net_server *s = start_keeping(state, &kept, net_options(keep, gate_codec_line()));
    int fd = net_connect(s->port);
    ask(fd, 1);
    NET_UNTIL(kept.count == 1);
    size_t before = resident();
    ask(fd, MANY - 1);
    NET_UNTIL(kept.count == MANY);
    size_t most = resident();
    const struct linger reset = {.l_onoff = 1};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    net_close(fd);
    NET_UNTIL(net_stats(s).connections == 0);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(gate_reply(kept.kept[i], "x", 1), GATE_EGONE);
    if (MEASURED && !(preload && strstr(preload, "vgpreload"))) {
        assert_true(most - before > (size_t)MANY * 200);
        NET_UNTIL(resident() < before + (most - before) / 2); /* what was read stays */
    }
    /* Handles that are used up are known as such, also in memory that was released. */
    NET_UNTIL(gate_reply(kept.kept[0], "x", 1) == -EALREADY);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(gate_reply(kept.kept[i], "x", 1), -EALREADY);
    fd = net_connect(s->port);
    ask(fd, MANY); /* in the same places */
    NET_UNTIL(kept.count == 2 * MANY);
    net_close(fd);
    net_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST_EACH_IO(test_answers_that_a_peer_does_not_read_are_refused_and_wait),
        NET_TEST_EACH_IO(test_an_answer_over_all_buffers_is_refused_and_waits),
        NET_TEST_EACH_IO(test_memory_of_requests_goes_down_again),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
