/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../sim/sim.h"
#include "far.h"
#include "io/io_blocking.h"
#include "io/sock.h"

/* ---- The tests ----------------------------------------------------------------------------- */

int on_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");

    return preload && strstr(preload, "vgpreload");
}

static int has_uring(void)
{
    gate_io *io;
    int rc = on_valgrind() ? -ENOSYS : gate__io_uring_open(&io);

    if (rc < 0) {
        print_message("no tests over io_uring: %s\n", gate_strerror(rc));
        return 0;
    }
    io->ops->free(io);
    return 1;
}

int run_over(const struct CMUnitTest *tests, size_t count)
{
    const char *left_out = has_uring() ? NULL : "io_uring: ";
    struct CMUnitTest chosen[256];
    size_t kept = 0;

    if (count > sizeof chosen / sizeof *chosen)
        return 1;
    for (size_t i = 0; i < count; i++)
        if (!left_out || strncmp(tests[i].name, left_out, strlen(left_out)) != 0)
            chosen[kept++] = tests[i];
    return _cmocka_run_group_tests("tests", chosen, kept, NULL, NULL);
}

/* ---- The loop ------------------------------------------------------------------------------ */

static void fail_test(const char *message, void *unused)
{
    (void)unused;
    fail_msg("%s", message);
}

/* A world whose network holds more than what one recv gives, as the kernel's does. */
static gate_io *open_world(struct loop *loop, uint32_t at_once_pct)
{
    const sim_knobs roomy = {.flow_max = 256 * 1024, .at_once_pct = at_once_pct};
    const gate__sockaddr here = sim_addr("127.0.0.1", 0);
    gate__sockaddr both[2] = {{.len = 0}, here};

    set_addr(&both[0], "::1", 0);
    loop->world = sim_open(1, &roomy);
    sim_on_fail(loop->world, fail_test, NULL);
    sim_resolves(loop->world, "two.test", 0, both, 2, 0);
    sim_resolves(loop->world, "slow.test", 0, &here, 1, 3600 * (uint64_t)SIM_SECOND);
    return sim_io_open(loop->world);
}

int loop_setup(void **state)
{
    const char *backend = *state;
    struct loop *loop = calloc(1, sizeof *loop);

    assert_non_null(loop);
    for (int i = 0; i < 2; i++) {
        loop->ends[i] = calloc(1, sizeof *loop->ends[i]);
        assert_non_null(loop->ends[i]);
        gate__sock_init(&loop->ends[i]->sock, -1);
    }
    loop->listener = loop->peer = -1;
    if (!strcmp(backend, "epoll")) {
        assert_int_equal(gate__io_epoll_open(&loop->io), 0);
    } else if (!strcmp(backend, "io_uring")) {
        assert_int_equal(gate__io_uring_open(&loop->io), 0);
        loop->at_once = 1;
    } else if (!strcmp(backend, "sim")) {
        loop->io = open_world(loop, 0);
    } else if (!strcmp(backend, "sim at once")) {
        loop->io = open_world(loop, 100);
        loop->at_once = 1;
    } else {
        gate__io_blocking *blocking = malloc(sizeof *blocking);

        assert_non_null(blocking);
        gate__io_blocking_init(blocking);
        loop->io = &blocking->io;
    }
    assert_memory_equal(loop->io->ops->name, backend, strlen(loop->io->ops->name));
    *state = loop;
    return 0;
}

static void close_end(struct loop *loop, struct end *end)
{
    if (!end)
        return;
    loop->io->ops->cancel(loop->io, &end->sock, &end->sock.in);
    loop->io->ops->cancel(loop->io, &end->sock, &end->sock.out);
    for (int i = 0; i < 100; i++)
        if (gate__op_busy(&end->sock.in) || gate__op_busy(&end->sock.out))
            loop->io->ops->run(loop->io, UINT64_MAX);
    if (end->sock.fd >= 0) {
        submit_close(loop, end);
        wait_out(loop, end);
    }
    for (size_t i = 0; i < end->accepted_count; i++)
        loop->io->ops->discard(loop->io, end->accepted[i]);
    free(end);
}

int loop_teardown(void **state)
{
    struct loop *loop = *state;
    int blocking = !strcmp(loop->io->ops->name, "blocking");

    close_end(loop, loop->ends[0]);
    close_end(loop, loop->ends[1]);
    far_close(loop, loop->peer);
    far_close(loop, loop->listener);
    loop->io->ops->free(loop->io);
    if (blocking)
        free(loop->io);
    if (loop->world) {
        sim_check_end(loop->world);
        sim_close(loop->world);
    }
    free(loop);
    return 0;
}

