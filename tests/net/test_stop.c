/* SPDX-License-Identifier: MIT */

/* Stopping, from everywhere, while many clients are at it: what a handler has seen is answered. */

#include "net.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS = 16, AHEAD = 8, ENOUGH = 300 };

/* What the handler has seen and what the clients have got, by client. */
typedef struct ledger {
    atomic_int handled[CLIENTS];
    atomic_int answered[CLIENTS];
    atomic_int wrong;
    atomic_int total;
    atomic_int stops; /* the handler stops the server when there were enough requests */
    pthread_t threads[CLIENTS];
} ledger;

static void enter(gate_request *req, const void *body, size_t len, void *user)
{
    ledger *book = user;
    char line[32] = "";
    int client, number;
    memcpy(line, body, len < sizeof line - 1 ? len : sizeof line - 1);
    if (sscanf(line, "%d:%d", &client, &number) != 2 || client < 0 || client >= CLIENTS) {
        book->wrong++;
        gate_reject(req, NULL, 0);
        return;
    }
    book->handled[client]++;
    if (++book->total >= ENOUGH && book->stops)
        gate_server_stop(gate_request_server(req));
    gate_reply(req, body, len);
}

/* ---- Clients: each in a thread, connected until the server ends it ---- */

typedef struct caller {
    ledger *book;
    int client;
    int fd;
    int sent;
    char got[64];
    size_t got_len;
} caller;

static int send_next(caller *c)
{
    char line[32];
    int len = snprintf(line, sizeof line, "%d:%d\n", c->client, c->sent++);
    return send(c->fd, line, (size_t)len, MSG_NOSIGNAL) == len;
}

/* Reads one reply, which must be the next. 0: there are no more. */
static int take_next(caller *c)
{
    char *end;
    char expected[32];
    while (!(end = memchr(c->got, '\n', c->got_len))) {
        ssize_t part = recv(c->fd, c->got + c->got_len, sizeof c->got - c->got_len, 0);
        if (part <= 0)
            return 0;
        c->got_len += (size_t)part;
    }
    size_t len = (size_t)(end - c->got) + 1;
    int number = c->book->answered[c->client]++;
    snprintf(expected, sizeof expected, "%d:%d\n", c->client, number);
    if (strlen(expected) != len || memcmp(expected, c->got, len))
        c->book->wrong++;
    c->got_len -= len;
    memmove(c->got, end + 1, c->got_len);
    return 1;
}

static void *talk(void *arg)
{
    caller *c = arg;
    for (int i = 0; i < AHEAD; i++)
        send_next(c);
    while (take_next(c))
        send_next(c);
    close(c->fd);
    return NULL;
}

/* Serves under load until `stop` has been called after ENOUGH requests, and closes the books. */
static void stop_under_load(ledger *book, uint32_t workers,
                            void (*stop)(net_server *s, ledger *book))
{
    caller callers[CLIENTS];
    sigset_t signals, before;
    gate_options options = net_options(enter, gate_codec_line());
    options.user = book;
    options.workers = workers;
    net_server *s = net_start(&options);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM); /* would interrupt the clients' calls */
    pthread_sigmask(SIG_BLOCK, &signals, &before);
    for (int i = 0; i < CLIENTS; i++) {
        callers[i] = (caller){.book = book, .client = i, .fd = net_connect(s->port)};
        assert_int_equal(pthread_create(&book->threads[i], NULL, talk, &callers[i]), 0);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    NET_UNTIL(book->total >= ENOUGH);
    stop(s, book);
    net_join(s);
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(book->threads[i], NULL);
        assert_int_equal(book->answered[i], book->handled[i]);
    }
    gate_stats stats = net_stats(s);
    net_assert_balance(&stats);
    assert_int_equal(stats.accepted, CLIENTS);
    assert_int_equal(stats.requests, book->total);
    assert_int_equal(stats.replies, book->total);
    assert_int_equal(stats.closed[GATE_CLOSE_STOPPED], CLIENTS);
    assert_int_equal(book->wrong, 0);
    net_free(s);
}

