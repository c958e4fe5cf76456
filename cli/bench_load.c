/* SPDX-License-Identifier: MIT */
#include "bench_load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "bench_conn.h"
#include "bench_pace.h"
#include "bench_watch.h"

#define SECOND UINT64_C(1000000000)
#define SWEEP_MIN UINT64_C(1000000)
#define SWEEP_MAX UINT64_C(50000000)

enum { EVENTS = 256, OPENING_MAX = 64 };

typedef enum load_phase { OPENING, WARMING, MEASURING, ENDING } load_phase;

struct bench_load {
    const bench_plan *plan;
    bench_result *result;
    bench_wire wire;
    bench_conn *conns; /* first those with a load, then the idle ones */
    uint64_t *begun;   /* the rings of all connections */
    uint32_t count;    /* of the connections */
    uint32_t asked;    /* of those, how many were opened so far */
    uint32_t opening;  /* and do not stand yet */
    load_phase phase;
    int failed;          /* -errno that ends the run */
    uint64_t phase_ns;   /* when it began */
    uint64_t end_ns;     /* when nothing may begin any more */
    uint64_t measure_ns; /* what began earlier is not counted */
    uint64_t last_ns;    /* the last answer */
    uint64_t sweep_ns;
    uint64_t sweep_span;
    uint64_t progress_ns;
    uint64_t started; /* in this phase */
    uint64_t inflight;
    uint64_t answered;           /* ever */
    uint64_t refused;            /* connections that failed, ever */
    uint64_t cpu_ns, watched_ns; /* at the start of what is measured */
    bench_conn **room;           /* open loop: a ring of the connections with room */
    uint32_t room_first, room_count;
};

static uint64_t read_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static uint64_t after(uint64_t time_ns, uint64_t span_ns)
{
    return span_ns > UINT64_MAX - time_ns ? UINT64_MAX : time_ns + span_ns;
}

const char *bench_error_name(bench_error error)
{
    static const char *const names[] = {
        [BENCH_CONNECT] = "connect",       [BENCH_TIMEOUT] = "timeout",
        [BENCH_CLOSED] = "closed",         [BENCH_FRAME] = "frame",
        [BENCH_UNEXPECTED] = "unexpected", [BENCH_NOT_BEGUN] = "not_begun",
    };

    return error < BENCH_ERRORS ? names[error] : "unknown";
}

/* ---- When an exchange may begin ------------------------------------------------------------- */

/* Open loop: the time that exchange k of this phase has by the rate. */
static uint64_t due_at(const bench_load *load, uint64_t k)
{
    return load->phase_ns + bench_pace_at(load->plan->rate, k);
}

/* No further exchange belongs to this phase. */
static int is_exhausted(const bench_load *load)
{
    const bench_plan *plan = load->plan;

    if (load->phase >= MEASURING && plan->exchanges > 0 && load->started >= plan->exchanges)
        return 1;
    if (plan->rate > 0)
        return due_at(load, load->started) >= load->end_ns;
    return load->phase == ENDING || load->wire.now_ns >= load->end_ns;
}

/* Takes the right to begin one exchange. */
static int take_turn(bench_load *load, uint64_t *begun_ns)
{
    *begun_ns = load->wire.now_ns;
    if (load->phase == OPENING || is_exhausted(load))
        return 0;
    if (load->plan->rate > 0) {
        *begun_ns = due_at(load, load->started);
        if (*begun_ns > load->wire.now_ns)
            return 0;
    }
    load->started++;
    return 1;
}

/* ---- One connection ------------------------------------------------------------------------- */

static void ask(bench_load *load, bench_conn *conn, uint64_t begun_ns)
{
    bench_conn_ask(&load->wire, conn, begun_ns);
    load->inflight++;
}

static int ensure_open(bench_load *load, bench_conn *conn)
{
    int rc = 0;

    if (conn->fd < 0) {
        rc = bench_conn_open(&load->wire, conn);
        load->result->connects++;
    }
    return rc;
}

static void send_asked(bench_load *load, bench_conn *conn)
{
    int rc = ensure_open(load, conn);

    if (rc == 0)
        rc = bench_conn_flush(&load->wire, conn);
    if (rc < 0)
        bench_load_over(load, conn, conn->connected ? BENCH_CLOSED : BENCH_CONNECT, rc);
}

