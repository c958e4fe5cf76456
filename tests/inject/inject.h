/* SPDX-License-Identifier: MIT */
#ifndef GATE_TESTS_INJECT_H
#define GATE_TESTS_INJECT_H

/*
 * Faults in what the library asks of the C library, the kernel and liburing. The programs of this
 * folder link a copy of the static library in which each function below is called inject_NAME
 * (objcopy --redefine-syms), so that the library alone meets the faults; the copy is the same code
 * otherwise, and the library itself pays nothing.
 *
 * One fault is armed at a time, while no thread of the library runs. Counting is by all threads.
 */

#include <limits.h>

#include "net.h"

/* CMake reads the names from here. */
/* clang-format off */
#define INJECT_CALLS(X)                                                                           \
    X(malloc) X(calloc) X(realloc) X(aligned_alloc) X(free)                                       \
    X(socket) X(setsockopt) X(getsockopt) X(getsockname) X(getpeername) X(bind) X(listen)         \
    X(accept4) X(connect) X(recv) X(send) X(shutdown) X(close) X(fcntl) X(ioctl) X(lstat) X(mmap) \
    X(munmap) X(open) X(flock) X(fstat)                                                           \
    X(unlink) X(fchmod) X(fchmodat) X(lchown)                                                     \
    X(getaddrinfo) X(eventfd) X(epoll_create1) X(epoll_ctl) X(epoll_wait)               \
    X(pthread_create)                                                                             \
    X(io_uring_queue_init_params) X(io_uring_queue_exit) X(io_uring_register)                     \
    X(io_uring_register_buf_ring) X(io_uring_enter2)

enum inject_call {
    INJECT_NOTHING,
#define X(name) INJECT_##name,
    INJECT_CALLS(X)
#undef X
    INJECT_MEMORY, /* any that allocates */
    INJECT_SUBMIT, /* io_uring_enter that hands something over */
    INJECT_WAIT,   /* io_uring_enter that only waits */
    /* Requests in the ring. */
    INJECT_ACCEPT,
    INJECT_RECV,
    INJECT_SEND,
    INJECT_CONNECT,
    INJECT_WAKE,
    INJECT_CANCEL,
    INJECT_CALL_COUNT
};
/* clang-format on */

/* What happens instead. A call fails, always; what a request in the ring does: */
enum inject_how {
    INJECT_REFUSE, /* it completes with the error, and never began */
    INJECT_END,    /* one that stays armed ends with the error behind a completion */
    INJECT_SINGLE, /* one that stays armed ends with its first completion */
    INJECT_LITTLE  /* takes one byte; for the calls send and recv it is the error */
};

/* An errno; for getaddrinfo also an EAI_ code, which is negative. INJECT_NO_ERROR stands in a list
 * where the error makes no difference. */
enum { INJECT_SHORT = INT_MAX, INJECT_NO_ERROR = INT_MAX - 1 };

enum { INJECT_FOR_EVER = INT_MAX };

/* A list of errors, up to a 0. */
#define ERRORS(...)    \
    (const int[])      \
    {                  \
        __VA_ARGS__, 0 \
    }

typedef struct inject_fault {
    int call;
    int how;
    int error;
    int first; /* the first one that is hit, from 1 */
    int count; /* and how many are */
} inject_fault;

/* Counts from 0 again. With INJECT_NOTHING all is counted, and nothing fails. */
void inject_arm(const inject_fault *fault);
/* From now on nothing fails; the counts stay. */
void inject_disarm(void);
/* How often it was called since inject_arm. */
int inject_seen(int call);
/* How often the fault has hit. */
int inject_fired(void);
/* Pieces of memory that the library holds. */
long inject_blocks(void);
const char *inject_name(int call);
/* "EMFILE", "EAI -3", "short" */
const char *inject_error_name(int error);
/* One line that says what is armed, for whoever has to find out. */
void inject_tell(void);

/* For the seams: what this call has to fail with, or 0. */
int inject_fails(int call);
/* The armed fault is for requests of this kind, and hits this one. */
int inject_hits(int call, int how);
int inject_error(void);
/* Where a send fails since the connection is over, so is the connection. */
void inject_end_connection(int fd, int error);

#endif
