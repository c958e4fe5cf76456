/* SPDX-License-Identifier: MIT */

/* What the blocking backend adds to the contract. */

#include "harness.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>

#include "io/io_blocking.h"
#include "io/sock.h"

static void test_recv_goes_into_the_owners_buffer(void **state)
{
    struct loop *loop = *state;
    struct end *end = loop->ends[0];
    gate__io_blocking *blocking = (gate__io_blocking *)(void *)loop->io;
    char room[4];

    join(loop, "127.0.0.1");
    plain_send(loop->peer, "hello", 5);
    blocking->into = room;
    blocking->into_len = sizeof room;
    submit_recv(loop, end);
    assert_int_equal(wait_in(loop, end), 4);
    assert_int_equal(end->in.flags, GATE_IO_FULL);
    assert_ptr_equal(end->sock.in.buf, room);
    assert_memory_equal(room, "hell", 4);
    blocking->into_len = 0;
    submit_recv(loop, end);
    assert_int_equal(wait_in(loop, end), 1);
    assert_int_equal(end->in.flags, 0);
    assert_ptr_equal(end->sock.in.buf, blocking->buf);
}

static int nodelay(const struct end *end)
{
    int value = -1;
    socklen_t len = sizeof value;

    assert_int_equal(getsockopt(end->sock.fd, IPPROTO_TCP, TCP_NODELAY, &value, &len), 0);
    return value;
}

static void send_bytes(struct loop *loop, size_t len)
{
    static const char bytes[1000];

    submit_send(loop, loop->ends[0], bytes, len, 0);
    assert_int_equal(wait_out(loop, loop->ends[0]), len);
}

static void test_delay_is_off_from_the_second_send(void **state)
{
    struct loop *loop = *state;

    join(loop, "127.0.0.1");
    send_bytes(loop, 1);
    assert_false(nodelay(loop->ends[0]));
    send_bytes(loop, 1);
    assert_true(nodelay(loop->ends[0]));
}

static void test_delay_is_off_for_a_send_of_several_segments(void **state)
{
    struct loop *loop = *state;

    join(loop, "127.0.0.1");
    send_bytes(loop, 1000);
    assert_true(nodelay(loop->ends[0]));
}

static void test_listening_is_not_supported(void **state)
{
    struct loop *loop = *state;
    gate_sock *sock = &loop->ends[0]->sock;

    set_addr(&loop->addr, "127.0.0.1", 0);
    assert_int_equal(loop->io->ops->listen(loop->io, sock, &loop->addr, 5, 0, NULL), -EOPNOTSUPP);
    assert_int_equal(loop->io->ops->adopt(loop->io, sock, 0, &loop->addr), -EOPNOTSUPP);
    submit_accept(loop, loop->ends[0], 0);
    assert_int_equal(wait_in(loop, loop->ends[0]), -EOPNOTSUPP);
}

static void test_run_returns_on_a_signal(void **state)
{
    struct loop *loop = *state;
    uint64_t deadline = gate__clock_ns() + 10000 * MS;

    join(loop, "127.0.0.1");
    submit_recv(loop, loop->ends[0]);
    start_signals();
    assert_int_equal(loop->io->ops->run(loop->io, deadline), 0);
    stop_signals();
    assert_true(gate__clock_ns() < deadline);
    assert_int_equal(loop->ends[0]->in.finals, 0);
}

static void test_connect_without_time_is_not_tried(void **state)
{
    struct loop *loop = *state;

    set_addr(&loop->addr, "127.0.0.1", 0);
    loop->listener = plain_listen(&loop->addr, 16);
    submit_connect(loop, loop->ends[0], &loop->addr);
    assert_int_equal(loop->io->ops->run(loop->io, 0), 0);
    assert_int_equal(loop->ends[0]->out.finals, 0);
    assert_int_equal(loop->ends[0]->sock.fd, -1);
    assert_int_equal(wait_out(loop, loop->ends[0]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER("blocking", test_recv_goes_into_the_owners_buffer),
        OVER("blocking", test_delay_is_off_from_the_second_send),
        OVER("blocking", test_delay_is_off_for_a_send_of_several_segments),
        OVER("blocking", test_listening_is_not_supported),
        OVER("blocking", test_connect_without_time_is_not_tried),
        OVER_KERNEL(test_run_returns_on_a_signal),
    };

    return RUN_OVER(tests);
}
