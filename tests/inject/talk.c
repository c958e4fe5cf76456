/* SPDX-License-Identifier: MIT */
#include "talk.h"

#include <errno.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    BIG = 300000,
    ROOM = BIG + 64,
    SLICE_MS = 20,
    PATIENCE_MS = 20000,
    PIECE_MS = 100,
    LASTING_MS = 100
};

static uint8_t big[BIG];
static _Atomic(gate_request *) deferred; /* waits for its answer */

/* ---- The server's side --------------------------------------------------------------------- */

static atomic_int refused;     /* answers for which there was no memory */
static atomic_int wrong_codes; /* answers that failed otherwise */

void talk_prepare(void)
{
    memset(big, 'x', sizeof big);
    deferred = NULL;
    wrong_codes = 0;
}

int talk_wrong_codes(void)
{
    return wrong_codes;
}

static void forget(void *arg)
{
    (void)arg;
}

/* Where it fails the request stays without an answer, and so it gets an empty one. */
static int answer(gate_request *req, const void *body, size_t len)
{
    switch (len ? *(const char *)body : 'u') {
    case 'b':
        return gate_reply(req, big, sizeof big);
    case 'l':
        return gate_reply_borrowed(req, big, sizeof big, forget, NULL);
    case 'd':
        return gate_defer(req);
    case 'n':
        return gate_reject(req, body, len);
    case 'u':
        return 0;
    default:
        return gate_reply(req, body, len);
    }
}

void talk_handler(gate_request *req, const void *body, size_t len, void *user)
{
    int rc = answer(req, body, len);
    (void)user;
    refused += rc == -ENOMEM;
    wrong_codes += rc && rc != -ENOMEM;
    if (!rc && len && *(const char *)body == 'd')
        deferred = req;
}

/* ---- Bytes --------------------------------------------------------------------------------- */

static size_t frame(const gate_codec *codec, const void *body, size_t len, uint8_t *into)
{
    gate_wrap wrap = {0};
    if (codec->encode)
        assert_int_equal(codec->encode(codec, body, len, &wrap), 0);
    memcpy(into, wrap.head, wrap.head_len);
    if (len)
        memcpy(into + wrap.head_len, body, len);
    memcpy(into + wrap.head_len + len, wrap.tail, wrap.tail_len);
    return wrap.head_len + len + wrap.tail_len;
}

/* What the server should answer. */
static size_t expect(const talk *t, const char *body, uint8_t *into)
{
    int is_big = *body == 'b' || *body == 'l';
    const void *answer = is_big ? (const void *)big : body;
    size_t len = is_big ? sizeof big : *body == 'u' ? 0 : strlen(body);
    return frame(t->with->codec, answer, len, into);
}

/* After so many milliseconds of silence. */
static int must_leave(const talk *t, int waited_ms)
{
    enum talk_forbearance forbearance = t->with->forbearance;
    if (waited_ms >= LASTING_MS && forbearance == TALK_HEALS)
        inject_disarm();
    return t->with->ended || (waited_ms >= LASTING_MS && forbearance == TALK_LEAVES);
}

/* 1: there is something to read, or the end. 0: there will not be. */
static int await_input(talk *t)
{
    struct pollfd ready = {.fd = t->fd, .events = POLLIN};
    for (int waited = 0; waited < PATIENCE_MS; waited += SLICE_MS) {
        int rc = poll(&ready, 1, SLICE_MS);
        assert_true(rc >= 0 || errno == EINTR);
        if (rc > 0)
            return 1;
        if (must_leave(t, waited))
            return 0;
    }
    fail_msg("neither an answer nor an end");
    return 0;
}

/* 1: the answer is whole. */
static int receive(talk *t, const uint8_t *expected, size_t len)
{
    static uint8_t bytes[64 * 1024];
    size_t got = 0;
    while (got < len) {
        if (!await_input(t))
            return 0;
        size_t room = len - got < sizeof bytes ? len - got : sizeof bytes;
        ssize_t part = recv(t->fd, bytes, room, 0);
        if (part <= 0)
            return 0;
        if (memcmp(bytes, expected + got, (size_t)part)) {
            assert_true(refused > 0); /* this is the empty answer */
            return 0;
        }
        got += (size_t)part;
    }
    return 1;
}

