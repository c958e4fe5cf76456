/* SPDX-License-Identifier: MIT */
#include "bench_conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    SCRATCH = 64 * 1024,
    READS_MAX = 16,       /* for one event */
    ANSWER_MAX = 1 << 26, /* bytes of one answer in a frame */
    HELD_MAX = 1 << 30,   /* of all that are not complete */
    SEND_MAX = 1 << 20
};

/* ---- What is sent --------------------------------------------------------------------------- */

int bench_wire_init(bench_wire *wire)
{
    const bench_plan *plan = wire->plan;
    const gate_codec *codec = plan->codec;
    size_t len = strlen(plan->message), copies = plan->pipeline;
    gate_wrap wrap = {0};
    int rc = 0;

    wire->until_eof = (codec->flags & GATE_CODEC_ONE_SHOT) != 0;
    wire->ends_input = (codec->flags & GATE_CODEC_UNTIL_EOF) != 0;
    wire->expect_len = plan->expect != NULL ? strlen(plan->expect) : 0;
    if (codec->encode != NULL)
        rc = codec->encode(codec, (const uint8_t *)plan->message, len, &wrap);
    if (rc < 0)
        return rc;
    wire->frame_len = wrap.head_len + len + wrap.tail_len;
    if (copies > SEND_MAX / wire->frame_len)
        copies = SEND_MAX / wire->frame_len + 1;
    wire->requests_len = wire->frame_len * (copies + 1);
    wire->requests = malloc(wire->requests_len);
    wire->scratch = malloc(SCRATCH);
    if (wire->requests == NULL || wire->scratch == NULL)
        return -ENOMEM;
    for (size_t i = 0; i <= copies; i++) {
        uint8_t *frame = wire->requests + i * wire->frame_len;

        memcpy(frame, wrap.head, wrap.head_len);
        memcpy(frame + wrap.head_len, plan->message, len);
        memcpy(frame + wrap.head_len + len, wrap.tail, wrap.tail_len);
    }
    return 0;
}

void bench_wire_free(bench_wire *wire)
{
    free(wire->requests);
    free(wire->scratch);
}

/* ---- Opening -------------------------------------------------------------------------------- */

/* The port is chosen at connect, where it only has to be unique together with the destination. */
static int bind_source(const bench_wire *wire, int fd)
{
    struct sockaddr_in source = {.sin_family = AF_INET};
    int one = 1;

    if (wire->plan->sources == 0)
        return 0;
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + wire->opened % wire->plan->sources);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    return bind(fd, (const struct sockaddr *)&source, sizeof(source));
}

static int watch(bench_wire *wire, bench_conn *conn, uint32_t events)
{
    struct epoll_event event = {.events = events | EPOLLRDHUP | EPOLLET, .data.ptr = conn};

    if (conn->watched)
        return 0;
    conn->watched = 1;
    return epoll_ctl(wire->epoll_fd, EPOLL_CTL_ADD, conn->fd, &event) ? -errno : 0;
}

/* Over loopback a connection stands when connect returns, whatever it says: a request that is ready
 * is sent at once, and only what cannot be sent yet is waited for. */
static int start_connect(bench_wire *wire, bench_conn *conn)
{
    const struct sockaddr *addr = (const struct sockaddr *)&wire->plan->addr.addr;
    int one = 1;

    if (addr->sa_family != AF_UNIX && bind_source(wire, conn->fd))
        return -errno;
    if (connect(conn->fd, addr, wire->plan->addr.len) && errno != EINPROGRESS)
        return errno == EAGAIN && addr->sa_family != AF_UNIX ? -EADDRNOTAVAIL : -errno;
    if (!wire->plan->one_shot && addr->sa_family != AF_UNIX)
        setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return 0;
}

int bench_conn_open(bench_wire *wire, bench_conn *conn)
{
    int family = wire->plan->addr.addr.ss_family;
    int rc;

    conn->connected = conn->watched = conn->differs = 0;
    conn->scanned = 0;
    conn->got = 0;
    conn->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0)
        return -errno;
    wire->opened++;
    rc = start_connect(wire, conn);
    if (rc == 0 && (conn->is_idle || !wire->plan->one_shot))
        rc = watch(wire, conn, EPOLLIN | EPOLLOUT);
    if (rc < 0) { /* what is to be sent stays: there may be another attempt */
        close(conn->fd);
        conn->fd = -1;
    }
    return rc;
}

