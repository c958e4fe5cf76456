/* SPDX-License-Identifier: MIT */
/* The exchange on libevent's bufferevents, with a read and a write timeout of 5 s from the common
 * timeout queue, which its manual recommends for many timeouts of one length, and its list of
 * changes to epoll, which saves a twentieth. */

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <string.h>
#include <sys/socket.h>

#include "peer.h"

static struct event_base *base;
static const struct timeval *timeout;
static int is_line;

static void on_event(struct bufferevent *conn, short what, void *arg)
{
    (void)what, (void)arg;
    bufferevent_free(conn);
}

static void on_flushed(struct bufferevent *conn, void *arg)
{
    (void)arg;
    if (evbuffer_get_length(bufferevent_get_output(conn)) == 0)
        bufferevent_free(conn);
}

static void send_answer(struct bufferevent *conn, peer_answer reply)
{
    struct evbuffer *output = bufferevent_get_output(conn);

    if (reply.last) {
        bufferevent_disable(conn, EV_READ);
        bufferevent_setcb(conn, NULL, on_flushed, on_event, NULL);
    }
    evbuffer_add(output, reply.bytes, reply.len);
}

static void on_read(struct bufferevent *conn, void *arg)
{
    struct evbuffer *input = bufferevent_get_input(conn);
    size_t len = evbuffer_get_length(input);
    const char *bytes = (const char *)evbuffer_pullup(input, -1);

    (void)arg;
    send_answer(conn, is_line ? peer_lines(bytes, len) : peer_once(bytes, len));
    evbuffer_drain(input, len);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *addr,
                      int len, void *arg)
{
    struct bufferevent *conn = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);

    (void)listener, (void)addr, (void)len, (void)arg;
    if (conn == NULL)
        peer_die("bufferevent_socket_new");
    bufferevent_setcb(conn, on_read, NULL, on_event, NULL);
    bufferevent_set_timeouts(conn, timeout, timeout);
    bufferevent_enable(conn, EV_READ);
}

int main(int argc, char **argv)
{
    const struct timeval seconds = {.tv_sec = PEER_TIMEOUT_MS / 1000};
    unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC;
    struct event_config *config = event_config_new();

    is_line = peer_is_line(argc, argv);
    event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    base = event_base_new_with_config(config);
    event_config_free(config);
    timeout = event_base_init_common_timeout(base, &seconds);
    if (evconnlistener_new(base, on_accept, NULL, flags, 0, peer_listen()) == NULL)
        peer_die("evconnlistener_new");
    return event_base_dispatch(base);
}
