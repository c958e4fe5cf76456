/* SPDX-License-Identifier: MIT */

/* Many connections: silent ones, too many, too many of one address, spread over workers, and more
 * than there are descriptors for. */

#include "net.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SILENT = 2000, STARVED = 200 };

static void allow_descriptors(rlim_t wanted)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    }
    if (limit.rlim_cur < wanted)
        skip();
}

static void assert_answers(uint16_t port)
{
    int fd = net_connect(port);
    net_put(fd, "1");
    net_expect(fd, "1");
    net_expect_end(fd);
    net_close(fd);
}

static void test_honest_peers_are_answered_among_silent_ones(void **state)
{
    (void)state;
    static int silent[SILENT];
    allow_descriptors(2 * SILENT + 100);
    gate_options options = net_options(net_echo, NULL);
    options.timeout_ms = 60000;
    net_server *s = net_start(&options);
    for (int i = 0; i < SILENT; i++)
        silent[i] = net_connect(s->port);
    uint64_t start = net_now_ms();
    for (int i = 0; i < 100; i++)
        assert_answers(s->port);
    assert_true(net_now_ms() - start < 20000);
    NET_UNTIL(net_stats(s).connections == SILENT);
    for (int i = 0; i < SILENT; i++)
        net_close(silent[i]);
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_PEER] == SILENT);
    net_stop(s);
}

static void test_silent_peers_are_timed_out_all_of_them(void **state)
{
    (void)state;
    int fds[200];
    gate_options options = net_options(net_echo, NULL);
    options.timeout_ms = 150;
    net_server *s = net_start(&options);
    for (int i = 0; i < 200; i++)
        fds[i] = net_connect(s->port);
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_TIMEOUT] == 200);
    for (int i = 0; i < 200; i++) {
        net_expect_end(fds[i]);
        net_close(fds[i]);
    }
    assert_answers(s->port);
    net_stop(s);
}

/* ---- Limits ---- */

static void reset(int fd)
{
    const struct linger at_once = {.l_onoff = 1};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    net_close(fd);
}

static void test_a_storm_of_resets_costs_the_honest_ones_nothing(void **state)
{
    (void)state;
    enum { RESETS = 5000, EACH = 500 };
    gate_options options = net_options(net_echo, NULL);
    net_server *s = net_start(&options);
    for (int i = 1; i <= RESETS; i++) {
        reset(net_connect(s->port));
        if (i % EACH == 0) {
            int fd = net_connect(s->port);
            net_put(fd, "1");
            net_expect(fd, "1");
            net_close(fd);
        }
    }
    /* The kernel may drop one from its queue before it is accepted. */
    NET_UNTIL(net_stats(s).connections == 0);
    assert_int_equal(net_stats(s).requests, RESETS / EACH);
    assert_in_range(net_stats(s).closed[GATE_CLOSE_RESET], RESETS / 2, RESETS);
    assert_int_equal(net_stats(s).accept_pauses, 0);
    net_stop(s);
}

static void test_over_the_most_connections_accepting_waits(void **state)
{
    (void)state;
    int fds[10];
    gate_options options = net_options(net_echo, NULL);
    options.connections_max = 4;
    options.timeout_ms = 60000;
    net_server *s = net_start(&options);
    for (int i = 0; i < 10; i++)
        fds[i] = net_connect(s->port);
    for (int i = 4; i < 10; i++)
        net_put(fds[i], "2");
    NET_UNTIL(net_stats(s).accepted == 4);
    assert_int_equal(net_stats(s).requests, 0);
    for (int i = 0; i < 4; i++) {
        net_put(fds[i], "1");
        net_expect(fds[i], "1");
    }
    for (int i = 4; i < 10; i++) /* those that waited have lost nothing */
        net_expect(fds[i], "2");
    for (int i = 0; i < 10; i++) {
        net_expect_end(fds[i]);
        net_close(fds[i]);
    }
    net_stop(s);
}

static void test_stop_at_the_most_connections_still_serves_the_queue(void **state)
{
    (void)state;
    int fds[6];
    gate_options options = net_options(net_echo, NULL);
    options.connections_max = 2;
    net_server *s = net_start(&options);
    for (int i = 0; i < 6; i++)
        fds[i] = net_connect(s->port);
    NET_UNTIL(net_stats(s).accepted == 2);
    gate_server_stop(s->server);
    for (int i = 0; i < 6; i++)
        net_put(fds[i], "1");
    for (int i = 0; i < 6; i++) {
        net_expect(fds[i], "1");
        net_close(fds[i]);
    }
    net_join(s);
    assert_int_equal(net_stats(s).requests, 6);
    net_free(s);
}

static void test_one_address_may_not_take_all_connections(void **state)
{
    (void)state;
    int fds[3];
    gate_options options = net_options(net_echo, gate_codec_line());
    options.peer_connections_max = 3;
    options.timeout_ms = 60000;
    net_server *s = net_start(&options);
    for (int i = 0; i < 3; i++) {
        fds[i] = net_connect(s->port);
        net_put(fds[i], "in\n");
        net_expect(fds[i], "in\n");
    }
    for (int i = 0; i < 5; i++) {
        int over = net_connect(s->port);
        net_expect_gone(over);
        net_close(over);
    }
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_PEER_LIMIT] == 5);
    net_close(fds[0]);
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_PEER] == 1);
    fds[0] = net_connect(s->port); /* its place is free again */
    for (int i = 0; i < 3; i++) {
        net_put(fds[i], "still\n");
        net_expect(fds[i], "still\n");
        net_close(fds[i]);
    }
    net_stop(s);
}

/* ---- Workers ---- */

typedef struct roll {
    pthread_mutex_t lock;
    pthread_t threads[64];
    int seen;
    int deaf; /* those that block signals */
} roll;

