/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "json.h"
#include "report.h"

enum { LINES_MAX = 10, KINDS = 32, OTHER_KINDS = 24 /* behind the reasons, one for each level */ };
#define WINDOW_NS (10 * UINT64_C(1000000000))

/* One kind of event, in its window of time. */
typedef struct kind {
    const char *name; /* static, NULL: none so far */
    int32_t level;
    int is_close;
    uint64_t begun_ns;
    uint64_t lines;
    uint64_t left_out;
} kind;

static struct {
    pthread_mutex_t lock;
    log_options options;
    int journal;
    uint64_t dropped_told;
    kind kinds[KINDS];
} logging = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- Lines --------------------------------------------------------------------------------- */

/* A line on its way: JSON in object, or text. */
typedef struct line {
    char text[REPORT_LINE_MAX];
    size_t len;
    json object;
} line;

static const char *level_name(int32_t level)
{
    static const char *const names[] = {"notice", "error", "warning", "notice", "debug"};

    return names[level >= GATE_LOG_ERROR && level <= GATE_LOG_DEBUG ? level : 0];
}

/* syslog(3)'s numbers. */
static int priority(int32_t level)
{
    enum { ERROR = 3, WARNING = 4, NOTICE = 5, DEBUG = 7 };

    return level <= GATE_LOG_ERROR     ? ERROR
           : level == GATE_LOG_WARNING ? WARNING
           : level == GATE_LOG_DEBUG   ? DEBUG
                                       : NOTICE;
}

