/* SPDX-License-Identifier: MIT */
#include "bench_show.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bench_fail.h"

enum { BAR_WIDTH = 40 };

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

/* A row for each power of two between the smallest and the largest. */
static void print_histogram(const bench_hist *latency)
{
    uint64_t from = 1, most = 0, to;
    char text[BENCH_TIME_MAX];

    while (from <= latency->min / 2)
        from *= 2;
    for (to = from; to <= latency->max && to <= UINT64_MAX / 2; to *= 2)
        if (bench_hist_between(latency, to, 2 * to) > most)
            most = bench_hist_between(latency, to, 2 * to);
    printf("\n  %-11s %11s %8s\n", "from", "exchanges", "share");
    for (; from <= latency->max && from <= UINT64_MAX / 2; from *= 2) {
        uint64_t count = bench_hist_between(latency, from, 2 * from);
        int width = most > 0 ? (int)(count * BAR_WIDTH / most) : 0;

        printf("  %-11s %11" PRIu64 " %7.3f%% ", bench_show_time(from, text), count,
               100 * (double)count / (double)latency->count);
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
        printf(", %s an exchange", bench_show_time(cpu_ns / result->latency.count, text));
}

void bench_show(const bench_plan *plan, const bench_result *result)
{
    char text[BENCH_TIME_MAX];

    printf("%" PRIu64 " exchanges in %s, %.0f/s\n", result->latency.count,
           bench_show_time(result->elapsed_ns, text), bench_rate(result));
    print_errors(result);
    if (plan->idle > 0)
        printf("%" PRIu32 " idle connections still open\n", result->idle_open);
    print_cpu("gate-bench:", result->cpu_ns, result);
    putchar('\n');
    if (plan->watched > 0) {
        print_cpu("server:", result->watched_ns, result);
        printf(", resident %.1f MiB\n", (double)result->watched_rss / (1 << 20));
    }
    if (result->latency.count > 0) {
        print_percentiles(&result->latency);
        print_histogram(&result->latency);
    }
}

/* ---- Progress ------------------------------------------------------------------------------- */

void bench_show_progress(const bench_result *result, uint64_t elapsed_ns)
{
    char text[BENCH_TIME_MAX];

    fprintf(stderr, "\r\033[K%.0f s  %" PRIu64 " exchanges, %.0f/s  p99 %s  %" PRIu64 " failed",
            (double)elapsed_ns / 1e9, result->latency.count,
            (double)result->latency.count * 1e9 / (double)elapsed_ns,
            bench_show_time(bench_hist_percentile(&result->latency, 99), text),
            bench_errors(result));
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
        "exchanges",  "exchanges_per_s", "failed",        "errors",
        "elapsed_ns", "connects",        "bytes_in",      "bytes_out",
        "idle_open",  "cpu_ns",          "server_cpu_ns", "server_resident_bytes",
        "latency_ns", "histogram",
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

void bench_show_json(json *object, const bench_result *result)
{
    if (result == NULL) {
        json_nulls(object);
        return;
    }
    json_count(object, "exchanges", result->latency.count);
    json_count(object, "exchanges_per_s", (uint64_t)(bench_rate(result) + 0.5));
    json_count(object, "failed", bench_errors(result));
    json_open(object, "errors", '{');
    for (bench_error i = 0; i < BENCH_ERRORS; i++)
        json_count(object, bench_error_name(i), result->errors[i]);
    json_close(object, '}');
    json_count(object, "elapsed_ns", result->elapsed_ns);
    json_count(object, "connects", result->connects);
    json_count(object, "bytes_in", result->bytes_in);
    json_count(object, "bytes_out", result->bytes_out);
    json_count(object, "idle_open", result->idle_open);
    json_count(object, "cpu_ns", result->cpu_ns);
    json_watched(object, result);
    if (result->latency.count > 0)
        json_latency(object, &result->latency);
    else
        json_null(object, "latency_ns");
    json_histogram(object, &result->latency);
}
