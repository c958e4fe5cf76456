/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <gate/gate.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "exit.h"

enum { MESSAGE_ROOM = 1024 };

static struct {
    const char *program;
    int level;
    int color;
    char error[MESSAGE_ROOM];
    char hint[MESSAGE_ROOM];
} report = {.program = "gate", .level = REPORT_NORMAL};

void report_begin(const char *program)
{
    report.program = program;
    report_set_color("auto");
}

void report_set_level(int level)
{
    report.level = level;
}

void report_set_color(const char *when)
{
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    int plain = (no_color != NULL && *no_color != '\0') ||
                (term != NULL && strcmp(term, "dumb") == 0) || !isatty(STDERR_FILENO);

    report.color = strcmp(when, "always") == 0 || (strcmp(when, "auto") == 0 && !plain);
}

/* Control characters of a name or a peer's text must not reach a terminal. */
static void format_message(char *message, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

static void format_message(char *message, const char *format, va_list args)
{
    char raw[MESSAGE_ROOM];

    vsnprintf(raw, sizeof(raw), format, args);
    gate_escape(message, MESSAGE_ROOM, raw, strlen(raw));
}

void report_error(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    format_message(report.error, format, args);
    va_end(args);
    fprintf(stderr, report.color ? "\033[1;31m%s:\033[0m %s\n" : "%s: %s\n", report.program,
            report.error);
}

void report_hint(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    format_message(report.hint, format, args);
    va_end(args);
    if (report.level > REPORT_QUIET)
        fprintf(stderr, report.color ? "\033[1mhint:\033[0m %s\n" : "hint: %s\n", report.hint);
}

void report_line(const char *format, ...)
{
    char message[MESSAGE_ROOM];
    va_list args;

    if (report.level < REPORT_NORMAL)
        return;
    va_start(args, format);
    format_message(message, format, args);
    va_end(args);
    fprintf(stderr, "%s\n", message);
}

void report_detail(const char *format, ...)
{
    char message[MESSAGE_ROOM];
    va_list args;

    if (report.level < REPORT_VERBOSE)
        return;
    va_start(args, format);
    format_message(message, format, args);
    va_end(args);
    fprintf(stderr, "%s: %s\n", report.program, message);
}

/* ---- While serving ------------------------------------------------------------------------- */

static struct {
    int own[STDERR_FILENO + 1]; /* another descriptor of the same, that does not wait; 0: none */
    _Atomic uint64_t dropped;
} events;

/* The descriptors are not made non-blocking, since others may have them too. */
static int may_wait(int fd)
{
    struct stat what;

    return isatty(fd) || (fstat(fd, &what) == 0 && S_ISFIFO(what.st_mode));
}

/* A terminal that polls as writable may have less room than for a line, and of a pipe another
 * writer may take it: they are opened anew, for writes that do not wait. What can't be opened stays
 * as it is. */
void report_begin_events(void)
{
    char path[32];

    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
        int own;

        if (!may_wait(fd))
            continue;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (own >= 0)
            events.own[fd] = own;
    }
}

/* A line is no longer than PIPE_BUF, so a pipe takes all of it or nothing. */
int report_try(int fd, const char *line, size_t len)
{
    int to = events.own[fd] != 0 ? events.own[fd] : fd;
    struct pollfd ready = {.fd = to, .events = POLLOUT};

    if (poll(&ready, 1, 0) == 1 && write(to, line, len) == (ssize_t)len)
        return 0;
    return -1;
}

void report_write(int fd, const char *line, size_t len)
{
    if (report_try(fd, line, len) < 0)
        atomic_fetch_add(&events.dropped, 1);
}

uint64_t report_dropped(void)
{
    return atomic_load(&events.dropped);
}

/* ---- The end ------------------------------------------------------------------------------- */

void report_json(json *object)
{
    json_text(object, "error", report.error[0] != '\0' ? report.error : NULL);
    json_text(object, "hint", report.hint[0] != '\0' ? report.hint : NULL);
}

const char *report_reason(int code)
{
    return code == -EADDRINUSE ? "address in use" : gate_strerror(code);
}

int report_exit_code(int code)
{
    switch (code) {
    case 0:
        return GATE_EXIT_DONE;
    case -EINVAL:
    case -ENAMETOOLONG:
    case -EMSGSIZE:
    case -EBADMSG:
        return GATE_EXIT_USAGE;
    case GATE_ENAME:
    case GATE_ENAMELATER:
        return GATE_EXIT_RESOLVE;
    case -ETIMEDOUT:
    case GATE_ELATE:
        return GATE_EXIT_TIMEOUT;
    case GATE_EFRAME:
    case GATE_ETOOBIG:
    case GATE_EROOM:
    case GATE_ETRUNCATED:
    case GATE_ECLOSED:
        return GATE_EXIT_PROTOCOL;
    case GATE_EPORTS:
    case GATE_EBROKEN:
    case -EAGAIN: /* no thread for a look-up */
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
    case -ENOBUFS:
    case -ENOSYS:
    case -EBADF:
    case -ENOTSOCK:
        return GATE_EXIT_LOCAL;
    default: /* every errno that socket, bind or connect gives otherwise */
        return GATE_EXIT_REFUSED;
    }
}

int report_framing(const char *name)
{
    report_error("--framing: '%s' is not a framing", name);
    report_hint("write raw, line, u8, u16, u32, u16le, u32le, varint, netstring, eof, fixed:N "
                "or delimiter:TEXT");
    return GATE_EXIT_USAGE;
}

static int was_closed[STDERR_FILENO + 1];

int report_fill_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        was_closed[fd] = fcntl(fd, F_GETFD) < 0;
        if (was_closed[fd] && open("/dev/null", O_RDWR) != fd)
            return -1;
    }
    return 0;
}

int report_was_closed(int fd)
{
    return was_closed[fd];
}

int report_finish(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    report_error("cannot write to standard output: %s", strerror(errno));
    return GATE_EXIT_LOCAL;
}
