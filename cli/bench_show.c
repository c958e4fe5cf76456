/* SPDX-License-Identifier: MIT */
#include "bench_show.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bench_fail.h"
#include "bench_self.h"
#include "bench_signals.h"

enum { BAR_WIDTH = 40, TEXT_MAX = 64 };

static const struct {
    const char *name;
    const char *member;
    double percent;
} percentiles[] = {
    {"p50", "p50", 50}, {"p75", "p75", 75},       {"p90", "p90", 90},          {"p95", "p95", 95},
    {"p99", "p99", 99}, {"p99.9", "p99_9", 99.9}, {"p99.99", "p99_99", 99.99},
};

enum { PERCENTILES = sizeof(percentiles) / sizeof(percentiles[0]) };

const char *bench_show_time(uint64_t ns, char text[BENCH_TIME_MAX])
{
    static const struct {
        uint64_t ns;
        const char *name;
    } units[] = {{1000000000, "s"}, {1000000, "ms"}, {1000, "us"}, {1, "ns"}};
    size_t i = 0;

    while (i < 3 && ns < units[i].ns)
        i++;
    if (units[i].ns == 1)
        snprintf(text, BENCH_TIME_MAX, "%" PRIu64 " ns", ns);
    else
        snprintf(text, BENCH_TIME_MAX, "%.*f %s", ns < 10 * units[i].ns ? 2 : 1,
                 (double)ns / (double)units[i].ns, units[i].name);
    return text;
}

/* ---- Text ----------------------------------------------------------------------------------- */

static void print_time(const char *name, uint64_t ns)
{
    char text[BENCH_TIME_MAX];

    printf("  %-8s %12s\n", name, bench_show_time(ns, text));
}

static void print_percentiles(const bench_hist *latency)
{
    printf("\nlatency\n");
    print_time("min", latency->min);
    print_time("mean", bench_hist_mean(latency));
    for (size_t i = 0; i < PERCENTILES; i++)
        print_time(percentiles[i].name, bench_hist_percentile(latency, percentiles[i].percent));
    print_time("max", latency->max);
}

static void print_histogram(const bench_hist *latency)
{
    bench_row rows[BENCH_ROWS_MAX];
    unsigned count = bench_hist_rows(latency, rows);
    uint64_t most = 1;
    char text[BENCH_TIME_MAX];

    for (unsigned i = 0; i < count; i++)
        most = rows[i].count > most ? rows[i].count : most;
    printf("\n  %-11s %11s %8s\n", "from", "exchanges", "share");
    for (unsigned i = 0; i < count; i++) {
        int width = (int)(rows[i].count * BAR_WIDTH / most);

        printf("  %-11s %11" PRIu64 " %7.3f%% ", bench_show_time(rows[i].from, text), rows[i].count,
               100 * (double)rows[i].count / (double)latency->count);
        while (width-- > 0)
            putchar('#');
        putchar('\n');
    }
}

static void print_errors(const bench_result *result)
{
    const char *comma = "";

    printf("%" PRIu64 " failed", bench_errors(result));
    for (bench_error i = 0; i < BENCH_ERRORS; i++)
        if (result->errors[i] > 0) {
            printf("%s %s %" PRIu64, *comma != '\0' ? comma : ":", bench_error_name(i),
                   result->errors[i]);
            comma = ",";
        }
    putchar('\n');
}

static void print_cpu(const char *whose, uint64_t cpu_ns, const bench_result *result)
{
    char text[BENCH_TIME_MAX];

    printf("%s CPU %.0f%%", whose,
           result->elapsed_ns > 0 ? 100 * (double)cpu_ns / (double)result->elapsed_ns : 0.0);
    if (result->latency.count > 0)
        printf(", %s per exchange", bench_show_time(cpu_ns / result->latency.count, text));
}

/* Bytes of the peer, or of the command line. */
static void print_bytes(const char *bytes, uint64_t len)
{
    size_t shown = len < TEXT_MAX ? (size_t)len : TEXT_MAX;
    char text[4 * TEXT_MAX + 1]; /* the longest form of a byte has 4 */

    gate_escape(text, sizeof(text), bytes, shown);
    printf("\"%s\"%s", text, shown < len ? "..." : "");
}

