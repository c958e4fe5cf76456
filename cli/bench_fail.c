/* SPDX-License-Identifier: MIT */
#include "bench_fail.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "exit.h"
#include "report.h"

uint64_t bench_errors(const bench_result *result)
{
    uint64_t errors = 0;

    for (bench_error i = 0; i < BENCH_ERRORS; i++)
        errors += result->errors[i];
    return errors;
}

double bench_rate(const bench_result *result)
{
    return result->elapsed_ns > 0 ? (double)result->latency.count * 1e9 / (double)result->elapsed_ns
                                  : 0;
}

enum { READ_WRONG = 0, READ_WELL = 1, READ_BARE = 2 };

/* A number without a sign, an exponent or a name such as inf; *text moves behind it. */
static int read_number(const char **text, double *value)
{
    size_t len = strspn(*text, "0123456789.");
    char copy[32];
    char *end;

    if (!isdigit((unsigned char)**text) || len >= sizeof(copy))
        return 0;
    memcpy(copy, *text, len);
    copy[len] = '\0';
    *value = strtod(copy, &end);
    *text += len;
    return *end == '\0';
}

/* READ_BARE: a number without a unit, which could be meant as seconds or as milliseconds. */
static int read_time(const char *text, double *ns)
{
    static const struct {
        const char *name;
        double ns;
    } units[] = {{"s", 1e9}, {"ms", 1e6}, {"us", 1e3}, {"ns", 1}, {"m", 6e10}};

    if (!read_number(&text, ns))
        return 0;
    if (*text == '\0')
        return READ_BARE;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(text, units[i].name) == 0) {
            *ns *= units[i].ns;
            return 1;
        }
    return 0;
}

static int read_count(const char *text, double *count)
{
    return read_number(&text, count) && *text == '\0';
}

static int read_what(bench_fail *fail, const char **text)
{
    static const struct {
        const char *name;
        char what;
    } words[] = {{"mean", 'm'}, {"min", 'l'}, {"max", 'g'}, {"errors", 'e'}, {"rate", 'r'}};
    size_t len = strcspn(*text, "<>");

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strlen(words[i].name) == len && strncmp(*text, words[i].name, len) == 0) {
            fail->what = words[i].what;
            *text += len;
            return 1;
        }
    if (**text != 'p')
        return 0;
    fail->what = 'p';
    (*text)++;
    return read_number(text, &fail->percent) && fail->percent <= 100;
}

static int parse_one(bench_fail *fail, const char *text)
{
    *fail = (bench_fail){.text = text};
    if (!read_what(fail, &text) || (*text != '<' && *text != '>'))
        return 0;
    fail->sign = *text++ == '>' ? 1 : -1;
    if (*text == '=') {
        fail->or_equal = 1;
        text++;
    }
    return fail->what == 'e' || fail->what == 'r' ? read_count(text, &fail->value)
                                                  : read_time(text, &fail->value);
}

int bench_fail_parse(bench_fail *fails, const args_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        const char *text = list->item[i];
        int read = parse_one(&fails[i], text);

        if (read == READ_WELL)
            continue;
        if (read == READ_BARE) {
            report_error("--fail-if: the time in '%s' has no unit", text);
            report_hint("write '%sms' or '%ss', for example", text, text);
        } else {
            report_error("--fail-if: '%s' is not a condition", text);
            report_hint("write p99>5ms, p99.9>=1s, mean>500us, min, max, errors>0 or rate<1000");
        }
        return GATE_EXIT_USAGE;
    }
    return 0;
}

/* Failed exchanges come last, as if they had taken for ever. */
static double percentile(const bench_result *result, double percent)
{
    const bench_hist *latency = &result->latency;
    double rank = (double)(latency->count + bench_errors(result)) * percent / 100;

    return latency->count == 0 || rank > (double)latency->count
               ? INFINITY
               : (double)bench_hist_ranked(latency, rank);
}

int bench_fail_holds(const bench_fail *fail, const bench_result *result)
{
    const bench_hist *latency = &result->latency;
    double value;

    if (fail->what == 'e')
        value = (double)bench_errors(result);
    else if (fail->what == 'r')
        value = bench_rate(result);
    else if (latency->count == 0)
        return 1; /* no exchange was answered: no time is good enough */
    else if (fail->what == 'p')
        value = percentile(result, fail->percent);
    else if (fail->what == 'g')
        value = percentile(result, 100);
    else
        value = (double)(fail->what == 'm' ? bench_hist_mean(latency) : latency->min);
    return value == fail->value ? fail->or_equal : (value > fail->value) == (fail->sign > 0);
}
