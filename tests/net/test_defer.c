/* SPDX-License-Identifier: MIT */

/* Answers that come later, from elsewhere, twice, too late or never. */

#include "net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { THREADS = 4, CLIENTS = 8, REQUESTS = 400, KEPT_MAX = 256 };

/* ---- A queue of deferred requests, and threads that answer them ---- */

typedef struct job {
    gate_request *req;
    char body[16];
    size_t len;
} job;

typedef struct office {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    pthread_t threads[THREADS];
    job jobs[CLIENTS * 128];
    size_t count;
    int closed;
    atomic_int answered;
    atomic_int refused; /* a second answer that was -EALREADY */
    atomic_int wrong;
} office;

static void file_job(gate_request *req, const void *body, size_t len, void *user)
{
    office *desk = user;
    job filed = {.req = req, .len = len};
    memcpy(filed.body, body, len < sizeof filed.body ? len : sizeof filed.body);
    if (gate_defer(req))
        desk->wrong++;
    pthread_mutex_lock(&desk->lock);
    desk->jobs[desk->count++] = filed;
    pthread_cond_signal(&desk->filled);
    pthread_mutex_unlock(&desk->lock);
}

/* Takes from the middle, so that answers come out of order. */
static int take_job(office *desk, job *taken)
{
    pthread_mutex_lock(&desk->lock);
    while (!desk->count && !desk->closed)
        pthread_cond_wait(&desk->filled, &desk->lock);
    int found = desk->count > 0;
    if (found) {
        size_t i = desk->count / 2;
        *taken = desk->jobs[i];
        desk->jobs[i] = desk->jobs[--desk->count];
    }
    pthread_mutex_unlock(&desk->lock);
    return found;
}

static void *answer_jobs(void *arg)
{
    office *desk = arg;
    job taken;
    while (take_job(desk, &taken)) {
        if (gate_reply(taken.req, taken.body, taken.len) == 0)
            desk->answered++;
        else
            desk->wrong++;
        if (gate_reply(taken.req, "twice", 5) == -EALREADY)
            desk->refused++;
    }
    return NULL;
}

static office *open_office(void)
{
    office *desk = calloc(1, sizeof *desk);
    assert_non_null(desk);
    pthread_mutex_init(&desk->lock, NULL);
    pthread_cond_init(&desk->filled, NULL);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&desk->threads[i], NULL, answer_jobs, desk), 0);
    return desk;
}

static void close_office(office *desk)
{
    pthread_mutex_lock(&desk->lock);
    desk->closed = 1;
    pthread_cond_broadcast(&desk->filled);
    pthread_mutex_unlock(&desk->lock);
    for (int i = 0; i < THREADS; i++)
        pthread_join(desk->threads[i], NULL);
    pthread_cond_destroy(&desk->filled);
    pthread_mutex_destroy(&desk->lock);
    free(desk);
}

static void test_threads_answer_and_the_order_stays(void **state)
{
    (void)state;
    office *desk = open_office();
    gate_options options = net_options(file_job, gate_codec_line());
    options.user = desk;
    net_server *s = net_start(&options);
    char all[REQUESTS * 8] = "", line[16];
    for (int i = 0; i < REQUESTS; i++) {
        snprintf(line, sizeof line, "%d\n", i);
        strcat(all, line);
    }
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = net_connect(s->port);
        net_put(fds[i], all);
    }
    for (int i = 0; i < CLIENTS; i++) {
        net_expect(fds[i], all);
        net_close(fds[i]);
    }
    NET_UNTIL(desk->refused == CLIENTS * REQUESTS);
    assert_int_equal(desk->answered, CLIENTS * REQUESTS);
    assert_int_equal(desk->wrong, 0);
    assert_int_equal(net_stats(s).replies, CLIENTS * REQUESTS);
    net_stop(s);
    close_office(desk);
}

/* ---- Requests that the test answers itself ---- */

typedef struct shelf {
    gate_request *kept[KEPT_MAX];
    atomic_int count;
    atomic_int code; /* of what the handler did last */
    atomic_int released;
} shelf;

/* 'k...' keeps the request; anything else is echoed. */
static void keep(gate_request *req, const void *body, size_t len, void *user)
{
    shelf *s = user;
    if (!len || *(const char *)body != 'k') {
        gate_reply(req, body, len);
        return;
    }
    if (gate_defer(req) == 0 && gate_defer(req) == -EALREADY && s->count < KEPT_MAX) {
        s->kept[s->count] = req;
        s->count++; /* now the test may use it */
    }
}

