/* SPDX-License-Identifier: MIT */
#include "args.h"

#include <ctype.h>
#include <gate/gate.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

enum { OPTIONS_MAX = 48, LONG_BASE = 256, HELP_COLUMN = 28 };

/* ---- Values ------------------------------------------------------------------------------- */

enum { READ_WRONG = -1, READ_BIG = -2, READ_SMALL = -3, WHOLE_MAX = 1000000000 };

/* Digits at *text, which moves behind them. Strict: no sign, no space, and no more than 1e9. */
static int read_digits(const char **text, uint64_t *value)
{
    if (!isdigit((unsigned char)**text))
        return READ_WRONG;
    *value = 0;
    for (; isdigit((unsigned char)**text); (*text)++) {
        *value = *value * 10 + (uint64_t)(**text - '0');
        if (*value > WHOLE_MAX)
            *value = WHOLE_MAX + 1; /* over every limit, whatever follows */
    }
    return 0;
}

/* The digits behind a point, in billionths; those further behind count as nothing. */
static int read_fraction(const char **text, uint64_t *billionths)
{
    uint64_t weight = 100000000;

    *billionths = 0;
    if (**text != '.')
        return 0;
    (*text)++;
    if (!isdigit((unsigned char)**text))
        return READ_WRONG;
    for (; isdigit((unsigned char)**text); (*text)++, weight /= 10)
        *billionths += weight * (uint64_t)(**text - '0');
    return 0;
}

static uint64_t duration_unit(const char *text)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"", 1000}, {"s", 1000}, {"ms", 1}, {"m", 60000}, {"h", 3600000}};

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(text, units[i].name) == 0)
            return units[i].ms;
    return 0;
}

static int check_range(uint64_t value, uint64_t min, uint64_t max)
{
    return value > max ? READ_BIG : value < min ? READ_SMALL : 0;
}

int args_read_duration(const char *text, uint64_t min, uint64_t max, uint32_t *ms)
{
    uint64_t whole, billionths, unit, value;
    int result;

    if (max == ARGS_OR_NEVER && strcmp(text, "never") == 0) {
        *ms = GATE_NEVER;
        return 0;
    }
    if (read_digits(&text, &whole) != 0 || read_fraction(&text, &billionths) != 0)
        return READ_WRONG;
    unit = duration_unit(text);
    if (unit == 0)
        return READ_WRONG;
    value = whole * unit + (billionths * unit + 999999999) / 1000000000;
    result = check_range(value, min, max < ARGS_LONGEST ? max : ARGS_LONGEST);
    if (result == 0)
        *ms = (uint32_t)value;
    return result;
}

int args_read_size(const char *text, uint64_t min, uint64_t max, uint64_t *bytes)
{
    uint64_t value;
    int shift = 0, result;

    if (read_digits(&text, &value) != 0)
        return READ_WRONG;
    if (*text != '\0') {
        const char *unit = strchr("KMG", *text++);

        if (unit == NULL || *text != '\0')
            return READ_WRONG;
        shift = *unit == 'K' ? 10 : *unit == 'M' ? 20 : 30;
    }
    value <<= shift;
    result = check_range(value, min, max);
    if (result == 0)
        *bytes = value;
    return result;
}

static int read_number(const char *text, uint64_t min, uint64_t max, uint32_t *number)
{
    uint64_t value;
    int result;

    if (read_digits(&text, &value) != 0 || *text != '\0')
        return READ_WRONG;
    result = check_range(value, min, max);
    if (result == 0)
        *number = (uint32_t)value;
    return result;
}

static int read_choice(const char *allowed, const char *text, const char **choice)
{
    size_t len = strcspn(text, "|");

    if (text[len] != '\0')
        return READ_WRONG; /* several of them at once */
    for (const char *at = allowed; at != NULL; at = strchr(at, '|')) {
        at += *at == '|';
        if (len > 0 && strncmp(at, text, len) == 0 && (at[len] == '|' || at[len] == '\0')) {
            *choice = text;
            return 0;
        }
    }
    return READ_WRONG;
}

static int append_item(args_list *list, const char *text)
{
    if (list->count == ARGS_LIST_MAX)
        return READ_BIG;
    list->item[list->count++] = text;
    return 0;
}

/* ---- Setting ------------------------------------------------------------------------------ */

static int report_value(const args_option *option, const char *text, int why)
{
    static const char *const hints[] = {
        [ARGS_DURATION] = "write 5 or 2.5s for seconds, 500ms, 1m, 1h",
        [ARGS_NUMBER] = "write a whole number",
        [ARGS_SIZE] = "write bytes, or 64K, 16M, 1G",
    };

    if (option->kind == ARGS_LIST)
        report_error("--%s: '%s' is one too many", option->name, text);
    else if (why == READ_BIG)
        report_error("--%s: '%s' is too large", option->name, text);
    else if (why == READ_SMALL)
        report_error("--%s: '%s' is too small", option->name, text);
    else
        report_error("--%s: '%s' is not a valid value", option->name, text);
    if (option->kind == ARGS_LIST)
        report_hint("it can be given %d times", ARGS_LIST_MAX);
    else if (option->kind == ARGS_CHOICE)
        report_hint("write one of %s", option->value);
    else if (why == READ_SMALL && option->max == ARGS_OR_NEVER)
        report_hint("write never for no limit");
    else if (why == READ_WRONG)
        report_hint("%s", hints[option->kind]);
    return ARGS_WRONG;
}