/* Closed loop: asks for as much as the pipeline holds, with one send. */
static void fill(bench_load *load, bench_conn *conn)
{
    uint64_t begun_ns;
    int any = 0;

    while (conn->inflight < load->plan->pipeline && take_turn(load, &begun_ns)) {
        ask(load, conn, begun_ns);
        any = 1;
    }
    if (any)
        send_asked(load, conn);
}

/* Open loop: the connection waits for the next exchange that is due. */
static void list_room(bench_load *load, bench_conn *conn)
{
    uint32_t size = load->plan->connections, place = load->room_first + load->room_count;

    if (conn->listed || conn->resting || conn->inflight >= load->plan->pipeline)
        return;
    conn->listed = 1;
    load->room[place < size ? place : place - size] = conn;
    load->room_count++;
}

static bench_conn *take_room(bench_load *load)
{
    bench_conn *conn = load->room[load->room_first];

    load->room_first = load->room_first + 1 < load->plan->connections ? load->room_first + 1 : 0;
    load->room_count--;
    conn->listed = 0;
    return conn;
}

static void begin_due(bench_load *load)
{
    uint64_t begun_ns;

    while (load->room_count > 0 && take_turn(load, &begun_ns)) {
        bench_conn *conn = take_room(load);

        ask(load, conn, begun_ns);
        send_asked(load, conn);
        list_room(load, conn);
    }
}

static void note_ready(bench_load *load, bench_conn *conn)
{
    if (!conn->connected || conn->ready)
        return;
    conn->ready = 1;
    load->opening--;
    load->last_ns = load->wire.now_ns;
    load->result->idle_open += conn->is_idle;
}

void bench_load_room(bench_load *load, bench_conn *conn)
{
    if (load->phase == OPENING)
        note_ready(load, conn);
    else if (conn->is_idle || conn->resting)
        return;
    else if (load->plan->rate > 0)
        list_room(load, conn);
    else
        fill(load, conn);
}

void bench_load_answered(bench_load *load, bench_conn *conn, int matches)
{
    uint64_t begun_ns = conn->begun[conn->first];
    uint64_t now_ns = load->wire.now_ns;

    conn->first = conn->first + 1 < load->plan->pipeline ? conn->first + 1 : 0;
    conn->inflight--;
    load->inflight--;
    load->answered++;
    if (load->phase >= MEASURING && begun_ns >= load->measure_ns) {
        load->last_ns = now_ns;
        if (matches)
            bench_hist_add(&load->result->latency, now_ns - begun_ns);
        else
            load->result->errors[BENCH_UNEXPECTED]++;
    }
    if (load->plan->one_shot)
        bench_conn_close(conn);
}

/* What is in flight is lost. A connection with a loss rests until the next sweep, so that a server
 * that refuses everything is not called without a pause. */
void bench_load_over(bench_load *load, bench_conn *conn, bench_error error, int code)
{
    bench_result *result = load->result;

    if (error == BENCH_CONNECT) {
        result->connect_error = code;
        load->refused++;
    }
    if (load->phase == OPENING && !conn->ready)
        load->failed = code != 0 ? code : -ECONNRESET;
    conn->resting = conn->inflight > 0;
    for (; conn->inflight > 0; conn->inflight--, load->inflight--) {
        if (load->phase >= MEASURING && conn->begun[conn->first] >= load->measure_ns)
            result->errors[error]++;
        conn->first = conn->first + 1 < load->plan->pipeline ? conn->first + 1 : 0;
    }
    if (conn->is_idle && conn->ready && conn->fd >= 0)
        result->idle_open--;
    bench_conn_close(conn);
}

/* ---- Phases --------------------------------------------------------------------------------- */

static void mark_start(bench_load *load)
{
    bench_result *result = load->result;
    uint32_t idle_open = result->idle_open;

    memset(result, 0, sizeof(*result));
    result->idle_open = idle_open;
    load->measure_ns = load->last_ns = load->wire.now_ns;
    load->progress_ns = after(load->wire.now_ns, SECOND);
    load->cpu_ns = bench_watch_cpu(0);
    if (load->plan->watched > 0)
        load->watched_ns = bench_watch_cpu(load->plan->watched);
}

