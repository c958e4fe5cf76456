/* SPDX-License-Identifier: MIT */
/* gate-server: the tutorial's server, from the command line. */

#include <errno.h>
#include <gate/gate.h>
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "args.h"
#include "counters.h"
#include "descriptors.h"
#include "exit.h"
#include "json.h"
#include "listen.h"
#include "log.h"
#include "report.h"
#include "sandbox.h"
#include "user.h"

typedef struct settings {
    args_common common;
    args_list listen;
    args_list accept;
    const char *welcome;
    const char *reject;
    const char *framing;
    const char *io;
    const char *log;
    const char *user;
    const char *unix_mode;
    const char *unix_owner;
    uint64_t request_max;
    uint64_t output_max;
    uint64_t rate_min;
    uint64_t buffers_max;
    uint32_t backlog;
    uint32_t timeout_ms;
    uint32_t idle_timeout_ms;
    uint32_t write_timeout_ms;
    uint32_t drain_timeout_ms;
    uint32_t workers;
    uint32_t connections_max;
    uint32_t peer_connections_max;
    int defer_accept;
    int once;
    int sandbox;
} settings;

#define PLACE(member) .offset = offsetof(settings, member)
#define TIMEOUT .value = "TIME", .kind = ARGS_DURATION, .min = 1, .max = ARGS_OR_NEVER

/* clang-format off */
static const args_option options[] = {
    {.group = "Where", .name = "listen", .letter = 'l', .value = "ADDR", .kind = ARGS_LIST,
     PLACE(listen), .help = "listen on host:port, :port, [::1]:9001, unix:/path,\n"
                            "unix:@name, fd:3 or systemd:NAME; may be given again\n"
                            "(default 0.0.0.0:9001)"},
    {.name = "backlog", .value = "N", .kind = ARGS_NUMBER, PLACE(backlog), .min = 1, .max = 65535,
     .help = "connections that may wait to be accepted (default the\n"
             "kernel's largest; the tutorial's server has 5)"},
    {.name = "defer-accept", .kind = ARGS_FLAG, PLACE(defer_accept),
     .help = "take a TCP connection only when its first bytes are there"},
    {.name = "unix-mode", .value = "MODE", .kind = ARGS_TEXT, PLACE(unix_mode),
     .help = "permissions of a Unix socket's file, such as 660; who may\n"
             "write may connect (default as umask says)"},
    {.name = "unix-owner", .value = "USER[:GROUP]", .kind = ARGS_TEXT, PLACE(unix_owner),
     .help = "owner of that file; :GROUP for the group alone"},
    {.group = "What", .name = "accept", .value = "WORD", .kind = ARGS_LIST, PLACE(accept),
     .help = "welcome this request; may be given again (default 1)"},
    {.name = "welcome", .value = "TEXT", .kind = ARGS_TEXT, PLACE(welcome),
     .help = "the answer to it (default \"welcome to server!\")"},
    {.name = "reject", .value = "TEXT", .kind = ARGS_TEXT, PLACE(reject),
     .help = "the answer to any other (default \"please go out!\")"},
    {.name = "framing", .value = "NAME", .kind = ARGS_TEXT, PLACE(framing),
     .help = REPORT_FRAMINGS "\n(default raw)"},
    {.name = "once", .kind = ARGS_FLAG, PLACE(once),
     .help = "stop after the first request; exit 1 if it was rejected"},
    {.group = "Time", .name = "timeout", TIMEOUT, PLACE(timeout_ms),
     .help = "until the whole request is there (default 5s)"},
    {.name = "idle-timeout", TIMEOUT, PLACE(idle_timeout_ms),
     .help = "between requests (default as --timeout)"},
    {.name = "write-timeout", TIMEOUT, PLACE(write_timeout_ms),
     .help = "until the answer is taken (default as --timeout)"},
    {.name = "drain-timeout", TIMEOUT, PLACE(drain_timeout_ms),
     .help = "from a signal to the end (default 5s)"},
    {.group = "Limits", .name = "workers", .value = "N", .kind = ARGS_NUMBER, PLACE(workers),
     .min = 1, .max = 1024, .help = "threads that serve (default 1)"},
    {.name = "max-connections", .value = "N", .kind = ARGS_NUMBER, PLACE(connections_max), .min = 1,
     .max = 1000000000, .help = "open at a time; others wait (default 65536)"},
    {.name = "max-per-address", .value = "N", .kind = ARGS_NUMBER, PLACE(peer_connections_max),
     .min = 1, .max = 1000000000, .help = "open at a time from one address (default no limit)"},
    {.name = "max-request", .value = "SIZE", .kind = ARGS_SIZE, PLACE(request_max), .min = 1,
     .max = 1 << 30, .help = "bytes of a request (default 1K with raw, else 1M)"},
    {.name = "max-output", .value = "SIZE", .kind = ARGS_SIZE, PLACE(output_max), .min = 1,
     .max = 1 << 30, .help = "unsent bytes at which reading from a client stops (default 1M)"},
    {.name = "rate-min", .value = "SIZE", .kind = ARGS_SIZE, PLACE(rate_min), .min = 1,
     .max = UINT32_MAX - 1, .help = "bytes a second that a client has to keep (default 64K)"},
    {.name = "max-buffers", .value = "SIZE", .kind = ARGS_SIZE, PLACE(buffers_max), .min = 1,
     .max = INT64_MAX, .help = "bytes that all connections may hold (default memory / 4)"},
    {.name = "io", .value = "auto|io_uring|epoll", .kind = ARGS_CHOICE, PLACE(io),
     .help = "how to ask the kernel (default auto)"},
    {.group = "Rights", .name = "user", .value = "NAME[:GROUP]", .kind = ARGS_TEXT, PLACE(user),
     .help = "become this user once it listens; only root can"},
    {.name = "sandbox", .kind = ARGS_FLAG, PLACE(sandbox),
     .help = "once it listens, give up all that serving does not take:\n"
             "files, new sockets, programs, rights of root"},
    {.group = "Log", .name = "log", .value = "text|json", .kind = ARGS_CHOICE, PLACE(log),
     .help = "the lines about events on standard error (default text)"},
    ARGS_COMMON(settings),
    {.kind = ARGS_END},
};
/* clang-format on */

