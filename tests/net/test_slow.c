/* SPDX-License-Identifier: MIT */

/* Handlers that take long: what they cost the requests that wait beside them. Each test holds the
 * server inside a handler until all that it sends is there, so that one turn finds it all. */

#include "net.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { PEERS = 8, HOLDER = PEERS };

typedef struct shift {
    atomic_int held;
    atomic_int go;
    atomic_int handled;      /* but for the one that is held */
    int fds[PEERS + 1];      /* each asks with its number */
    atomic_int order[PEERS]; /* who was handled when */
    int slow_ms;             /* what the second one takes */
    int readable;            /* replies that are there before the last one is handled */
    int asks_again;          /* the first one does, inside the second one's handler */
    atomic_int failed;       /* ... in vain */
} shift;

static void rest(int ms)
{
    const struct timespec span = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    nanosleep(&span, NULL);
}

/* 1: that was it. */
static int hold(shift *all, gate_request *req, char first)
{
    if (first != '0' + HOLDER)
        return 0;
    all->held = 1;
    for (int tries = 0; !all->go && net_nap(tries); tries++)
        ;
    gate_reply(req, NULL, 0);
    return 1;
}

static void connect_all(shift *all, const net_server *s)
{
    char request[] = "0\n";
    for (int i = 0; i <= PEERS; i++)
        all->fds[i] = net_connect(s->port);
    NET_UNTIL(net_stats(s).connections == PEERS + 1);
    request[0] = '0' + HOLDER;
    net_put(all->fds[HOLDER], request);
    NET_UNTIL(all->held);
    for (int i = 0; i < PEERS; i++) {
        request[0] = (char)('0' + i);
        net_put(all->fds[i], request);
    }
    all->go = 1;
    net_expect(all->fds[HOLDER], "\n");
}

static void expect_number(const shift *all, int i)
{
    const char reply[] = {(char)('0' + i), '\n', '\0'};
    net_expect(all->fds[i], reply);
}

static void close_all(shift *all)
{
    for (int i = 0; i <= PEERS; i++)
        net_close(all->fds[i]);
}

/* ---- Answers ---- */

/* Before the last of the requests is answered, an earlier answer must come; it is waited for. */
static void look_at_last(gate_request *req, const void *body, size_t len, void *user)
{
    shift *all = user;
    if (hold(all, req, *(const char *)body))
        return;
    if (all->handled == PEERS - 1) {
        struct pollfd ends[PEERS];
        for (int i = 0; i < PEERS; i++)
            ends[i] = (struct pollfd){.fd = all->fds[i], .events = POLLIN};
        all->readable = poll(ends, PEERS, 3000);
    }
    all->handled++;
    rest(2);
    gate_reply(req, body, len);
}

static void test_an_answer_does_not_wait_for_the_handlers_of_others(void **state)
{
    shift all = {0};
    gate_options options = net_options(look_at_last, gate_codec_line());
    options.user = &all;
    options.io = net_io(state);
    net_server *s = net_start(&options);
    connect_all(&all, s);
    NET_UNTIL(all.handled == PEERS); /* until then the replies are left where they are */
    assert_true(all.readable > 0);
    for (int i = 0; i < PEERS; i++)
        expect_number(&all, i);
    close_all(&all);
    net_stop(s);
}

/* ---- Idle time-outs ---- */

static void delay_second(gate_request *req, const void *body, size_t len, void *user)
{
    shift *all = user;
    char number = *(const char *)body;
    if (hold(all, req, number))
        return;
    int before = all->handled, first = all->order[0];
    if (before < PEERS)
        all->order[before] = number - '0';
    if (before == 1) {
        if (all->asks_again && send(all->fds[first], "0\n", 2, MSG_NOSIGNAL) != 2)
            all->failed = 1;
        rest(all->slow_ms);
    }
    all->handled++;
    gate_reply(req, body, len);
}

