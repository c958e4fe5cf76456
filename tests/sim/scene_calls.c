/* SPDX-License-Identifier: MIT */

/* The real client in a simulated world: draws what it meets, and has it call. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"
#include "client.h"
#include "core/codec.h"

enum { STREAM_CALLS = 78, FIXED = 64, HEALED_CALLS = 2, HOUR_MS = 3600000 };

#define HOST "gate.example"

static uint64_t below(calls *all, uint64_t bound)
{
    return sim_rng_below(&all->rng, bound);
}

static int chance(calls *all, uint32_t pct)
{
    return sim_rng_chance(&all->rng, pct);
}

/* ---- Drawing a seed ------------------------------------------------------------------------ */

static void draw_codec(calls *all)
{
    static const char *const names[] = {"raw",   "raw",      "line",        "varint", "netstring",
                                        "eof",   "u8",       "u16",         "u32",    "u16le",
                                        "u32le", "fixed:64", "delimiter:<>"};

    all->codec_name = names[below(all, sizeof(names) / sizeof(names[0]))];
    if (gate_codec_parse(&all->codec, all->codec_name) != 0) {
        abort();
    }
    all->until_eof = (all->codec.flags & GATE_CODEC_UNTIL_EOF) != 0;
    all->until_close = all->until_eof || (all->codec.flags & GATE_CODEC_ONE_SHOT) != 0;
}

static void draw_knobs(calls *all, sim_knobs *knobs, int clean, int server)
{
    static const int connect_errors[] = {ECONNREFUSED, ETIMEDOUT,     ENETUNREACH,  EHOSTUNREACH,
                                         EACCES,       EADDRNOTAVAIL, ENOBUFS,      ENOMEM,
                                         EMFILE,       ENFILE,        -GATE_EPORTS, -GATE_ESELF};

    sim_knobs_draw(knobs, &all->rng);
    knobs->connect = (sim_faults){.pct = chance(all, 30) ? 1 + (uint32_t)below(all, 60) : 0,
                                  .count = SIM_FAULTS_MAX};
    memcpy(knobs->connect.errors, connect_errors, sizeof(connect_errors));
    if (clean) {
        knobs->accept.pct = knobs->connect.pct = knobs->recv.pct = knobs->send.pct = 0;
        knobs->shutdown.pct = knobs->close.pct = 0;
        knobs->descriptors_max = 0;
    }
    if (server) {
        knobs->turn_max_ns = 0; /* the server's turns would count as the client's */
    }
}

static size_t draw_len(calls *all, int may_be_empty)
{
    if (all->codec_name[0] == 'f') {
        return FIXED;
    }
    if (may_be_empty && chance(all, 10)) {
        return 0;
    }
    return 1 + below(all, strcmp(all->codec_name, "u8") == 0 ? 255 : CALLS_BODY);
}

/* Letters only, which no codec takes for its own; the first tells the call. */
static void draw_body(calls *all, int index, uint8_t *body, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        body[i] = (uint8_t)(i == 0 ? 'A' + index : 'a' + (int)below(all, 26));
    }
}

static size_t wrap_body(calls *all, uint8_t *wire, const uint8_t *body, size_t len)
{
    gate_wrap wrap = {0};

    if (gate__codec_encode(&all->codec, body, len, &wrap) != 0) {
        abort();
    }
    memcpy(wire, wrap.head, wrap.head_len);
    memcpy(wire + wrap.head_len, body, len);
    memcpy(wire + wrap.head_len + len, wrap.tail, wrap.tail_len);
    return wrap.head_len + len + wrap.tail_len;
}

static void draw_calls(calls *all, int server)
{
    all->count = HEALED_CALLS + 1 + (int)below(all, CALLS_MAX - HEALED_CALLS);
    for (int i = 0; i < all->count; i++) {
        call *one = &all->calls[i];

        one->request_len = draw_len(all, !server && !all->until_close);
        one->reply_len = draw_len(all, !all->until_close);
        draw_body(all, i, one->request, one->request_len);
        draw_body(all, i, one->reply, one->reply_len);
        one->request_wire_len = wrap_body(all, one->request_wire, one->request, one->request_len);
        one->reply_wire_len = wrap_body(all, one->reply_wire, one->reply, one->reply_len);
    }
}

/* Addresses of the name besides the right one: nobody listens there, or with a full queue. */
static void draw_names(calls *all)
{
    static const int errors[] = {GATE_ENAME, GATE_ENAMELATER, -ENOMEM};
    gate__sockaddr addrs[4];
    gate__sockaddr full = sim_addr("127.0.0.8", gate__addr_port(&all->addr));
    size_t count = 1 + below(all, 4), right = below(all, count);
    int error = !all->strict && chance(all, 20) ? errors[below(all, 3)] : 0;

    sim_peers_listen(all->world, &full, 0, NULL, NULL);
    for (size_t i = 0; i < count; i++) {
        addrs[i] = i == right        ? all->addr
                   : chance(all, 50) ? sim_addr("127.0.0.9", 0)
                                     : sim_addr("127.0.0.8", 0);
    }
    sim_resolves(all->world, HOST, error, addrs, count,
                 chance(all, 50) ? below(all, 2 * (uint64_t)SIM_SECOND) : 0);
}

/* From now on nobody is in the way of an honest exchange. */
static void heal(calls *all)
{
    all->healed = 1;
    sim_heal(all->world);
    sim_resolves(all->world, HOST, 0, &all->addr, 1, 0);
}

/* ---- Calling ------------------------------------------------------------------------------- */

