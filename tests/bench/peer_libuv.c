/* SPDX-License-Identifier: MIT */
/* The exchange on libuv, as its users would write it with care: uv_try_write first, one buffer for
 * all reads, and a deadline of 5 s for each connection, which is moved by a new request as a server
 * without it would have to. Moving it costs a compare: the timer looks again when it fires. */

#include <stdint.h>
#include <stdlib.h>
#include <uv.h>

#include "peer.h"

typedef struct conn {
    uv_tcp_t tcp; /* first: the handles' address is the connection's */
    uv_timer_t timer;
    uint64_t deadline_ms;
    int handles;
} conn;

typedef struct pending {
    uv_write_t write;
    conn *of;
    int last;
} pending;

static uv_loop_t *loop;
static char read_bytes[PEER_BUFFER];
static peer_answer (*answer)(const char *bytes, size_t len);

static void on_closed(uv_handle_t *handle)
{
    conn *c = handle->data;

    if (--c->handles == 0)
        free(c);
}

static void end(conn *c)
{
    if (uv_is_closing((uv_handle_t *)&c->tcp))
        return;
    uv_close((uv_handle_t *)&c->tcp, on_closed);
    uv_close((uv_handle_t *)&c->timer, on_closed);
}

static void on_timer(uv_timer_t *timer)
{
    conn *c = timer->data;
    uint64_t now_ms = uv_now(loop);

    if (now_ms >= c->deadline_ms)
        end(c);
    else
        uv_timer_start(timer, on_timer, c->deadline_ms - now_ms, 0);
}

static void on_written(uv_write_t *write, int status)
{
    pending *rest = (pending *)write;

    if (status < 0 || rest->last)
        end(rest->of);
    free(rest);
}

static void send_rest(conn *c, uv_buf_t buf, int last)
{
    pending *rest = malloc(sizeof(*rest));

    if (rest == NULL) {
        end(c);
        return;
    }
    rest->of = c;
    rest->last = last;
    if (uv_write(&rest->write, (uv_stream_t *)&c->tcp, &buf, 1, on_written) < 0) {
        free(rest);
        end(c);
    }
}

static void lend_buffer(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    (void)handle, (void)size;
    *buf = uv_buf_init(read_bytes, sizeof(read_bytes));
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *bytes)
{
    conn *c = stream->data;
    peer_answer reply;
    uv_buf_t buf;
    int sent;

    if (got <= 0) {
        if (got < 0)
            end(c);
        return;
    }
    reply = answer(bytes->base, (size_t)got);
    buf = uv_buf_init((char *)(uintptr_t)reply.bytes, (unsigned)reply.len);
    sent = uv_try_write(stream, &buf, 1);
    if (sent < 0 && sent != UV_EAGAIN) {
        end(c);
    } else if (sent < (int)reply.len) {
        size_t skip = sent < 0 ? 0 : (size_t)sent;

        send_rest(c, uv_buf_init(buf.base + skip, (unsigned)(reply.len - skip)), reply.last);
    } else if (reply.last) {
        end(c);
    } else {
        c->deadline_ms = uv_now(loop) + PEER_TIMEOUT_MS;
    }
}

static void on_connection(uv_stream_t *listener, int status)
{
    conn *c;

    if (status < 0)
        return;
    c = malloc(sizeof(*c));
    if (c == NULL)
        peer_die("malloc");
    uv_tcp_init(loop, &c->tcp);
    uv_timer_init(loop, &c->timer);
    c->tcp.data = c->timer.data = c;
    c->handles = 2;
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) < 0) {
        end(c);
        return;
    }
    c->deadline_ms = uv_now(loop) + PEER_TIMEOUT_MS;
    uv_timer_start(&c->timer, on_timer, PEER_TIMEOUT_MS, 0);
    uv_read_start((uv_stream_t *)&c->tcp, lend_buffer, on_read);
}

int main(int argc, char **argv)
{
    uv_tcp_t listener;
    int is_line = peer_is_line(argc, argv);

    answer = is_line ? peer_lines : peer_once;
    loop = uv_default_loop();
    uv_tcp_init(loop, &listener);
    if (uv_tcp_open(&listener, peer_listen()) < 0 ||
        uv_listen((uv_stream_t *)&listener, PEER_BACKLOG, on_connection) < 0)
        peer_die("uv_listen");
    return uv_run(loop, UV_RUN_DEFAULT);
}
