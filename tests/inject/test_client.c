/* SPDX-License-Identifier: MIT */
/* Each call and each allocation of a client's fails, over each backend: the code says what failed
 * and whether the request may have left, and the next call works. */
#include "inject.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "io/io.h"
#include "peer.h"

enum over { BLOCKING, EPOLL, URING };

enum { TIMEOUT_MS = 3000, SHORT_MS = 200, A_FEW = 20, BIG = 60000 };

typedef struct row {
    int call;
    const int *errors; /* up to a 0 */
    int once;          /* it never lasts */
    int code;          /* what a request that was not sent ends with; 0: the error itself */
} row;

static peer peers[3];
static int answerable[3]; /* requests that may have been sent to each */

/* ---- One session --------------------------------------------------------------------------- */

typedef struct session {
    enum over over;
    inject_fault fault;
    int code;
} session;

static int is_sent_code(int rc)
{
    return rc == GATE_ETRUNCATED || rc == GATE_ECLOSED || rc == GATE_ELATE || rc == GATE_EBROKEN;
}

/* 1: it worked. 0: the fault was in the way, and is over now. */
static int worked(const session *s, int rc, int fired_before)
{
    if (rc == 0)
        return 1;
    assert_true(inject_fired() > fired_before);
    if (gate_outcome(rc) == GATE_NOT_SENT)
        assert_int_equal(rc, s->code);
    else
        assert_true(is_sent_code(rc));
    inject_disarm();
    return 0;
}

static int open_io(enum over over, gate_io **io)
{
    return over == EPOLL ? gate__io_epoll_open(io) : gate__io_uring_open(io);
}

static int open_once(const session *s, gate_client **client, const char *host, enum peer_kind kind)
{
    const gate_codec *codecs[] = {gate_codec_raw(), gate_codec_eof(), gate_codec_line()};
    gate_client_options options = {
        .size = sizeof options, .timeout_ms = TIMEOUT_MS, .codec = codecs[kind]};
    gate_io *io;
    if (s->over == BLOCKING)
        return gate_client_open(client, host, peers[kind].port, &options);
    int rc = open_io(s->over, &io);
    if (rc)
        return rc;
    rc = gate__client_open_on(client, io, host, peers[kind].port, &options);
    if (rc)
        io->ops->free(io);
    return rc;
}

static gate_client *open_well(const session *s, const char *host, enum peer_kind kind)
{
    gate_client *client;
    int before = inject_fired();
    if (!worked(s, open_once(s, &client, host, kind), before))
        assert_int_equal(open_once(s, &client, host, kind), 0);
    return client;
}

/* Without a client it is the one call. */
static int ask(gate_client *client, enum peer_kind kind, const char *request, size_t len)
{
    static char reply[BIG + 1];
    size_t reply_len = sizeof reply;
    int rc = client ? gate_client_call(client, request, len, reply, &reply_len, TIMEOUT_MS)
                    : gate_client_exchange("localhost", peers[kind].port, request, len, reply,
                                           &reply_len, TIMEOUT_MS);
    answerable[kind] += gate_outcome(rc) != GATE_NOT_SENT;
    if (rc == 0) {
        assert_int_equal(reply_len, len);
        assert_memory_equal(reply, request, len);
    }
    return rc;
}

static void ask_well(const session *s, gate_client *client, enum peer_kind kind,
                     const char *request, size_t len)
{
    int before = inject_fired();
    if (!worked(s, ask(client, kind, request, len), before))
        assert_int_equal(ask(client, kind, request, len), 0);
}

static void hold(const session *s)
{
    static char big[BIG];
    memset(big, 'x', sizeof big);
    if (s->over == BLOCKING)
        ask_well(s, NULL, PEER_RAW, "1", 1);
    gate_client *client = open_well(s, "127.0.0.1", PEER_EOF);
    ask_well(s, client, PEER_EOF, "until the end", 13);
    ask_well(s, client, PEER_EOF, big, sizeof big);
    gate_client_close(client);
    client = open_well(s, "localhost", PEER_LINES);
    ask_well(s, client, PEER_LINES, "one", 3);
    ask_well(s, client, PEER_LINES, "two", 3);
    ask_well(s, client, PEER_LINES, big, sizeof big);
    gate_client_close(client);
}

/* How often the fault has hit. */
static int live(const session *s)
{
    int fds = net_open_fds();
    long blocks = inject_blocks();
    inject_arm(&s->fault);
    for (int i = 0; i < 3; i++) {
        peers[i].heard = 0;
        answerable[i] = 0;
    }
    hold(s);
    int hits = inject_fired();
    inject_disarm();
    for (int i = 0; i < 3; i++) {
        peer_rest(&peers[i]);
        assert_true(peers[i].heard <= answerable[i]);
    }
    assert_int_equal(net_open_fds(), fds);
    NET_UNTIL(inject_blocks() == blocks); /* the thread of a look-up goes last */
    return hits;
}

/* ---- Many ---------------------------------------------------------------------------------- */

