/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_ARGS_H
#define GATE_CLI_ARGS_H

/* The command line: one table of options, from which getopt_long's arrays and --help come. */

#include <stddef.h>
#include <stdint.h>

typedef enum args_kind {
    ARGS_END = 0,  /* the end of the table */
    ARGS_FLAG,     /* int: how often it was given */
    ARGS_TEXT,     /* const char * */
    ARGS_LIST,     /* args_list */
    ARGS_CHOICE,   /* const char *; value lists what is allowed: "auto|always|never" */
    ARGS_DURATION, /* uint32_t: milliseconds */
    ARGS_NUMBER,   /* uint32_t */
    ARGS_SIZE      /* uint64_t: bytes */
} args_kind;

/* max of a duration that may be "never" (GATE_NEVER). */
#define ARGS_OR_NEVER UINT32_MAX
/* 24 days: what the client's functions take. */
#define ARGS_LONGEST ((uint64_t)INT32_MAX)

typedef struct args_option {
    const char *name;  /* NULL: a letter only */
    const char *value; /* what --help calls the value; NULL for a flag */
    const char *help;
    const char *group; /* a heading of --help that starts here, or NULL */
    size_t offset;     /* of its place in the program's own struct */
    uint64_t min;
    uint64_t max;
    args_kind kind;
    int letter; /* 0: none */
} args_option;

enum { ARGS_LIST_MAX = 64 };

typedef struct args_list {
    size_t count;
    const char *item[ARGS_LIST_MAX];
} args_list;

/* What every program has, a member called common of its struct. */
typedef struct args_common {
    int verbose, quiet, json, brief, help, version;
    const char *color;
} args_common;

/* clang-format off */
#define ARGS_COMMON(type)                                                                          \
    {.group = "Output", .name = "json", .kind = ARGS_FLAG,                                         \
     .offset = offsetof(type, common.json),                                                        \
     .help = "print one JSON object on standard output, also on failure"},                         \
    {.name = "verbose", .letter = 'v', .kind = ARGS_FLAG,                                          \
     .offset = offsetof(type, common.verbose), .help = "say more on standard error"},              \
    {.name = "quiet", .letter = 'q', .kind = ARGS_FLAG, .offset = offsetof(type, common.quiet),    \
     .help = "say nothing but errors on standard error"},                                          \
    {.name = "color", .value = "auto|always|never", .kind = ARGS_CHOICE,                           \
     .offset = offsetof(type, common.color),                                                       \
     .help = "colour in errors and hints (default auto: on a terminal)"},                          \
    {.group = "Help", .letter = 'h', .kind = ARGS_FLAG, .offset = offsetof(type, common.brief),    \
     .help = "print a short help with examples"},                                                  \
    {.name = "help", .kind = ARGS_FLAG, .offset = offsetof(type, common.help),                     \
     .help = "print this help"},                                                                   \
    {.name = "version", .letter = 'V', .kind = ARGS_FLAG,                                          \
     .offset = offsetof(type, common.version), .help = "print the version"}
/* clang-format on */

typedef struct args_program {
    const char *name;
    const char *brief; /* all that -h prints */
    const char *usage; /* the head of --help */
    const char *more;  /* the end of --help */
    const args_option *options;
    size_t common; /* offset of the args_common */
} args_program;

enum { ARGS_GO_ON = 0, ARGS_DONE = 1, ARGS_WRONG = -1 };

/* Fills config, which holds the defaults, from the command line; optind is then the first operand.
 * ARGS_DONE: help or version was printed. ARGS_WRONG: an error was reported. */
int args_parse(const args_program *program, int argc, char **argv, void *config);

/* Reads a number with its unit. 0; -1: not one. Values over max are -2, under min -3. */
int args_read_duration(const char *text, uint64_t min, uint64_t max, uint32_t *ms);
int args_read_size(const char *text, uint64_t min, uint64_t max, uint64_t *bytes);

#endif
