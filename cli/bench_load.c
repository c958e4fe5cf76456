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
#include "bench_signals.h"
#include "bench_wait.h"
#include "bench_watch.h"

#define SECOND UINT64_C(1000000000)
#define SWEEP_MIN UINT64_C(1000000)
#define SWEEP_MAX UINT64_C(50000000)
/* Between attempts to connect to a Unix socket whose queue is full: no event tells that there is
 * room. */
#define QUEUE_PAUSE UINT64_C(1000000)

enum { EVENTS = 256, OPENING_MAX = 64 };

/* Connections in order; size: as many as there are with a load. */
typedef struct bench_ring {
    bench_conn **conns;
    uint32_t size, first, count;
} bench_ring;

typedef enum load_phase { OPENING, WARMING, MEASURING, ENDING } load_phase;

struct bench_load {
    const bench_plan *plan;
    bench_result *result;
    bench_wire wire;
    bench_conn *conns; /* first those with a load, then the idle ones */
    uint64_t *begun;   /* the rings of all connections */
    uint32_t count;    /* of the connections */
    uint32_t asked;    /* of those, how many were opened so far */
    uint32_t opening;  /* and are not made yet */
    int queue_full;    /* while opening: a Unix socket's */
    load_phase phase;
    int failed;          /* -errno that ends the run */
    uint64_t phase_ns;   /* when it began */
    uint64_t end_ns;     /* when nothing may begin any more */
    uint64_t measure_ns; /* what began earlier is not counted */
    uint64_t ending_ns;  /* when the last exchange had begun */
    uint64_t last_ns;    /* the last answer or failure */
    uint64_t sweep_ns;
    uint64_t sweep_span;
    uint64_t progress_ns;
    uint64_t started; /* in this phase */
    uint64_t inflight;
    uint64_t answered;                      /* ever */
    uint64_t refused;                       /* connections that failed, ever */
    uint64_t cpu_ns, watched_ns, waited_ns; /* at the start of what is measured */
    uint64_t wake_ns;                       /* when this turn had to begin at the latest */
    bench_hist second;                      /* since the last progress */
    bench_ring room;                        /* open loop: the connections that may ask */
    bench_ring queue;                       /* those that a Unix socket has no room for */
};

static uint64_t read_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static void push(bench_ring *ring, bench_conn *conn)
{
    uint32_t place = ring->first + ring->count++;

    ring->conns[place < ring->size ? place : place - ring->size] = conn;
}

static bench_conn *pop(bench_ring *ring)
{
    bench_conn *conn = ring->conns[ring->first];

    ring->first = ring->first + 1 < ring->size ? ring->first + 1 : 0;
    ring->count--;
    return conn;
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
        load->result->connects += rc != -EAGAIN;
    }
    return rc;
}

static void send_asked(bench_load *load, bench_conn *conn)
{
    int rc = ensure_open(load, conn);

    if (rc == -EAGAIN) {
        if (!conn->queued)
            push(&load->queue, conn);
        conn->queued = 1;
        return;
    }
    if (rc == 0)
        rc = bench_conn_flush(&load->wire, conn);
    if (rc < 0)
        bench_load_over(load, conn, conn->connected ? BENCH_CLOSED : BENCH_CONNECT, rc);
}

/* The first come first; those that have run out of time meanwhile are not there any more. */
static void retry_queue(bench_load *load)
{
    for (uint32_t tries = load->queue.count; tries > 0; tries--) {
        bench_conn *conn = pop(&load->queue);

        conn->queued = 0;
        if (conn->fd < 0 && conn->inflight > 0)
            send_asked(load, conn);
        if (conn->queued)
            return; /* the queue is full, for the others too */
    }
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
    if (conn->listed || conn->resting || conn->inflight >= load->plan->pipeline)
        return;
    conn->listed = 1;
    conn->room_ns = load->wire.now_ns < load->wake_ns ? load->wire.now_ns : load->wake_ns;
    push(&load->room, conn);
}

/* What is due and has a connection begins at once, unless this program itself has no time. A
 * connection that turns out to be free in a turn that began late may have been so before. */
