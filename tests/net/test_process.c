/* SPDX-License-Identifier: MIT */

/* What happens to a process while it serves: the wall clock is set, it starts other programs. */

#include "net.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- The wall clock ---- */

static atomic_int jumps;

/* In place of libc's: each look at the wall clock is a day before or behind the last one. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
    int rc = (int)syscall(SYS_clock_gettime, clock, now);
    if (!rc && clock == CLOCK_REALTIME)
        now->tv_sec += ++jumps % 2 ? 86400 : -86400;
    return rc;
}

static void test_a_wall_clock_that_jumps_changes_no_deadline(void **state)
{
    struct timespec now;
    int before = jumps;
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &now), 0);
    assert_int_equal(jumps, before + 1); /* ours is the one that is called */

    gate_options options = net_options(net_echo, NULL);
    options.io = net_io(state);
    options.timeout_ms = 100;
    net_server *s = net_start(&options);
    char reply[8];
    size_t len = sizeof reply;
    assert_int_equal(gate_client_exchange("127.0.0.1", s->port, "1", 1, reply, &len, 5000), 0);
    int silent = net_connect(s->port);
    uint64_t start_ms = net_now_ms();
    net_expect_end(silent);
    assert_in_range(net_now_ms() - start_ms, 50, 3000);
    net_close(silent);
    NET_UNTIL(net_stats(s).connections == 0);
    assert_int_equal(net_stats(s).closed[GATE_CLOSE_TIMEOUT], 1);
    net_stop(s);
    assert_int_equal(jumps, before + 1); /* nobody has looked at it */
}

/* ---- Other programs ---- */

enum { FDS_MOST = 1024 };

static void list_open(char *open)
{
    for (int fd = 0; fd < FDS_MOST; fd++)
        open[fd] = fcntl(fd, F_GETFD) >= 0;
}

static void test_nothing_of_ours_is_open_in_a_program_that_is_started(void **state)
{
    char before[FDS_MOST], after[FDS_MOST];
    list_open(before);
    gate_options options = net_options(net_echo, gate_codec_line());
    options.io = net_io(state);
    options.workers = 2;
    net_server *s = net_start(&options);
    gate_client *client;
    gate_client_options with = {.size = sizeof with, .codec = gate_codec_line()};
    char reply[8];
    size_t len = sizeof reply;
    assert_int_equal(gate_client_open(&client, "127.0.0.1", s->port, &with), 0);
    assert_int_equal(gate_client_call(client, "1", 1, reply, &len, 0), 0);
    list_open(after);
    int seen = 0;
    for (int fd = 0; fd < FDS_MOST; fd++) {
        if (!after[fd] || before[fd])
            continue;
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        seen++;
    }
    assert_in_range(seen, 5, FDS_MOST); /* two loops, two listeners, both ends of a connection */
    gate_client_close(client);
    net_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST_EACH_IO(test_a_wall_clock_that_jumps_changes_no_deadline),
        NET_TEST_EACH_IO(test_nothing_of_ours_is_open_in_a_program_that_is_started),
    };
    return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
