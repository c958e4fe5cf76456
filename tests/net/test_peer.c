/* SPDX-License-Identifier: MIT */

/* The peer's address: at every close, whatever has become of the connection, and for whoever
 * answers later. */

#include "net.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* ---- What the log was told ---- */

enum { ENDS_MAX = 64 };

typedef struct end {
    int32_t reason;
    char peer[128];
    char listener[128];
    char name[32];
    uint64_t duration_ns, requests, bytes_in, bytes_out;
} end;

typedef struct diary {
    end ends[ENDS_MAX];
    atomic_int count;
    _Atomic(gate_request *) kept; /* deferred */
} diary;

static void note(const gate_event *event, void *user)
{
    diary *book = user;
    int at = book->count;
    if (!event->reason || at == ENDS_MAX)
        return;
    end *one = &book->ends[at];
    *one = (end){.reason = event->reason,
                 .duration_ns = event->duration_ns,
                 .requests = event->requests,
                 .bytes_in = event->bytes_in,
                 .bytes_out = event->bytes_out};
    snprintf(one->peer, sizeof one->peer, "%s", event->peer);
    snprintf(one->listener, sizeof one->listener, "%s", event->listener);
    snprintf(one->name, sizeof one->name, "%s", event->name);
    book->count = at + 1;
}

/* "later" is deferred, "no" is rejected, "forget" not answered, others are repeated. */
static void answer(gate_request *req, const void *body, size_t len, void *user)
{
    diary *book = user;
    if (len == 5 && !memcmp(body, "later", 5)) {
        gate_defer(req);
        book->kept = req;
    } else if (len == 2 && !memcmp(body, "no", 2)) {
        gate_reject(req, "bye", 3);
    } else if (len != 6 || memcmp(body, "forget", 6)) {
        gate_reply(req, body, len);
    }
}

static gate_options noted(void **state, diary *book, const gate_codec *codec)
{
    gate_options options = net_options(answer, codec);
    options.user = book;
    options.log = note;
    options.log_user = book;
    options.log_level = GATE_LOG_DEBUG;
    options.io = net_io(state);
    return options;
}

static void own_name(int fd, char *text, size_t room)
{
    struct sockaddr_in own;
    socklen_t len = sizeof own;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &len), 0);
    snprintf(text, room, "127.0.0.1:%u", ntohs(own.sin_port));
}

static void reset(int fd)
{
    const struct linger at_once = {.l_onoff = 1};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    net_close(fd);
}

/* The close that came last is this one. */
static const end *assert_end(diary *book, int count, int reason, const char *peer, uint16_t port)
{
    char listener[32];
    NET_UNTIL(book->count >= count);
    const end *last = &book->ends[count - 1];
    snprintf(listener, sizeof listener, "127.0.0.1:%u", port);
    assert_int_equal(last->reason, reason);
    assert_string_equal(last->peer, peer);
    assert_string_equal(last->listener, listener);
    assert_string_equal(last->name, gate_reason_name(reason));
    return last;
}

/* ---- Closes ---- */