static void print_plan(const bench_plan *plan)
{
    char text[BENCH_TIME_MAX];

    printf("%s: %" PRIu32 " %s, ", plan->addr_text, plan->connections,
           plan->one_shot ? "one-shot connections at a time" : "connections");
    if (plan->pipeline > 1)
        printf("%" PRIu32 " requests in flight on each, ", plan->pipeline);
    if (plan->rate > 0)
        printf("open loop at %" PRIu64 "/s", plan->rate);
    else
        printf("closed loop");
    if (plan->exchanges > 0)
        printf(", %" PRIu64 " exchanges", plan->exchanges);
    if (plan->duration_ns > 0)
        printf(", for %s", bench_show_time(plan->duration_ns, text));
    if (plan->warm_up_ns > 0)
        printf(" after %s of warm-up", bench_show_time(plan->warm_up_ns, text));
    printf("\nrequest (framing %s, %zu bytes): ", plan->framing, strlen(plan->message));
    print_bytes(plan->message, strlen(plan->message));
    putchar('\n');
}

static void print_first(const bench_first *first)
{
    if (!first->known)
        return;
    printf("first answer (%" PRIu64 " bytes): ", first->len);
    print_bytes(first->bytes, first->len);
    putchar('\n');
}

static void print_self(const bench_result *result)
{
    unsigned limits = bench_self_limits(result);
    char text[BENCH_TIME_MAX];

    if (limits & BENCH_SELF_LATE)
        printf("gate-bench was late: %" PRIu64 " exchanges began over 1 ms after their time, "
               "at most %s\n",
               result->late, bench_show_time(result->late_max_ns, text));
    if (limits & BENCH_SELF_BUSY)
        printf("gate-bench is the bottleneck: its one thread was busy all the time, so the server "
               "may be faster\n");
    if (limits & BENCH_SELF_WAITED)
        printf("gate-bench waited for a CPU %.0f%% of the time: other programs disturb the "
               "measurement\n",
               100 * (double)result->waited_ns / (double)result->elapsed_ns);
}

void bench_show(const bench_plan *plan, const bench_result *result)
{
    char text[BENCH_TIME_MAX];
    double rate = bench_rate(result);

    print_plan(plan);
    print_first(&result->first);
    if (result->interrupted != 0)
        printf("interrupted, with %" PRIu64 " exchanges under way; until then:\n",
               result->under_way);
    printf("%" PRIu64 " exchanges in %s, %.*f/s\n", result->latency.count,
           bench_show_time(result->elapsed_ns, text), rate < 100 ? 1 : 0, rate);
    print_errors(result);
    if (plan->idle > 0)
        printf("%" PRIu32 " idle connections still open\n", result->idle_open);
    print_cpu("gate-bench:", result->cpu_ns, result);
    putchar('\n');
    if (plan->watched > 0) {
        print_cpu("server:", result->watched_ns, result);
        printf(", resident %.1f MiB\n", (double)result->watched_rss / (1 << 20));
    }
    print_self(result);
    if (result->latency.count > 0) {
        print_percentiles(&result->latency);
        print_histogram(&result->latency);
    }
}

/* ---- Progress ------------------------------------------------------------------------------- */

void bench_show_progress(const bench_result *result, const bench_hist *second, uint64_t elapsed_ns)
{
    char p50[BENCH_TIME_MAX], p99[BENCH_TIME_MAX], max[BENCH_TIME_MAX];

    fprintf(stderr, "\r\033[K%.0f s  %" PRIu64 " exchanges/s  p50 %s  p99 %s  max %s",
            (double)elapsed_ns / 1e9, second->count,
            bench_show_time(bench_hist_percentile(second, 50), p50),
            bench_show_time(bench_hist_percentile(second, 99), p99),
            bench_show_time(second->max, max));
    if (bench_errors(result) > 0)
        fprintf(stderr, "  %" PRIu64 " failed", bench_errors(result));
}

