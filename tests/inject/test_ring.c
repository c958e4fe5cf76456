/* SPDX-License-Identifier: MIT */
/* The ring fails to be made, entered or changed; each sort of request in it ends with the errors
 * that it can have, what stays armed ends early, and sends take less than they were given. */
#include "life.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    ONCE = 1 << LIFE_ONCE,
    WHILE = 1 << LIFE_WHILE,
    FOR_EVER = 1 << LIFE_ALWAYS,
    EACH = ONCE | WHILE | FOR_EVER,
    A_FEW = 20
};

typedef struct row {
    int call;
    int how;
    const int *errors; /* up to a 0 */
    unsigned allows;
    unsigned spans; /* 0: each */
    int most;       /* how often it hits where it lasts; 0: always */
} row;

static const int nothing[] = {INJECT_NO_ERROR, 0};

/* What the library takes as no answer, and so asks again at once, costs nothing where it hits a few
 * times. Where it never ends, the operation fails, and the loop does not spin. */
static const row lines[] = {
    {INJECT_ACCEPT, INJECT_REFUSE,
     ERRORS(EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EINTR, EPERM, EPROTO, ENETDOWN, EINVAL),
     LIFE_LOSSLESS, 0, 0},
    {INJECT_ACCEPT, INJECT_REFUSE, ERRORS(EAGAIN, ECANCELED), LIFE_LOSSLESS, 0, A_FEW},
    {INJECT_ACCEPT, INJECT_END, ERRORS(EMFILE, ENOBUFS, ENOMEM, ECONNABORTED, ECANCELED, EINTR),
     LIFE_LOSSLESS, 0, 0},
    {INJECT_ACCEPT, INJECT_SINGLE, nothing, LIFE_LOSSLESS, 0, 0},
    {INJECT_RECV, INJECT_REFUSE,
     ERRORS(ECONNRESET, ETIMEDOUT, ENOMEM, EHOSTUNREACH, ENETDOWN, ENOTCONN, EIO), 0, 0, 0},
    {INJECT_RECV, INJECT_REFUSE, ERRORS(ENOBUFS, EAGAIN, EINTR, ECANCELED), LIFE_LOSSLESS, 0,
     A_FEW},
    {INJECT_RECV, INJECT_REFUSE, ERRORS(ENOBUFS, EAGAIN, EINTR), 0, FOR_EVER, 0},
    {INJECT_RECV, INJECT_END, ERRORS(ECONNRESET, ETIMEDOUT, ENOMEM, EIO), 0, 0, 0},
    {INJECT_RECV, INJECT_END, ERRORS(ENOBUFS, EAGAIN, EINTR, ECANCELED), LIFE_LOSSLESS, 0, 0},
    {INJECT_RECV, INJECT_SINGLE, nothing, LIFE_LOSSLESS, 0, 0},
    {INJECT_SEND, INJECT_REFUSE,
     ERRORS(ECONNRESET, EPIPE, ETIMEDOUT, ENOBUFS, ENOMEM, EHOSTUNREACH, ENETDOWN, EIO), 0, 0, 0},
    {INJECT_SEND, INJECT_REFUSE, ERRORS(EAGAIN, EINTR, ECANCELED), LIFE_LOSSLESS, 0, A_FEW},
    {INJECT_SEND, INJECT_REFUSE, ERRORS(EAGAIN, EINTR), 0, FOR_EVER, 0},
    {INJECT_SEND, INJECT_LITTLE, nothing, LIFE_LOSSLESS, 0, 200},
    {INJECT_WAKE, INJECT_REFUSE, ERRORS(ENOMEM, ECANCELED, EINVAL), LIFE_LOSSLESS, 0, A_FEW},
    {INJECT_WAKE, INJECT_REFUSE, ERRORS(ENOMEM, EINVAL), LIFE_ENDS | LIFE_LOSSLESS, FOR_EVER, 0},
    {INJECT_WAKE, INJECT_END, ERRORS(ENOMEM, ECANCELED), LIFE_LOSSLESS, 0, A_FEW},
    {INJECT_WAKE, INJECT_SINGLE, nothing, LIFE_LOSSLESS, 0, A_FEW},
    {INJECT_CANCEL, INJECT_REFUSE, ERRORS(ENOENT, EALREADY, EINVAL, ENOMEM), LIFE_LOSSLESS, 0,
     A_FEW},
    {INJECT_SUBMIT, 0, ERRORS(EAGAIN, EBUSY, EINTR), LIFE_LOSSLESS, 0, A_FEW},
    {INJECT_WAIT, 0, ERRORS(EINTR, ETIME), LIFE_LOSSLESS, 0, A_FEW},
    {INJECT_SUBMIT, 0, ERRORS(EBADF, EBADR, ENOMEM, EINVAL), LIFE_ENDS, 0, 0},
    {INJECT_WAIT, 0, ERRORS(EBADR, ENXIO), LIFE_ENDS, 0, 0},
};

