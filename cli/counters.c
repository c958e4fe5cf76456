/* SPDX-License-Identifier: MIT */
#include "counters.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "report.h"

static struct {
    _Atomic(const gate_server *) server;
    const char *program;
    uint64_t begun_ns;
} counters;

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void counters_write(json *object, const gate_stats *stats)
{
    json_open(object, "stats", '{');
    json_count(object, "connections", stats->connections);
    json_count(object, "accepted", stats->accepted);
    json_count(object, "requests", stats->requests);
    json_count(object, "replies", stats->replies);
    json_count(object, "rejections", stats->rejections);
    json_count(object, "bytes_in", stats->bytes_in);
    json_count(object, "bytes_out", stats->bytes_out);
    json_count(object, "accept_errors", stats->accept_errors);
    json_count(object, "accept_pauses", stats->accept_pauses);
    json_open(object, "closed", '{');
    for (int reason = GATE_CLOSE_NONE + 1; reason < GATE_CLOSE_COUNT; reason++)
        json_count(object, gate_reason_name(reason), stats->closed[reason]);
    json_close(object, '}');
    json_close(object, '}');
}

/* All of it may be called in a signal handler: counters are read without locks, the object is made
 * on the stack, and the write does not wait for whoever reads. */
static void tell(int number)
{
    const gate_server *server = atomic_load(&counters.server);
    gate_stats stats = {.size = sizeof(stats)};
    char line[REPORT_LINE_MAX];
    json object;
    int saved = errno;

    (void)number;
    if (server == NULL || gate_server_stats(server, &stats) != 0)
        return;
    json_begin_text(&object, line, sizeof(line));
    json_number(&object, "schema_version", 1);
    json_text(&object, "program", counters.program);
    json_text(&object, "version", gate_version());
    json_count(&object, "uptime_ns", now_ns() - counters.begun_ns);
    counters_write(&object, &stats);
    json_count(&object, "lines_dropped", report_dropped());
    json_end(&object);
    report_write(STDERR_FILENO, line, object.used);
    errno = saved;
}

void counters_begin(const char *program)
{
    struct sigaction action = {.sa_handler = tell, .sa_flags = SA_RESTART};
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    counters.program = program;
    counters.begun_ns = now_ns();
    sigfillset(&action.sa_mask);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGHUP, &ignore, NULL);
}

void counters_watch(const gate_server *server)
{
    atomic_store(&counters.server, server);
}