static void mark_end(bench_load *load)
{
    const bench_plan *plan = load->plan;
    bench_result *result = load->result;

    result->elapsed_ns = load->last_ns - load->measure_ns;
    if (plan->duration_ns > result->elapsed_ns && load->wire.now_ns >= load->end_ns)
        result->elapsed_ns = plan->duration_ns;
    result->cpu_ns = bench_watch_cpu(0) - load->cpu_ns;
    if (plan->watched > 0) {
        result->watched_ns = bench_watch_cpu(plan->watched) - load->watched_ns;
        result->watched_rss = bench_watch_resident(plan->watched);
    }
}

static void enter(bench_load *load, load_phase phase, uint64_t span_ns)
{
    load->phase = phase;
    load->started = 0;
    load->phase_ns = load->wire.now_ns;
    load->end_ns = after(load->phase_ns, span_ns);
    if (phase == MEASURING)
        mark_start(load);
    for (uint32_t i = 0; i < load->plan->connections; i++)
        bench_load_room(load, &load->conns[i]);
}

static void enter_measuring(bench_load *load)
{
    uint64_t duration_ns = load->plan->duration_ns;

    enter(load, MEASURING, duration_ns > 0 ? duration_ns : UINT64_MAX);
}

static void open_some(bench_load *load)
{
    while (load->asked < load->count && load->opening < OPENING_MAX && load->failed == 0) {
        bench_conn *conn = &load->conns[load->asked];
        int rc;

        if (load->plan->one_shot && !conn->is_idle) {
            load->asked++;
            continue;
        }
        rc = bench_conn_open(&load->wire, conn);
        if (rc == -EAGAIN)
            return; /* a Unix socket's queue is full */
        load->failed = rc;
        load->asked++;
        load->opening++;
    }
}

static void go_on_opening(bench_load *load)
{
    open_some(load);
    if (load->failed != 0) {
        load->result->connect_error = load->failed;
        return;
    }
    if (load->asked < load->count || load->opening > 0) {
        if (load->wire.now_ns - load->last_ns >= load->plan->timeout_ns)
            load->failed = load->result->connect_error = -ETIMEDOUT;
        return;
    }
    if (load->plan->ready != NULL)
        load->plan->ready();
    if (load->plan->warm_up_ns > 0)
        enter(load, WARMING, load->plan->warm_up_ns);
    else
        enter_measuring(load);
}

/* Moves to the next phase where it is time. 1: all is over. */
static int go_on(bench_load *load)
{
    switch (load->phase) {
    case OPENING:
        go_on_opening(load);
        break;
    case WARMING:
        if (load->wire.now_ns >= load->end_ns)
            enter_measuring(load);
        break;
    case MEASURING:
        if (load->plan->connections > 0 ? is_exhausted(load) : load->wire.now_ns >= load->end_ns)
            load->phase = ENDING;
        break;
    case ENDING:
        break;
    }
    if (load->answered == 0 && load->refused > load->plan->connections)
        load->failed = load->result->connect_error;
    return load->failed != 0 || (load->phase == ENDING && load->inflight == 0);
}

/* Open loop, at the end of the patience: what should have begun will not do so any more. */
static void count_not_begun(bench_load *load)
{
    uint64_t due = bench_pace_before(load->plan->rate, load->end_ns - load->phase_ns);

    if (load->plan->exchanges > 0 && due > load->plan->exchanges)
        due = load->plan->exchanges;
    if (due > load->started)
        load->result->errors[BENCH_NOT_BEGUN] += due - load->started;
    load->started = due;
}

/* Ends what takes too long, and lets those that rest try again. */
static void sweep(bench_load *load)
{
    uint64_t now_ns = load->wire.now_ns;

    load->sweep_ns = after(now_ns, load->sweep_span);
    for (uint32_t i = 0; i < load->plan->connections; i++) {
        bench_conn *conn = &load->conns[i];

        if (conn->inflight > 0 && now_ns - conn->progress_ns >= load->plan->timeout_ns)
            bench_load_over(load, conn, BENCH_TIMEOUT, 0);
        else if (!conn->resting)
            continue;
        conn->resting = 0;
        bench_load_room(load, conn);
    }
    if (load->plan->rate > 0 && load->phase >= MEASURING &&
        now_ns >= after(load->end_ns, load->plan->timeout_ns))
        count_not_begun(load);
}