static void note(struct outcome *outcome, int result, unsigned flags)
{
    outcome->result = result;
    outcome->flags = flags;
    if (flags & GATE_IO_MORE)
        outcome->mores++;
    else
        outcome->finals++;
}

static void done_in(gate_io *io, gate_op *op, int result, unsigned flags)
{
    struct end *end = (struct end *)(void *)((char *)op - offsetof(struct end, sock.in));

    (void)io;
    assert_int_equal(gate__op_busy(op), (flags & GATE_IO_MORE) != 0);
    note(&end->in, result, flags);
    if (flags & GATE_IO_MORE) {
        assert_true(end->accepted_count < sizeof end->accepted / sizeof *end->accepted);
        end->accepted[end->accepted_count++] = result;
    } else if (result > 0) {
        assert_true(end->got_len + (size_t)result <= sizeof end->got);
        memcpy(end->got + end->got_len, op->buf, (size_t)result);
        end->got_len += (size_t)result;
    }
}

static void done_out(gate_io *io, gate_op *op, int result, unsigned flags)
{
    struct end *end = (struct end *)(void *)((char *)op - offsetof(struct end, sock.out));

    (void)io;
    assert_false(gate__op_busy(op));
    note(&end->out, result, flags);
}

static void start(struct outcome *outcome)
{
    *outcome = (struct outcome){.result = INT32_MIN};
}

static void check_started(const struct outcome *outcome, const gate_op *op)
{
    assert_int_equal(outcome->finals + outcome->mores, 0);
    assert_true(gate__op_busy(op));
}

void submit_connect(struct loop *loop, struct end *end, const gate__sockaddr *addr)
{
    start(&end->out);
    loop->io->ops->connect(loop->io, &end->sock, addr, done_out);
    check_started(&end->out, &end->sock.out);
}

void submit_recv_flags(struct loop *loop, struct end *end, unsigned flags)
{
    start(&end->in);
    loop->io->ops->recv(loop->io, &end->sock, flags, done_in);
    check_started(&end->in, &end->sock.in);
}

void submit_recv(struct loop *loop, struct end *end)
{
    submit_recv_flags(loop, end, 0);
}

void submit_send(struct loop *loop, struct end *end, const void *buf, size_t len, unsigned flags)
{
    start(&end->out);
    loop->io->ops->send(loop->io, &end->sock, buf, len, flags, done_out);
    check_started(&end->out, &end->sock.out);
}

void submit_shutdown(struct loop *loop, struct end *end)
{
    start(&end->out);
    loop->io->ops->shutdown(loop->io, &end->sock, done_out);
    check_started(&end->out, &end->sock.out);
}

void submit_close(struct loop *loop, struct end *end)
{
    start(&end->out);
    loop->io->ops->close(loop->io, &end->sock, done_out);
    check_started(&end->out, &end->sock.out);
}

void submit_accept(struct loop *loop, struct end *end, unsigned flags)
{
    start(&end->in);
    loop->io->ops->accept(loop->io, &end->sock, flags, done_in);
    check_started(&end->in, &end->sock.in);
}

uint64_t time_of(const struct loop *loop)
{
    return loop->world ? sim_now(loop->world) : gate__clock_ns();
}

static int wait_for(struct loop *loop, const struct outcome *outcome, const gate_op *op)
{
    uint64_t deadline = time_of(loop) + 10000 * MS;

    while (gate__op_busy(op) && time_of(loop) < deadline)
        assert_int_equal(loop->io->ops->run(loop->io, deadline), 0);
    assert_int_equal(outcome->finals, 1);
    return outcome->result;
}

int wait_in(struct loop *loop, struct end *end)
{
    return wait_for(loop, &end->in, &end->sock.in);
}

int wait_out(struct loop *loop, struct end *end)
{
    return wait_for(loop, &end->out, &end->sock.out);
}

void run_for(struct loop *loop, unsigned ms)
{
    uint64_t deadline = time_of(loop) + ms * MS;

    while (time_of(loop) < deadline)
        assert_int_equal(loop->io->ops->run(loop->io, deadline), 0);
}

void join(struct loop *loop, const char *host)
{
    set_addr(&loop->addr, host, 0);
    loop->listener = far_listen(loop, &loop->addr, 16);
    submit_connect(loop, loop->ends[0], &loop->addr);
    assert_int_equal(wait_out(loop, loop->ends[0]), 0);
    loop->peer = far_accept(loop, loop->listener);
}

