/* SPDX-License-Identifier: MIT */
/* gate-client: asks once, prints the reply. */

#include <errno.h>
#include <gate/gate.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "args.h"
#include "exit.h"
#include "json.h"
#include "report.h"

typedef struct settings {
    args_common common;
    const char *framing;
    const char *expect;
    uint64_t reply_max;
    uint32_t timeout_ms;
    uint32_t delay_ms;
    uint32_t retry;
    int timing;
    int hex;
} settings;

#define PLACE(member) .offset = offsetof(settings, member)

/* clang-format off */
static const args_option options[] = {
    {.group = "What", .name = "framing", .value = "NAME", .kind = ARGS_TEXT, PLACE(framing),
     .help = REPORT_FRAMINGS "\n(default raw)"},
    {.name = "expect", .value = "TEXT", .kind = ARGS_TEXT, PLACE(expect),
     .help = "exit 1 if the reply is another"},
    {.name = "max-reply", .value = "SIZE", .kind = ARGS_SIZE, PLACE(reply_max), .min = 1,
     .max = 1 << 30, .help = "bytes of a reply (default 1M)"},
    {.group = "Time", .name = "timeout", .value = "TIME", .kind = ARGS_DURATION, PLACE(timeout_ms),
     .min = 1, .max = ARGS_OR_NEVER,
     .help = "for look-up, connect, request and reply together,\nor never (default 5s)"},
    {.name = "delay", .value = "TIME", .kind = ARGS_DURATION, PLACE(delay_ms), .max = ARGS_LONGEST,
     .help = "wait between connect and request (default 0)"},
    {.name = "retry", .value = "N", .kind = ARGS_NUMBER, PLACE(retry), .max = 1000000,
     .help = "try again, but only if nothing was sent (default 0)"},
    {.group = "Reply", .name = "hex", .kind = ARGS_FLAG, PLACE(hex),
     .help = "print the reply as hexadecimal digits"},
    {.name = "timing", .kind = ARGS_FLAG, PLACE(timing),
     .help = "print nanoseconds on standard error"},
    ARGS_COMMON(settings),
    {.kind = ARGS_END},
};
/* clang-format on */

static const char brief[] =
    "Examples:\n"
    "  gate-client                           send 1 to 127.0.0.1:9001\n"
    "  gate-client --delay 2 127.0.0.1:9001 1      the tutorial's client\n"
    "  gate-client localhost:9001 hello --expect 'please go out!'\n"
    "  gate-client --framing line unix:/run/door - < request\n"
    "\n"
    "Sends MESSAGE to ADDR and prints the reply. - reads standard input, and so does\n"
    "no MESSAGE where that is a file or a pipe; else 1 is sent.\n"
    "  --timeout TIME      for everything together (default 5s)\n"
    "  --expect TEXT       exit 1 if the reply is another\n"
    "  --json              reply, times and outcome as JSON\n"
    "gate-client --help lists everything.\n";

static const char usage[] =
    "Usage: gate-client [OPTION]... [ADDR [MESSAGE|-]]\n"
    "Sends MESSAGE to ADDR (default 127.0.0.1:9001) and prints the reply. ADDR is\n"
    "host:port, :port, [::1]:9001, unix:/path or unix:@name. The MESSAGE - is read from\n"
    "standard input, and so is one that is left out where that is a file or a pipe; else\n"
    "it is 1.\n";

static const char more[] =
    "\n"
    "TIME is in seconds, or with a unit: 500ms, 2.5s, 1m, 1h. SIZE is in bytes, or with\n"
    "K, M or G. A newline is added to the reply on a terminal only.\n"
    "\n"
    "Exit codes: 0 answered, 1 not the expected reply, 2 usage, 3 name look-up, 4 cannot\n"
    "connect, 5 timeout, 6 closed early or protocol, 8 local error.\n";

static const args_program program = {
    "gate-client", brief, usage, more, options, offsetof(settings, common),
};