/* ---- The loop ------------------------------------------------------------------------------- */

static void show_progress(bench_load *load)
{
    if (load->phase != MEASURING || load->wire.now_ns < load->progress_ns)
        return;
    load->progress_ns = after(load->progress_ns, SECOND);
    if (load->plan->progress != NULL)
        load->plan->progress(load->result, load->wire.now_ns - load->measure_ns);
}

static int wait_events(bench_load *load, struct epoll_event *events)
{
    uint64_t until_ns = load->sweep_ns, left_ns;
    struct timespec left;

    if (load->phase < ENDING && load->end_ns > load->wire.now_ns && load->end_ns < until_ns)
        until_ns = load->end_ns;
    if (load->plan->rate > 0 && load->phase > OPENING && load->room_count > 0 &&
        !is_exhausted(load) && due_at(load, load->started) < until_ns)
        until_ns = due_at(load, load->started);
    load->wire.now_ns = read_clock();
    left_ns = until_ns > load->wire.now_ns ? until_ns - load->wire.now_ns : 0;
    left = (struct timespec){.tv_sec = (time_t)(left_ns / SECOND),
                             .tv_nsec = (long)(left_ns % SECOND)};
    return epoll_pwait2(load->wire.epoll_fd, events, EVENTS, &left, NULL);
}

static int turn(bench_load *load)
{
    struct epoll_event events[EVENTS];
    int count = wait_events(load, events);

    if (count < 0 && errno != EINTR)
        return -errno;
    load->wire.now_ns = read_clock();
    for (int i = 0; i < count; i++) {
        bench_conn_event(&load->wire, events[i].data.ptr, events[i].events);
        load->wire.now_ns = read_clock();
    }
    if (load->wire.now_ns >= load->sweep_ns)
        sweep(load);
    if (load->plan->rate > 0)
        begin_due(load);
    show_progress(load);
    return 0;
}

/* ---- Start and end -------------------------------------------------------------------------- */

static int set_up(bench_load *load)
{
    const bench_plan *plan = load->plan;

    load->conns = calloc((size_t)load->count + 1, sizeof(*load->conns));
    load->begun = calloc((size_t)plan->connections * plan->pipeline + 1, sizeof(*load->begun));
    load->room = calloc((size_t)plan->connections + 1, sizeof(bench_conn *));
    if (load->conns == NULL || load->begun == NULL || load->room == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < load->count; i++) {
        load->conns[i].fd = -1;
        load->conns[i].is_idle = i >= plan->connections;
        if (i < plan->connections)
            load->conns[i].begun = load->begun + (size_t)i * plan->pipeline;
    }
    load->wire.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (load->wire.epoll_fd < 0)
        return -errno;
    return bench_wire_init(&load->wire);
}

static void tear_down(bench_load *load)
{
    for (uint32_t i = 0; load->conns != NULL && i < load->count; i++)
        bench_conn_close(&load->conns[i]);
    if (load->wire.epoll_fd >= 0)
        close(load->wire.epoll_fd);
    bench_wire_free(&load->wire);
    free(load->conns);
    free(load->begun);
    free(load->room);
}

int bench_run(const bench_plan *plan, bench_result *result)
{
    bench_load load = {.plan = plan, .result = result, .count = plan->connections + plan->idle};
    int rc;

    memset(result, 0, sizeof(*result));
    load.wire = (bench_wire){
        .plan = plan, .result = result, .load = &load, .epoll_fd = -1, .now_ns = read_clock()};
    load.end_ns = UINT64_MAX;
    load.last_ns = load.wire.now_ns;
    load.sweep_span = plan->timeout_ns / 16;
    if (load.sweep_span < SWEEP_MIN || load.sweep_span > SWEEP_MAX)
        load.sweep_span = load.sweep_span < SWEEP_MIN ? SWEEP_MIN : SWEEP_MAX;
    rc = set_up(&load);
    while (rc == 0 && !go_on(&load))
        rc = turn(&load);
    if (rc == 0 && load.phase >= MEASURING)
        mark_end(&load);
    tear_down(&load);
    return rc != 0 ? rc : load.failed;
}