static int set_option(const args_option *option, const char *text, void *config)
{
    char *place = (char *)config + option->offset;
    int result = 0;

    switch (option->kind) {
    case ARGS_FLAG:
        ++*(int *)(void *)place;
        break;
    case ARGS_TEXT:
        *(const char **)(void *)place = text;
        break;
    case ARGS_LIST:
        result = append_item((args_list *)(void *)place, text);
        break;
    case ARGS_CHOICE:
        result = read_choice(option->value, text, (const char **)(void *)place);
        break;
    case ARGS_DURATION:
        result = args_read_duration(text, option->min, option->max, (uint32_t *)(void *)place);
        break;
    case ARGS_NUMBER:
        result = read_number(text, option->min, option->max, (uint32_t *)(void *)place);
        break;
    case ARGS_SIZE:
        result = args_read_size(text, option->min, option->max, (uint64_t *)(void *)place);
        break;
    case ARGS_END:
        break;
    }
    return result == 0 ? ARGS_GO_ON : report_value(option, text, result);
}

/* ---- Help --------------------------------------------------------------------------------- */

static void print_text(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text == '\n')
            printf("\n%*s", HELP_COLUMN, "");
        else
            putchar(*text);
    putchar('\n');
}

static void print_option(const args_option *option)
{
    char left[96];
    int len = 0;

    if (option->group != NULL)
        printf("\n%s:\n", option->group);
    if (option->letter != 0)
        len = snprintf(left, sizeof(left), "  -%c%s", option->letter,
                       option->name != NULL ? ", " : "");
    else
        len = snprintf(left, sizeof(left), "      ");
    if (option->name != NULL)
        len += snprintf(left + len, sizeof(left) - (size_t)len, "--%s", option->name);
    if (option->value != NULL)
        len += snprintf(left + len, sizeof(left) - (size_t)len, " %s", option->value);
    if (len > HELP_COLUMN - 2)
        printf("%s\n%*s", left, HELP_COLUMN, "");
    else
        printf("%-*s", HELP_COLUMN, left);
    print_text(option->help);
}

static int print_help(const args_program *program, const args_common *common)
{
    if (common->version) {
        printf("%s %s\n", program->name, gate_version());
    } else if (common->brief) {
        fputs(program->brief, stdout);
    } else {
        fputs(program->usage, stdout);
        for (const args_option *option = program->options; option->kind != ARGS_END; option++)
            print_option(option);
        fputs(program->more, stdout);
    }
    return ARGS_DONE;
}

/* ---- Parsing ------------------------------------------------------------------------------ */

typedef struct getopt_tables {
    struct option options[OPTIONS_MAX + 1];
    char letters[2 * OPTIONS_MAX + 2];
} getopt_tables;

static void fill_tables(getopt_tables *tables, const args_option *options)
{
    char *letter = tables->letters;
    struct option *row = tables->options;

    memset(tables, 0, sizeof(*tables));
    *letter++ = ':';
    for (int i = 0; options[i].kind != ARGS_END && i < OPTIONS_MAX; i++) {
        int has_value = options[i].value != NULL ? required_argument : no_argument;

        if (options[i].name != NULL)
            *row++ = (struct option){options[i].name, has_value, NULL, LONG_BASE + i};
        if (options[i].letter != 0) {
            *letter++ = (char)options[i].letter;
            if (has_value == required_argument)
                *letter++ = ':';
        }
    }
}

static const args_option *find_option(const args_option *options, int found)
{
    if (found >= LONG_BASE)
        return &options[found - LONG_BASE];
    while (options->kind != ARGS_END && options->letter != found)
        options++;
    return options;
}

/* What getopt_long did not like: it leaves the option in optopt, or 0 where the name is unknown. */
static int report_unknown(const args_program *program, int found, char **argv)
{
    const char *word = argv[optind - 1];

    if (found == ':' && optopt < LONG_BASE)
        report_error("-%c needs a value", optopt);
    else if (found == ':')
        report_error("%s needs a value", word);
    else if (optopt >= LONG_BASE)
        report_error("%s takes no value", word);
    else if (optopt != 0)
        report_error("unknown option '-%c'", optopt);
    else
        report_error("unknown or ambiguous option '%s'", word);
    report_hint("%s --help lists the options", program->name);
    return ARGS_WRONG;
}

/* A wrong option may stand before --json: the answer to it is an object all the same. */
static int wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return 1;
    return 0;
}

static void apply_common(const args_common *common)
{
    if (common->color != NULL)
        report_set_color(common->color);
    if (common->quiet)
        report_set_level(REPORT_QUIET);
    else if (common->verbose)
        report_set_level(REPORT_VERBOSE);
}

int args_parse(const args_program *program, int argc, char **argv, void *config)
{
    args_common *common = (args_common *)(void *)((char *)config + program->common);
    getopt_tables tables;
    int found;

    fill_tables(&tables, program->options);
    opterr = 0;
    while ((found = getopt_long(argc, argv, tables.letters, tables.options, NULL)) != -1) {
        int wrong = found == '?' || found == ':'
                        ? report_unknown(program, found, argv)
                        : set_option(find_option(program->options, found), optarg, config);

        if (wrong != 0) {
            common->json = wants_json(argc, argv);
            return ARGS_WRONG;
        }
        apply_common(common);
    }
    if (common->version || common->brief || common->help)
        return print_help(program, common);
    return ARGS_GO_ON;
}