void bench_conn_close(bench_wire *wire, bench_conn *conn)
{
    if (wire->first_conn == conn) { /* whose answer does not count, or has been counted */
        wire->first_conn = NULL;
        if (!wire->first.known)
            wire->first.len = 0;
    }
    wire->held -= conn->in_room;
    if (conn->fd >= 0)
        close(conn->fd);
    conn->fd = -1;
    free(conn->in);
    conn->in = NULL;
    conn->in_len = conn->in_room = 0;
    conn->unsent = conn->at = 0;
}

/* ---- Sending -------------------------------------------------------------------------------- */

void bench_conn_ask(bench_wire *wire, bench_conn *conn, uint64_t begun_ns)
{
    uint32_t pipeline = wire->plan->pipeline, place = conn->first + conn->inflight;

    conn->begun[place < pipeline ? place : place - pipeline] = begun_ns;
    if (conn->inflight++ == 0)
        conn->head_ns = wire->now_ns;
    conn->unsent += wire->frame_len;
}

int bench_conn_flush(bench_wire *wire, bench_conn *conn)
{
    while (conn->unsent > 0) {
        size_t there = wire->requests_len - conn->at;
        size_t len = conn->unsent < there ? (size_t)conn->unsent : there;
        ssize_t sent = send(conn->fd, wire->requests + conn->at, len, MSG_NOSIGNAL);

        if (sent < 0 && errno == EAGAIN)
            return watch(wire, conn, EPOLLIN | EPOLLOUT);
        if (sent < 0)
            return -errno;
        conn->connected = 1;
        wire->result->bytes_out += (uint64_t)sent;
        conn->unsent -= (uint64_t)sent;
        conn->at = (conn->at + (size_t)sent) % wire->frame_len;
    }
    if (wire->ends_input && shutdown(conn->fd, SHUT_WR))
        return -errno;
    return watch(wire, conn, EPOLLIN);
}

/* ---- Answers -------------------------------------------------------------------------------- */

static void keep_first(bench_wire *wire, const uint8_t *bytes, size_t len)
{
    bench_first *first = &wire->first;
    size_t room = first->len < BENCH_FIRST_MAX ? (size_t)(BENCH_FIRST_MAX - first->len) : 0;

    if (room > 0 && len > 0)
        memcpy(first->bytes + first->len, bytes, len < room ? len : room);
    first->len += len;
}

static int is_expected(const bench_wire *wire, const uint8_t *body, size_t len)
{
    return wire->plan->expect == NULL ||
           (len == wire->expect_len && memcmp(body, wire->plan->expect, len) == 0);
}

/* Takes the complete frames; gives back how many bytes they were, or what the codec says. */
static ssize_t take_frames(bench_wire *wire, bench_conn *conn, const uint8_t *bytes, size_t len)
{
    const gate_codec *codec = wire->plan->codec;
    size_t used = 0;

    while (used < len && conn->fd >= 0) {
        gate_frame frame = {.scanned = conn->scanned};
        int rc = codec->decode(codec, bytes + used, len - used, ANSWER_MAX, 0, &frame);

        conn->scanned = rc == 0 ? frame.scanned : 0;
        if (rc < 0 || (rc > 0 && conn->inflight == 0))
            return GATE_EFRAME;
        if (rc == 0)
            break;
        if (!wire->first.known) {
            keep_first(wire, bytes + used + frame.body, frame.body_len);
            wire->first.known = 1;
        }
        bench_load_answered(wire->load, conn,
                            is_expected(wire, bytes + used + frame.body, frame.body_len));
        used += frame.total;
    }
    return (ssize_t)used;
}

/* Keeps the start of an answer until the rest comes. */
static int keep(bench_wire *wire, bench_conn *conn, const uint8_t *bytes, size_t len)
{
    if (conn->in_len + len > conn->in_room) {
        size_t room = 2 * (conn->in_len + len);
        uint8_t *larger = NULL;

        if (wire->held + room - conn->in_room <= HELD_MAX)
            larger = realloc(conn->in, room);
        if (larger == NULL)
            return GATE_EFRAME;
        wire->held += room - conn->in_room;
        conn->in = larger;
        conn->in_room = room;
    }
    memcpy(conn->in + conn->in_len, bytes, len);
    conn->in_len += len;
    return 0;
}

