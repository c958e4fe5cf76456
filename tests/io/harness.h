/* SPDX-License-Identifier: MIT */
#ifndef TESTS_IO_HARNESS_H
#define TESTS_IO_HARNESS_H

/* What the tests of lib/io share: a loop with sockets that remember how their ops ended, and plain
 * sockets of the kernel. Every call checks that it worked. far.h has the other side of a loop's
 * connections, whatever network it is on. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <gate/gate.h>

#include "io/io.h"

#define MS UINT64_C(1000000)

/* How an op ended. */
struct outcome {
    int finals;
    int mores;
    int result;
    unsigned flags;
};

/* One socket of the loop. */
struct end {
    gate_sock sock;
    struct outcome in;
    struct outcome out;
    char got[256 * 1024]; /* what recv has given, one after another */
    size_t got_len;
    int accepted[128];
    size_t accepted_count;
};

/* The backend that a test runs over (its initial state): "epoll", "io_uring", "blocking", "sim", or
 * "sim at once", where a close, shutdown or last send is done inside its submit and completes in a
 * later turn. */
struct loop {
    gate_io *io;
    struct sim_world *world; /* of the simulator; NULL: the kernel's network */
    struct end *ends[2];
    int at_once; /* a close gives the descriptor up inside its submit */
    gate__sockaddr addr;
    int listener; /* far, on addr */
    int peer;     /* far, connected to ends[0] */
};

/* A test that runs over one backend, under a name that says so. */
#define OVER(backend, test)                                                             \
    {                                                                                   \
        backend ": " #test, test, loop_setup, loop_teardown, (void *)(uintptr_t)backend \
    }

#define OVER_KERNEL_LOOPS(test) OVER("epoll", test), OVER("io_uring", test)
#define OVER_LOOPS(test) OVER_KERNEL_LOOPS(test), OVER("sim", test), OVER("sim at once", test)
#define OVER_ALL(test) OVER_LOOPS(test), OVER("blocking", test)
/* For what only the kernel has: other threads and processes, ports, descriptors' flags. */
#define OVER_KERNEL(test) OVER_KERNEL_LOOPS(test), OVER("blocking", test)

/* Runs tests made with OVER: those over io_uring only where this machine has it, and
 * not on valgrind, which does not know what the kernel writes there. */
#define RUN_OVER(tests) run_over(tests, sizeof(tests) / sizeof *(tests))
int run_over(const struct CMUnitTest *tests, size_t count);

int on_valgrind(void);

int loop_setup(void **state);
int loop_teardown(void **state);

/* Submits, and checks that nothing completes inside. */
void submit_connect(struct loop *loop, struct end *end, const gate__sockaddr *addr);
void submit_recv(struct loop *loop, struct end *end);
void submit_recv_flags(struct loop *loop, struct end *end, unsigned flags);
void submit_send(struct loop *loop, struct end *end, const void *buf, size_t len, unsigned flags);
void submit_shutdown(struct loop *loop, struct end *end);
void submit_close(struct loop *loop, struct end *end);
void submit_accept(struct loop *loop, struct end *end, unsigned flags);

/* Runs turns until the op has ended (10 s at most), and returns the result. */
int wait_in(struct loop *loop, struct end *end);
int wait_out(struct loop *loop, struct end *end);

/* The time of the loop's clock, read anew. */
uint64_t time_of(const struct loop *loop);

/* Runs until `ms` from now. */
void run_for(struct loop *loop, unsigned ms);

/* Connects ends[0] to a far listener on address text, and accepts it as `peer`. */
void join(struct loop *loop, const char *host);

void set_addr(gate__sockaddr *addr, const char *host, uint16_t port);

/* Plain sockets of the kernel. */
int plain_listen(gate__sockaddr *addr, int backlog);
int plain_connect(const gate__sockaddr *addr);
int plain_accept(int listener);
void plain_send(int fd, const void *bytes, size_t len);
/* Reads len bytes, or up to the end of the input. */
size_t plain_recv(int fd, void *bytes, size_t len);
void plain_reset(int fd); /* closes with a reset */

/* Leaves this process room for so many descriptors more (at most 7), until run_on. */
void run_short(unsigned room);
void run_on(void);

/* A signal every 2 ms, which ends calls that wait. */
void start_signals(void);
void stop_signals(void);

/* Connects ends[0] over a Unix socket, and sends what that holds: the number of bytes. */
size_t join_full(struct loop *loop);

/* Makes `listener` one with a full queue on addr, where a connect gets no answer. */
void fill_queue(struct loop *loop, int fillers[2]);

/* Runs `inside` in a child with a network of its own, where 40000 is the only port that the kernel
 * may choose; skips the test where that is not allowed. */
void in_private_network(void (*inside)(const char *backend), const char *backend);

#endif
