/* SPDX-License-Identifier: MIT */
#ifndef GATE_SIM_SWARM_PARTS_H
#define GATE_SIM_SWARM_PARTS_H

/* What the parts of the swarm share. */

#include "swarm.h"

enum { PEERS_MAX = 8, LINKS_MAX = PEERS_MAX + 1, EXTRAS_MAX = 6 };
enum { REQUESTS_MAX = 12, BODY_MAX = 300 };
enum { UNDECIDED, REPLIED, REJECTED, FORGOTTEN };
enum { HONEST, RESETS, STOPS_READING, CUTS_A_FRAME, SILENT, GREEDY, LIES };

/* A request that is answered later. */
typedef struct ticket {
    struct exchange *with;
    gate_request *req;
    int index;
    int fate;
} ticket;

/* A connection as the test sees it. */
typedef struct exchange {
    struct swarm *swarm;
    sim_peer *peer;
    int id;
    int behaviour;
    int is_probe;
    int slow;      /* does not read at once */
    int pieces;    /* sends not all at once */
    int wanted;    /* requests it sends */
    int whole;     /* ... of which it sends the end */
    int arrived;   /* ... that were at the server's socket, all of them, when it was stopped */
    int delivered; /* requests that reached the handler */
    int streamed;  /* requests whose answers are in stream */
    int ended;     /* ... the last one of which ends the connection */
    int lied;      /* garbage has reached the handler */
    size_t body_len[REQUESTS_MAX];
    size_t end[REQUESTS_MAX];     /* where it ends in what the peer sends */
    size_t got_len[REQUESTS_MAX]; /* as delivered: raw may give a part */
    uint8_t fate[REQUESTS_MAX];
    ticket tickets[REQUESTS_MAX];
    int extras_count;
    sim_peer *extras[EXTRAS_MAX]; /* silent ones from the same address */
    uint8_t *stream;              /* what the peer should receive */
    size_t stream_len;
} exchange;

typedef struct swarm {
    scene scene;
    sim_rng rng;
    gate_codec codec;
    const char *codec_name;
    gate_options options;
    uint64_t tick_ns; /* how late the knobs let a deadline be */
    int strict;
    int early; /* is stopped in the middle */
    int healed;
    int slow_pct; /* of the requests take time */
    int stop_pct; /* ... stop the server */
    int count;
    uint64_t handled;
    uint64_t seen[SWARM_EVENT_COUNT];
    uint64_t requests; /* of honest peers, where nothing may cost one ... */
    uint64_t answers;  /* ... that came */
    uint64_t excused;  /* of honest peers, where something may */
    exchange links[LINKS_MAX];
} swarm;

uint64_t swarm__below(swarm *all, uint64_t bound);
/* 1 in pct of 100. */
int swarm__chance(swarm *all, uint32_t pct);
/* In pct of 100 draws a number from 1 to max, else 0. */
uint32_t swarm__some(swarm *all, uint32_t pct, uint32_t max);

/* swarm_talk.c: what is said */
void swarm__make_body(const exchange *one, int index, uint8_t *body);
void swarm__put_bytes(exchange *one, const uint8_t *bytes, size_t len);
/* Appends the frame around a body, or nothing for a body that the codec cannot carry. */
void swarm__put_frame(exchange *one, const uint8_t *body, size_t len);
size_t swarm__make_answer(const exchange *one, int index, uint8_t *body);
/* Takes up the answers that are known by now, in order. */
void swarm__extend_stream(exchange *one);

/* swarm_handler.c */
gate_handler swarm__handle;

/* swarm_peers.c */
void swarm__draw_link(exchange *one);
/* The server is about to be stopped: notes what has arrived. */
void swarm__note_stop(swarm *all);
/* From now on it does what it has to do at once, or goes. */
void swarm__heal_link(exchange *one);
/* One that connects when all is well. */
void swarm__add_probe(swarm *all);

/* swarm_judge.c */
/* Each honest exchange must be over. */
void swarm__judge_liveness(swarm *all);
/* After the server's end. */
void swarm__judge(swarm *all);
/* Whenever a worker begins to wait. */
void swarm__watch(swarm *all);

#endif