static int put(talk *t, const uint8_t *bytes, size_t len)
{
    return send(t->fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* ---- Exchanges ----------------------------------------------------------------------------- */

static int is_last(const talk *t, const char *body)
{
    return *body == 'n' || *body == 'u' || (t->with->codec->flags & GATE_CODEC_ONE_SHOT);
}

void talk_end(talk *t)
{
    if (t->fd >= 0)
        net_close(t->fd);
    t->fd = -1;
}

static int give_up(talk *t)
{
    t->with->lost++;
    talk_end(t);
    return 0;
}

/* A listening socket that is closed resets connections that it has not accepted yet: connect() says
 * so where the thread that called it has not run again since. */
static int is_refusal(int error)
{
    return error == ECONNREFUSED || error == ECONNRESET;
}

/* 0: the server has ended. */
static int begin(talk *t)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons(t->with->port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int on = 1;
    refused = 0;
    if (t->fd >= 0)
        return 1;
    t->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(t->fd >= 0);
    setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(t->fd, (struct sockaddr *)&addr, sizeof addr) == 0)
        return 1;
    assert_true(is_refusal(errno));
    return give_up(t);
}

static int finish(talk *t, const char *body, const uint8_t *expected, size_t len)
{
    if (!receive(t, expected, len))
        return give_up(t);
    if (is_last(t, body))
        talk_end(t);
    return 1;
}

static gate_request *await_deferred(talk *t)
{
    struct pollfd gone = {.fd = t->fd, .events = POLLIN};
    for (int waited = 0; waited < PATIENCE_MS; waited++) {
        if (deferred)
            return atomic_exchange(&deferred, NULL);
        if (must_leave(t, waited) || poll(&gone, 1, 1) > 0)
            return NULL;
    }
    fail_msg("a request that should be deferred was not heard of");
    return NULL;
}

/* One of an earlier connection may come first. Where the answer fails, the request waits on. */
static void answer_later(talk *t, const char *body)
{
    gate_request *req;
    while ((req = await_deferred(t))) {
        int rc = GATE_EGONE;
        for (int i = 0; i < 3 && rc; i++) {
            rc = gate_reply(req, body, strlen(body));
            if (rc == GATE_EGONE)
                break;
            assert_true(rc == 0 || rc == -ENOMEM);
        }
        if (rc != GATE_EGONE)
            return;
    }
}

int talk_ask(talk *t, const char *body)
{
    static uint8_t bytes[ROOM];
    const gate_codec *codec = t->with->codec;
    if (!begin(t))
        return 0;
    if (!put(t, bytes, frame(codec, body, strlen(body), bytes)))
        return give_up(t);
    if (codec->flags & GATE_CODEC_UNTIL_EOF)
        shutdown(t->fd, SHUT_WR);
    if (*body == 'd')
        answer_later(t, body);
    return finish(t, body, bytes, expect(t, body, bytes));
}

int talk_ask_both(talk *t, const char *body, const char *next)
{
    static uint8_t bytes[ROOM];
    const gate_codec *codec = t->with->codec;
    if (!begin(t))
        return 0;
    size_t len = frame(codec, body, strlen(body), bytes);
    len += frame(codec, next, strlen(next), bytes + len);
    if (!put(t, bytes, len))
        return give_up(t);
    answer_later(t, body);
    len = expect(t, body, bytes);
    len += expect(t, next, bytes + len);
    return finish(t, next, bytes, len);
}

/* A raw request is whole in any piece, so there the connection alone is the first piece. */
static int is_raw(const talk *t)
{
    return t->with->codec->decode == gate_codec_raw()->decode;
}

static uint64_t progress(const talk *t)
{
    gate_stats stats = {.size = sizeof stats};
    assert_int_equal(gate_server_stats(t->with->server, &stats), 0);
    return is_raw(t) ? stats.accepted : stats.bytes_in;
}

/* A first piece that is never heard of is one that a fault has hit. */
int talk_ask_slowly(talk *t, const char *body)
{
    static uint8_t bytes[ROOM];
    const gate_codec *codec = t->with->codec;
    uint64_t before = progress(t);
    if (!begin(t))
        return 0;
    struct pollfd gone = {.fd = t->fd, .events = POLLIN};
    size_t len = frame(codec, body, strlen(body), bytes), half = is_raw(t) ? 0 : len / 2;
    if (!put(t, bytes, half))
        return give_up(t);
    for (int i = 0; i < PIECE_MS && progress(t) == before && poll(&gone, 1, 1) == 0; i++)
        ;
    if (!put(t, bytes + half, len - half))
        return give_up(t);
    if (codec->flags & GATE_CODEC_UNTIL_EOF)
        shutdown(t->fd, SHUT_WR);
    return finish(t, body, bytes, expect(t, body, bytes));
}