static void note_late(bench_load *load, uint64_t due_ns, uint64_t room_ns)
{
    uint64_t from_ns = due_ns > room_ns ? due_ns : room_ns;
    uint64_t late_ns = load->wire.now_ns - from_ns;

    if (load->phase < MEASURING || late_ns < BENCH_LATE_NS)
        return;
    load->result->late++;
    if (late_ns > load->result->late_max_ns)
        load->result->late_max_ns = late_ns;
}

static void begin_due(bench_load *load)
{
    uint64_t begun_ns;

    while (load->room.count > 0 && take_turn(load, &begun_ns)) {
        bench_conn *conn = pop(&load->room);

        conn->listed = 0;
        note_late(load, begun_ns, conn->room_ns);
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
    conn->head_ns = now_ns;
    load->inflight--;
    load->answered++;
    if (load->phase >= MEASURING && begun_ns >= load->measure_ns) {
        load->last_ns = now_ns;
        if (matches)
            bench_hist_add(&load->result->latency, now_ns - begun_ns);
        else
            load->result->errors[BENCH_UNEXPECTED]++;
        if (matches && load->plan->progress != NULL)
            bench_hist_add(&load->second, now_ns - begun_ns);
    }
    if (load->plan->one_shot)
        bench_conn_close(&load->wire, conn);
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
        if (load->phase >= MEASURING && conn->begun[conn->first] >= load->measure_ns) {
            result->errors[error]++;
            load->last_ns = load->wire.now_ns;
        }
        conn->first = conn->first + 1 < load->plan->pipeline ? conn->first + 1 : 0;
    }
    if (conn->is_idle && conn->ready && conn->fd >= 0)
        result->idle_open--;
    bench_conn_close(&load->wire, conn);
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
    load->waited_ns = bench_watch_waited();
    if (load->plan->watched > 0)
        load->watched_ns = bench_watch_cpu(load->plan->watched);
}