static int take_framed(bench_wire *wire, bench_conn *conn, const uint8_t *bytes, size_t len)
{
    ssize_t used;

    if (conn->in_len > 0) {
        if (keep(wire, conn, bytes, len) < 0)
            return GATE_EFRAME;
        used = take_frames(wire, conn, conn->in, conn->in_len);
        if (used > 0 && conn->fd >= 0) {
            conn->in_len -= (size_t)used;
            memmove(conn->in, conn->in + used, conn->in_len);
        }
        return used < 0 ? (int)used : 0;
    }
    used = take_frames(wire, conn, bytes, len);
    if (used < 0)
        return (int)used;
    if (conn->fd < 0 || (size_t)used == len)
        return 0;
    return keep(wire, conn, bytes + used, len - (size_t)used);
}

/* The answer is compared as it comes; nothing is kept but the start of the first one. */
static void take_until_eof(bench_wire *wire, bench_conn *conn, const uint8_t *bytes, size_t len)
{
    const char *expect = wire->plan->expect;

    if (expect != NULL &&
        (conn->got + len > wire->expect_len || memcmp(expect + conn->got, bytes, len) != 0))
        conn->differs = 1;
    conn->got += len;
    if (!wire->first.known && wire->first_conn == NULL && conn->got == len)
        wire->first_conn = conn;
    if (!wire->first.known && wire->first_conn == conn)
        keep_first(wire, bytes, len);
}

static void end_of_input(bench_wire *wire, bench_conn *conn)
{
    if (wire->until_eof && conn->got > 0 && conn->inflight > 0) {
        wire->first.known |= wire->first_conn == conn;
        bench_load_answered(wire->load, conn,
                            !conn->differs &&
                                (wire->plan->expect == NULL || conn->got == wire->expect_len));
    }
    if (conn->fd >= 0)
        bench_load_over(wire->load, conn, BENCH_CLOSED, 0);
}

/* ---- Events --------------------------------------------------------------------------------- */

static void fail(bench_wire *wire, bench_conn *conn, int code)
{
    bench_error error = code == GATE_EFRAME              ? BENCH_FRAME
                        : !conn->connected && !conn->got ? BENCH_CONNECT
                                                         : BENCH_CLOSED;

    bench_load_over(wire->load, conn, error, code);
}

/* 1: go on reading; 0: that was all for now, or the connection is over. */
static int read_some(bench_wire *wire, bench_conn *conn, uint32_t events)
{
    ssize_t got = recv(conn->fd, wire->scratch, SCRATCH, 0);
    int rc = 0;

    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got <= 0) {
        if (got == 0)
            end_of_input(wire, conn);
        else
            fail(wire, conn, -errno);
        return 0;
    }
    wire->result->bytes_in += (uint64_t)got;
    if (wire->until_eof)
        take_until_eof(wire, conn, wire->scratch, (size_t)got);
    else
        rc = take_framed(wire, conn, wire->scratch, (size_t)got);
    if (rc < 0) {
        fail(wire, conn, rc);
        return 0;
    }
    if (conn->fd < 0 || got == SCRATCH)
        return conn->fd >= 0;
    /* The end was there before the read that found nothing more. */
    if ((events & EPOLLRDHUP) && !(events & EPOLLERR)) {
        end_of_input(wire, conn);
        return 0;
    }
    return (events & EPOLLERR) != 0;
}

/* The event comes again, although nothing may have changed. */
static void ask_again(bench_wire *wire, bench_conn *conn)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = conn};

    epoll_ctl(wire->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event);
}

void bench_conn_event(bench_wire *wire, bench_conn *conn, uint32_t events)
{
    int reads = 0, rc = 0;

    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        while (conn->fd >= 0 && read_some(wire, conn, events))
            if (++reads == READS_MAX) {
                ask_again(wire, conn);
                break;
            }
    if (conn->fd >= 0 && events & EPOLLOUT && !(events & (EPOLLHUP | EPOLLERR))) {
        conn->connected = 1;
        if (conn->unsent > 0)
            rc = bench_conn_flush(wire, conn);
        if (rc < 0)
            fail(wire, conn, rc);
    }
    bench_load_room(wire->load, conn);
}