static void stop_from_here(net_server *s, ledger *book)
{
    (void)book;
    gate_server_stop(s->server);
    gate_server_stop(s->server); /* any number of times */
}

static void test_stop_from_another_thread_loses_nothing(void **state)
{
    (void)state;
    ledger book = {0};
    stop_under_load(&book, 1, stop_from_here);
}

static void test_stop_of_several_workers_loses_nothing(void **state)
{
    (void)state;
    ledger book = {0};
    stop_under_load(&book, 4, stop_from_here);
}

static void stop_from_the_handler(net_server *s, ledger *book)
{
    (void)s;
    book->stops = 1;
}

static void test_stop_from_a_handler_loses_nothing(void **state)
{
    (void)state;
    ledger book = {0}, of_many = {0};
    stop_under_load(&book, 1, stop_from_the_handler);
    stop_under_load(&of_many, 4, stop_from_the_handler);
}

static _Atomic(gate_server *) signalled;

static void on_signal(int number)
{
    (void)number;
    gate_server_stop(signalled);
}

static void stop_by_signals(net_server *s, ledger *book)
{
    (void)book;
    signalled = s->server;
    kill(getpid(), SIGTERM);
    for (int i = 0; i < 100 && !s->ended; i++)
        pthread_kill(s->thread, SIGTERM);
}

static void test_stop_from_a_signal_handler_loses_nothing(void **state)
{
    (void)state;
    ledger book = {0}, of_many = {0};
    struct sigaction before, action = {.sa_handler = on_signal};
    assert_int_equal(sigaction(SIGTERM, &action, &before), 0);
    stop_under_load(&book, 1, stop_by_signals);
    stop_under_load(&of_many, 2, stop_by_signals);
    struct sigaction after;
    assert_int_equal(sigaction(SIGTERM, &before, &after), 0);
    assert_true(after.sa_handler == on_signal);
}

/* ---- One-shot clients, who connect again and again while it stops ---- */

typedef struct crowd {
    atomic_int welcomed;
    atomic_int refused;
    uint16_t port;
    atomic_int handled;
} crowd;

static void welcome(gate_request *req, const void *body, size_t len, void *user)
{
    crowd *c = user;
    (void)body, (void)len;
    c->handled++;
    gate_reply(req, "welcome", 7);
}

static void *knock(void *arg)
{
    crowd *c = arg;
    char reply[16];
    for (;;) {
        size_t len = sizeof reply;
        int rc = gate_client_exchange("127.0.0.1", c->port, "1", 1, reply, &len, 20000);
        if (rc) {
            c->refused++;
            return NULL;
        }
        c->welcomed += len == 7 && !memcmp(reply, "welcome", 7);
    }
}

static void knock_until_stopped(uint32_t workers)
{
    pthread_t threads[CLIENTS];
    crowd c = {0};
    gate_options options = net_options(welcome, NULL);
    options.user = &c;
    options.workers = workers;
    net_server *s = net_start(&options);
    c.port = s->port;
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, knock, &c), 0);
    NET_UNTIL(c.welcomed >= ENOUGH);
    gate_server_stop(s->server);
    net_join(s);
    gate_stats stats = net_stats(s);
    net_free(s); /* no listener is left, so that the clients end */
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    net_assert_balance(&stats);
    assert_int_equal(c.welcomed, c.handled);
    assert_int_equal(c.handled, stats.requests);
    assert_int_equal(stats.accepted, stats.requests); /* each one that was accepted was served */
    assert_int_equal(c.refused, CLIENTS);
}

static void test_stop_serves_every_accepted_connection(void **state)
{
    (void)state;
    knock_until_stopped(1);
    knock_until_stopped(4);
}

