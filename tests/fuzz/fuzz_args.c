/* SPDX-License-Identifier: MIT */
/* A command line, one argument a line. Each is also read as a duration, a size and a framing. */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "fuzz.h"

enum { ARGUMENTS_MAX = 80 };

typedef struct settings {
    args_common common;
    args_list list;
    const char *text;
    const char *choice;
    uint64_t size;
    uint32_t time_ms;
    uint32_t timeout_ms;
    uint32_t number;
    int flag;
} settings;

#define PLACE(member) .offset = offsetof(settings, member)

/* clang-format off */
static const args_option options[] = {
    {.name = "listen", .letter = 'l', .value = "ADDR", .kind = ARGS_LIST, PLACE(list),
     .help = "a list"},
    {.name = "text", .value = "TEXT", .kind = ARGS_TEXT, PLACE(text), .help = "a text\nof two"},
    {.name = "io", .value = "auto|io_uring|epoll", .kind = ARGS_CHOICE, PLACE(choice),
     .help = "a choice"},
    {.group = "Values", .name = "size", .value = "SIZE", .kind = ARGS_SIZE, PLACE(size), .min = 1,
     .max = 1 << 30, .help = "a size"},
    {.name = "delay", .value = "TIME", .kind = ARGS_DURATION, PLACE(time_ms), .min = 10,
     .max = ARGS_LONGEST, .help = "a time"},
    {.name = "timeout", .value = "TIME", .kind = ARGS_DURATION, PLACE(timeout_ms), .min = 1,
     .max = ARGS_OR_NEVER, .help = "a time, or never"},
    {.name = "number", .letter = 'n', .value = "N", .kind = ARGS_NUMBER, PLACE(number), .min = 2,
     .max = 1000000000, .help = "a number"},
    {.name = "once", .letter = 'o', .kind = ARGS_FLAG, PLACE(flag), .help = "a flag"},
    ARGS_COMMON(settings),
    {.kind = ARGS_END},
};
/* clang-format on */

static const args_program program = {
    "fuzz", "brief\n", "usage\n", "more\n", options, offsetof(settings, common),
};

/* What the parser prints is of no interest. */
static void silence(void)
{
    static FILE *nowhere;

    if (nowhere != NULL)
        return;
    nowhere = fopen("/dev/null", "w");
    CHECK(nowhere != NULL);
    fflush(stdout);
    stdout = nowhere;
    stderr = nowhere;
}

static int is_choice(const char *text)
{
    return strcmp(text, "auto") == 0 || strcmp(text, "io_uring") == 0 ||
           strcmp(text, "epoll") == 0 || strcmp(text, "always") == 0 || strcmp(text, "never") == 0;
}

/* Zero is the default, which is under each minimum. */
static void check_settings(const settings *set)
{
    CHECK(set->size <= 1 << 30);
    CHECK(set->time_ms == 0 || (set->time_ms >= 10 && set->time_ms <= ARGS_LONGEST));
    CHECK(set->timeout_ms <= ARGS_LONGEST || set->timeout_ms == GATE_NEVER);
    CHECK(set->number == 0 || (set->number >= 2 && set->number <= 1000000000));
    CHECK(set->choice == NULL || is_choice(set->choice));
    CHECK(set->common.color == NULL || is_choice(set->common.color));
    CHECK(set->list.count <= ARGS_LIST_MAX);
    for (size_t i = 0; i < set->list.count; i++)
        CHECK(set->list.item[i] != NULL);
}

static void check_parse(int argc, char **argv)
{
    settings set = {0};

    optind = 0; /* getopt_long(3): start anew */
    int result = args_parse(&program, argc, argv, &set);
    CHECK(result == ARGS_GO_ON || result == ARGS_DONE || result == ARGS_WRONG);
    check_settings(&set);
    CHECK(optind >= 1 && optind <= argc);
    int asked = set.common.help || set.common.brief || set.common.version;
    CHECK(result == ARGS_WRONG || (result == ARGS_DONE) == asked);
}

static void check_duration(const char *text, uint64_t max)
{
    char written[32];
    uint32_t ms = 12345, again = 0;

    int result = args_read_duration(text, 5, max, &ms);
    if (result != 0) {
        CHECK(result >= -3 && result <= -1 && ms == 12345);
        return;
    }
    if (ms == GATE_NEVER) {
        CHECK(max == ARGS_OR_NEVER && strcmp(text, "never") == 0);
        return;
    }
    CHECK(ms >= 5 && ms <= max && ms <= ARGS_LONGEST);
    (void)snprintf(written, sizeof(written), "%u.%03us", ms / 1000, ms % 1000);
    CHECK(args_read_duration(written, 5, max, &again) == 0 && again == ms);
}

static void check_size(const char *text)
{
    char written[32];
    uint64_t bytes = 12345, again = 0;

    int result = args_read_size(text, 3, UINT64_C(1) << 40, &bytes);
    if (result != 0) {
        CHECK(result >= -3 && result <= -1 && bytes == 12345);
        return;
    }
    CHECK(bytes >= 3 && bytes <= UINT64_C(1) << 40);
    /* Bare numbers end at a billion. */
    int scaled = bytes > 1000000000 && bytes % 1024 == 0;
    (void)snprintf(written, sizeof(written), "%llu%s",
                   (unsigned long long)(scaled ? bytes / 1024 : bytes), scaled ? "K" : "");
    if (scaled && bytes / 1024 > 1000000000)
        return;
    CHECK(args_read_size(written, 3, UINT64_C(1) << 40, &again) == 0 && again == bytes);
}

static void check_framing(const char *text)
{
    gate_codec codec;

    if (gate_codec_parse(&codec, text) != 0)
        return;
    CHECK(codec.size == sizeof(codec) && codec.decode != NULL);
    CHECK(codec.number <= 24 || strncmp(text, "fixed:", 6) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *line[ARGUMENTS_MAX + 1], *argv[ARGUMENTS_MAX + 2] = {0};
    int count = 0;

    silence();
    while (size > 0 && count < ARGUMENTS_MAX) {
        const uint8_t *end = memchr(data, '\n', size);
        size_t len = end != NULL ? (size_t)(end - data) : size;
        line[count++] = fuzz_text(data, len);
        size_t used = end != NULL ? len + 1 : len;
        data += used;
        size -= used;
    }
    argv[0] = (char[]){"fuzz"};
    for (int i = 0; i < count; i++) {
        check_duration(line[i], 60000);
        check_duration(line[i], ARGS_OR_NEVER);
        check_size(line[i]);
        check_framing(line[i]);
        argv[i + 1] = line[i];
    }
    check_parse(count + 1, argv); /* which reorders argv */
    while (count > 0)
        free(line[--count]);
    return 0;
}
