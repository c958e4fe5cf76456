/* SPDX-License-Identifier: MIT */
#include "life.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "talk.h"

enum { LASTING_LOSSES = 2, TURNS_MAX = 500, TURNS_PER_MS = 10 };

enum how { PLAIN, SLOWLY, BOTH };

typedef struct step {
    enum how how;
    const char *body;
    const char *next; /* BOTH */
} step;

static const step full_steps[] = {{PLAIN, "echo one", NULL},   {SLOWLY, "echo in two pieces", NULL},
                                  {PLAIN, "big", NULL},        {PLAIN, "lent", NULL},
                                  {PLAIN, "deferred", NULL},   {BOTH, "deferred", "echo on"},
                                  {PLAIN, "no", NULL},         {PLAIN, "echo two", NULL},
                                  {PLAIN, "unanswered", NULL}, {PLAIN, "echo", NULL}};
static const step short_steps[] = {
    {PLAIN, "echo one", NULL}, {SLOWLY, "echo two", NULL}, {PLAIN, "big", NULL}};

static int counts[INJECT_CALL_COUNT];

static char folder[64], file[128], address[160];

/* ---- Set-up -------------------------------------------------------------------------------- */

static void hear(const gate_event *event, void *user)
{
    (void)event, (void)user;
}

static gate_options options_of(const life *l)
{
    gate_options options = net_options(talk_handler, l->codec);
    options.io = l->io;
    options.workers = l->kind == LIFE_FULL ? 2 : 1;
    options.timeout_ms = 2000;
    options.handler_timeout_ms = 1500;
    options.drain_timeout_ms = 100;
    if (l->kind == LIFE_WATCHED) {
        options.peer_connections_max = 100;
        options.log = hear;
        options.log_level = GATE_LOG_DEBUG;
    }
    return options;
}

/* Did it work? If not, that was the fault, which is over now. */
static int worked(const life *l, int rc, int fired_before)
{
    int hit = inject_fired() > fired_before;
    if (rc == 0) {
        assert_true(!hit || (l->allows & LIFE_UNSEEN));
        return 1;
    }
    assert_true(hit);
    assert_int_equal(rc, l->code);
    inject_disarm();
    return 0;
}

static gate_server *open_server(const life *l)
{
    gate_options options = options_of(l);
    gate_server *server;
    int fds = net_open_fds();
    long blocks = inject_blocks();
    int rc;
    for (int tries = 0; (rc = gate_server_open(&server, &options)) && !inject_fired() &&
                        net_is_late_room(rc, tries);)
        tries++;
    if (worked(l, rc, 0))
        return server;
    assert_null(server);
    assert_int_equal(net_open_fds(), fds);
    assert_int_equal(inject_blocks(), blocks);
    for (int tries = 0; (rc = gate_server_open(&server, &options)) && net_is_late_room(rc, tries);)
        tries++;
    assert_int_equal(rc, 0);
    return server;
}

enum place { TCP, UNIX, INHERITED, NAME, PLACES };

static int listen_for_all(gate_server *server)
{
    gate_listen_options options = {.size = sizeof options,
                                   .flags = GATE_LISTEN_UNIX_MODE | GATE_LISTEN_UNIX_OWNER,
                                   .backlog = 100,
                                   .unix_mode = 0666,
                                   .unix_uid = geteuid(),
                                   .unix_gid = UINT32_MAX};
    return gate_server_listen_with(server, address, 0, &options, NULL, NULL);
}

static int listen_at(gate_server *server, enum place place, int fd)
{
    switch (place) {
    case TCP:
        return gate_server_listen(server, "127.0.0.1", 0, 100);
    case UNIX:
        return listen_for_all(server);
    case NAME:
        return gate_server_listen(server, "localhost", 0, 100);
    default:
        return gate_server_listen_fd(server, fd);
    }
}