static void test_stop_serves_what_the_kernel_has_queued(void **state)
{
    (void)state;
    int fds[50];
    gate_server *server;
    gate_options options = net_options(net_echo, NULL);
    assert_int_equal(gate_server_open(&server, &options), 0);
    assert_int_equal(gate_server_listen(server, "127.0.0.1", 0, 0), 0);
    for (int i = 0; i < 50; i++) {
        fds[i] = net_connect(gate_server_port(server));
        net_put(fds[i], "1");
    }
    gate_server_stop(server); /* before it serves at all */
    net_server *s = net_serve(server);
    net_join(s);
    assert_int_equal(net_stats(s).requests, 50);
    for (int i = 0; i < 50; i++) {
        net_expect(fds[i], "1");
        net_expect_end(fds[i]);
        net_close(fds[i]);
    }
    net_free(s);
}

/* ---- Requests that have arrived on connections which are kept open ---- */

typedef struct gatekeeper {
    atomic_int waiting;
    atomic_int go_on;
} gatekeeper;

/* Holds the worker up at "wait", so that what comes meanwhile lies in the sockets. */
static void wait_or_echo(gate_request *req, const void *body, size_t len, void *user)
{
    gatekeeper *at = user;
    if (len == 4 && !memcmp(body, "wait", 4)) {
        at->waiting = 1;
        for (int i = 0; !at->go_on && net_nap(i); i++)
            ;
    }
    gate_reply(req, body, len);
}

static void test_stop_answers_what_has_arrived(void **state)
{
    gatekeeper at = {0};
    int fds[CLIENTS];
    gate_options options = net_options(wait_or_echo, gate_codec_line());
    options.io = net_io(state);
    options.user = &at;
    net_server *s = net_start(&options);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = net_connect(s->port);
        net_put(fds[i], "x\n");
        net_expect(fds[i], "x\n");
    }
    net_put(fds[0], "wait\n");
    NET_UNTIL(at.waiting);
    for (int i = 1; i < CLIENTS; i++)
        net_put(fds[i], "arrived\nas well\n");
    gate_server_stop(s->server);
    at.go_on = 1;
    net_expect(fds[0], "wait\n");
    for (int i = 1; i < CLIENTS; i++)
        net_expect(fds[i], "arrived\nas well\n");
    for (int i = 0; i < CLIENTS; i++) {
        net_expect_end(fds[i]);
        net_close(fds[i]);
    }
    net_join(s);
    assert_int_equal(net_stats(s).closed[GATE_CLOSE_STOPPED], CLIENTS);
    net_free(s);
}

/* ---- How long stopping takes ---- */

static void stop_idle_connections(uint32_t workers)
{
    gate_options options = net_options(net_echo, gate_codec_line());
    int fds[CLIENTS];
    options.timeout_ms = 60000;
    options.workers = workers;
    net_server *s = net_start(&options);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = net_connect(s->port);
        net_put(fds[i], "x\n");
        net_expect(fds[i], "x\n");
    }
    uint64_t start = net_now_ms();
    gate_server_stop(s->server);
    net_join(s);
    assert_true(net_now_ms() - start < 20000);
    assert_int_equal(net_stats(s).closed[GATE_CLOSE_STOPPED], CLIENTS);
    for (int i = 0; i < CLIENTS; i++) {
        net_expect_end(fds[i]);
        net_close(fds[i]);
    }
    net_free(s);
}

static void test_stop_ends_idle_connections_at_once(void **state)
{
    (void)state;
    stop_idle_connections(1);
}

static void test_stop_wakes_every_worker(void **state)
{
    (void)state;
    stop_idle_connections(4);
}

static void test_stop_gives_a_begun_request_until_the_drain_deadline(void **state)
{
    (void)state;
    gate_options options = net_options(net_echo, gate_codec_line());
    options.timeout_ms = 60000;
    options.drain_timeout_ms = 400;
    net_server *s = net_start(&options);
    int done = net_connect(s->port), never = net_connect(s->port);
    net_put(done, "ha");
    net_put(never, "ha");
    NET_UNTIL(net_stats(s).bytes_in == 4);
    uint64_t start = net_now_ms();
    gate_server_stop(s->server);
    net_put(done, "lf\n");
    net_expect(done, "half\n");
    net_expect_end(done);
    net_close(done);
    net_expect_gone(never);
    net_join(s);
    assert_true(net_now_ms() - start >= 400);
    assert_int_equal(net_stats(s).closed[GATE_CLOSE_DRAIN_TIMEOUT], 1);
    assert_int_equal(net_stats(s).closed[GATE_CLOSE_STOPPED], 1);
    net_close(never);
    net_free(s);
}