static const char brief[] =
    "Examples:\n"
    "  gate-server                           the tutorial's server on 0.0.0.0:9001\n"
    "  gate-server -l 127.0.0.1:0            on a port that the kernel chooses\n"
    "  gate-server --accept sesame --once    let one visitor try another word\n"
    "  gate-server -l unix:/run/door --framing line --workers 2\n"
    "\n"
    "Answers \"welcome to server!\" to exactly 1, else \"please go out!\".\n"
    "  -l, --listen ADDR   where (default 0.0.0.0:9001)\n"
    "  --timeout TIME      for a silent client (default 5s)\n"
    "  --accept WORD       what is welcomed (default 1)\n"
    "  --json              counters as JSON at the end\n"
    "gate-server --help lists everything.\n";

static const char usage[] = "Usage: gate-server [OPTION]...\n"
                            "Answers \"welcome to server!\" to exactly 1, else \"please go out!\", "
                            "and prints \"time out\"\n"
                            "for a client that stays silent.\n";

static const char more[] =
    "\n"
    "TIME is in seconds, or with a unit: 500ms, 2.5s, 1m, 1h; never is no limit.\n"
    "SIZE is in bytes, or with K, M or G. SIGINT and SIGTERM stop it gracefully, a second one\n"
    "at once. SIGUSR1 prints the counters as a line of JSON on standard error; SIGHUP does\n"
    "nothing.\n"
    "\n"
    "Exit codes: 0 done, 1 rejected (--once), 2 usage, 3 name look-up, 4 cannot listen,\n"
    "8 local error.\n";