static void note_release(void *arg)
{
    shelf *s = arg;
    s->released++;
}

static net_server *start_keeping(shelf *s, const gate_codec *codec)
{
    gate_options options = net_options(keep, codec);
    options.user = s;
    options.handler_timeout_ms = GATE_NEVER;
    return net_start(&options);
}

static void test_a_second_answer_is_refused_also_long_after(void **state)
{
    (void)state;
    shelf kept = {0};
    net_server *s = start_keeping(&kept, gate_codec_line());
    int fd = net_connect(s->port);
    net_put(fd, "k\n");
    NET_UNTIL(kept.count == 1);
    assert_int_equal(gate_reply(kept.kept[0], "A", 1), 0);
    assert_int_equal(gate_reply(kept.kept[0], "B", 1), -EALREADY);
    net_expect(fd, "A\n");
    for (int i = 0; i < 1000; i++) {
        net_put(fd, "x\n");
        net_expect(fd, "x\n");
    }
    for (int i = 1; i < 200; i++) {
        net_put(fd, "k\n");
        NET_UNTIL(kept.count == i + 1); /* by and by in the place of the first one */
        assert_int_equal(gate_reply(kept.kept[0], "B", 1), -EALREADY);
        assert_int_equal(gate_reject(kept.kept[0], "B", 1), -EALREADY);
        assert_int_equal(gate_reply_borrowed(kept.kept[0], "B", 1, note_release, &kept), -EALREADY);
        assert_int_equal(gate_reply(kept.kept[i], "C", 1), 0);
        net_expect(fd, "C\n");
    }
    assert_int_equal(kept.released, 0);
    net_close(fd);
    net_stop(s);
}

static void test_an_answer_to_a_peer_that_has_gone_says_so(void **state)
{
    (void)state;
    shelf kept = {0};
    net_server *s = start_keeping(&kept, gate_codec_line());
    int fd = net_connect(s->port);
    const struct linger reset = {.l_onoff = 1};
    net_put(fd, "k1\nk2\n");
    NET_UNTIL(kept.count == 2);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    net_close(fd);
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_RESET] == 1);
    assert_int_equal(gate_reply(kept.kept[1], "B", 1), GATE_EGONE);
    assert_int_equal(gate_reply(kept.kept[1], "B", 1), -EALREADY);
    assert_int_equal(gate_reply_borrowed(kept.kept[0], "A", 1, note_release, &kept), GATE_EGONE);
    assert_int_equal(kept.released, 0);
    assert_int_equal(net_stats(s).replies, 0);
    net_stop(s);
}

/* ---- Two threads, one request ---- */

/* Each waits for the other without sleeping, so that they meet. */
typedef struct race {
    shelf kept;
    atomic_int round;
    atomic_int done;
    int won;
} race;

static int answer_lent(race *r, int i)
{
    return gate_reply_borrowed(r->kept.kept[i], "x", 1, note_release, &r->kept);
}

static void *answer_too(void *arg)
{
    race *r = arg;
    for (int i = 0; i < KEPT_MAX; i++) {
        while (r->round == i)
            ;
        r->won = answer_lent(r, i) == 0;
        r->done++;
    }
    return NULL;
}

static void test_of_two_answers_at_the_same_time_one_counts(void **state)
{
    (void)state;
    race r = {0};
    pthread_t other;
    net_server *s = start_keeping(&r.kept, gate_codec_line());
    int fd = net_connect(s->port);
    assert_int_equal(pthread_create(&other, NULL, answer_too, &r), 0);
    for (int i = 0; i < KEPT_MAX; i++) {
        net_put(fd, "k\n");
        NET_UNTIL(r.kept.count == i + 1);
        r.round = i + 1;
        int rc = answer_lent(&r, i);
        NET_UNTIL(r.done == i + 1);
        assert_int_equal(rc, r.won ? -EALREADY : 0);
        net_expect(fd, "x\n");
    }
    pthread_join(other, NULL);
    net_close(fd);
    net_stop(s);
    assert_int_equal(r.kept.released, KEPT_MAX);
}

static void lend_nothing(gate_request *req, const void *body, size_t len, void *user)
{
    (void)body, (void)len;
    gate_reply_borrowed(req, "", 0, note_release, user);
}

