/* SPDX-License-Identifier: MIT */

/* Codes, reasons and the version as text. */

#include "core/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "core/sized.h"

enum { ERRNO_MAX = 4095 }; /* the kernel's largest; our own codes are behind it */

static const char *describe(int code)
{
    switch (code) {
    case GATE_EGONE:
        return "the peer of this request has gone";
    case GATE_EFRAME:
        return "the peer sent bytes that the framing does not allow";
    case GATE_ETOOBIG:
        return "the peer sent a frame over the limit";
    case GATE_ENAME:
        return "the host name does not exist or has no address";
    case GATE_ENAMELATER:
        return "the name service failed for now; try again later";
    case GATE_EPORTS:
        return "no free local port to connect from";
    case GATE_EROOM:
        return "the reply is larger than the room for it";
    case GATE_ETRUNCATED:
        return "the peer closed the connection inside its reply";
    case GATE_ECLOSED:
        return "the peer closed the connection without a reply";
    case GATE_ELATE:
        return "the whole reply was not there in time";
    case GATE_EBROKEN:
        return "a network or local error after the request had begun";
    case GATE_ESELF:
        return "the connection reached itself: nobody listens on that port";
    default:
        return NULL;
    }
}

const char *gate_strerror(int code)
{
    static _Thread_local char text[128];

    if (code == 0)
        return "success";
    const char *known = describe(code);
    if (known != NULL)
        return known;
    if (code > 0 || code < -ERRNO_MAX) {
        (void)snprintf(text, sizeof(text), "unknown code %d", code);
        return text;
    }
    /* %m is the one way to an errno's text that is the same, and thread-safe, in every libc. */
    int saved = errno;
    errno = -code;
    (void)snprintf(text, sizeof(text), "%m");
    errno = saved;
    return text;
}

enum { ERROR_LEAST = 16, ERROR_MOST = 4096 }; /* sizes of gate_error that make sense */

int gate__error_check(const gate_error *error)
{
    return error && (error->size < ERROR_LEAST || error->size > ERROR_MOST) ? -EINVAL : 0;
}

int gate__error_set(gate_error *error, int code, const char *format, ...)
{
    gate_error known = {.code = code};
    va_list arguments;
    if (!error)
        return code;
    size_t size = error->size < sizeof known ? error->size : sizeof known;
    va_start(arguments, format);
    (void)vsnprintf(known.text, size - offsetof(gate_error, text), format, arguments);
    va_end(arguments);
    (void)gate__sized_write(error, error->size, &known, sizeof known, ERROR_LEAST);
    return code;
}

int gate_outcome(int code)
{
    if (code >= 0 || code == GATE_EROOM)
        return GATE_ANSWERED;
    if (code >= -ERRNO_MAX)
        return GATE_NOT_SENT;
    switch (code) {
    case GATE_ENAME:
    case GATE_ENAMELATER:
    case GATE_EPORTS:
    case GATE_ESELF:
        return GATE_NOT_SENT;
    default: /* also a code of a later version: nobody may take it for safe to repeat */
        return GATE_MAYBE_EXECUTED;
    }
}

#define TEXT_OF(x) #x
#define VERSION_OF(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

const char *gate_version(void)
{
    return VERSION_OF(GATE_VERSION_MAJOR, GATE_VERSION_MINOR, GATE_VERSION_PATCH);
}

const char *gate_reason_name(int reason)
{
    static const char *const names[GATE_CLOSE_COUNT] = {
        [GATE_CLOSE_NONE] = "none",
        [GATE_CLOSE_ANSWERED] = "answered",
        [GATE_CLOSE_REJECTED] = "rejected",
        [GATE_CLOSE_UNANSWERED] = "unanswered",
        [GATE_CLOSE_PEER] = "peer",
        [GATE_CLOSE_TRUNCATED] = "truncated",
        [GATE_CLOSE_RESET] = "reset",
        [GATE_CLOSE_TIMEOUT] = "timeout",
        [GATE_CLOSE_IDLE] = "idle",
        [GATE_CLOSE_WRITE_TIMEOUT] = "write_timeout",
        [GATE_CLOSE_HANDLER_TIMEOUT] = "handler_timeout",
        [GATE_CLOSE_BAD_FRAME] = "bad_frame",
        [GATE_CLOSE_TOO_BIG] = "too_big",
        [GATE_CLOSE_NO_MEMORY] = "no_memory",
        [GATE_CLOSE_PEER_LIMIT] = "peer_limit",
        [GATE_CLOSE_STOPPED] = "stopped",
        [GATE_CLOSE_DRAIN_TIMEOUT] = "drain_timeout",
        [GATE_CLOSE_IO] = "io",
    };
    size_t index = (size_t)reason;
    return index < GATE_CLOSE_COUNT ? names[index] : "unknown";
}