static void listen_well(const life *l, gate_server *server, enum place place)
{
    uint16_t port;
    int fd = place == INHERITED ? net_listen(&port, 5) : -1;
    int fds = net_open_fds(), before = inject_fired();
    long blocks = inject_blocks();
    if (worked(l, listen_at(server, place, fd), before))
        return;
    assert_int_equal(net_open_fds(), fds);
    assert_int_equal(inject_blocks(), blocks);
    assert_int_equal(listen_at(server, place, fd), 0);
}

/* A socket's file that nobody listens on. */
static void leave_file(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(addr.sun_path, file, strlen(file));
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    net_close(fd);
}

static void *serve(void *arg)
{
    talk_server *s = arg;
    s->rc = gate_server_serve(s->server);
    s->ended = 1;
    return NULL;
}

/* For the teardown of a test that has failed. */
static talk_server *running;
static int living;

static void start(const life *l, talk_server *s)
{
    s->codec = l->codec;
    s->server = open_server(l);
    if (l->kind == LIFE_FULL)
        leave_file();
    for (enum place place = TCP; place < (l->kind == LIFE_FULL ? PLACES : UNIX); place++)
        listen_well(l, s->server, place);
    s->port = gate_server_port(s->server);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
    running = s;
}

/* ---- Exchanges ----------------------------------------------------------------------------- */

static void take_step(talk *t, const step *one)
{
    switch (one->how) {
    case PLAIN:
        talk_ask(t, one->body);
        break;
    case SLOWLY:
        talk_ask_slowly(t, one->body);
        break;
    case BOTH:
        talk_ask_both(t, one->body, one->next);
        break;
    }
}

static void take_steps(const life *l, talk_server *s, talk *t)
{
    int is_full = l->kind == LIFE_FULL;
    const step *steps = is_full ? full_steps : short_steps;
    size_t count =
        is_full ? sizeof full_steps / sizeof *full_steps : sizeof short_steps / sizeof *short_steps;
    int most = l->span == LIFE_ONCE ? INT_MAX : l->span == LIFE_WHILE ? 1 : LASTING_LOSSES;
    for (size_t i = 0; i < count && s->lost < most && !s->ended; i++)
        take_step(t, &steps[i]);
    talk_end(t);
}

/* What is hit only now may be lost, but not the next. */
static void ask_honestly(const life *l, talk_server *s, talk *t)
{
    int before = inject_fired();
    s->forbearance = TALK_WAITS;
    if (l->span != LIFE_ONCE)
        inject_disarm();
    if (talk_ask(t, "echo") || s->ended)
        return;
    if (l->allows & LIFE_ENDS) {
        NET_UNTIL(s->ended);
        return;
    }
    assert_true(l->span == LIFE_ONCE && inject_fired() > before);
    assert_true(talk_ask(t, "echo") || s->ended);
}

/* ---- The end ------------------------------------------------------------------------------- */

static void check_end(const life *l, const talk_server *s)
{
    gate_stats stats = {.size = sizeof stats};
    assert_int_equal(gate_server_stats(s->server, &stats), 0);
    if (s->rc) {
        assert_true(l->allows & (stats.accepted ? LIFE_ENDS : LIFE_ENDS | LIFE_NO_START));
        assert_int_equal(s->rc, -l->fault.error);
        return;
    }
    net_assert_balance(&stats);
    if (l->span != LIFE_ALWAYS && (l->allows & LIFE_LOSSLESS))
        assert_int_equal(s->lost, 0);
    else if (l->span == LIFE_ONCE)
        assert_true(s->lost <= 1);
}

static void stop(talk_server *s)
{
    gate_server_stop(s->server);
    NET_UNTIL(s->ended);
    pthread_join(s->thread, NULL);
    running = NULL;
}

/* A loop that spins makes some hundred turns in a millisecond. */
static void check_turns(uint64_t ms)
{
    int turns =
        inject_seen(INJECT_epoll_wait) + inject_seen(INJECT_SUBMIT) + inject_seen(INJECT_WAIT);
    assert_true((uint64_t)turns <= TURNS_MAX + TURNS_PER_MS * ms);
}