static void test_lent_bytes_that_are_none_are_given_back_as_well(void **state)
{
    (void)state;
    shelf at_once = {0}, later = {0};
    gate_options options = net_options(lend_nothing, gate_codec_line());
    options.user = &at_once;
    net_server *s = net_start(&options), *keeping = start_keeping(&later, gate_codec_line());
    int fd = net_connect(s->port), kept = net_connect(keeping->port);
    net_put(fd, "1\n");
    net_expect(fd, "\n");
    net_put(kept, "k\n");
    NET_UNTIL(later.count == 1);
    assert_int_equal(gate_reply_borrowed(later.kept[0], NULL, 0, note_release, &later), 0);
    net_expect(kept, "\n");
    net_close(fd);
    net_close(kept);
    net_stop(s);
    net_stop(keeping);
    assert_int_equal(at_once.released, 1);
    assert_int_equal(later.released, 1);
}

/* A close that stands behind the requests ends them no sooner than their answers. */
static void test_a_peer_that_closed_in_good_order_is_still_answered(void **state)
{
    (void)state;
    shelf kept = {0};
    net_server *s = start_keeping(&kept, gate_codec_raw());
    int fd = net_connect(s->port);
    net_put(fd, "k");
    net_finish(fd);
    NET_UNTIL(kept.count == 1);
    assert_int_equal(gate_reply_borrowed(kept.kept[0], "late", 4, note_release, &kept), 0);
    net_expect(fd, "late");
    net_expect_end(fd);
    net_close(fd);
    net_stop(s);
    assert_int_equal(kept.released, 1);
}

static void test_a_request_that_nobody_answers_times_out(void **state)
{
    (void)state;
    shelf kept = {0};
    gate_options options = net_options(keep, gate_codec_line());
    options.user = &kept;
    options.handler_timeout_ms = 100;
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    net_put(fd, "before\nk\nbehind\n");
    net_expect(fd, "before\n");
    net_expect_gone(fd);
    net_close(fd);
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_HANDLER_TIMEOUT] == 1);
    NET_UNTIL(kept.count == 1);
    assert_int_equal(gate_reply(kept.kept[0], "A", 1), GATE_EGONE);
    net_stop(s);
}

static void test_a_server_closes_over_answers_that_nobody_took(void **state)
{
    (void)state;
    shelf kept = {0};
    gate_options options = net_options(keep, gate_codec_line());
    options.user = &kept;
    options.drain_timeout_ms = 50;
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    net_put(fd, "k\n");
    NET_UNTIL(kept.count == 1);
    gate_server_stop(s->server);
    net_join(s);
    assert_int_equal(net_stats(s).closed[GATE_CLOSE_DRAIN_TIMEOUT], 1);
    assert_int_equal(gate_reply_borrowed(kept.kept[0], "A", 1, note_release, &kept), GATE_EGONE);
    net_free(s);
    assert_int_equal(kept.released, 0);
    net_expect_gone(fd);
    net_close(fd);
}

/* ---- Handlers that do odd things ---- */

static void forget(gate_request *req, const void *body, size_t len, void *user)
{
    (void)req, (void)body, (void)len, (void)user;
}

static void test_a_forgotten_reply_is_an_empty_rejection(void **state)
{
    (void)state;
    gate_options options = net_options(forget, gate_codec_netstring());
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    net_put(fd, "1:a,1:b,");
    net_expect(fd, "0:,");
    net_expect_end(fd);
    net_close(fd);
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_UNANSWERED] == 1);
    assert_int_equal(net_stats(s).rejections, 1);
    assert_int_equal(net_stats(s).requests, 1);
    net_stop(s);
}

static int wrap_too_much(const gate_codec *codec, const uint8_t *body, size_t len, gate_wrap *wrap)
{
    (void)codec, (void)body, (void)len;
    wrap->head_len = 400;
    wrap->tail_len = 400;
    return 0;
}

static void test_a_forgotten_reply_of_a_codec_that_lies_is_no_byte(void **state)
{
    (void)state;
    gate_codec codec = *gate_codec_line();
    codec.encode = wrap_too_much;
    gate_options options = net_options(forget, &codec);
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    net_put(fd, "a\n");
    net_expect_end(fd);
    net_close(fd);
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_UNANSWERED] == 1);
    assert_int_equal(net_stats(s).bytes_out, 0);
    net_stop(s);
}