/* ---- Plain sockets ------------------------------------------------------------------------- */

void set_addr(gate__sockaddr *addr, const char *host, uint16_t port)
{
    assert_int_equal(gate__addr_numeric(addr, host, port), 0);
}

int plain_listen(gate__sockaddr *addr, int backlog)
{
    int fd = socket(addr->u.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, &addr->u.any, addr->len), 0);
    assert_int_equal(listen(fd, backlog), 0);
    addr->len = sizeof addr->u;
    assert_int_equal(getsockname(fd, &addr->u.any, &addr->len), 0);
    return fd;
}

int plain_connect(const gate__sockaddr *addr)
{
    int fd = socket(addr->u.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &addr->u.any, addr->len), 0);
    return fd;
}

int plain_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

void plain_send(int fd, const void *bytes, size_t len)
{
    assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

size_t plain_recv(int fd, void *bytes, size_t len)
{
    size_t got = 0;

    while (got < len) {
        ssize_t more = recv(fd, (char *)bytes + got, len - got, 0);

        assert_true(more >= 0);
        if (more == 0)
            break;
        got += (size_t)more;
    }
    return got;
}

void plain_reset(int fd)
{
    const struct linger now = {.l_onoff = 1};

    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    assert_int_equal(close(fd), 0);
}

/* Until a send waits, which is then cancelled. */
static size_t fill_end(struct loop *loop, const char *bytes, size_t len)
{
    struct end *end = loop->ends[0];
    size_t sum = 0;

    for (;;) {
        submit_send(loop, end, bytes, len, 0);
        assert_int_equal(loop->io->ops->run(loop->io, 0), 0);
        if (!end->out.finals)
            break;
        sum += (size_t)end->out.result;
    }
    loop->io->ops->cancel(loop->io, &end->sock, &end->sock.out);
    assert_int_equal(wait_out(loop, end), -ECANCELED);
    return sum;
}

size_t join_full(struct loop *loop)
{
    static const char bytes[64 * 1024];
    size_t sum = 0;
    ssize_t sent;
    char host[64];

    snprintf(host, sizeof host, "unix:@gate-test-%ld", (long)getpid());
    join(loop, host);
    if (loop->world)
        return fill_end(loop, bytes, sizeof bytes);
    while ((sent = send(loop->ends[0]->sock.fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
        sum += (size_t)sent;
    assert_int_equal(errno, EAGAIN);
    return sum;
}

/* ---- The process --------------------------------------------------------------------------- */

static struct rlimit usual;

void run_short(unsigned room)
{
    struct rlimit few;
    int fds[8];

    for (unsigned i = 0; i <= room; i++)
        fds[i] = dup(STDERR_FILENO);
    assert_true(fds[room] >= 0);
    for (unsigned i = 0; i <= room; i++)
        close(fds[i]);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    few = usual;
    few.rlim_cur = (rlim_t)fds[room];
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
}

void run_on(void)
{
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
}

static void note_signal(int number)
{
    (void)number;
}

static struct sigaction usual_action;

void start_signals(void)
{
    const struct itimerval often = {{0, 2000}, {0, 2000}};
    struct sigaction action = {.sa_handler = note_signal};

    assert_int_equal(sigaction(SIGALRM, &action, &usual_action), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
}

void stop_signals(void)
{
    const struct itimerval never = {{0, 0}, {0, 0}};

    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &usual_action, NULL), 0);
}

/* ---- A network of one's own ---------------------------------------------------------------- */

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : write(fd, text, strlen(text));

    if (fd >= 0)
        close(fd);
    return len == (ssize_t)strlen(text);
}

static int enter_private_network(void)
{
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd, up;

    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return 0;
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &loopback) == 0;
    close(fd);
    return up && write_file("/proc/sys/net/ipv4/ip_local_port_range", "40000 40000");
}

enum { CHILD_OK = 0, CHILD_SKIPPED = 77 };

void in_private_network(void (*inside)(const char *backend), const char *backend)
{
    pid_t child;
    int status;

    fflush(stdout);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (!enter_private_network())
            exit(CHILD_SKIPPED);
        inside(backend);
        exit(CHILD_OK); /* which keeps what ./dev coverage has counted */
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CHILD_SKIPPED)
        skip();
    assert_int_equal(WEXITSTATUS(status), CHILD_OK);
}