static void sign(gate_request *req, const void *body, size_t len, void *user)
{
    roll *r = user;
    pthread_mutex_lock(&r->lock);
    int known = 0;
    for (int i = 0; i < r->seen; i++)
        known |= pthread_equal(r->threads[i], pthread_self()) != 0;
    if (!known) {
        sigset_t blocked;
        pthread_sigmask(SIG_SETMASK, NULL, &blocked);
        r->deaf += sigismember(&blocked, SIGUSR1);
        r->threads[r->seen++] = pthread_self();
    }
    pthread_mutex_unlock(&r->lock);
    gate_reply(req, body, len);
}

static void test_workers_share_the_connections_and_the_sums_are_right(void **state)
{
    (void)state;
    roll r = {.lock = PTHREAD_MUTEX_INITIALIZER};
    int open[20];
    gate_options options = net_options(sign, NULL);
    options.user = &r;
    options.workers = 4;
    options.timeout_ms = 60000;
    net_server *s = net_start(&options);
    for (int i = 0; i < 20; i++)
        open[i] = net_connect(s->port);
    for (int i = 0; i < 400; i++)
        assert_answers(s->port);
    NET_UNTIL(net_stats(s).accepted == 420 && net_stats(s).connections == 20);
    gate_stats stats = net_stats(s);
    assert_int_equal(stats.closed[GATE_CLOSE_ANSWERED], 400);
    assert_int_equal(stats.requests, 400);
    assert_int_equal(stats.replies, 400);
    assert_int_equal(stats.bytes_in, 400);
    assert_int_equal(stats.bytes_out, 400);
    pthread_mutex_lock(&r.lock);
    assert_int_equal(r.seen, 4); /* missing one is a matter of (3/4)^400 */
    assert_int_equal(r.deaf, 3); /* signals are for the program's own threads */
    pthread_mutex_unlock(&r.lock);
    for (int i = 0; i < 20; i++)
        net_close(open[i]);
    NET_UNTIL(net_stats(s).closed[GATE_CLOSE_PEER] == 20);
    net_stop(s);
    pthread_mutex_destroy(&r.lock);
}

/* ---- More peers than descriptors ---- */

static gate_server *starved;

static void stop_starved(int number)
{
    (void)number;
    gate_server_stop(starved);
}

/* The child: says its port, and when it was stopped how many pauses it counted. */
static void serve_starved(int out)
{
    struct rlimit few;
    gate_options options = net_options(net_echo, NULL);
    gate_stats stats = {.size = sizeof stats};
    options.timeout_ms = 60000;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGTERM, stop_starved);
    if (getrlimit(RLIMIT_NOFILE, &few))
        _exit(1);
    few.rlim_cur = 64;
    if (setrlimit(RLIMIT_NOFILE, &few) || gate_server_open(&starved, &options) ||
        gate_server_listen(starved, "127.0.0.1", 0, 0))
        _exit(1);
    uint64_t port = gate_server_port(starved);
    if (write(out, &port, sizeof port) != sizeof port || gate_server_serve(starved) ||
        gate_server_stats(starved, &stats) ||
        write(out, &stats.accept_pauses, sizeof port) != sizeof port)
        _exit(1);
    _exit(0);
}

static uint64_t cpu_us(clockid_t clock)
{
    struct timespec used;
    assert_int_equal(clock_gettime(clock, &used), 0);
    return (uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000;
}

/* The kernel has queued those that were not accepted; while that lasts the server must not spin. */
static void test_without_descriptors_the_server_waits_and_then_serves_all(void **state)
{
    (void)state;
    static int fds[STARVED];
    int ends[2], status;
    uint64_t port, pauses;
    clockid_t clock;
    const char *preload = getenv("LD_PRELOAD");
    if (preload && strstr(preload, "vgpreload"))
        skip(); /* valgrind plays the limit by closing what the kernel has accepted */
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (!child)
        serve_starved(ends[1]);
    assert_true(child > 0);
    close(ends[1]);
    assert_int_equal(read(ends[0], &port, sizeof port), sizeof port);
    assert_int_equal(clock_getcpuclockid(child, &clock), 0);
    for (int i = 0; i < STARVED; i++)
        fds[i] = net_connect((uint16_t)port);
    uint64_t before = cpu_us(clock), start = net_now_ms();
    NET_UNTIL(net_now_ms() - start > 1000); /* what is measured is waiting */
    uint64_t used = cpu_us(clock) - before;
    assert_true(used < 50000); /* 5 %, where a spin takes 100; 20 tries need far less */
    for (int i = 0; i < STARVED; i++)
        net_put(fds[i], "1");
    for (int i = 0; i < STARVED; i++) {
        net_expect(fds[i], "1");
        net_close(fds[i]);
    }
    assert_int_equal(kill(child, SIGTERM), 0);
    assert_int_equal(read(ends[0], &pauses, sizeof pauses), sizeof pauses);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_in_range(pauses, 1, 5); /* episodes, not failures: those are some hundreds */
    close(ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(test_without_descriptors_the_server_waits_and_then_serves_all),
        NET_TEST(test_honest_peers_are_answered_among_silent_ones),
        NET_TEST(test_silent_peers_are_timed_out_all_of_them),
        NET_TEST(test_a_storm_of_resets_costs_the_honest_ones_nothing),
        NET_TEST(test_over_the_most_connections_accepting_waits),
        NET_TEST(test_stop_at_the_most_connections_still_serves_the_queue),
        NET_TEST(test_one_address_may_not_take_all_connections),
        NET_TEST(test_workers_share_the_connections_and_the_sums_are_right),
    };
    return cmocka_run_group_tests_name("crowd", tests, NULL, NULL);
}