static const args_program program = {
    "gate-server", brief, usage, more, options, offsetof(settings, common),
};

/* ---- The door ------------------------------------------------------------------------------ */

typedef struct doorkeeper {
    const settings *set;
    gate_server *server;
    user_ids user;
    size_t welcome_len;
    size_t reject_len;
    size_t accept_len[ARGS_LIST_MAX];
    atomic_int rejected; /* of the first request: 0 or 1; -1: there was none */
} doorkeeper;

/* Nothing is measured again for each request. */
static void measure_texts(doorkeeper *door)
{
    door->welcome_len = strlen(door->set->welcome);
    door->reject_len = strlen(door->set->reject);
    for (size_t i = 0; i < door->set->accept.count; i++)
        door->accept_len[i] = strlen(door->set->accept.item[i]);
}

static int is_accepted(const doorkeeper *door, const void *body, size_t len)
{
    const args_list *words = &door->set->accept;

    for (size_t i = 0; i < words->count; i++)
        if (door->accept_len[i] == len && (len == 0 || memcmp(words->item[i], body, len) == 0))
            return 1;
    return 0;
}

/* An answer fails only where the peer has gone: whether the framing can carry the two texts was
 * checked at the start. */
static void answer(gate_request *req, const void *body, size_t len, void *user)
{
    doorkeeper *door = user;
    int accepted = is_accepted(door, body, len);
    int none = atomic_load_explicit(&door->rejected, memory_order_relaxed);

    if (accepted)
        gate_reply(req, door->set->welcome, door->welcome_len);
    else
        gate_reject(req, door->set->reject, door->reject_len);
    if (none < 0)
        atomic_compare_exchange_strong(&door->rejected, &none, !accepted);
    if (door->set->once)
        gate_server_stop(door->server);
}

static int log_is_json(const settings *set)
{
    return strcmp(set->log, "json") == 0;
}

/* With --json, stdout is for the object alone; a log of JSON has its own line about it. */
static void note(const gate_event *event, void *user)
{
    static const char silent[] = "time out\n";
    const settings *set = ((const doorkeeper *)user)->set;

    if (event->reason == GATE_CLOSE_TIMEOUT && !set->common.json)
        report_write(STDOUT_FILENO, silent, sizeof(silent) - 1);
    else if (event->reason == GATE_CLOSE_TIMEOUT && !log_is_json(set))
        report_write(STDERR_FILENO, silent, sizeof(silent) - 1);
    log_event(event);
}

/* ---- Signals ------------------------------------------------------------------------------- */

static gate_server *signalled;

static void restore_signals(void)
{
    struct sigaction usual = {.sa_handler = SIG_DFL};

    sigaction(SIGINT, &usual, NULL);
    sigaction(SIGTERM, &usual, NULL);
}

/* The first signal asks for a stop in good order; then both have their default effect again, so
 * that the second one ends the program at once. */
static void stop(int number)
{
    int saved = errno;

    (void)number;
    restore_signals();
    gate_server_stop(signalled);
    errno = saved;
}

/* A reader of our output that has gone must not end the server, nor must a log that is as large as
 * a file may be: SIGPIPE and SIGXFSZ are ignored. */
static void catch_signals(gate_server *server)
{
    struct sigaction action = {.sa_handler = stop, .sa_flags = SA_RESTART};
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    signalled = server;
    sigaddset(&action.sa_mask, SIGINT);
    sigaddset(&action.sa_mask, SIGTERM);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL);
}

/* ---- From settings to a server -------------------------------------------------------------- */

static int check_text(const char *option, const char *text, const gate_codec *codec,
                      const char *framing)
{
    gate_wrap wrap;

    if (codec->encode == NULL ||
        codec->encode(codec, (const uint8_t *)text, strlen(text), &wrap) == 0)
        return 0;
    report_error("--%s: framing %s cannot carry '%s'", option, framing, text);
    report_hint("give a --%s that fits the framing", option);
    return GATE_EXIT_USAGE;
}

