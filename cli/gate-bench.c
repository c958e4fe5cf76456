/* SPDX-License-Identifier: MIT */
/* gate-bench: puts load on a server and measures how it does. */

#include <errno.h>
#include <gate/gate.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "args.h"
#include "bench_dial.h"
#include "bench_fail.h"
#include "bench_load.h"
#include "bench_show.h"
#include "bench_signals.h"
#include "bench_watch.h"
#include "descriptors.h"
#include "exit.h"
#include "json.h"
#include "report.h"

typedef struct settings {
    args_common common;
    args_list fail_if;
    const char *message;
    const char *framing;
    const char *expect;
    uint32_t connections;
    uint32_t exchanges;
    uint32_t duration_ms;
    uint32_t rate;
    uint32_t pipeline;
    uint32_t warm_up_ms;
    uint32_t timeout_ms;
    uint32_t sources;
    uint32_t idle;
    uint32_t server_pid;
    int one_shot;
} settings;

#define PLACE(member) .offset = offsetof(settings, member)
#define TIME .value = "TIME", .kind = ARGS_DURATION, .max = ARGS_LONGEST
#define NUMBER .value = "N", .kind = ARGS_NUMBER

/* clang-format off */
static const args_option options[] = {
    {.group = "Load", .name = "connections", .letter = 'c', NUMBER, PLACE(connections),
     .max = 1000000, .help = "how many connections at a time (default 64)"},
    {.name = "exchanges", .letter = 'n', NUMBER, PLACE(exchanges), .min = 1, .max = 1000000000,
     .help = "how many exchanges to make (default no limit)"},
    {.name = "duration", .letter = 'd', TIME, PLACE(duration_ms), .min = 1,
     .help = "how long to begin exchanges (default 10s without -n)"},
    {.name = "rate", NUMBER, PLACE(rate), .min = 1, .max = 1000000000,
     .help = "begin this many exchanges per second, however slow the\n"
             "server is (default: each connection waits for its\n"
             "answer)"},
    {.name = "pipeline", NUMBER, PLACE(pipeline), .min = 1, .max = 65536,
     .help = "requests in flight on a connection (default 1)"},
    {.name = "warm-up", TIME, PLACE(warm_up_ms),
     .help = "apply the load this long before counting (default 0)"},
    {.name = "idle", NUMBER, PLACE(idle), .max = 1000000,
     .help = "additional connections that stay silent (default 0)"},
    {.group = "What", .name = "message", .value = "TEXT", .kind = ARGS_TEXT, PLACE(message),
     .help = "the request (default 1)"},
    {.name = "framing", .value = "NAME", .kind = ARGS_TEXT, PLACE(framing),
     .help = REPORT_FRAMINGS "\n(default raw)"},
    {.name = "one-shot", .kind = ARGS_FLAG, PLACE(one_shot),
     .help = "a connection for each exchange (raw and eof: always)"},
    {.name = "expect", .value = "TEXT", .kind = ARGS_TEXT, PLACE(expect),
     .help = "count any other answer as a failure"},
    {.name = "timeout", TIME, PLACE(timeout_ms), .min = 1,
     .help = "for each answer (default 5s)"},
    {.name = "sources", NUMBER, PLACE(sources), .min = 1, .max = 65534,
     .help = "connect from 127.0.0.1 and the N-1 addresses after it"},
    {.group = "Result", .name = "fail-if", .value = "COND", .kind = ARGS_LIST, PLACE(fail_if),
     .help = "exit 1 if COND holds, as in p99>5ms, mean>1ms,\n"
             "rate<1000 or errors>0; failed exchanges count as\n"
             "infinitely long; may be given again"},
    {.name = "server-pid", .value = "PID", .kind = ARGS_NUMBER, PLACE(server_pid), .min = 1,
     .max = 1000000000, .help = "measure the CPU and the memory of that process too"},
    ARGS_COMMON(settings),
    {.kind = ARGS_END},
};
/* clang-format on */

