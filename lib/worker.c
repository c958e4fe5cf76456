/* SPDX-License-Identifier: MIT */
#include "worker.h"

#include "core/codec.h"

enum { NS_PER_MS = 1000000, LINGER_MS = 1000, LINGER_MAX = 256 * 1024 };
enum { TIGHT_FACTOR = 8, ANSWERS_FACTOR = 8 }; /* times output_max */
enum { ANSWERS_MIN = 64 * 1024 };

static uint64_t span(uint32_t ms)
{
    return ms == GATE_NEVER ? UINT64_MAX : (uint64_t)ms * NS_PER_MS;
}

static uint64_t slice_time(uint32_t rate_min)
{
    return rate_min == GATE_NEVER ? 0 : GATE__SLICE * UINT64_C(1000000000) / rate_min;
}

static size_t times(uint64_t bytes, size_t factor)
{
    return bytes > SIZE_MAX / factor ? SIZE_MAX : (size_t)bytes * factor;
}

static size_t answers_max(const gate_options *options)
{
    size_t most = times(options->output_max, ANSWERS_FACTOR);
    return most < ANSWERS_MIN ? ANSWERS_MIN : most;
}

static size_t tight(const gate_options *options)
{
    uint64_t half = options->buffers_max / 2;
    size_t most = times(options->output_max, TIGHT_FACTOR);
    return half < most ? (size_t)half : most;
}

static void on_stream_closed(gate__streams *streams)
{
    gate__worker *worker = GATE__OWNER(streams, gate__worker, streams);
    gate__listeners_resume(&worker->listeners);
}

static void init_config(gate__worker *worker, const gate_options *options)
{
    gate__streams *streams = &worker->streams;
    int one_shot = (options->codec->flags & GATE_CODEC_ONE_SHOT) != 0;
    streams->budget = (gate__budget){
        .tight = tight(options),
        .max = (size_t)options->buffers_max,
    };
    streams->config = (gate__conn_config){
        .codec = options->codec,
        .body_max = (size_t)options->request_max,
        .output_max = (size_t)options->output_max,
        .timeout_ns = span(options->timeout_ms),
        .idle_ns = span(options->idle_timeout_ms),
        .write_ns = span(options->write_timeout_ms),
        .handler_ns = span(options->handler_timeout_ms),
        .slice_ns = slice_time(options->rate_min),
        .linger_ns = span(LINGER_MS),
        .linger_max = LINGER_MAX,
        .inflight_max = options->inflight_max,
        .exchanges_max = one_shot ? 1 : options->exchanges_max,
        .pool = &streams->pool,
        .metrics = &streams->metrics,
        .budget = &streams->budget,
        .deliver = gate__stream_deliver,
        .clock = gate__stream_clock,
        .leave = gate__stream_leave,
    };
}

static void init_requests(gate__worker *worker, gate_server *server, const gate_options *options)
{
    gate__streams *streams = &worker->streams;
    streams->requests = (gate__requests){
        .server = server,
        .handler = options->handler,
        .user = options->user,
        .codec = options->codec,
        .metrics = &streams->metrics,
        .pool = &streams->pool,
        .budget = &streams->budget,
        .answers_max = answers_max(options),
        .io = worker->io,
        .settled = gate__stream_settled,
        .peer = gate__stream_conn_peer,
    };
    gate__requests_init(&streams->requests);
}