static int read_framing(const settings *set, gate_codec *codec)
{
    int result;

    if (gate_codec_parse(codec, set->framing) < 0)
        return report_framing(set->framing);
    result = check_text("welcome", set->welcome, codec, set->framing);
    return result != 0 ? result : check_text("reject", set->reject, codec, set->framing);
}

static uint32_t io_of(const char *name)
{
    return strcmp(name, "io_uring") == 0 ? GATE_IO_URING
           : strcmp(name, "epoll") == 0  ? GATE_IO_EPOLL
                                         : GATE_IO_AUTO;
}

/* What is open besides connections: the standard three and two for events, and in each worker its
 * listeners and at most 4 of its loop. */
static void raise_limit(const settings *set, const listeners *all)
{
    uint64_t workers = set->workers != 0 ? set->workers : 1;
    uint64_t others = 5 + workers * (all->count + 4);
    uint64_t limit = descriptors_raise();

    if (set->connections_max != 0 && limit < set->connections_max + others)
        report_line("gate-server: warning: %u connections (--max-connections) are more than this "
                    "process may open: ulimit -Hn is %llu, and %llu are needed",
                    (unsigned)set->connections_max, (unsigned long long)limit,
                    (unsigned long long)(set->connections_max + others));
}

static int open_server(doorkeeper *door, const gate_codec *codec)
{
    const settings *set = door->set;
    gate_options wanted = {
        .size = sizeof(wanted),
        .workers = set->workers,
        .handler = answer,
        .user = door,
        .codec = codec,
        .log = note,
        .log_user = door,
        .request_max = set->request_max,
        .output_max = set->output_max,
        .rate_min = (uint32_t)set->rate_min,
        .buffers_max = set->buffers_max,
        .timeout_ms = set->timeout_ms,
        .idle_timeout_ms = set->idle_timeout_ms,
        .write_timeout_ms = set->write_timeout_ms,
        .drain_timeout_ms = set->drain_timeout_ms,
        .connections_max = set->connections_max,
        .peer_connections_max = set->peer_connections_max,
        .log_level = set->common.verbose ? GATE_LOG_DEBUG : GATE_LOG_NOTICE,
        .io = io_of(set->io),
        .flags = set->defer_accept ? GATE_DEFER_ACCEPT : 0,
    };
    int result = gate_server_open(&door->server, &wanted);
    int code = report_exit_code(result);

    if (result == 0)
        return 0;
    report_error("cannot start: %s", report_reason(result));
    if (result == -ENOSYS || result == -EPERM)
        report_hint("io_uring is unavailable: use --io auto, and no GATE_IO in the environment");
    return code == GATE_EXIT_REFUSED ? GATE_EXIT_LOCAL : code; /* no address is involved yet */
}

static void say_listening(const listeners *all)
{
    char text[LISTENERS_TEXT_MAX];

    for (size_t i = 0; i < all->open_count; i++) {
        listeners_text(all, i, text, sizeof(text));
        log_listening(text);
    }
}

/* Between listening and serving: the sockets and rings are there, the threads are not yet. */
static int give_up_rights(const doorkeeper *door, const listeners *all)
{
    sandbox_needs needs = {.threads = door->set->workers > 1};
    int result = door->set->user != NULL ? user_become(&door->user) : 0;

    if (result != 0 || !door->set->sandbox)
        return result;
    for (size_t i = 0; i < all->count; i++) {
        const char *path = all->addr[i].host + strlen("unix:");

        if (all->addr[i].kind == GATE_ADDR_UNIX && *path != '@')
            needs.file[needs.file_count++] = path;
    }
    return sandbox_enter(&needs);
}