static void answer_twice(gate_request *req, const void *body, size_t len, void *user)
{
    shelf *s = user;
    char peer[64];
    gate_reply(req, body, len);
    s->code = gate_reply(req, "again", 5);
    if (s->code == -EALREADY)
        s->code = gate_reply_borrowed(req, "again", 5, note_release, s);
    if (s->code == -EALREADY)
        s->code = gate_defer(req);
    if (s->code == -EALREADY)
        s->code = gate_request_peer(req, peer, sizeof peer);
    s->count++;
}

static void test_a_handler_that_answers_twice_is_told(void **state)
{
    (void)state;
    shelf told = {0};
    gate_options options = net_options(answer_twice, gate_codec_line());
    options.user = &told;
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    for (int i = 0; i < 600; i++) {
        net_put(fd, "x\n");
        net_expect(fd, "x\n");
    }
    NET_UNTIL(told.count == 600);
    assert_int_equal(told.code, -EALREADY);
    assert_int_equal(told.released, 0);
    net_close(fd);
    net_stop(s);
}

/* A reply that the codec cannot carry is refused, and the request still waits. */
static void reply_too_much(gate_request *req, const void *body, size_t len, void *user)
{
    static const char zeros[300];
    shelf *s = user;
    (void)body, (void)len;
    s->code = gate_reply(req, zeros, sizeof zeros);
    if (s->code == -EMSGSIZE)
        s->code = gate_reply_borrowed(req, zeros, sizeof zeros, note_release, s);
    if (s->code == -EMSGSIZE)
        s->code = gate_reply_borrowed(req, zeros, 2, note_release, s);
}

static void test_a_reply_that_cannot_be_framed_leaves_the_request_waiting(void **state)
{
    (void)state;
    shelf told = {.code = 1};
    gate_options options = net_options(reply_too_much, gate_codec_prefix_be(1));
    options.user = &told;
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    char reply[3];
    net_put(fd, "\1x");
    assert_int_equal(net_read(fd, reply, 3), 3);
    assert_memory_equal(reply, "\2\0\0", 3);
    net_close(fd);
    net_stop(s);
    assert_int_equal(told.code, 0);
    assert_int_equal(told.released, 1);
}

static void say_peer(gate_request *req, const void *body, size_t len, void *user)
{
    char peer[64] = "";
    (void)body, (void)len;
    int rc = gate_request_peer(req, peer, sizeof peer);
    int same = gate_request_server(req) == *(gate_server **)user;
    if (rc || !same)
        gate_reject(req, "wrong", 5);
    else
        gate_reply(req, peer, strlen(peer));
    gate_server_stop(gate_request_server(req)); /* which an answered request still knows */
}

static void test_a_handler_can_ask_who_and_where(void **state)
{
    (void)state;
    gate_server *server;
    gate_options options = net_options(say_peer, NULL);
    options.user = &server;
    assert_int_equal(gate_server_open(&server, &options), 0);
    assert_int_equal(gate_server_listen(server, "127.0.0.1", 0, 0), 0);
    net_server *s = net_serve(server);
    int fd = net_connect(s->port);
    net_put(fd, "?");
    net_expect(fd, "127.0.0.1:");
    net_close(fd);
    net_join(s);
    net_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(test_threads_answer_and_the_order_stays),
        NET_TEST(test_a_second_answer_is_refused_also_long_after),
        NET_TEST(test_an_answer_to_a_peer_that_has_gone_says_so),
        NET_TEST(test_of_two_answers_at_the_same_time_one_counts),
        NET_TEST(test_lent_bytes_that_are_none_are_given_back_as_well),
        NET_TEST(test_a_peer_that_closed_in_good_order_is_still_answered),
        NET_TEST(test_a_request_that_nobody_answers_times_out),
        NET_TEST(test_a_server_closes_over_answers_that_nobody_took),
        NET_TEST(test_a_forgotten_reply_is_an_empty_rejection),
        NET_TEST(test_a_forgotten_reply_of_a_codec_that_lies_is_no_byte),
        NET_TEST(test_a_handler_that_answers_twice_is_told),
        NET_TEST(test_a_reply_that_cannot_be_framed_leaves_the_request_waiting),
        NET_TEST(test_a_handler_can_ask_who_and_where),
    };
    return cmocka_run_group_tests_name("defer", tests, NULL, NULL);
}