static int count(enum over over, int call)
{
    session s = {.over = over};
    live(&s);
    return inject_seen(call);
}

static void sweep_error(session s, int last, int lasts)
{
    uint64_t begun = net_now_ms();
    int hits = 0, lives = 0;
    for (int first = 1; first <= last; first += 1 + (last - first) / 5) {
        for (int often = 1; often <= (lasts ? A_FEW : 1); often += A_FEW - 1) {
            s.fault.first = first;
            s.fault.count = often;
            hits += live(&s);
            lives++;
        }
    }
    printf("    %s %s: %d hits in %d lives, %d ms\n", inject_name(s.fault.call),
           inject_error_name(s.fault.error), hits, lives, (int)(net_now_ms() - begun));
    assert_true(hits > 0);
}

static void sweep(enum over over, const row *rows, size_t len)
{
    for (const row *r = rows; r < rows + len; r++) {
        int last = count(over, r->call);
        for (const int *error = r->errors; *error; error++) {
            session s = {.over = over, .code = r->code ? r->code : -*error};
            s.fault = (inject_fault){.call = r->call, .error = *error};
            sweep_error(s, last, !r->once);
        }
    }
}

#define SWEEP(over, rows) sweep(over, rows, sizeof(rows) / sizeof *(rows))

static const row common[] = {
    {INJECT_socket, ERRORS(EMFILE, ENFILE, ENOBUFS, ENOMEM, EACCES, EAFNOSUPPORT), 0, 0},
    {INJECT_connect,
     ERRORS(ECONNREFUSED, ENETUNREACH, ETIMEDOUT, EHOSTUNREACH, EACCES, EPERM, ECONNRESET,
            EADDRINUSE),
     0, 0},
    {INJECT_connect, ERRORS(EADDRNOTAVAIL), 1, GATE_EPORTS},
    {INJECT_send,
     ERRORS(ECONNRESET, EPIPE, ENOBUFS, ENOMEM, ETIMEDOUT, EHOSTUNREACH, ENETDOWN, EACCES), 0, 0},
    {INJECT_send, ERRORS(INJECT_SHORT), 0, 0},
    {INJECT_recv, ERRORS(ECONNRESET, ETIMEDOUT, ENOMEM, EHOSTUNREACH, ENETDOWN, EIO), 0, 0},
    {INJECT_shutdown, ERRORS(ENOTCONN, ENOBUFS), 0, 0},
    {INJECT_close, ERRORS(EINTR, EIO, ENOSPC, EDQUOT), 0, 0},
    {INJECT_getaddrinfo, ERRORS(EAI_NONAME, EAI_NODATA, EAI_ADDRFAMILY, EAI_SERVICE), 0,
     GATE_ENAME},
    {INJECT_getaddrinfo, ERRORS(EAI_AGAIN, EAI_FAIL, EMFILE), 0, GATE_ENAMELATER},
    {INJECT_getaddrinfo, ERRORS(EAI_MEMORY, ENOMEM), 0, -ENOMEM},
    {INJECT_pthread_create, ERRORS(EAGAIN, EPERM), 0, 0},
};

static const row blocking[] = {
    {INJECT_setsockopt, ERRORS(ENOPROTOOPT, ENOMEM, EPERM), 0, 0},
    {INJECT_getsockname, ERRORS(ENOBUFS), 0, 0},
    {INJECT_connect, ERRORS(EINTR), 1, 0},
    {INJECT_send, ERRORS(EINTR), 0, 0},
    {INJECT_send, ERRORS(EAGAIN), 1, 0},
    {INJECT_recv, ERRORS(EINTR, EAGAIN), 1, 0},
    {INJECT_recv, ERRORS(INJECT_SHORT), 0, 0},
};

static const row loops[] = {
    {INJECT_getsockopt, ERRORS(ENOBUFS), 0, 0},
    {INJECT_getsockname, ERRORS(ENOBUFS), 0, 0},
    {INJECT_getpeername, ERRORS(ENOBUFS, ENOTCONN), 0, 0},
    {INJECT_eventfd, ERRORS(EMFILE, ENFILE, ENODEV, ENOMEM), 0, 0},
};

static const row epoll[] = {
    {INJECT_epoll_create1, ERRORS(EMFILE, ENFILE, ENOMEM), 0, 0},
    {INJECT_epoll_ctl, ERRORS(ENOMEM, ENOSPC), 0, 0},
    {INJECT_epoll_wait, ERRORS(EINTR), 0, 0},
};

/* The error of a connect in the ring is the wait's. A loop that a client runs is of no use once a
 * call that enters it failed for good, so those are not here. */