static int serve(doorkeeper *door, listeners *all, const gate_listen_options *how)
{
    int result = door->set->sandbox ? sandbox_prepare() : 0;

    if (result == 0)
        result = listeners_open(all, door->server, how);
    report_begin_events();
    if (result == 0)
        result = give_up_rights(door, all);
    if (result != 0)
        return result;
    catch_signals(door->server);
    say_listening(all);
    result = gate_server_serve(door->server);
    restore_signals();
    log_end();
    if (result < 0) {
        report_error("cannot serve: %s", report_reason(result));
        return report_exit_code(result);
    }
    return door->set->once && door->rejected == 1 ? GATE_EXIT_REJECTED : GATE_EXIT_DONE;
}

/* ---- The end ------------------------------------------------------------------------------- */

static void print_json(const doorkeeper *door, const listeners *all, int code)
{
    gate_stats stats = {.size = sizeof(stats)};
    char text[LISTENERS_TEXT_MAX];
    json object;

    json_begin(&object, stdout);
    json_number(&object, "schema_version", 1);
    json_text(&object, "program", program.name);
    json_text(&object, "version", gate_version());
    json_open(&object, "listening", '[');
    for (size_t i = 0; i < all->open_count && signalled != NULL; i++) {
        listeners_text(all, i, text, sizeof(text));
        json_text(&object, NULL, text);
    }
    json_close(&object, ']');
    if (door->server != NULL && gate_server_stats(door->server, &stats) == 0)
        counters_write(&object, &stats);
    else
        json_null(&object, "stats");
    json_count(&object, "lines_dropped", report_dropped());
    json_number(&object, "exit", code);
    report_json(&object);
    json_end(&object);
}

static void begin_log(const settings *set)
{
    const log_options how = {
        .json = log_is_json(set),
        .verbose = set->common.verbose > 0,
        .quiet = set->common.quiet > 0,
    };

    log_begin(&how);
}

static int run(doorkeeper *door, listeners *all, gate_codec *codec)
{
    const settings *set = door->set;
    const listeners_how how = {(int32_t)set->backlog, set->unix_mode, set->unix_owner};
    gate_listen_options options_of_all;
    int result = listeners_parse(all, &set->listen);

    if (result == 0)
        result = listeners_options(&how, &options_of_all);
    if (result == 0)
        result = read_framing(door->set, codec);
    if (result == 0 && door->set->user != NULL)
        result = user_parse(&door->user, door->set->user);
    if (result == 0) {
        begin_log(door->set);
        raise_limit(door->set, all);
        result = open_server(door, codec);
    }
    if (result == 0) {
        counters_watch(door->server);
        result = serve(door, all, &options_of_all);
    }
    return result;
}

int main(int argc, char **argv)
{
    static settings set = {
        .welcome = "welcome to server!",
        .reject = "please go out!",
        .framing = "raw",
        .io = "auto",
        .log = "text",
    };
    static listeners all;
    doorkeeper door = {.set = &set, .rejected = -1};
    gate_codec codec;
    int result;

    if (report_fill_standard() != 0)
        return GATE_EXIT_LOCAL;
    report_begin(program.name);
    counters_begin(program.name);
    result = args_parse(&program, argc, argv, &set);
    if (result == ARGS_DONE)
        return report_finish(GATE_EXIT_DONE);
    if (result == ARGS_GO_ON && optind < argc) {
        report_error("unexpected operand '%s'", argv[optind]);
        report_hint("write -l %s to listen there", argv[optind]);
        result = ARGS_WRONG;
    }
    if (set.accept.count == 0)
        set.accept = (args_list){1, {"1"}};
    measure_texts(&door);
    result = result == ARGS_GO_ON ? run(&door, &all, &codec) : GATE_EXIT_USAGE;
    if (set.common.json)
        print_json(&door, &all, result);
    counters_watch(NULL);
    gate_server_close(door.server);
    return report_finish(result);
}