/* Their one send is not the ring's: it goes with the end of the connection. */
static const row one_shot[] = {
    {INJECT_RECV, INJECT_REFUSE, ERRORS(ECONNRESET, ENOMEM, ETIMEDOUT), 0, 0, 0},
    {INJECT_RECV, INJECT_REFUSE, ERRORS(ENOBUFS, EAGAIN, EINTR, ECANCELED), LIFE_LOSSLESS, 0,
     A_FEW},
};

static const row set_up[] = {
    {INJECT_io_uring_queue_init_params, 0,
     ERRORS(EPERM, ENOSYS, ENOMEM, EAGAIN, EBUSY, EINVAL, EMFILE, ENFILE, EINTR), 0, 0, 0},
    {INJECT_io_uring_register_buf_ring, 0, ERRORS(EPERM, ENOSYS, ENOMEM, EINVAL, EEXIST), 0, 0, 0},
    {INJECT_io_uring_register, 0, ERRORS(EPERM, ENOMEM, EAGAIN, EBUSY, EINVAL, EINTR),
     LIFE_UNSEEN | LIFE_NO_START | LIFE_ENDS, 0, 0},
    {INJECT_pthread_create, 0, ERRORS(EAGAIN, EPERM), LIFE_ENDS, 0, 0},
    {INJECT_mmap, 0, ERRORS(ENOMEM, EAGAIN, ENFILE), 0, 0, 0},
};

static void sweep(life l, const row *rows, size_t count)
{
    for (const row *r = rows; r < rows + count; r++) {
        l.fault.how = r->how;
        life_count(&l, r->call);
        for (const int *error = r->errors; *error; error++) {
            l.fault = (inject_fault){.call = r->call, .how = r->how, .error = *error};
            l.allows = r->allows;
            l.code = -*error;
            life_sweep(&l, r->spans ? r->spans : EACH, r->most);
        }
    }
}

#define SWEEP(l, rows) sweep(l, rows, sizeof(rows) / sizeof *(rows))

static life over_lines(void **state)
{
    return (life){.kind = LIFE_FULL, .codec = gate_codec_line(), .io = net_io(state)};
}

static void test_requests_of_lines_end_otherwise(void **state)
{
    SWEEP(over_lines(state), lines);
}

static void test_requests_of_one_shot_exchanges_end_otherwise(void **state)
{
    life l = {.kind = LIFE_WATCHED, .codec = gate_codec_raw(), .io = net_io(state)};
    SWEEP(l, one_shot);
}

static void test_a_ring_that_cannot_be_had_is_an_error(void **state)
{
    SWEEP(over_lines(state), set_up);
}

/* ---- Any backend --------------------------------------------------------------------------- */

static atomic_int told;

static void hear(const gate_event *event, void *user)
{
    (void)user;
    told += strstr(event->text, "using epoll") != NULL;
}

static void test_a_ring_that_cannot_be_had_is_replaced_by_epoll(void **state)
{
    const int calls[] = {INJECT_io_uring_queue_init_params, INJECT_io_uring_register_buf_ring,
                         INJECT_pthread_create, INJECT_eventfd, INJECT_MEMORY};
    gate_options options = net_options(net_echo, NULL);
    options.log = hear;
    net_io(state);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        /* The first two pieces of memory are the server's own. */
        int first = calls[i] == INJECT_MEMORY ? 3 : 1;
        inject_arm(&(inject_fault){.call = calls[i], .error = ENOMEM, .first = first, .count = 1});
        told = 0;
        net_server *s = net_start(&options);
        assert_int_equal(told, 1);
        assert_int_equal(inject_fired(), 1);
        int fd = net_connect(s->port);
        net_put(fd, "1");
        net_expect(fd, "1");
        net_close(fd);
        assert_true(inject_seen(INJECT_epoll_wait) > 0);
        net_stop(s);
    }
}

#define RING_TEST(test)                                    \
    {                                                      \
#test, test, life_setup, life_teardown, &net_uring \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        RING_TEST(test_requests_of_lines_end_otherwise),
        RING_TEST(test_requests_of_one_shot_exchanges_end_otherwise),
        RING_TEST(test_a_ring_that_cannot_be_had_is_an_error),
        RING_TEST(test_a_ring_that_cannot_be_had_is_replaced_by_epoll),
    };
    unsetenv("GATE_IO"); /* each test has its own */
    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
