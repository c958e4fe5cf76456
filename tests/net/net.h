/* SPDX-License-Identifier: MIT */
#ifndef GATE_TESTS_NET_H
#define GATE_TESTS_NET_H

/*
 * Servers and plain sockets for the tests of this folder, all on loopback. Servers run in threads
 * of this process; net_teardown stops those that a failed test has left, and sees that a test has
 * closed every descriptor. cmocka's asserts work on the test's own thread only, so other threads
 * count, and the test looks at the counts.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <gate/gate.h>
#include <pthread.h>
#include <stdatomic.h>

/* Waits for something that is bound to happen; fails the test after much too long. */
#define NET_UNTIL(condition)                                \
    do {                                                    \
        for (int net_tries = 0; !(condition); net_tries++)  \
            if (!net_nap(net_tries))                        \
                fail_msg("waited in vain for " #condition); \
    } while (0)

#define NET_TEST(test)                             \
    {                                              \
#test, test, net_setup, net_teardown, NULL \
    }

/* On each backend of the kernel's, which the test gets from net_io(). */
#define NET_TEST_EACH_IO(test)                                         \
    {#test " (epoll)", test, net_setup, net_teardown, &net_epoll},     \
    {                                                                  \
#test " (io_uring)", test, net_setup, net_teardown, &net_uring \
    }

extern uint32_t net_epoll, net_uring;

int net_setup(void **state);
int net_teardown(void **state);

/* 0: it has been long enough. */
int net_nap(int tries);
uint64_t net_now_ms(void);
/* Descriptors of this process that are open. */
int net_open_fds(void);

/* ---- Servers ---- */

typedef struct net_server {
    gate_server *server;
    uint16_t port;
    pthread_t thread;
    int rc; /* of serve, once joined */
    atomic_int ended;
} net_server;

/* For gate_options.io; skips the test where the kernel hasn't that backend. */
uint32_t net_io(void **state);

/* Rings count for what a user who is not root may lock, in all programs together, and the kernel
 * gives it back some time after a ring was closed, late on a busy machine. After an open that ended
 * with rc this waits a little; 1: it is worth another try. */
int net_is_late_room(int rc, int tries);
/* Options with this handler and codec (NULL: raw). */
gate_options net_options(gate_handler *handler, const gate_codec *codec);
/* Answers with the request. */
void net_echo(gate_request *req, const void *body, size_t len, void *user);

/* Opens on 127.0.0.1, and serves in a thread. */
net_server *net_start(const gate_options *options);
net_server *net_start_at(const gate_options *options, const char *addr);
/* Serves one that is open. */
net_server *net_serve(gate_server *server);
gate_stats net_stats(const net_server *s);
/* Waits until serving ends, which must be with 0; then the stats can be looked at. */
void net_join(net_server *s);
/* Stops, joins and frees. */
void net_stop(net_server *s);
/* After net_join. */
void net_free(net_server *s);
/* As many closed as accepted, whatever the reasons. */
void net_assert_balance(const gate_stats *stats);

/* ---- Plain sockets: blocking, and no call blocks for longer than half a minute ---- */

int net_connect(uint16_t port);
/* With receive and send buffers of about this size. */
int net_connect_small(uint16_t port, int size);
void net_write(int fd, const void *bytes, size_t len);
void net_put(int fd, const char *text);
/* Until len bytes or the end: how many came. */
size_t net_read(int fd, void *bytes, size_t len);
/* Exactly this comes. */
void net_expect(int fd, const char *text);
/* The peer's end of input, and nothing before it. */
void net_expect_end(int fd);
/* The peer has closed or reset; what still comes is thrown away. */
void net_expect_gone(int fd);
/* Half-closes. */
void net_finish(int fd);
void net_close(int fd);
/* A plain socket that listens on 127.0.0.1. */
int net_listen(uint16_t *port, int backlog);
/* A port that is free on every address now, and is none of those that connections get by
 * themselves: thousands of earlier ones, of this test or another, may hold those for a minute. */
uint16_t net_free_port(void);

#endif