static const row uring[] = {
    {INJECT_CONNECT, ERRORS(ECANCELED, ENOMEM, EINVAL), 0, 0},
    {INJECT_socket, ERRORS(EMFILE), 0, 0},
    {INJECT_connect, ERRORS(ECONNREFUSED), 0, 0},
    {INJECT_recv, ERRORS(ECONNRESET, ENOMEM, EIO), 0, 0},
    {INJECT_SEND, ERRORS(ECONNRESET, EPIPE, ENOMEM, EHOSTUNREACH), 0, 0},
    {INJECT_SEND, ERRORS(EAGAIN, EINTR), 0, 0},
    {INJECT_RECV, ERRORS(ECONNRESET, ETIMEDOUT, ENOMEM), 0, 0},
    {INJECT_RECV, ERRORS(EAGAIN, EINTR, ENOBUFS), 0, 0},
    {INJECT_CANCEL, ERRORS(ENOENT, EALREADY), 0, 0},
    {INJECT_WAKE, ERRORS(ENOMEM, ECANCELED), 0, 0},
    {INJECT_SUBMIT, ERRORS(EAGAIN, EBUSY, EINTR), 0, 0},
    {INJECT_WAIT, ERRORS(EINTR, ETIME), 0, 0},
    {INJECT_getpeername, ERRORS(ENOTCONN), 0, 0},
    {INJECT_shutdown, ERRORS(ENOTCONN), 0, 0},
    {INJECT_close, ERRORS(EINTR, EIO), 0, 0},
    {INJECT_io_uring_queue_init_params, ERRORS(EPERM, ENOSYS, ENOMEM), 0, 0},
    {INJECT_io_uring_register_buf_ring, ERRORS(ENOMEM), 0, 0},
};

static void test_calls_of_a_blocking_client_fail(void **state)
{
    (void)state;
    SWEEP(BLOCKING, common);
    SWEEP(BLOCKING, blocking);
}

static void test_calls_of_a_client_over_epoll_fail(void **state)
{
    (void)state;
    SWEEP(EPOLL, common);
    SWEEP(EPOLL, loops);
    SWEEP(EPOLL, epoll);
}

static int has_uring(void)
{
    gate_io *io;
    int rc = gate__io_uring_open(&io);
    if (rc == 0)
        io->ops->free(io);
    return rc == 0;
}

static void test_calls_of_a_client_over_io_uring_fail(void **state)
{
    (void)state;
    if (!has_uring())
        skip();
    SWEEP(URING, uring);
}

static void fail_each_allocation(enum over over)
{
    session s = {.over = over, .code = -ENOMEM};
    s.fault = (inject_fault){.call = INJECT_MEMORY, .error = ENOMEM};
    int last = count(over, INJECT_MEMORY), hits = 0;
    for (int first = 1; first <= last; first++) {
        for (int often = 1; often <= A_FEW; often += A_FEW - 1) {
            s.fault.first = first;
            s.fault.count = often;
            hits += live(&s);
        }
    }
    printf("    %d allocations, %d hits\n", last, hits);
    assert_true(last > 0 && hits >= last);
}

static void test_allocations_of_a_client_fail(void **state)
{
    (void)state;
    fail_each_allocation(BLOCKING);
    fail_each_allocation(EPOLL);
    if (has_uring())
        fail_each_allocation(URING);
}

/* ---- A time-out that the kernel does not take ---------------------------------------------- */

static void test_a_deadline_holds_where_the_kernel_takes_no_time_out(void **state)
{
    char reply[16];
    size_t len = sizeof reply;
    uint16_t port;
    (void)state;
    int silent = net_listen(&port, 5);
    inject_arm(&(inject_fault){
        .call = INJECT_setsockopt, .error = ENOPROTOOPT, .first = 1, .count = INJECT_FOR_EVER});
    int rc = gate_client_exchange("127.0.0.1", port, "1", 1, reply, &len, SHORT_MS);
    inject_disarm();
    assert_int_equal(rc, -ENOPROTOOPT);
    /* From the second on: the connect had its own. */
    inject_arm(&(inject_fault){
        .call = INJECT_setsockopt, .error = ENOPROTOOPT, .first = 2, .count = INJECT_FOR_EVER});
    rc = gate_client_exchange("127.0.0.1", port, "1", 1, reply, &len, SHORT_MS);
    inject_disarm();
    assert_int_equal(rc, GATE_EBROKEN);
    net_close(silent);
}

static int setup(void **state)
{
    setvbuf(stdout, NULL, _IOLBF, 0); /* what a test that hangs did last is to be seen */
    for (int i = 0; i < 3; i++)
        peer_start(&peers[i], (enum peer_kind)i);
    return net_setup(state);
}

static int teardown(void **state)
{
    int rc = net_teardown(state);
    inject_disarm();
    for (int i = 0; i < 3; i++)
        peer_stop(&peers[i]);
    return rc;
}

#define CLIENT_TEST(test)                  \
    {                                      \
#test, test, setup, teardown, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLIENT_TEST(test_calls_of_a_blocking_client_fail),
        CLIENT_TEST(test_calls_of_a_client_over_epoll_fail),
        CLIENT_TEST(test_calls_of_a_client_over_io_uring_fail),
        CLIENT_TEST(test_allocations_of_a_client_fail),
        CLIENT_TEST(test_a_deadline_holds_where_the_kernel_takes_no_time_out),
    };
    return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