static void test_each_kind_of_close_has_its_peer(void **state)
{
    static const struct {
        const char *sent;
        int finishes, resets, reason;
        uint64_t requests, out;
    } kinds[] = {
        {"no\n", 0, 0, GATE_CLOSE_REJECTED, 1, 4},
        {"no\n", 1, 0, GATE_CLOSE_REJECTED, 1, 4},
        {"a\nno\nmore\n", 0, 0, GATE_CLOSE_REJECTED, 2, 6},
        {"forget\n", 0, 0, GATE_CLOSE_UNANSWERED, 1, 1},
        {"ab\n", 1, 0, GATE_CLOSE_PEER, 1, 3},
        {"", 1, 0, GATE_CLOSE_PEER, 0, 0},
        {"half", 1, 0, GATE_CLOSE_TRUNCATED, 0, 0},
        {"ab\n", 0, 0, GATE_CLOSE_IDLE, 1, 3},
        {"half", 0, 0, GATE_CLOSE_TIMEOUT, 0, 0},
        {"", 0, 0, GATE_CLOSE_TIMEOUT, 0, 0},
        {"0123456789012345678901234567890123456789\n", 0, 0, GATE_CLOSE_TOO_BIG, 0, 0},
        {"half", 0, 1, GATE_CLOSE_RESET, 0, 0},
        {"", 0, 1, GATE_CLOSE_RESET, 0, 0},
    };
    diary book = {0};
    gate_options options = noted(state, &book, gate_codec_line());
    options.timeout_ms = 60;
    options.request_max = 32;
    net_server *s = net_start(&options);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char own[32];
        int fd = net_connect(s->port);
        own_name(fd, own, sizeof own);
        if (*kinds[i].sent)
            net_put(fd, kinds[i].sent);
        if (kinds[i].finishes)
            net_finish(fd);
        if (kinds[i].resets)
            reset(fd);
        const end *last = assert_end(&book, (int)i + 1, kinds[i].reason, own, s->port);
        assert_int_equal(last->requests, kinds[i].requests);
        assert_int_equal(last->bytes_out, kinds[i].out);
        assert_true(last->bytes_in <= strlen(kinds[i].sent));
        assert_true(last->bytes_in > 0 || !*kinds[i].sent || kinds[i].resets);
        assert_true(last->duration_ns < UINT64_C(30000000000));
        if (last->reason == GATE_CLOSE_TIMEOUT)
            assert_true(last->duration_ns >= 60 * UINT64_C(1000000));
        if (!kinds[i].resets)
            net_close(fd);
    }
    net_stop(s);
}

static void check_one_shot(const net_server *s, diary *book)
{
    for (int i = 0; i < 10; i++) {
        char own[32];
        int fd = net_connect(s->port);
        own_name(fd, own, sizeof own);
        net_put(fd, i % 2 ? "no" : "yes");
        net_expect(fd, i % 2 ? "bye" : "yes");
        net_expect_end(fd);
        net_close(fd);
        const end *last = assert_end(book, i + 1, i % 2 ? GATE_CLOSE_REJECTED : GATE_CLOSE_ANSWERED,
                                     own, s->port);
        assert_int_equal(last->bytes_in, i % 2 ? 2 : 3);
        assert_int_equal(last->bytes_out, 3);
        NET_UNTIL(!net_stats(s).connections);
    }
}

static void test_one_shot_exchanges_have_their_peer(void **state)
{
    diary book = {0};
    gate_options options = noted(state, &book, NULL);
    net_server *s = net_start(&options);
    check_one_shot(s, &book);
    net_stop(s);
}

static void test_what_a_limit_refuses_has_its_peer(void **state)
{
    diary book = {0};
    gate_options options = noted(state, &book, NULL);
    options.peer_connections_max = 1;
    net_server *s = net_start(&options);
    check_one_shot(s, &book);
    char own[32];
    int first = net_connect(s->port);
    NET_UNTIL(net_stats(s).connections == 1);
    int second = net_connect(s->port);
    own_name(second, own, sizeof own);
    net_expect_gone(second);
    assert_end(&book, 11, GATE_CLOSE_PEER_LIMIT, own, s->port);
    net_close(first);
    net_close(second);
    net_stop(s);
}

/* ---- Requests ---- */

static void test_a_deferred_request_knows_its_peer_on_any_thread(void **state)
{
    char own[32], text[64];
    diary book = {0};
    gate_options options = noted(state, &book, gate_codec_line());
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    own_name(fd, own, sizeof own);
    net_put(fd, "later\n");
    NET_UNTIL(book.kept);
    assert_int_equal(gate_request_peer(book.kept, text, sizeof text), 0);
    assert_string_equal(text, own);
    reset(fd);
    NET_UNTIL(book.count == 1);
    assert_end(&book, 1, GATE_CLOSE_RESET, own, s->port);
    assert_int_equal(gate_request_peer(book.kept, text, sizeof text), 0);
    assert_string_equal(text, own);
    assert_int_equal(gate_reply(book.kept, "x", 1), GATE_EGONE);
    assert_true(gate_request_peer(book.kept, text, sizeof text) < 0);
    net_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST_EACH_IO(test_each_kind_of_close_has_its_peer),
        NET_TEST_EACH_IO(test_one_shot_exchanges_have_their_peer),
        NET_TEST_EACH_IO(test_what_a_limit_refuses_has_its_peer),
        NET_TEST_EACH_IO(test_a_deferred_request_knows_its_peer_on_any_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