static void mark_end(bench_load *load)
{
    const bench_plan *plan = load->plan;
    bench_result *result = load->result;

    result->elapsed_ns = load->last_ns - load->measure_ns;
    if (load->wire.now_ns >= load->end_ns && load->end_ns > load->last_ns)
        result->elapsed_ns = load->end_ns - load->measure_ns;
    if (result->interrupted != 0) {
        result->elapsed_ns = load->wire.now_ns - load->measure_ns;
        result->under_way = load->inflight;
    }
    result->cpu_ns = bench_watch_cpu(0) - load->cpu_ns;
    result->waited_ns = bench_watch_waited() - load->waited_ns;
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
    const bench_plan *plan = load->plan;
    uint64_t span_ns = plan->duration_ns > 0 ? plan->duration_ns : UINT64_MAX;

    if (plan->rate > 0)
        span_ns = bench_pace_span(plan->rate, plan->exchanges, plan->duration_ns);
    enter(load, MEASURING, span_ns);
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
        load->queue_full = rc == -EAGAIN;
        if (load->queue_full)
            return;
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

/* A rate lasts until the time after the last exchange's is over, too. */
static int is_over(const bench_load *load)
{
    const bench_plan *plan = load->plan;

    if (plan->connections > 0 && !is_exhausted(load))
        return 0;
    return (plan->connections > 0 && plan->rate == 0) || load->wire.now_ns >= load->end_ns;
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
        if (!is_over(load))
            break;
        load->phase = ENDING;
        load->ending_ns = load->wire.now_ns;
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
    uint64_t now_ns = load->wire.now_ns, timeout_ns = load->plan->timeout_ns;
    /* A connection whose answers come one by one could go on for as long as its pipeline holds. */
    int all_late = load->phase == ENDING && now_ns >= after(load->ending_ns, timeout_ns);

    load->sweep_ns = after(now_ns, load->sweep_span);
    for (uint32_t i = 0; i < load->plan->connections; i++) {
        bench_conn *conn = &load->conns[i];

        if (conn->inflight > 0 && (all_late || now_ns - conn->head_ns >= timeout_ns))
            bench_load_over(load, conn, BENCH_TIMEOUT, 0);
        else if (!conn->resting)
            continue;
        conn->resting = 0;
        bench_load_room(load, conn);
    }
    if (load->plan->rate > 0 && load->phase >= MEASURING &&
        now_ns >= after(load->end_ns, timeout_ns))
        count_not_begun(load);
}

/* ---- The loop ------------------------------------------------------------------------------- */

static void show_progress(bench_load *load)
{
    if (load->phase != MEASURING || load->wire.now_ns < load->progress_ns)
        return;
    load->progress_ns = after(load->progress_ns, SECOND);
    if (load->plan->progress == NULL)
        return;
    load->plan->progress(load->result, &load->second, load->wire.now_ns - load->measure_ns);
    bench_hist_clear(&load->second);
}

static int wait_events(bench_load *load, struct epoll_event *events)
{
    uint64_t until_ns = load->sweep_ns, left_ns;

    if (load->phase < ENDING && load->end_ns > load->wire.now_ns && load->end_ns < until_ns)
        until_ns = load->end_ns;
    if (load->plan->rate > 0 && load->phase > OPENING && load->room.count > 0 &&
        !is_exhausted(load) && due_at(load, load->started) < until_ns)
        until_ns = due_at(load, load->started);
    if ((load->queue.count > 0 || load->queue_full) &&
        after(load->wire.now_ns, QUEUE_PAUSE) < until_ns)
        until_ns = after(load->wire.now_ns, QUEUE_PAUSE);
    load->wake_ns = until_ns;
    load->wire.now_ns = read_clock();
    left_ns = until_ns > load->wire.now_ns ? until_ns - load->wire.now_ns : 0;
    return bench_wait(load->wire.epoll_fd, events, EVENTS, left_ns);
}

static int turn(bench_load *load)
{
    struct epoll_event events[EVENTS];
    int count = wait_events(load, events);

    if (count < 0 && errno != EINTR)
        return -errno;
    load->wire.now_ns = read_clock();
    if (count <= 0 && load->wire.now_ns > after(load->wake_ns, BENCH_LATE_NS))
        count = epoll_wait(load->wire.epoll_fd, events, EVENTS, 0); /* came while it slept */
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr == NULL)
            load->result->interrupted = bench_signals_take(load->plan->signals);
        else
            bench_conn_event(&load->wire, events[i].data.ptr, events[i].events);
        load->wire.now_ns = read_clock();
    }
    retry_queue(load);
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
    struct epoll_event interruption = {.events = EPOLLIN};

    load->conns = calloc((size_t)load->count + 1, sizeof(*load->conns));
    load->begun = calloc((size_t)plan->connections * plan->pipeline + 1, sizeof(*load->begun));
    load->room.size = load->queue.size = plan->connections;
    load->room.conns = calloc((size_t)plan->connections + 1, sizeof(bench_conn *));
    load->queue.conns = calloc((size_t)plan->connections + 1, sizeof(bench_conn *));
    if (load->conns == NULL || load->begun == NULL || load->room.conns == NULL ||
        load->queue.conns == NULL)
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
    if (plan->signals >= 0 &&
        epoll_ctl(load->wire.epoll_fd, EPOLL_CTL_ADD, plan->signals, &interruption))
        return -errno;
    return bench_wire_init(&load->wire);
}

static void tear_down(bench_load *load)
{
    for (uint32_t i = 0; load->conns != NULL && i < load->count; i++)
        bench_conn_close(&load->wire, &load->conns[i]);
    if (load->wire.epoll_fd >= 0)
        close(load->wire.epoll_fd);
    bench_wire_free(&load->wire);
    free(load->conns);
    free(load->begun);
    free(load->room.conns);
    free(load->queue.conns);
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
    while (rc == 0 && result->interrupted == 0 && !go_on(&load))
        rc = turn(&load);
    if (rc == 0 && load.phase >= MEASURING)
        mark_end(&load);
    result->first = load.wire.first;
    tear_down(&load);
    return rc != 0 ? rc : load.failed;
}