static void keep(gate_request *req, const void *body, size_t len, void *user)
{
    (void)body, (void)len;
    if (!gate_defer(req))
        ++*(atomic_int *)user;
}

/* The house is full, and stays so: who queues has no turn any more. */
static void test_the_drain_deadline_ends_the_queue_of_a_full_house(void **state)
{
    (void)state;
    struct {
        atomic_int count;
    } kept = {0};
    gate_options options = net_options(keep, NULL);
    options.user = &kept.count;
    options.connections_max = 1;
    options.timeout_ms = 60000;
    options.drain_timeout_ms = 30;
    net_server *s = net_start(&options);
    int inside = net_connect(s->port), outside = net_connect(s->port);
    net_put(inside, "1");
    NET_UNTIL(kept.count == 1);
    gate_server_stop(s->server);
    net_join(s);
    net_expect_gone(inside);
    net_expect_gone(outside);
    gate_stats stats = net_stats(s);
    assert_int_equal(stats.accepted, 1);
    assert_int_equal(stats.closed[GATE_CLOSE_DRAIN_TIMEOUT], 1);
    net_close(inside);
    net_close(outside);
    net_free(s);
}

/* ---- A deferred answer and the stop in the same turn ---- */

typedef struct pause_then_stop {
    gate_request *kept;
    atomic_int count;
} pause_then_stop;

/* The first request is deferred; the second answers it with nothing, so that its connection closes,
 * and stops the server. */
static void answer_and_stop(gate_request *req, const void *body, size_t len, void *user)
{
    pause_then_stop *seen = user;
    if (!seen->kept) {
        seen->kept = req;
        gate_defer(req);
        seen->count = 1;
        return;
    }
    gate_reply(seen->kept, NULL, 0);
    gate_server_stop(gate_request_server(req));
    gate_reply(req, body, len);
}

static void test_deferred_answer_in_the_turn_of_the_stop(void **state)
{
    pause_then_stop seen = {0};
    gate_options options = net_options(answer_and_stop, gate_codec_eof());
    options.io = net_io(state);
    options.user = &seen;
    net_server *s = net_start(&options);
    int first = net_connect(s->port), second = net_connect(s->port);
    net_put(first, "1");
    net_finish(first);
    NET_UNTIL(seen.count == 1);
    net_put(second, "2");
    net_finish(second);
    net_join(s);
    net_expect(second, "2");
    net_expect_end(second);
    net_expect_end(first);
    gate_stats stats = net_stats(s);
    net_assert_balance(&stats);
    assert_int_equal(stats.closed[GATE_CLOSE_ANSWERED], 2);
    net_close(first);
    net_close(second);
    net_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(test_stop_from_another_thread_loses_nothing),
        NET_TEST(test_stop_of_several_workers_loses_nothing),
        NET_TEST(test_stop_from_a_handler_loses_nothing),
        NET_TEST(test_stop_from_a_signal_handler_loses_nothing),
        NET_TEST(test_stop_serves_every_accepted_connection),
        NET_TEST(test_stop_serves_what_the_kernel_has_queued),
        NET_TEST_EACH_IO(test_stop_answers_what_has_arrived),
        NET_TEST(test_stop_ends_idle_connections_at_once),
        NET_TEST(test_stop_wakes_every_worker),
        NET_TEST(test_stop_gives_a_begun_request_until_the_drain_deadline),
        NET_TEST(test_the_drain_deadline_ends_the_queue_of_a_full_house),
        NET_TEST_EACH_IO(test_deferred_answer_in_the_turn_of_the_stop),
    };
    return cmocka_run_group_tests_name("stop", tests, NULL, NULL);
}