static const char brief[] =
    "Examples:\n"
    "  gate-bench                            one-shot load on 127.0.0.1:9001 for 10 s\n"
    "  gate-bench --framing line --pipeline 16 -c 100 -d 30s localhost:9001\n"
    "  gate-bench --rate 5000 --fail-if 'p99>5ms' --fail-if 'errors>0'\n"
    "\n"
    "Sends requests to the server at ADDR, and prints rates and latencies.\n"
    "  -c, --connections N connections at a time (default 64)\n"
    "  -n, --exchanges N   how many exchanges\n"
    "  -d, --duration TIME how long (default 10s)\n"
    "  --rate N            exchanges per second, however slow the server is\n"
    "  --json              the result as JSON\n"
    "gate-bench --help lists everything.\n";

static const char usage[] =
    "Usage: gate-bench [OPTION]... [ADDR]\n"
    "Sends requests to the server at ADDR (default 127.0.0.1:9001) and prints rates and\n"
    "latencies. ADDR is host:port, :port, [::1]:9001, unix:/path or unix:@name.\n";

static const char more[] =
    "\n"
    "TIME is in seconds, or with a unit: 500ms, 2.5s, 1m, 1h. With --rate a latency counts\n"
    "from the time at which the exchange should have begun, so that a server that stalls\n"
    "cannot hide it. Ctrl-C ends a run early and prints what was measured so far.\n"
    "\n"
    "Exit codes: 0 done, 1 a --fail-if holds, 2 usage, 3 name look-up, 4 cannot connect,\n"
    "5 timeout, 6 no answer, 8 local error.\n";

static const args_program program = {
    "gate-bench", brief, usage, more, options, offsetof(settings, common),
};

typedef struct bench_job {
    const settings *set;
    const char *target;
    bench_addr addrs[BENCH_ADDRS_MAX];
    unsigned addr_count;
    gate_codec codec;
    bench_plan plan;
    bench_fail fails[ARGS_LIST_MAX];
} bench_job;

/* As shells have it. */
enum { SIGNALLED = 128 };

static bench_result result;

/* ---- The plan ------------------------------------------------------------------------------- */

static int refuse(const char *error, const char *hint)
{
    report_error("%s", error);
    report_hint("%s", hint);
    return GATE_EXIT_USAGE;
}

static int check_settings(const bench_job *job)
{
    const settings *set = job->set;

    if (job->plan.one_shot && set->pipeline > 1)
        return refuse("--pipeline: there is one request on a one-shot connection",
                      "choose a framing that keeps it open, such as --framing line");
    if (set->connections == 0 && (set->exchanges > 0 || set->rate > 0 || set->idle == 0))
        return refuse("--connections must be at least 1, not '0'",
                      "0 is for --idle alone: silent connections without a load");
    if (set->sources > 0 && job->plan.addr.addr.ss_family != AF_INET)
        return refuse("--sources: only for IPv4 addresses of this machine",
                      "write 127.0.0.1 and the port");
    if (set->server_pid > 0 && bench_watch_cpu((pid_t)set->server_pid) == 0)
        return refuse("--server-pid: there is no such process", "pgrep -a gate-server lists them");
    if ((uint64_t)set->connections * set->pipeline > 100000000)
        return refuse("--pipeline: so many connections with so many requests are too much",
                      "lower one of the two");
    return 0;
}

static int check_message(const bench_job *job)
{
    const gate_codec *codec = &job->codec;
    const char *message = job->set->message;
    gate_wrap wrap;

    if (*message == '\0' && codec->encode == NULL)
        return refuse("--message: an empty one cannot be sent without a framing",
                      "choose another --framing or message");
    if (codec->encode == NULL ||
        codec->encode(codec, (const uint8_t *)message, strlen(message), &wrap) == 0)
        return 0;
    report_error("--message: framing %s cannot carry '%s'", job->set->framing, message);
    report_hint("choose another --framing or message");
    return GATE_EXIT_USAGE;
}

