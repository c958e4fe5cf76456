/* SPDX-License-Identifier: MIT */
/* Each system call of a server's that can fail, with the errors that its manual page has for what
 * the library asks: once and lasting, at the first calls, in the middle, and at the last one. */
#include "life.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>

enum {
    ONCE = 1 << LIFE_ONCE,
    WHILE = 1 << LIFE_WHILE,
    ALWAYS = 1 << LIFE_ALWAYS,
    EACH = ONCE | WHILE | ALWAYS,
    A_FEW = 20
};

typedef struct row {
    int call;
    const int *errors; /* up to a 0 */
    unsigned allows;
    unsigned spans;
    int most; /* how often it fails where it lasts; 0: always */
    int code; /* what open and listen say to it; 0: the error itself */
} row;

static void sweep(life l, const row *rows, size_t count)
{
    life_count(&l, 0);
    for (const row *r = rows; r < rows + count; r++) {
        for (const int *error = r->errors; *error; error++) {
            l.fault = (inject_fault){.call = r->call, .error = *error};
            l.allows = r->allows;
            l.code = r->code ? r->code : -*error;
            life_sweep(&l, r->spans ? r->spans : EACH, r->most);
        }
    }
}

#define SWEEP(l, rows) sweep(l, rows, sizeof(rows) / sizeof *(rows))

/* Of the calls that open a server and its listeners. */
static const row set_up[] = {
    {.call = INJECT_socket,
     .errors = ERRORS(EMFILE, ENFILE, ENOBUFS, ENOMEM, EACCES, EAFNOSUPPORT, EPROTONOSUPPORT)},
    {.call = INJECT_setsockopt,
     .errors = ERRORS(ENOPROTOOPT, ENOMEM, EPERM),
     .allows = LIFE_UNSEEN},
    {.call = INJECT_getsockopt, .errors = ERRORS(ENOPROTOOPT, ENOBUFS)},
    {.call = INJECT_getsockname, .errors = ERRORS(ENOBUFS)},
    {.call = INJECT_bind, .errors = ERRORS(EACCES, EADDRNOTAVAIL, EINVAL, ENOMEM, EROFS)},
    {.call = INJECT_bind, .errors = ERRORS(EADDRINUSE), .allows = LIFE_UNSEEN},
    {.call = INJECT_listen, .errors = ERRORS(EOPNOTSUPP)},
    {.call = INJECT_listen, .errors = ERRORS(EADDRINUSE), .allows = LIFE_UNSEEN},
    {.call = INJECT_fcntl, .errors = ERRORS(EMFILE)},
    {.call = INJECT_lstat,
     .errors = ERRORS(EACCES, ENOMEM, EIO),
     .allows = LIFE_UNSEEN | LIFE_FILE},
    {.call = INJECT_lstat, /* its lock is taken away again and again */
     .errors = ERRORS(ENOENT),
     .allows = LIFE_UNSEEN | LIFE_FILE,
     .code = -EADDRINUSE},
    {.call = INJECT_unlink,
     .errors = ERRORS(EACCES, EBUSY, EROFS, EPERM, EIO),
     .allows = LIFE_UNSEEN | LIFE_FILE},
    {.call =
         INJECT_open, /* also of the files that say how much memory there is: it is guessed then */
     .errors = ERRORS(EACCES, EMFILE, ENOSPC, EROFS),
     .allows = LIFE_UNSEEN},
    {.call = INJECT_flock, .errors = ERRORS(ENOLCK, EBADF)},
    {.call = INJECT_flock, .errors = ERRORS(EINTR), .allows = LIFE_UNSEEN, .spans = ONCE},
    {.call = INJECT_fstat, .errors = ERRORS(EIO, ENOMEM), .allows = LIFE_UNSEEN},
    {.call = INJECT_fchmod, .errors = ERRORS(EPERM, EINVAL, EIO)},
    {.call = INJECT_fchmodat, .errors = ERRORS(EPERM, EROFS, ENOENT)},
    {.call = INJECT_lchown, .errors = ERRORS(EPERM, EROFS, EINVAL)},
    {.call = INJECT_eventfd, .errors = ERRORS(EMFILE, ENFILE, ENODEV, ENOMEM)},
    {.call = INJECT_epoll_create1, .errors = ERRORS(EMFILE, ENFILE, ENOMEM)},
    {.call = INJECT_getaddrinfo,
     .errors = ERRORS(EAI_NONAME, EAI_NODATA, EAI_ADDRFAMILY, EAI_SERVICE),
     .code = GATE_ENAME},
    {.call = INJECT_getaddrinfo,
     .errors = ERRORS(EAI_AGAIN, EAI_FAIL, EMFILE, ENFILE),
     .code = GATE_ENAMELATER},
    {.call = INJECT_getaddrinfo, .errors = ERRORS(EAI_MEMORY, ENOMEM), .code = -ENOMEM},
};

/* Of the calls that serve. */
static const row accepting[] = {
    {.call = INJECT_accept4,
     .errors = ERRORS(EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EINTR, EPERM, EPROTO, ENETDOWN,
                      ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH,
                      ETIMEDOUT, ESOCKTNOSUPPORT, EINVAL),
     .allows = LIFE_LOSSLESS},
    {.call = INJECT_accept4, .errors = ERRORS(EAGAIN), .allows = LIFE_LOSSLESS, .spans = ONCE},
    {.call = INJECT_ioctl, .errors = ERRORS(EINVAL), .allows = LIFE_LOSSLESS},
};

