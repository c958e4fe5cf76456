/* SPDX-License-Identifier: MIT */

/* A client's deadline: it is met to within 5 ms whatever the client waits for, and what came before
 * it counts also where the process was stopped meanwhile. */

#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- Lateness ---- */

enum { LATE_MOST_US = 5000, TRIES_US = 12000000, BIG = 32 << 20 };

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Something that a client waits for in vain. */
typedef struct question {
    char addr[64];
    uint16_t port;
    size_t len; /* of the request */
    int code;
    int fds[2];
    /* What came of it. */
    pthread_t thread;
    int wrong_code;
    int late_ms, late_us; /* where it was late each time: the time-out, and by how much */
} question;

/* What else the machine does makes some tries late, or ends them before there is a connection.
 * What a client does wrong makes all of them late. */
static void ask_in_vain(question *q, int timeout_ms)
{
    static const char request[BIG];
    int64_t best_us = INT64_MAX;
    int64_t first_us = now_us();
    while (best_us > LATE_MOST_US && now_us() - first_us < TRIES_US) {
        char reply[16];
        size_t len = sizeof reply;
        int64_t begun_us = now_us();
        int rc = gate_client_exchange(q->addr, q->port, request, q->len, reply, &len, timeout_ms);
        int64_t late_us = now_us() - begun_us - (int64_t)timeout_ms * 1000;
        if ((rc != q->code && rc != -ETIMEDOUT) || late_us < 0)
            q->wrong_code = rc ? rc : 1;
        if (late_us < best_us)
            best_us = late_us;
    }
    if (best_us > LATE_MOST_US) {
        q->late_ms = timeout_ms;
        q->late_us = (int)best_us;
    }
}

/* The last one is in a part of the kernel's timer wheel that moves every 256 ms. */
static void *ask_often(void *arg)
{
    static const int timeouts_ms[] = {1, 20, 55, 100, 300, 2100};
    for (size_t i = 0; i < sizeof timeouts_ms / sizeof *timeouts_ms; i++)
        ask_in_vain(arg, timeouts_ms[i]);
    return NULL;
}

static question no_reply(void)
{
    question q = {"127.0.0.1", .len = 1, .code = GATE_ELATE, .fds[1] = -1};
    q.fds[0] = net_listen(&q.port, 64);
    return q;
}

static question no_room_to_send(void)
{
    question q = no_reply();
    q.len = BIG;
    return q;
}

static question no_connection(void)
{
    question q = {"127.0.0.1", .len = 1, .code = -ETIMEDOUT};
    q.fds[0] = net_listen(&q.port, 0);
    q.fds[1] = net_connect(q.port);
    return q;
}

static question no_connection_to_unix(void)
{
    question q = {.len = 1, .code = -ETIMEDOUT};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int len = snprintf(q.addr, sizeof q.addr, "unix:@gate-time-%d", (int)getpid());
    memcpy(un.sun_path + 1, q.addr + 6, (size_t)len - 6);
    socklen_t un_len = (socklen_t)(sizeof(sa_family_t) + (size_t)len - 5);
    for (int i = 0; i < 2; i++)
        q.fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(q.fds[0], (struct sockaddr *)&un, un_len), 0);
    assert_int_equal(listen(q.fds[0], 0), 0);
    assert_int_equal(connect(q.fds[1], (struct sockaddr *)&un, un_len), 0);
    return q;
}

static void test_whatever_a_client_waits_for_it_ends_at_the_deadline(void **state)
{
    (void)state;
    question questions[] = {no_reply(), no_room_to_send(), no_connection(),
                            no_connection_to_unix()};
    enum { COUNT = sizeof questions / sizeof *questions };
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(pthread_create(&questions[i].thread, NULL, ask_often, &questions[i]), 0);
    for (int i = 0; i < COUNT; i++)
        pthread_join(questions[i].thread, NULL);
    for (int i = 0; i < COUNT; i++) {
        const question *q = &questions[i];
        for (int fd = 0; fd < 2; fd++)
            if (q->fds[fd] >= 0)
                net_close(q->fds[fd]);
        if (q->wrong_code || q->late_us)
            print_error("wait %d: code %d; %d ms ended %d us late\n", i, q->wrong_code, q->late_ms,
                        q->late_us);
    }
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(questions[i].wrong_code, 0);
        assert_int_equal(questions[i].late_us, 0);
    }
}