/* As many descriptors as there may be. */
static int raise_file_limit(const settings *set)
{
    uint64_t wanted = (uint64_t)set->connections + set->idle + 16;

    if (wanted <= descriptors_raise())
        return 0;
    report_error("this process may not open %llu connections", (unsigned long long)wanted - 16);
    report_hint("ulimit -Hn says how many descriptors it may have");
    return GATE_EXIT_LOCAL;
}

static void say_ready(void)
{
    report_detail("all connections are open");
}

static void fill_plan(bench_job *job)
{
    const settings *set = job->set;
    bench_plan *plan = &job->plan;
    uint32_t duration_ms = set->duration_ms;

    if (duration_ms == 0 && set->exchanges == 0)
        duration_ms = 10000;
    plan->codec = &job->codec;
    plan->framing = set->framing;
    plan->message = set->message;
    plan->expect = set->expect;
    plan->connections = set->connections;
    plan->idle = set->idle;
    plan->pipeline = set->pipeline;
    plan->sources = set->sources;
    plan->exchanges = set->exchanges;
    plan->duration_ns = (uint64_t)duration_ms * 1000000;
    plan->warm_up_ns = (uint64_t)set->warm_up_ms * 1000000;
    plan->timeout_ns = (uint64_t)set->timeout_ms * 1000000;
    plan->rate = set->rate;
    plan->one_shot = set->one_shot || (job->codec.flags & GATE_CODEC_ONE_SHOT);
    plan->watched = (pid_t)set->server_pid;
    plan->ready = say_ready;
    plan->signals = -1;
    if (isatty(STDERR_FILENO) && !set->common.quiet)
        plan->progress = bench_show_progress;
}

static void aim(bench_job *job, unsigned chosen)
{
    job->plan.addr = job->addrs[chosen];
    bench_dial_text(&job->addrs[chosen], job->plan.addr_text);
}

/* --sources is about IPv4: where a name has other addresses too, they do not count. */
static void keep_ipv4(bench_job *job)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < job->addr_count; i++)
        if (job->addrs[i].addr.ss_family == AF_INET)
            job->addrs[kept++] = job->addrs[i];
    if (kept > 0)
        job->addr_count = kept;
}

static int prepare(bench_job *job)
{
    int rc = bench_dial_find(job->target, job->addrs, &job->addr_count);

    if (rc == 0 && gate_codec_parse(&job->codec, job->set->framing) < 0)
        rc = report_framing(job->set->framing);
    if (rc == 0)
        rc = check_message(job);
    if (rc == 0)
        rc = bench_fail_parse(job->fails, &job->set->fail_if);
    if (rc != 0)
        return rc;
    fill_plan(job);
    if (job->set->sources > 0)
        keep_ipv4(job);
    aim(job, 0);
    rc = check_settings(job);
    return rc != 0 ? rc : raise_file_limit(job->set);
}

/* ---- The run and its end -------------------------------------------------------------------- */

static int report_failure(const bench_job *job, int code)
{
    if (result.connect_error == 0) {
        report_error("cannot go on: %s", report_reason(code));
        return GATE_EXIT_LOCAL;
    }
    report_error("cannot connect to %s: %s", job->target, report_reason(code));
    if (code == -ECONNREFUSED)
        report_hint("nothing is listening on that address: is gate-server running?");
    else if (code == -EADDRNOTAVAIL)
        report_hint("no local port is free: --sources N connects from more addresses");
    return report_exit_code(code);
}

/* Nothing was answered at all. */
static int report_silence(const bench_job *job)
{
    int timed_out = result.errors[BENCH_TIMEOUT] > 0;

    if (result.errors[BENCH_CONNECT] > 0)
        return report_failure(job, result.connect_error);
    if (timed_out)
        report_error("no answer from %s within %u ms", job->target, job->set->timeout_ms);
    else
        report_error("no complete answer from %s", job->target);
    report_hint("the server may use another --framing");
    return timed_out ? GATE_EXIT_TIMEOUT : GATE_EXIT_PROTOCOL;
}