void bench_show_progress_end(void)
{
    fputs("\r\033[K", stderr);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static void json_latency(json *object, const bench_hist *latency)
{
    json_open(object, "latency_ns", '{');
    json_count(object, "min", latency->min);
    json_count(object, "mean", bench_hist_mean(latency));
    for (size_t i = 0; i < PERCENTILES; i++)
        json_count(object, percentiles[i].member,
                   bench_hist_percentile(latency, percentiles[i].percent));
    json_count(object, "max", latency->max);
    json_close(object, '}');
}

/* Each bucket that is not empty: its first and last value, and how many. */
static void json_histogram(json *object, const bench_hist *latency)
{
    json_open(object, "histogram", '[');
    for (unsigned i = 0; i < BENCH_HIST_BUCKETS; i++) {
        if (latency->buckets[i] == 0)
            continue;
        json_open(object, NULL, '{');
        json_count(object, "from_ns", bench_hist_lower(i));
        json_count(object, "to_ns", bench_hist_upper(i));
        json_count(object, "count", latency->buckets[i]);
        json_close(object, '}');
    }
    json_close(object, ']');
}

static void json_nulls(json *object)
{
    static const char *const members[] = {
        "connected_to",
        "exchanges",
        "exchanges_per_s",
        "failed",
        "errors",
        "elapsed_ns",
        "interrupted",
        "under_way",
        "first_answer",
        "first_answer_bytes",
        "connects",
        "bytes_in",
        "bytes_out",
        "idle_open",
        "cpu_ns",
        "cpu_waited_ns",
        "late",
        "late_max_ns",
        "is_bottleneck",
        "server_cpu_ns",
        "server_resident_bytes",
        "latency_ns",
        "histogram",
    };

    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        json_null(object, members[i]);
}

static void json_watched(json *object, const bench_result *result)
{
    if (result->watched_rss == 0) {
        json_null(object, "server_cpu_ns");
        json_null(object, "server_resident_bytes");
        return;
    }
    json_count(object, "server_cpu_ns", result->watched_ns);
    json_count(object, "server_resident_bytes", result->watched_rss);
}

static void json_first(json *object, const bench_first *first)
{
    if (!first->known) {
        json_null(object, "first_answer");
        json_null(object, "first_answer_bytes");
        return;
    }
    json_bytes(object, "first_answer", first->bytes,
               first->len < BENCH_FIRST_MAX ? (size_t)first->len : BENCH_FIRST_MAX);
    json_count(object, "first_answer_bytes", first->len);
}

/* What gate-bench knows of its own part in the result. */
static void json_self(json *object, const bench_plan *plan, const bench_result *result)
{
    json_count(object, "cpu_ns", result->cpu_ns);
    json_count(object, "cpu_waited_ns", result->waited_ns);
    if (plan->rate > 0) {
        json_count(object, "late", result->late);
        json_count(object, "late_max_ns", result->late_max_ns);
    } else {
        json_null(object, "late");
        json_null(object, "late_max_ns");
    }
    json_flag(object, "is_bottleneck", (bench_self_limits(result) & BENCH_SELF_BUSY) != 0);
}

void bench_show_json(json *object, const bench_plan *plan, const bench_result *result)
{
    if (result == NULL) {
        json_nulls(object);
        return;
    }
    json_text(object, "connected_to", plan->addr_text);
    json_count(object, "exchanges", result->latency.count);
    json_count(object, "exchanges_per_s", (uint64_t)(bench_rate(result) + 0.5));
    json_count(object, "failed", bench_errors(result));
    json_open(object, "errors", '{');
    for (bench_error i = 0; i < BENCH_ERRORS; i++)
        json_count(object, bench_error_name(i), result->errors[i]);
    json_close(object, '}');
    json_count(object, "elapsed_ns", result->elapsed_ns);
    json_text(object, "interrupted", bench_signals_name(result->interrupted));
    json_count(object, "under_way", result->under_way);
    json_first(object, &result->first);
    json_count(object, "connects", result->connects);
    json_count(object, "bytes_in", result->bytes_in);
    json_count(object, "bytes_out", result->bytes_out);
    json_count(object, "idle_open", result->idle_open);
    json_self(object, plan, result);
    json_watched(object, result);
    if (result->latency.count > 0)
        json_latency(object, &result->latency);
    else
        json_null(object, "latency_ns");
    json_histogram(object, &result->latency);
}
