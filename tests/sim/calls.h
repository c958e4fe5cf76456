/* SPDX-License-Identifier: MIT */
#ifndef GATE_SIM_CALLS_H
#define GATE_SIM_CALLS_H

/*
 * One seed: a client that makes some calls, with codec, room, time-outs, addresses and faults drawn
 * from the seed, to scripted peers or to the real server in the same world. Each request and each
 * reply has bytes of its own.
 *
 * scene_calls.c draws the world and has the client call, calls_peer.c plays the peers,
 * calls_server.c the server; calls_judge.c judges what the client says.
 *
 * A seed is strict when nothing in it but the peer may cut a call short (no injected error, all
 * time-outs are an hour): then what the client has to say is known exactly.
 */

#include <gate/gate.h>

#include "sim.h"

enum { CALLS_MAX = 8, CALLS_LINES = 24, CALLS_BODY = 600, CALLS_WIRE = 700, CALLS_SAID = 16384 };
enum { CALLS_CANARY = 0xa5 }; /* stands behind the room for a reply */

/* One call. */
typedef struct call {
    uint8_t request[CALLS_BODY];
    uint8_t request_wire[CALLS_WIRE]; /* as it travels */
    uint8_t reply[CALLS_BODY];
    uint8_t reply_wire[CALLS_WIRE];
    size_t request_len;
    size_t request_wire_len;
    size_t reply_len;
    size_t reply_wire_len;
    size_t seen; /* bytes of it that a peer has read */
    int ran;     /* how often a peer or handler has had the whole of it */
    int rc;      /* what the client said */
} call;

/* What a peer does: with its connection, then with each request. */
enum { NORMAL, DEAF, LEAVES };
enum { ANSWERS, ANSWERS_LATE, SAYS_NOTHING, CUTS, CUTS_AND_RESETS, SAYS_MORE, SAYS_GARBAGE, ACTS };
enum { STAYS, CLOSED, RESET };

/* A connection as its scripted peer sees it. */
typedef struct line {
    struct calls *all;
    sim_peer *peer;
    int mood;
    int act;      /* of the last whole request */
    size_t cut;   /* how much of the reply it said */
    int index;    /* the call whose request is next */
    int last;     /* ... and behind the last one that may come here */
    size_t used;  /* bytes of the requests before */
    size_t taken; /* of what it said: what the client has had as replies */
    int dirty;    /* it has said what it was not asked */
    int end;      /* how it has left, if it has */
    size_t said_len;
    uint8_t said[CALLS_SAID];
} line;

typedef struct calls {
    sim_world *world;
    sim_rng rng;
    gate_codec codec;
    const char *codec_name;
    gate__sockaddr addr; /* where the peers, or the server, listen */
    int until_close;     /* a reply ends with its connection */
    int until_eof;       /* a request ends with the client's side */
    int strict;
    int healed;  /* from now on nothing goes wrong */
    int cut_raw; /* the server took a part of a raw request for all of it */
    int count;
    int current; /* the call under way */
    int lines_count;
    call calls[CALLS_MAX];
    line lines[CALLS_LINES];
} calls;

/* A client and what it is asked with. */
typedef struct caller {
    calls *all;
    gate_client *client; /* NULL: none, or one for each call */
    int one_call;        /* gate_client_exchange */
    const char *host;
    size_t descriptors; /* that are not the client's; SIZE_MAX: a server has some as well */
    uint64_t slack_ns;  /* how much later than its deadline a call may end */
    int clean;          /* no error is injected */
    sim_fail *fail;
    void *fail_arg;
    int failed;
} caller;

/* What clients have said in some seeds. */
enum { CALLS_CODES = 15 };
typedef struct calls_sums {
    uint64_t steps;
    uint64_t fired[SIM_KNOB_COUNT];
    uint64_t codes[CALLS_CODES];
} calls_sums;

/* Runs a seed. What breaks a rule ends in fail(message, arg), which may return. Adds to the sums;
 * returns sim_hash(). */
uint64_t calls_run(uint64_t seed, sim_fail *fail, void *arg, calls_sums *sums);

/* The text of sums->codes[index]. */
const char *calls_code_name(int index);

/* ---- Between the files --------------------------------------------------------------------- */

/* For sim_peers_listen; arg is the calls. */
void calls_accepted(sim_peer *peer, void *arg);

typedef struct calls_server calls_server;

/* Makes the world, in which the real server serves on a fiber. */
calls_server *calls_server_open(calls *all, uint64_t seed, const sim_knobs *knobs);

/* Stops the server; the world stays. */
void calls_server_close(calls_server *server);

/* Judges the call under way by its result and reply; the reply's room has the canary behind it. */
void calls_judge(const caller *who, const uint8_t *reply, size_t len, size_t room);
/* A call or an open that began at start_ns. */
void calls_judge_time(const caller *who, int rc, uint64_t start_ns, uint32_t timeout_ms);
/* All calls, once late bytes have come. */
void calls_judge_outcomes(const caller *who);
void calls_count_codes(const calls *all, calls_sums *sums);

#endif