static int check_conditions(const bench_job *job)
{
    int code = 0;

    for (size_t i = 0; i < job->set->fail_if.count; i++)
        if (bench_fail_holds(&job->fails[i], &result)) {
            report_error("%s", job->fails[i].text);
            code = GATE_EXIT_REJECTED;
        }
    return code;
}

/* A name may have addresses that no server listens on. */
static int choose_address(bench_job *job)
{
    unsigned chosen = 0;
    int rc = 0;

    if (job->addr_count > 1) {
        rc = bench_dial_try(job->addrs, job->addr_count, job->set->timeout_ms, &chosen);
        result.connect_error = rc;
    }
    if (rc < 0)
        return report_failure(job, rc);
    aim(job, chosen);
    return 0;
}

/* Interrupted: what was measured is shown, but is no answer to the conditions. */
static int run(bench_job *job)
{
    int rc = choose_address(job);

    if (rc != 0)
        return rc;
    prctl(PR_SET_TIMERSLACK, 1UL); /* a rate needs exact waits */
    job->plan.signals = bench_signals_open();
    rc = bench_run(&job->plan, &result);
    bench_signals_close(job->plan.signals);
    if (job->plan.progress != NULL)
        bench_show_progress_end();
    if (rc < 0)
        return report_failure(job, rc);
    if (!job->set->common.json)
        bench_show(&job->plan, &result);
    if (result.interrupted != 0)
        return SIGNALLED + result.interrupted;
    if (result.latency.count == 0 && bench_errors(&result) > 0 &&
        result.errors[BENCH_UNEXPECTED] == 0)
        return report_silence(job);
    return check_conditions(job);
}

static void print_json(const bench_job *job, int ran, int exit_code)
{
    const settings *set = job->set;
    json object;

    json_begin(&object, stdout);
    json_number(&object, "schema_version", 1);
    json_text(&object, "program", program.name);
    json_text(&object, "version", gate_version());
    json_text(&object, "address", job->target);
    json_text(&object, "loop", set->rate > 0 ? "open" : "closed");
    json_text(&object, "framing", set->framing);
    json_flag(&object, "one_shot", job->plan.one_shot);
    json_count(&object, "connections", set->connections);
    json_count(&object, "pipeline", set->pipeline);
    if (set->rate > 0)
        json_count(&object, "rate", set->rate);
    else
        json_null(&object, "rate");
    bench_show_json(&object, &job->plan, ran ? &result : NULL);
    json_number(&object, "exit", exit_code);
    report_json(&object);
    json_end(&object);
}

int main(int argc, char **argv)
{
    static settings set = {
        .message = "1", .framing = "raw", .connections = 64, .pipeline = 1, .timeout_ms = 5000};
    static bench_job job = {.set = &set, .target = "127.0.0.1:9001"};
    int ran = 0, code = GATE_EXIT_USAGE;

    if (report_fill_standard() != 0)
        return GATE_EXIT_LOCAL;
    report_begin(program.name);
    switch (args_parse(&program, argc, argv, &set)) {
    case ARGS_DONE:
        return report_finish(GATE_EXIT_DONE);
    case ARGS_WRONG:
        break;
    default:
        if (argc - optind > 1) {
            code = refuse("one address only", "options begin with a dash");
            break;
        }
        if (optind < argc)
            job.target = argv[optind];
        code = prepare(&job);
        ran = code == 0;
        if (ran)
            code = run(&job);
    }
    if (set.common.json)
        print_json(&job, ran, code);
    code = report_finish(code);
    if (result.interrupted != 0)
        bench_signals_die(result.interrupted);
    return code;
}