static void check_file(const life *l)
{
    if (access(file, F_OK) < 0)
        return;
    assert_true(l->allows & LIFE_FILE);
    assert_int_equal(unlink(file), 0);
}

int life_live(const life *l)
{
    static talk_server s; /* not on the stack, which a failed check leaves */
    talk t = {.with = &s, .fd = -1};
    s = (talk_server){.forbearance = l->span == LIFE_ONCE    ? TALK_WAITS
                                     : l->span == LIFE_WHILE ? TALK_HEALS
                                                             : TALK_LEAVES};
    int fds = net_open_fds();
    long blocks = inject_blocks();
    uint64_t begun = net_now_ms();
    living = 1;
    talk_prepare();
    inject_arm(&l->fault);
    start(l, &s);
    take_steps(l, &s, &t);
    if (l->span != LIFE_ALWAYS && !s.ended)
        ask_honestly(l, &s, &t);
    stop(&s);
    check_end(l, &s);
    gate_server_close(s.server);
    inject_disarm();
    talk_end(&t);
    check_turns(net_now_ms() - begun);
    check_file(l);
    assert_int_equal(talk_wrong_codes(), 0);
    assert_int_equal(net_open_fds(), fds);
    assert_int_equal(inject_blocks(), blocks);
    living = 0;
    return inject_fired();
}

/* ---- Many lives ---------------------------------------------------------------------------- */

int life_count(const life *l, int call)
{
    life calm = *l;
    calm.span = LIFE_ONCE;
    calm.fault = (inject_fault){.how = l->fault.how};
    life_live(&calm);
    for (int i = 0; i < INJECT_CALL_COUNT; i++)
        counts[i] = inject_seen(i);
    return counts[call];
}

/* 0: that is all. */
static int choose(int seen, int i)
{
    const int wanted[] = {1, 2, 3, seen / 2, seen};
    if (i == sizeof wanted / sizeof *wanted)
        return 0;
    if (wanted[i] < 1 || wanted[i] > seen || (i && wanted[i] <= wanted[i - 1]))
        return -1;
    return wanted[i];
}

void life_sweep(const life *wanted, unsigned spans, int most)
{
    life l = *wanted;
    uint64_t begun = net_now_ms();
    int hit = 0, lives = 0, seen = counts[l.fault.call];
    for (int i = 0; (l.fault.first = choose(seen, i)); i++) {
        for (l.span = LIFE_ONCE; l.span <= LIFE_ALWAYS && l.fault.first > 0; l.span++) {
            if (!(spans & 1U << l.span) || (l.span != LIFE_ONCE && i % 3))
                continue;
            l.fault.count = l.span == LIFE_ONCE ? 1 : most ? most : INJECT_FOR_EVER;
            hit += life_live(&l);
            lives++;
        }
    }
    printf("    %s %s: %d hits in %d lives, %d ms\n", inject_name(l.fault.call),
           inject_error_name(l.fault.error), hit, lives, (int)(net_now_ms() - begun));
    assert_true(hit > 0);
}

int life_setup(void **state)
{
    setvbuf(stdout, NULL, _IOLBF, 0); /* what a test that hangs did last is to be seen */
    strcpy(folder, "/tmp/gate-inject-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/door", folder);
    snprintf(address, sizeof address, "unix:%s", file);
    return net_setup(state);
}

/* One that does not stop would hold up everything. */
static void stop_after_failure(void)
{
    inject_disarm();
    gate_server_stop(running->server);
    for (int tries = 0; !running->ended; tries++) {
        if (net_nap(tries))
            continue;
        print_error("the server does not stop\n");
        _exit(1);
    }
    pthread_join(running->thread, NULL);
    gate_server_close(running->server);
    running = NULL;
}

int life_teardown(void **state)
{
    if (living)
        inject_tell();
    living = 0;
    if (running)
        stop_after_failure();
    unlink(file);
    rmdir(folder);
    return net_teardown(state);
}