static const row exchanging[] = {
    {.call = INJECT_recv,
     .errors = ERRORS(ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENETDOWN, ENOMEM, ENOBUFS, EINTR,
                      ENOTCONN, EIO)},
    {.call = INJECT_send,
     .errors = ERRORS(ECONNRESET, EPIPE, ETIMEDOUT, EHOSTUNREACH, ENETDOWN, ENOBUFS, ENOMEM, EINTR,
                      EACCES)},
    {.call = INJECT_send, .errors = ERRORS(INJECT_SHORT), .allows = LIFE_LOSSLESS, .most = 1000},
    {.call = INJECT_send, .errors = ERRORS(EAGAIN), .allows = LIFE_LOSSLESS, .spans = ONCE},
    {.call = INJECT_shutdown, .errors = ERRORS(ENOTCONN, ENOBUFS)},
    {.call = INJECT_close,
     .errors = ERRORS(EINTR, EIO, ENOSPC, EDQUOT),
     .allows = LIFE_UNSEEN | LIFE_LOSSLESS},
};

static const row epoll[] = {
    {.call = INJECT_epoll_ctl, .errors = ERRORS(ENOMEM, ENOSPC)},
    {.call = INJECT_epoll_wait, .errors = ERRORS(EINTR), .allows = LIFE_LOSSLESS, .most = A_FEW},
    {.call = INJECT_epoll_wait, .errors = ERRORS(EBADF, EINVAL), .allows = LIFE_ENDS},
    {.call = INJECT_pthread_create, .errors = ERRORS(EAGAIN, EPERM), .allows = LIFE_ENDS},
};

static const row epoll_one_shot[] = {
    {.call = INJECT_accept4, .errors = ERRORS(EMFILE, ECONNABORTED), .allows = LIFE_LOSSLESS},
};

static const row uring[] = {
    {.call = INJECT_accept4, .errors = ERRORS(EMFILE, ECONNABORTED), .allows = LIFE_LOSSLESS},
    {.call = INJECT_shutdown, .errors = ERRORS(ENOTCONN, ENOBUFS)},
    {.call = INJECT_close, .errors = ERRORS(EINTR, EIO), .allows = LIFE_UNSEEN | LIFE_LOSSLESS},
    {.call = INJECT_ioctl, .errors = ERRORS(EINVAL), .allows = LIFE_LOSSLESS},
    {.call = INJECT_eventfd, .errors = ERRORS(EMFILE, ENFILE, ENODEV, ENOMEM)},
    {.call = INJECT_pthread_create, .errors = ERRORS(EAGAIN, EPERM), .allows = LIFE_ENDS},
};

static const row uring_one_shot[] = {
    {.call = INJECT_recv, .errors = ERRORS(ECONNRESET, ENOMEM, EINTR)},
    {.call = INJECT_send, .errors = ERRORS(ECONNRESET, EPIPE, ENOBUFS, EINTR)},
    {.call = INJECT_send,
     .errors = ERRORS(EAGAIN, INJECT_SHORT),
     .allows = LIFE_LOSSLESS,
     .spans = ONCE},
};

static const row uring_watched[] = {
    {.call = INJECT_getpeername, .errors = ERRORS(ENOTCONN, ENOBUFS), .allows = LIFE_LOSSLESS},
};

static life lines(uint32_t io)
{
    return (life){.kind = LIFE_FULL, .codec = gate_codec_line(), .io = io};
}

static life one_shot(enum life_kind kind, uint32_t io)
{
    return (life){.kind = kind, .codec = gate_codec_raw(), .io = io};
}

static void test_set_up_fails(void **state)
{
    (void)state;
    SWEEP(lines(GATE_IO_EPOLL), set_up);
}

static void test_serving_fails(void **state)
{
    (void)state;
    SWEEP(lines(GATE_IO_EPOLL), accepting);
    SWEEP(lines(GATE_IO_EPOLL), exchanging);
    SWEEP(lines(GATE_IO_EPOLL), epoll);
}

static void test_serving_one_shot_exchanges_fails(void **state)
{
    (void)state;
    SWEEP(one_shot(LIFE_WATCHED, GATE_IO_EPOLL), exchanging);
    SWEEP(one_shot(LIFE_WATCHED, GATE_IO_EPOLL), epoll_one_shot);
}

static void test_calls_beside_the_ring_fail(void **state)
{
    net_io(state);
    SWEEP(lines(GATE_IO_URING), uring);
    SWEEP(one_shot(LIFE_PLAIN, GATE_IO_URING), uring_one_shot);
    SWEEP(one_shot(LIFE_WATCHED, GATE_IO_URING), uring_watched);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIFE_TEST(test_set_up_fails),
        LIFE_TEST(test_serving_fails),
        LIFE_TEST(test_serving_one_shot_exchanges_fails),
        {"test_calls_beside_the_ring_fail", test_calls_beside_the_ring_fail, life_setup,
         life_teardown, &net_uring},
    };
    unsetenv("GATE_IO"); /* each test has its own */
    return cmocka_run_group_tests_name("calls", tests, NULL, NULL);
}