static void time_stamp(char stamp[64])
{
    struct timespec now;
    struct tm utc;
    size_t len;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    len = strftime(stamp, 64, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(stamp + len, 64 - len, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

static void add(line *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(line *out, const char *format, ...)
{
    va_list args;
    int more;

    va_start(args, format);
    more = vsnprintf(out->text + out->len, sizeof(out->text) - out->len, format, args);
    va_end(args);
    if (more > 0 && (size_t)more < sizeof(out->text) - out->len)
        out->len += (size_t)more;
}

static void begin_line(line *out, int32_t level, const char *event)
{
    char stamp[64];

    out->len = 0;
    if (logging.journal)
        add(out, "<%d>", priority(level));
    time_stamp(stamp);
    if (!logging.options.json) {
        if (!logging.journal)
            add(out, "%s ", stamp);
        return;
    }
    json_begin_text(&out->object, out->text + out->len, sizeof(out->text) - out->len);
    json_text(&out->object, "time", stamp);
    json_text(&out->object, "level", level_name(level));
    json_text(&out->object, "event", event);
}

static void finish_line(line *out)
{
    if (logging.options.json) {
        json_end(&out->object);
        out->len += out->object.used;
    } else {
        add(out, "\n");
    }
}

static void end_line(line *out)
{
    finish_line(out);
    report_write(STDERR_FILENO, out->text, out->len);
}

/* A value of a line of text is one word, whatever a Unix socket is called. */
static void add_word(line *out, const char *name, const char *value)
{
    add(out, " %s=", name);
    for (; *value != '\0'; value++)
        add(out, *value == ' ' ? "\\x20" : "%c", *value);
}

/* ---- Events -------------------------------------------------------------------------------- */

static void tell_close(const gate_event *event)
{
    line out;

    begin_line(&out, event->level, "close");
    if (logging.options.json) {
        json_text(&out.object, "peer", event->peer);
        json_text(&out.object, "on", event->listener);
        json_text(&out.object, "reason", event->name);
        json_count(&out.object, "worker", event->worker);
        json_count(&out.object, "requests", event->requests);
        json_count(&out.object, "bytes_in", event->bytes_in);
        json_count(&out.object, "bytes_out", event->bytes_out);
        json_count(&out.object, "duration_ns", event->duration_ns);
    } else {
        add(&out, "close");
        add_word(&out, "peer", event->peer);
        add_word(&out, "on", event->listener);
        add(&out, " reason=%s requests=%" PRIu64 " in=%" PRIu64 " out=%" PRIu64 " ms=%" PRIu64,
            event->name, event->requests, event->bytes_in, event->bytes_out,
            event->duration_ns / 1000000);
    }
    end_line(&out);
}

static void tell_text(const gate_event *event)
{
    line out;

    begin_line(&out, event->level, event->name);
    if (logging.options.json)
        json_text(&out.object, "text", event->text);
    else
        add(&out, "%s: %s", level_name(event->level), event->text);
    end_line(&out);
}

static void tell_left_out(const kind *one)
{
    line out;

    begin_line(&out, one->level, "left_out");
    if (logging.options.json) {
        json_text(&out.object, one->is_close ? "reason" : "kind", one->name);
        json_count(&out.object, "count", one->left_out);
    } else if (one->is_close) {
        add(&out, "close reason=%s left_out=%" PRIu64, one->name, one->left_out);
    } else {
        add(&out, "%s: %" PRIu64 " more like the last one (%s) were left out",
            level_name(one->level), one->left_out, one->name);
    }
    end_line(&out);
}

/* Lines that could not be written: nobody read the pipe, or the disk was full. */
static void tell_dropped(void)
{
    uint64_t dropped = report_dropped();
    uint64_t missing = dropped - logging.dropped_told;
    line out;

    if (missing == 0)
        return;
    begin_line(&out, GATE_LOG_WARNING, "lines_dropped");
    if (logging.options.json)
        json_count(&out.object, "count", missing);
    else
        add(&out, "warning: %" PRIu64 " lines could not be written", missing);
    finish_line(&out);
    if (report_try(STDERR_FILENO, out.text, out.len) == 0)
        logging.dropped_told = dropped;
}

/* ---- Limits -------------------------------------------------------------------------------- */

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static kind *kind_of(const gate_event *event)
{
    int at = event->reason > 0 ? event->reason : OTHER_KINDS + event->level;

    return &logging.kinds[at >= 0 && at < KINDS ? at : 0];
}

/* What the windows that are over have left out. */
static void tell_all_left_out(uint64_t before_ns)
{
    for (kind *one = logging.kinds; one < logging.kinds + KINDS; one++)
        if (one->left_out > 0 && one->begun_ns <= before_ns) {
            tell_left_out(one);
            one->left_out = 0;
        }
}

/* 1: the event may have a line. */
static int count_in(const gate_event *event)
{
    kind *one = kind_of(event);
    uint64_t now = now_ns();

    if (now > WINDOW_NS)
        tell_all_left_out(now - WINDOW_NS);
    if (one->name == NULL || now - one->begun_ns >= WINDOW_NS) {
        one->begun_ns = now;
        one->lines = 0;
    }
    one->name = event->name;
    one->level = event->level;
    one->is_close = event->reason > 0;
    if (one->lines < LINES_MAX) {
        one->lines++;
        return 1;
    }
    one->left_out++;
    return 0;
}

void log_event(const gate_event *event)
{
    const log_options *options = &logging.options;
    int32_t shown = options->quiet     ? GATE_LOG_ERROR
                    : options->verbose ? GATE_LOG_DEBUG
                                       : GATE_LOG_NOTICE;

    if (event->level > shown)
        return;
    pthread_mutex_lock(&logging.lock);
    tell_dropped();
    if (options->verbose || count_in(event)) {
        if (event->reason > 0)
            tell_close(event);
        else
            tell_text(event);
    }
    pthread_mutex_unlock(&logging.lock);
}

/* ---- Begin and end ------------------------------------------------------------------------- */

/* JOURNAL_STREAM names the device and inode of the stream to the journal: it may be inherited by a
 * program whose standard error goes elsewhere. */
static int is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat own;
    char name[64];

    if (stream == NULL || fstat(STDERR_FILENO, &own) != 0)
        return 0;
    snprintf(name, sizeof(name), "%" PRIuMAX ":%" PRIuMAX, (uintmax_t)own.st_dev,
             (uintmax_t)own.st_ino);
    return strcmp(stream, name) == 0;
}

void log_begin(const log_options *options)
{
    char stamp[64];

    logging.options = *options;
    logging.journal = is_journal();
    time_stamp(stamp); /* libc reads its files about time zones now, while it may */
}

void log_listening(const char *address)
{
    line out;

    if (logging.options.quiet)
        return;
    if (!logging.options.json) {
        report_line("listening on %s", address);
        return;
    }
    begin_line(&out, GATE_LOG_NOTICE, "listening");
    json_text(&out.object, "on", address);
    end_line(&out);
}

void log_end(void)
{
    pthread_mutex_lock(&logging.lock);
    tell_dropped();
    tell_all_left_out(UINT64_MAX);
    pthread_mutex_unlock(&logging.lock);
}
