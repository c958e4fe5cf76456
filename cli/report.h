/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_REPORT_H
#define GATE_CLI_REPORT_H

/* What the programs say on stderr: errors with a hint of what to do, and notes. The last error and
 * hint are kept for the JSON object. */

#include <stdint.h>

#include "json.h"

enum { REPORT_QUIET = 0, REPORT_NORMAL = 1, REPORT_VERBOSE = 2 };

void report_begin(const char *program);
void report_set_level(int level);
/* "always", "never" or "auto": on a terminal, unless NO_COLOR or TERM=dumb is set. */
void report_set_color(const char *when);

void report_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void report_hint(const char *format, ...) __attribute__((format(printf, 1, 2)));   /* not with -q */
void report_line(const char *format, ...) __attribute__((format(printf, 1, 2)));   /* not with -q */
void report_detail(const char *format, ...) __attribute__((format(printf, 1, 2))); /* with -v */

/* Before the first event, and before rights are given up. */
void report_begin_events(void);

/* Writes a line of a program that serves, with its newline: at most REPORT_LINE_MAX bytes; any
 * thread, and a signal handler. Neither waits for whoever reads: a line that cannot be written at
 * once and whole is dropped, and counted by report_write. 0: written, else -1. */
int report_try(int fd, const char *line, size_t len);
void report_write(int fd, const char *line, size_t len);
enum { REPORT_LINE_MAX = 4096 };
uint64_t report_dropped(void); /* lines so far; in a signal handler, too */

/* Writes the members "error" and "hint". */
void report_json(json *object);

/* The text and the exit code for a code of the library. */
const char *report_reason(int code);
int report_exit_code(int code);

#define REPORT_FRAMINGS \
    "raw, line, u8, u16, u32, u16le, u32le, varint,\nnetstring, eof, fixed:N or delimiter:TEXT"

/* Reports a --framing that gate_codec_parse does not know. GATE_EXIT_USAGE. */
int report_framing(const char *name);

/* Before anything else: opens /dev/null on those of the descriptors 0 to 2 that are closed, so that
 * no socket ever takes the place of stdout. -1: not possible. */
int report_fill_standard(void);
/* Was this one of them, so that what is written to it would be lost? */
int report_was_closed(int fd);

/* Flushes stdout. GATE_EXIT_LOCAL and a message if it could not be written, else code. */
int report_finish(int code);

#endif