/* One run: what to send where, and what came of it. */
typedef struct exchange {
    const settings *set;
    const char *target; /* as it was written, with the port */
    char shown[sizeof((gate_addr *)0)->host + 16];
    const char *word; /* the message on the command line, or NULL */
    int portless;     /* the address was written without a port */
    gate_addr addr;
    gate_codec codec;
    char *request;
    size_t request_len;
    char *reply;
    size_t reply_len;
    uint32_t attempts;
    int code; /* of the library */
    int64_t connect_ns;
    int64_t exchange_ns;
} exchange;

/* ---- Time ---------------------------------------------------------------------------------- */

static int64_t read_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void wait_ms(uint32_t ms)
{
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

    while (ms > 0 && clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
        ;
}

/* ---- The exchange --------------------------------------------------------------------------- */

/* At least a millisecond; -1 where there is no limit. */
static int left_of(uint32_t timeout_ms, int64_t spent_ns)
{
    int64_t left_ms = (int64_t)timeout_ms - spent_ns / 1000000;

    if (timeout_ms == GATE_NEVER)
        return -1;
    return left_ms > 1 ? (int)left_ms : 1;
}

/* Connect and call share one deadline; the delay between them doesn't count. */
static void try_once(exchange *ex)
{
    const settings *set = ex->set;
    gate_client_options wanted = {
        .size = sizeof(wanted), .timeout_ms = set->timeout_ms, .codec = &ex->codec};
    gate_client *client = NULL;
    int64_t start = read_clock();
    int left_ms;

    ex->attempts++;
    ex->reply_len = 0;
    ex->exchange_ns = -1;
    ex->code = gate_client_open(&client, ex->addr.host, (uint16_t)ex->addr.port, &wanted);
    ex->connect_ns = read_clock() - start;
    if (ex->code < 0)
        return;
    left_ms = left_of(set->timeout_ms, ex->connect_ns);
    wait_ms(set->delay_ms);
    start = read_clock();
    ex->reply_len = (size_t)set->reply_max;
    ex->code =
        gate_client_call(client, ex->request, ex->request_len, ex->reply, &ex->reply_len, left_ms);
    ex->exchange_ns = read_clock() - start;
    gate_client_close(client);
}

/* Only a request that never left is sent again, and not where the request itself is the fault. */
static int may_retry(const exchange *ex)
{
    return ex->code < 0 && ex->attempts <= ex->set->retry &&
           gate_outcome(ex->code) == GATE_NOT_SENT && report_exit_code(ex->code) != GATE_EXIT_USAGE;
}

static void try_again(exchange *ex)
{
    uint32_t pause_ms = 100;

    try_once(ex);
    while (may_retry(ex)) {
        report_detail("%s: %s; trying again in %u ms", ex->target, report_reason(ex->code),
                      pause_ms);
        wait_ms(pause_ms);
        pause_ms = pause_ms < 1600 ? pause_ms * 2 : pause_ms;
        try_once(ex);
    }
}

/* ---- What went wrong ------------------------------------------------------------------------ */

static int report_sent(const exchange *ex)
{
    report_error("no whole reply from %s: %s", ex->target, report_reason(ex->code));
    if (ex->code == GATE_ECLOSED)
        report_hint("the server closed without an answer: it probably timed out while it waited "
                    "for the request, is stopping, or uses another --framing");
    else if (ex->code == GATE_ELATE)
        report_hint("the request was sent and may have been executed; --timeout gives more time");
    else if (ex->code == GATE_EROOM || ex->code == GATE_ETOOBIG)
        report_hint("--max-reply makes more room");
    else if (ex->code == GATE_EFRAME)
        report_hint("the server may use another --framing");
    else if (ex->code == GATE_ETRUNCATED)
        report_hint("the reply ended in the middle: the server may use another --framing");
    return report_exit_code(ex->code);
}

static int report_failure(const exchange *ex)
{
    const char *reason = report_reason(ex->code);

    if (gate_outcome(ex->code) != GATE_NOT_SENT)
        return report_sent(ex);
    if (ex->code == -EMSGSIZE || ex->code == -EBADMSG) {
        report_error("framing %s cannot carry this message: %s", ex->set->framing, reason);
        report_hint("choose another --framing or message");
    } else {
        report_error("cannot connect to %s: %s", ex->target, reason);
        if (ex->code == -ECONNREFUSED || ex->code == GATE_ESELF)
            report_hint("nobody listens there: is gate-server running?");
        else if (ex->code == GATE_ENAME || ex->code == GATE_ENAMELATER)
            report_hint("check with getent hosts %s", ex->addr.host);
        else if (ex->code == -ENOENT)
            report_hint("the socket's file does not exist: is gate-server running?");
        else if (ex->code == -ETIMEDOUT)
            report_hint("--timeout gives more time");
        else if (ex->code == -EAGAIN)
            report_hint("no thread could be started to look the name up (see ulimit -u): an "
                        "address in numbers needs none");
        else if (ex->code == -EINVAL && strncmp(ex->addr.host, "fe80:", 5) == 0)
            report_hint("a link-local address needs its interface: write [%s%%eth0]:%u",
                        ex->addr.host, ex->addr.port);
    }
    return report_exit_code(ex->code);
}

static int check_expected(const exchange *ex)
{
    const char *expect = ex->set->expect;

    if (expect == NULL ||
        (strlen(expect) == ex->reply_len && memcmp(expect, ex->reply, ex->reply_len) == 0))
        return GATE_EXIT_DONE;
    report_error("the reply is not '%s'", expect);
    report_hint("the reply is '%.*s'", ex->reply_len > 80 ? 80 : (int)ex->reply_len, ex->reply);
    return GATE_EXIT_REJECTED;
}

/* ---- Results -------------------------------------------------------------------------------- */

static void print_reply(const exchange *ex)
{
    if (ex->set->hex) {
        for (size_t i = 0; i < ex->reply_len; i++)
            printf("%02x", (unsigned)(unsigned char)ex->reply[i]);
        putchar('\n');
        return;
    }
    fwrite(ex->reply, 1, ex->reply_len, stdout);
    if (isatty(STDOUT_FILENO) && (ex->reply_len == 0 || ex->reply[ex->reply_len - 1] != '\n'))
        putchar('\n');
}

static void print_timing(const exchange *ex)
{
    fprintf(stderr, "connect %lld ns\n", (long long)ex->connect_ns);
    if (ex->exchange_ns >= 0)
        fprintf(stderr, "exchange %lld ns\ntotal %lld ns\n", (long long)ex->exchange_ns,
                (long long)(ex->connect_ns + ex->exchange_ns));
}

static void print_time(json *object, const char *name, int64_t ns)
{
    if (ns < 0)
        json_null(object, name);
    else
        json_number(object, name, ns);
}

static void print_answer(json *object, const exchange *ex)
{
    static const char *const outcomes[] = {"answered", "not_sent", "maybe_executed"};

    json_text(object, "outcome", outcomes[gate_outcome(ex->code)]);
    json_number(object, "code", ex->code);
    json_count(object, "attempts", ex->attempts);
    if (ex->reply_len == 0 && ex->code != 0)
        json_null(object, "reply");
    else
        json_bytes(object, "reply", ex->reply, ex->reply_len);
    json_hex(object, "reply_hex", ex->reply, ex->reply_len);
    json_count(object, "reply_bytes", ex->reply_len);
    print_time(object, "connect_ns", ex->connect_ns);
    print_time(object, "exchange_ns", ex->exchange_ns);
    print_time(object, "total_ns", ex->exchange_ns < 0 ? -1 : ex->connect_ns + ex->exchange_ns);
}

/* A command line that is wrong has no attempt: then the members of an answer are null. */
static void print_json(const exchange *ex, int exit_code)
{
    static const char *const members[] = {"outcome",    "code",        "attempts",
                                          "reply",      "reply_hex",   "reply_bytes",
                                          "connect_ns", "exchange_ns", "total_ns"};
    json object;

    json_begin(&object, stdout);
    json_number(&object, "schema_version", 1);
    json_text(&object, "program", program.name);
    json_text(&object, "version", gate_version());
    json_text(&object, "address", ex->target);
    if (ex->attempts > 0)
        print_answer(&object, ex);
    else
        for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
            json_null(&object, members[i]);
    json_number(&object, "exit", exit_code);
    report_json(&object);
    json_end(&object);
}

/* ---- Getting ready -------------------------------------------------------------------------- */

/* Does the framing carry the first len bytes of the request? */
static int is_carried(const exchange *ex, size_t len)
{
    gate_wrap wrap;

    return ex->codec.encode == NULL ||
           ex->codec.encode(&ex->codec, (const uint8_t *)ex->request, len, &wrap) == 0;
}

/* Lines of text, as other programs write them, end with a line feed. A framing that has no place
 * for it says by itself where the message ends. */
static void drop_line_end(exchange *ex)
{
    size_t len = ex->request_len;

    if (len == 0 || ex->request[len - 1] != '\n' || is_carried(ex, len))
        return;
    if (is_carried(ex, len - 1))
        ex->request_len = len - 1;
    else if (len > 1 && ex->request[len - 2] == '\r' && is_carried(ex, len - 2))
        ex->request_len = len - 2;
}

static int read_input(exchange *ex)
{
    size_t room = 0;

    for (;;) {
        size_t got;

        if (ex->request_len == room) {
            char *larger = realloc(ex->request, room = room * 2 + 4096);

            if (larger == NULL)
                return -ENOMEM;
            ex->request = larger;
        }
        got = fread(ex->request + ex->request_len, 1, room - ex->request_len, stdin);
        ex->request_len += got;
        if (got == 0)
            return ferror(stdin) ? -errno : 0;
    }
}

/* Not a terminal, where people would wait for an answer; and not /dev/null. */
static int has_input(void)
{
    struct stat what;

    return !report_was_closed(STDIN_FILENO) && fstat(STDIN_FILENO, &what) == 0 &&
           (S_ISREG(what.st_mode) || S_ISFIFO(what.st_mode) || S_ISSOCK(what.st_mode));
}

static int take_word(exchange *ex, const char *word)
{
    free(ex->request);
    ex->request = strdup(word);
    ex->request_len = strlen(word);
    return ex->request == NULL ? -ENOMEM : 0;
}

static int take_message(exchange *ex)
{
    int dash = ex->word != NULL && strcmp(ex->word, "-") == 0;
    int result = 0;

    if (dash && report_was_closed(STDIN_FILENO))
        result = -EBADF;
    else if (dash || (ex->word == NULL && has_input()))
        result = read_input(ex);
    if (result == 0 && !dash && ex->request_len == 0)
        result = take_word(ex, ex->word != NULL ? ex->word : "1");
    else if (result == 0)
        drop_line_end(ex);
    ex->reply = malloc((size_t)ex->set->reply_max);
    if (result == 0 && ex->reply == NULL)
        result = -ENOMEM;
    if (result == 0)
        return 0;
    report_error("cannot read the message: %s",
                 result == -EBADF ? "standard input is closed" : strerror(-result));
    return GATE_EXIT_LOCAL;
}

/* With the port that was left out, since it says what was tried. */
static void show_address(exchange *ex)
{
    const gate_addr *addr = &ex->addr;

    if (addr->kind == GATE_ADDR_TCP) {
        ex->portless = ex->target[strcspn(ex->target, "]:")] == '\0' ||
                       ex->target[strlen(ex->target) - 1] == ']';
        snprintf(ex->shown, sizeof(ex->shown), strchr(addr->host, ':') ? "[%s]:%u" : "%s:%u",
                 addr->host, addr->port);
        ex->target = ex->shown;
    }
}

/* gate-client HOST PORT is what other programs take. */
static int is_port(const exchange *ex, const char *word)
{
    return ex->portless && word[strspn(word, "0123456789")] == '\0' && strlen(word) >= 2 &&
           strlen(word) <= 5;
}

static void hint_at_port(const exchange *ex, const char *port)
{
    int is_ipv6 = strchr(ex->addr.host, ':') != NULL;

    report_hint("%s is taken for the message: for that port write %s%s%s:%s", port,
                is_ipv6 ? "[" : "", ex->addr.host, is_ipv6 ? "]" : "", port);
}

/* A host that was left out, "*" for a server, is this machine for a client. */
static int take_address(exchange *ex)
{
    const char *why = NULL;
    int result = gate_addr_parse(&ex->addr, ex->target, 9001, &why);

    if (result == 0 && ex->addr.kind != GATE_ADDR_TCP && ex->addr.kind != GATE_ADDR_UNIX) {
        result = -EINVAL;
        why = "a client connects to host:port, unix:/path or unix:@name";
    } else if (result == 0 && ex->addr.kind == GATE_ADDR_TCP && ex->addr.port == 0) {
        result = -EINVAL;
        why = "nobody listens on port 0: write a port from 1 to 65535";
    }
    if (result < 0) {
        report_error("'%s' is not an address", ex->target);
        report_hint("%s", why);
        return GATE_EXIT_USAGE;
    }
    if (strcmp(ex->addr.host, "*") == 0)
        strcpy(ex->addr.host, "localhost");
    show_address(ex);
    return 0;
}

static int take_operands(exchange *ex, int count, char **operands)
{
    int result;

    if (count == 1 && strcmp(operands[0], "-") == 0)
        ex->word = operands[0];
    else if (count > 0)
        ex->target = operands[0];
    if (count > 1)
        ex->word = operands[1];
    result = take_address(ex);
    if (result == 0 && count > 2) {
        report_error("unexpected operand '%s'", operands[2]);
        if (is_port(ex, ex->word))
            hint_at_port(ex, ex->word);
        else
            report_hint("quote a message of several words");
        result = GATE_EXIT_USAGE;
    }
    if (result == 0 && gate_codec_parse(&ex->codec, ex->set->framing) < 0)
        result = report_framing(ex->set->framing);
    return result != 0 ? result : take_message(ex);
}

static int ask(exchange *ex)
{
    int result;

    try_again(ex);
    if (!ex->set->common.json && (ex->code == 0 || ex->reply_len > 0))
        print_reply(ex);
    if (ex->set->timing)
        print_timing(ex);
    result = ex->code < 0 ? report_failure(ex) : check_expected(ex);
    if (ex->word != NULL && is_port(ex, ex->word))
        hint_at_port(ex, ex->word);
    return result;
}

int main(int argc, char **argv)
{
    static settings set = {.framing = "raw", .timeout_ms = 5000, .reply_max = 1 << 20};
    exchange ex = {.set = &set, .target = "127.0.0.1:9001"};
    int result;

    if (report_fill_standard() != 0)
        return GATE_EXIT_LOCAL;
    report_begin(program.name);
    result = args_parse(&program, argc, argv, &set);
    if (result == ARGS_DONE)
        return report_finish(GATE_EXIT_DONE);
    if (result == ARGS_GO_ON && report_was_closed(STDOUT_FILENO)) {
        report_error("standard output is closed, where the reply would go");
        return GATE_EXIT_LOCAL;
    }
    result =
        result == ARGS_GO_ON ? take_operands(&ex, argc - optind, argv + optind) : GATE_EXIT_USAGE;
    if (result == 0)
        result = ask(&ex);
    if (set.common.json)
        print_json(&ex, result);
    free(ex.request);
    free(ex.reply);
    return report_finish(result);
}