void gate__worker_init(gate__worker *worker, gate_server *server, const gate_options *options,
                       uint32_t index, const atomic_int *stop, gate__limits *limits, gate_io *io)
{
    *worker = (gate__worker){.io = io, .stop = stop, .drain_ns = span(options->drain_timeout_ms)};
    gate__streams *streams = &worker->streams;
    streams->io = io;
    streams->limits = limits;
    gate__limits_join(limits, index, io);
    streams->drain_until = UINT64_MAX;
    streams->closed = on_stream_closed;
    streams->log = (gate__log){
        .fn = options->log,
        .user = options->log_user,
        .level = options->log_level,
        .worker = index,
    };
    if (!index && io->fallback)
        gate__log_text(&streams->log, GATE_LOG_NOTICE, "io_fallback",
                       "io_uring is unavailable, using epoll", gate_strerror(io->fallback));
    if (!index && io->environment)
        gate__log_text(&streams->log, GATE_LOG_WARNING, "environment",
                       "GATE_IO is ignored: it must be auto, epoll or io_uring", NULL);
    gate__timers_init(&streams->timers, io->now_ns / NS_PER_MS);
    init_config(worker, options);
    init_requests(worker, server, options);
    gate__listeners_init(&worker->listeners, streams, options->connections_max);
    worker->listeners.limits = limits->count > 1 ? limits : NULL;
    worker->listeners.index = index;
}

/* ---- Serving ---- */

static uint64_t next_deadline(const gate__worker *worker)
{
    uint64_t next_ms = gate__timers_next(&worker->streams.timers);
    uint64_t deadline = next_ms > UINT64_MAX / NS_PER_MS ? UINT64_MAX : next_ms * NS_PER_MS;
    if (worker->listeners.retry_ns < deadline)
        deadline = worker->listeners.retry_ns;
    /* Only until they are told to close: then their completions are what is waited for. */
    const gate__listeners *listeners = &worker->listeners;
    if (gate__listeners_left(listeners) && listeners->serving &&
        worker->streams.drain_until < deadline)
        deadline = worker->streams.drain_until;
    return deadline;
}

static void begin_drain(gate__worker *worker)
{
    uint64_t now_ns = worker->io->now_ns;
    uint64_t until = UINT64_MAX - 1; /* draining, and never over */
    if (worker->drain_ns < until - now_ns)
        until = now_ns + worker->drain_ns;
    gate__streams_stop(&worker->streams, until);
    gate__listeners_drain(&worker->listeners);
}

/* What is due at this turn, besides the completions. */
static void turn(gate__worker *worker)
{
    uint64_t now_ns = worker->io->now_ns;
    gate__requests_take(&worker->streams.requests);
    gate__streams_expire(&worker->streams);
    if (worker->listeners.retry_ns <= now_ns)
        gate__listeners_resume(&worker->listeners);
    if (worker->listeners.parked)
        gate__listeners_claim(&worker->listeners);
    if (worker->streams.drain_until == UINT64_MAX &&
        atomic_load_explicit(worker->stop, memory_order_acquire))
        begin_drain(worker);
    if (gate__listeners_left(&worker->listeners) &&
        worker->streams.drain_until <= worker->io->turn_ns)
        gate__listeners_close(&worker->listeners);
}

static int is_done(const gate__worker *worker)
{
    return worker->streams.drain_until != UINT64_MAX && !gate__listeners_left(&worker->listeners) &&
           !worker->streams.count;
}

int gate__worker_run(gate__worker *worker)
{
    gate_io *io = worker->io;
    int rc = io->ops->run(io, 0);
    if (rc)
        return rc;
    gate__listeners_serve(&worker->listeners);
    turn(worker);
    while (!is_done(worker)) {
        rc = io->ops->run(io, next_deadline(worker));
        if (rc)
            return rc;
        turn(worker);
    }
    return 0;
}

/* The loop goes first: after a failed one, operations that it still knows are in what is freed. */
void gate__worker_close(gate__worker *worker)
{
    gate_io *io = worker->io;
    gate__requests_finish(&worker->streams.requests);
    gate__streams_discard(&worker->streams);
    gate__listeners_discard(&worker->listeners);
    io->ops->free(io);
    gate__streams_free(&worker->streams);
    gate__listeners_free(&worker->listeners);
    gate__requests_free(&worker->streams.requests);
    gate__chunk_pool_free(&worker->streams.pool);
}