static uint32_t draw_timeout(calls *all)
{
    return all->strict || all->healed ? HOUR_MS : 1 + (uint32_t)below(all, 3000);
}

static int open_client(caller *who)
{
    calls *all = who->all;
    gate_io *io = sim_io_open(all->world);
    gate_client_options options = {.size = sizeof(options), .codec = &all->codec};
    uint64_t start_ns = sim_now(all->world);
    int rc;

    options.timeout_ms = draw_timeout(all);
    rc = gate__client_open_on(&who->client, io, who->host, gate__addr_port(&all->addr), &options);
    calls_judge_time(who, rc, start_ns, options.timeout_ms);
    if (rc != 0) {
        io->ops->free(io);
    }
    return rc;
}

static int exchange_once(caller *who, const call *asked, uint8_t *reply, size_t *len,
                         uint32_t timeout_ms)
{
    calls *all = who->all;
    gate_io *io = sim_io_open(all->world);
    int rc = gate__client_exchange_on(io, who->host, gate__addr_port(&all->addr), asked->request,
                                      asked->request_len, reply, len, (int)timeout_ms);

    io->ops->free(io);
    return rc;
}

static int ask(caller *who, const call *asked, uint8_t *reply, size_t *len)
{
    calls *all = who->all;
    size_t room = *len;
    uint32_t timeout_ms = draw_timeout(all);
    uint64_t start_ns;
    int rc = 0;

    *len = 0;
    if (!who->one_call && who->client == NULL) {
        rc = open_client(who);
    }
    if (rc != 0) {
        return rc;
    }
    *len = room;
    start_ns = sim_now(all->world);
    rc = who->one_call ? exchange_once(who, asked, reply, len, timeout_ms)
                       : gate_client_call(who->client, asked->request, asked->request_len, reply,
                                          len, (int)timeout_ms);
    calls_judge_time(who, rc, start_ns, timeout_ms);
    return rc;
}

/* The room is a block of its own, so that a byte too many is found. */
static void make_call(caller *who)
{
    calls *all = who->all;
    call *asked = &all->calls[all->current];
    size_t room = all->healed || chance(all, 80) ? CALLS_SAID : below(all, asked->reply_len + 1);
    size_t len = room;
    uint8_t *reply = malloc(room + 1);

    if (reply == NULL) {
        abort();
    }
    reply[room] = CALLS_CANARY;
    asked->rc = ask(who, asked, reply, &len);
    calls_judge(who, reply, len, room);
    free(reply);
}

static void make_calls(caller *who)
{
    calls *all = who->all;

    for (all->current = 0; all->current < all->count; all->current++) {
        if (all->current == all->count - HEALED_CALLS) {
            heal(all);
        }
        if (chance(all, 10)) {
            gate_client_close(who->client);
            who->client = NULL;
        }
        make_call(who);
    }
    all->current = all->count - 1;
    gate_client_close(who->client);
}

static void add_sums(const calls *all, calls_sums *sums)
{
    sums->steps += sim_steps(all->world);
    for (int knob = 0; knob < SIM_KNOB_COUNT; knob++) {
        sums->fired[knob] += sim_fired(all->world, (sim_knob)knob);
    }
    calls_count_codes(all, sums);
}

/* What comes behind the first one follows from it. */
static void tell_first(const char *message, void *arg)
{
    caller *who = arg;

    if (!who->failed++) {
        who->fail(message, who->fail_arg);
    }
}

/* Draws the world and who calls in it. */
static calls_server *open_world(calls *all, caller *who, uint64_t seed)
{
    sim_knobs knobs = {0};
    calls_server *server = NULL;
    int served;

    sim_rng_init(&all->rng, seed, STREAM_CALLS);
    draw_codec(all);
    served = chance(all, 20);
    who->clean = chance(all, 50);
    all->strict = who->clean && chance(all, 60);
    draw_knobs(all, &knobs, who->clean, served);
    draw_calls(all, served);
    if (served) {
        server = calls_server_open(all, seed, &knobs);
    } else {
        if (!who->clean && chance(all, 30)) {
            knobs.alloc_fails_at = 1 + below(all, 20);
        }
        all->world = sim_open(seed, &knobs);
        all->addr = sim_addr("127.0.0.1", 0);
        sim_peers_listen(all->world, &all->addr, 5, calls_accepted, all);
    }
    draw_names(all);
    who->all = all;
    who->host = chance(all, 50) ? HOST : "127.0.0.1";
    who->one_call = all->codec_name[0] == 'r' && chance(all, 50);
    who->slack_ns = 2 * SIM_MS + 2 * knobs.late_max_ns + 4 * knobs.held_max_ns;
    who->descriptors = served ? SIZE_MAX : sim_descriptors(all->world);
    return server;
}

uint64_t calls_run(uint64_t seed, sim_fail *fail, void *arg, calls_sums *sums)
{
    calls *all = calloc(1, sizeof(*all));
    caller who = {.fail = fail, .fail_arg = arg};
    calls_server *server;
    uint64_t hash;

    if (all == NULL) {
        abort();
    }
    server = open_world(all, &who, seed);
    sim_on_fail(all->world, tell_first, &who);
    make_calls(&who);
    if (server != NULL) {
        calls_server_close(server);
    } else {
        sim_run_until(all->world, NULL, sim_now(all->world) + 10 * (uint64_t)SIM_SECOND);
    }
    calls_judge_outcomes(&who);
    sim_check_end(all->world);
    hash = sim_hash(all->world);
    add_sums(all, sums);
    sim_close(all->world);
    free(all);
    return hash;
}