/* Those that are handled after the slow one have their whole idle time from then on. */
static void test_time_in_handlers_of_others_is_not_idle_time(void **state)
{
    shift all = {.slow_ms = 300};
    gate_options options = net_options(delay_second, gate_codec_line());
    options.user = &all;
    options.io = net_io(state);
    options.idle_timeout_ms = 250;
    net_server *s = net_start(&options);
    connect_all(&all, s);
    for (int i = 0; i < PEERS; i++)
        expect_number(&all, i);
    rest(20); /* for those that are idle to a clock that has stood still */
    for (int i = 2; i < PEERS; i++) {
        int peer = all.order[i];
        net_put(all.fds[peer], "again\n");
        net_expect(all.fds[peer], "again\n");
    }
    close_all(&all);
    net_stop(s);
}

/* It was sent in time: that it could not be read in time is not the peer's fault. */
static void test_a_request_that_waits_for_a_slow_handler_is_not_late(void **state)
{
    shift all = {.slow_ms = 100, .asks_again = 1};
    gate_options options = net_options(delay_second, gate_codec_line());
    options.user = &all;
    options.io = net_io(state);
    options.idle_timeout_ms = 50;
    net_server *s = net_start(&options);
    connect_all(&all, s);
    for (int i = 0; i < PEERS; i++)
        expect_number(&all, i);
    assert_false(all.failed);
    int first = all.order[0];
    net_expect(all.fds[first], "0\n");
    close_all(&all);
    net_stop(s);
}

/* ---- Write time-outs ---- */

static uint8_t big[8 << 20];

static void lend_big_late(gate_request *req, const void *body, size_t len, void *user)
{
    (void)body, (void)len, (void)user;
    rest(400);
    gate_reply_borrowed(req, big, sizeof big, NULL, NULL);
}

static void test_time_in_a_handler_is_not_time_to_write(void **state)
{
    static uint8_t got[1 << 20];
    gate_options options = net_options(lend_big_late, NULL);
    options.io = net_io(state);
    options.write_timeout_ms = 350;
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    net_put(fd, "1");
    for (size_t at = 0; at < sizeof big; at += sizeof got)
        assert_int_equal(net_read(fd, got, sizeof got), sizeof got);
    net_expect_end(fd);
    net_close(fd);
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_ANSWERED] == 1);
    net_stop(s);
}

/* ---- Urgent data ---- */

static void echo_or_hold(gate_request *req, const void *body, size_t len, void *user)
{
    if (!hold(user, req, *(const char *)body))
        gate_reply(req, body, len);
}

/* A read ends before the urgent byte: the one behind must not be waited for in vain. */
static void assert_urgent(gate_server *server, shift *all, uint16_t port)
{
    net_server *s = net_serve(server);
    int fd = net_connect(port), holder = net_connect(port);
    net_put(fd, "known\n"); /* so it has been read once */
    net_expect(fd, "known\n");
    net_put(holder, "8\n");
    NET_UNTIL(all->held);
    net_put(fd, "1");
    assert_int_equal(send(fd, "!", 1, MSG_OOB), 1);
    net_put(fd, "2\n");
    all->go = 1;
    net_expect(fd, "1!2\n");
    net_expect(holder, "\n");
    net_close(fd);
    net_close(holder);
    net_stop(s);
}

static void test_urgent_data_inside_a_request_does_not_hold_it_up(void **state)
{
    for (int own = 0; own <= 1; own++) {
        shift all = {0};
        gate_server *server;
        uint16_t port;
        gate_options options = net_options(echo_or_hold, gate_codec_line());
        options.user = &all;
        options.io = net_io(state);
        assert_int_equal(gate_server_open(&server, &options), 0);
        if (own)
            assert_int_equal(gate_server_listen(server, "127.0.0.1", 0, 0), 0);
        else
            assert_int_equal(gate_server_listen_fd(server, net_listen(&port, 5)), 0);
        assert_urgent(server, &all, gate_server_port(server));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST_EACH_IO(test_an_answer_does_not_wait_for_the_handlers_of_others),
        NET_TEST_EACH_IO(test_time_in_handlers_of_others_is_not_idle_time),
        NET_TEST_EACH_IO(test_a_request_that_waits_for_a_slow_handler_is_not_late),
        NET_TEST_EACH_IO(test_time_in_a_handler_is_not_time_to_write),
        NET_TEST_EACH_IO(test_urgent_data_inside_a_request_does_not_hold_it_up),
    };
    return cmocka_run_group_tests_name("slow", tests, NULL, NULL);
}