/* ---- A process that is stopped ---- */

enum { STOPPED_TIMEOUT_MS = 400, REPLY_LEN = 40000 };

typedef struct stopped {
    pid_t child;
    int listener, peer;
    uint64_t late_ms; /* when the child's deadline has passed */
} stopped;

/* The child's exit code is 0 where it has the reply. */
static void ask_in_child(uint16_t port, const gate_codec *codec)
{
    static char reply[REPLY_LEN + 1];
    size_t len = sizeof reply;
    const gate_client_options options = {.size = sizeof options, .codec = codec};
    gate_client *client;
    if (gate_client_open(&client, "127.0.0.1", port, &options))
        _exit(2);
    int rc = gate_client_call(client, "1", 1, reply, &len, STOPPED_TIMEOUT_MS);
    if (rc == 0 && len == REPLY_LEN)
        _exit(0);
    _exit(rc == GATE_ELATE ? 3 : 4);
}

static stopped stop_while_waiting(const gate_codec *codec)
{
    stopped s;
    uint16_t port;
    char request[2];
    int status;
    s.listener = net_listen(&port, 5);
    s.child = fork();
    assert_true(s.child >= 0);
    if (s.child == 0)
        ask_in_child(port, codec);
    s.peer = accept4(s.listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(s.peer >= 0);
    assert_true(net_read(s.peer, request, codec == gate_codec_raw() ? 1 : 2) > 0);
    s.late_ms = net_now_ms() + STOPPED_TIMEOUT_MS + 50;
    assert_int_equal(kill(s.child, SIGSTOP), 0);
    assert_int_equal(waitpid(s.child, &status, WUNTRACED), s.child);
    assert_true(WIFSTOPPED(status));
    return s;
}

static int go_on(const stopped *s)
{
    int status;
    NET_UNTIL(net_now_ms() > s->late_ms);
    assert_int_equal(kill(s->child, SIGCONT), 0);
    assert_int_equal(waitpid(s->child, &status, 0), s->child);
    assert_true(WIFEXITED(status));
    net_close(s->peer);
    net_close(s->listener);
    return WEXITSTATUS(status);
}

static void write_reply(int fd, const char *end)
{
    static char bytes[REPLY_LEN];
    memset(bytes, 'x', sizeof bytes);
    net_write(fd, bytes, sizeof bytes);
    net_put(fd, end);
}

static void test_a_reply_that_came_while_the_process_was_stopped_counts(void **state)
{
    (void)state;
    stopped s = stop_while_waiting(gate_codec_line());
    write_reply(s.peer, "\n");
    assert_int_equal(go_on(&s), 0);
    s = stop_while_waiting(gate_codec_raw());
    write_reply(s.peer, "");
    net_finish(s.peer);
    assert_int_equal(go_on(&s), 0);
}

static void test_a_process_that_was_stopped_in_vain_is_late(void **state)
{
    (void)state;
    stopped s = stop_while_waiting(gate_codec_line());
    assert_int_equal(go_on(&s), 3);
    s = stop_while_waiting(gate_codec_line());
    net_put(s.peer, "part of a reply");
    assert_int_equal(go_on(&s), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(test_whatever_a_client_waits_for_it_ends_at_the_deadline),
        NET_TEST(test_a_reply_that_came_while_the_process_was_stopped_counts),
        NET_TEST(test_a_process_that_was_stopped_in_vain_is_late),
    };
    return cmocka_run_group_tests_name("client time", tests, NULL, NULL);
}
