/* SPDX-License-Identifier: MIT */
/* What a request and a connection may cost, counted: allocations on the serving thread. */
#include "net.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define COUNTED 0
#endif
#endif
#ifndef COUNTED
#define COUNTED 1 /* a sanitizer has an allocator of its own */
#endif

enum { WARM = 200, ASKED = 2000, AHEAD = 16 };

/* Set by the first handler: from then on its thread's allocations are counted. */
static _Thread_local int serving;
static atomic_size_t allocations;

#if COUNTED
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size)
{
    allocations += (size_t)serving;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    allocations += (size_t)serving;
    return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    allocations += (size_t)serving;
    return __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    allocations += (size_t)serving;
    return __libc_memalign(alignment, size);
}
#endif

static void echo(gate_request *req, const void *body, size_t len, void *user)
{
    (void)user;
    serving = 1;
    gate_reply(req, body, len);
}

/* Sends `ahead` requests and reads their replies, `count` requests in all. */
static void ask(int fd, int count, int ahead)
{
    char lines[AHEAD * 4], replies[sizeof lines];
    for (int i = 0; i < ahead; i++)
        memcpy(lines + i * 4, "one\n", 4);
    size_t len = (size_t)ahead * 4;
    for (int asked = 0; asked < count; asked += ahead) {
        assert_int_equal(send(fd, lines, len, MSG_NOSIGNAL), len);
        assert_int_equal(net_read(fd, replies, len), len);
        assert_memory_equal(replies, lines, len);
    }
}

static size_t count_kept_open(uint32_t io, int ahead)
{
    gate_options options = net_options(echo, gate_codec_line());
    options.io = io;
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    ask(fd, WARM, ahead);
    size_t before = allocations;
    ask(fd, ASKED, ahead);
    size_t counted = allocations - before;
    net_close(fd);
    net_stop(s);
    return counted;
}

static void test_a_request_of_an_open_connection_allocates_nothing(void **state)
{
    uint32_t io = net_io(state);
    if (!COUNTED)
        return;
    assert_int_equal(count_kept_open(io, 1), 0);
    assert_int_equal(count_kept_open(io, AHEAD), 0);
}

static void test_a_one_shot_exchange_allocates_its_connection_alone(void **state)
{
    uint32_t io = net_io(state);
    if (!COUNTED)
        return;
    gate_options options = net_options(echo, NULL);
    options.io = io;
    net_server *s = net_start(&options);
    size_t before = 0;
    for (int i = 0; i < WARM + ASKED; i++) {
        if (i == WARM)
            before = allocations;
        int fd = net_connect(s->port);
        net_put(fd, "1");
        net_expect(fd, "1");
        net_close(fd);
    }
    assert_int_equal(allocations - before, ASKED);
    net_stop(s);
}

/* The counter must count what a handler allocates. */
static void keep(gate_request *req, const void *body, size_t len, void *user)
{
    (void)body, (void)len, (void)user;
    serving = 1;
    void *volatile some = malloc(16);
    free(some);
    gate_reply(req, "one", 3);
}

static void test_the_counter_counts(void **state)
{
    (void)state;
    if (!COUNTED)
        return;
    gate_options options = net_options(keep, gate_codec_line());
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    size_t before = allocations;
    ask(fd, 10, 1);
    assert_true(allocations - before >= 10);
    net_close(fd);
    net_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(test_the_counter_counts),
        NET_TEST_EACH_IO(test_a_request_of_an_open_connection_allocates_nothing),
        NET_TEST_EACH_IO(test_a_one_shot_exchange_allocates_its_connection_alone),
    };
    return cmocka_run_group_tests_name("costs", tests, NULL, NULL);
}
