/* SPDX-License-Identifier: MIT */
#ifndef GATE_SIM_WORLD_H
#define GATE_SIM_WORLD_H

/* What the rooms of the simulator share. */

#include "sim.h"

enum { SIM__FD_BASE = 100000, SIM__WAIT = INT32_MIN, SIM__FIBERS_MAX = 8 };

typedef struct sim__conn sim__conn;
typedef struct sim__listener sim__listener;
typedef struct sim__io sim__io;
typedef struct sim__fiber sim__fiber;

/* One direction. bytes[head..head+len) are under way or unread, the first `seen` have arrived. */
typedef struct sim__flow {
    uint8_t *bytes;
    size_t room;
    size_t head;
    size_t len;
    size_t seen;
    uint64_t taken;   /* read by the receiver so far */
    uint64_t last_ns; /* when the newest arrives: nothing overtakes */
    int ended;        /* the sender has ended it */
    int end_seen;     /* ... and the receiver knows */
    int cut;          /* what was under way is lost, and so is an end behind it */
} sim__flow;

/* One end; side 0 connected, side 1 was accepted. */
typedef struct sim__end {
    gate__sockaddr name;
    sim_peer *peer; /* whose it is; NULL: a descriptor's, or still in a queue */
    int open;
    int dead; /* reset */
    int err;  /* -errno that the next recv or send reports */
} sim__end;

struct sim__conn {
    sim_world *world;
    unsigned refs;        /* open ends and events under way */
    int connected;        /* 0: not yet, 1, or -errno */
    uint64_t queued_ns;   /* in a listener's queue since */
    uint64_t accepted_ns; /* its owner reads from it since; 0: does not yet */
    uint64_t moved_ns;    /* ... and was told of anything that worked, or began to send */
    sim__end end[2];
    sim__flow flow[2]; /* flow[i] is written by side i */
};

struct sim__listener {
    sim_world *world;
    sim__listener *next;
    gate__sockaddr name;
    unsigned flags;
    size_t room; /* of the queue */
    size_t count;
    sim__conn **queue;
    void (*accepted)(sim_peer *peer, void *arg); /* a peers' listener */
    void *arg;
};

typedef struct sim__slot {
    sim__conn *conn;
    sim__listener *listener; /* neither: free */
    int side;
    int reset; /* closing it resets */
    sim__io *owner;
} sim__slot;

typedef struct sim__due {
    uint64_t at_ns;
    uint64_t sequence;
    sim_event *fn;
    void *arg;
    int own; /* the simulator's, not a test's */
} sim__due;

typedef struct sim__name {
    struct sim__name *next;
    char *host;
    int result;
    uint16_t count;
    uint64_t delay_ns;
    gate__sockaddr addrs[GATE_RESOLVE_MAX];
} sim__name;

struct sim_world {
    uint64_t seed;
    uint64_t now_ns;
    uint64_t sequence;
    uint64_t hash;
    uint64_t steps;
    uint64_t queue_lost_ns;
    uint64_t life_max_ns;
    uint64_t spent_ns;
    uint64_t step_at;
    sim_event *step_fn;
    void *step_arg;
    sim_event *run_fn;
    void *run_arg;
    uint64_t allocs; /* that the library has asked for */
    uint64_t lib_blocks;
    uint64_t lib_bytes;
    uint64_t progress; /* changes whenever bytes or descriptors move */
    uint64_t fired[SIM_KNOB_COUNT];
    sim_knobs knobs;
    sim_rng net;
    sim_rng faults;
    sim_rng order;
    sim_fail *fail;
    void *fail_arg;
    int failed;
    uint16_t next_port;
    sim__due *heap;
    size_t heap_len;
    size_t heap_room;
    sim__slot *slots;
    size_t slots_len;
    size_t slots_used;
    sim__listener *listeners;
    sim__io *ios;
    sim__fiber *fibers[SIM__FIBERS_MAX]; /* the first is whoever started the others */
    size_t fibers_len;
    sim__fiber *fiber; /* that runs */
    sim_world *below;  /* that was open before this one */
    sim_peer *peers;
    sim__name *names;
};

/* One operation in flight. */
typedef struct sim__rec {
    struct sim__rec *next;
    struct sim__rec **link;
    gate_op *op;
    gate_sock *sock; /* NULL: a look-up */
    gate_resolve *resolve;
    gate_op_done *done;
    const void *bytes; /* to send ... */
    uint64_t sum;      /* ... and of them */
    uint64_t due_ns;   /* look-up, injected connect failure */
    uint8_t kind;
    uint8_t cancelled;
    uint8_t raced;    /* ... and gave something all the same */
    uint8_t finished; /* its final completion is held */
    uint8_t in_round; /* it was ready when the round began, and has not been told since */
    int result;       /* look-up, injected connect failure */
} sim__rec;

typedef struct sim__result {
    int value;
    unsigned flags;
    int closed;     /* the descriptor is gone */
    uint8_t *bytes; /* lent */
    size_t len;
} sim__result;

/* A completion that waits. */
typedef struct sim__held {
    struct sim__held *next;
    sim__rec *rec;
    sim__result result;
    uint64_t due_ns;
} sim__held;

struct sim__io {
    gate_io base;
    sim_world *world;
    sim__io *next;
    sim__rec *recs; /* oldest first */
    sim__rec **recs_end;
    size_t recs_len;
    sim__held *held;
    sim__held **held_end;
    size_t held_len;
    size_t delivered; /* in this run */
    uint64_t progress;
    uint32_t idle_runs;
    uint64_t round_ns; /* everything that was ready then ... */
    int in_round;      /* ... has yet to be told */
    int stopped;       /* the process was: run() is interrupted before it has looked */
    int running;
    int submitting; /* what is done now is told by a later run */
    volatile int woken;
};

/* world.c */
/* The world that was opened last. */
extern sim_world *sim__current;
void *sim__alloc(size_t size);
void *sim__grow(void *block, size_t size);
void sim__note(sim_world *world, uint64_t a, uint64_t b, uint64_t c);
int sim__chance(sim_world *world, sim_knob knob, uint32_t pct);
int sim__fault(sim_world *world, sim_knob knob, const sim_faults *faults);
/* As sim_at, for events of the simulator's own, which free what they hold when they run. */
void sim__at(sim_world *world, uint64_t at_ns, sim_event *fn, void *arg);
/* An event that only moves time to where it stands. */
void sim__nothing(sim_world *world, void *arg);
void sim__pump(sim_world *world);
/* Moves time to the next event or limit_ns. 1: moved. 0: failed. -1: early, return from run. */
int sim__wait(sim_world *world, uint64_t limit_ns);

/* net.c */
uint64_t sim__latency(sim_world *world);
sim__conn *sim__conn_open(sim_world *world, const gate__sockaddr *to, const gate__sockaddr *from);
size_t sim__conn_room(const sim__conn *conn, int side);
int sim__conn_readable(const sim__conn *conn, int side);
int sim__conn_writable(const sim__conn *conn, int side);
int sim__conn_send(sim__conn *conn, int side, const void *bytes, size_t len);
int sim__conn_recv(sim__conn *conn, int side, void *bytes, size_t len);
int sim__conn_end(sim__conn *conn, int side);
void sim__conn_close(sim__conn *conn, int side);
void sim__conn_reset(sim__conn *conn, int side);
/* A knob is to blame for what becomes of it. */
void sim__conn_blame(sim__conn *conn);
/* As by a reset that both ends get; this one has been told of it. */
void sim__conn_break(sim__conn *conn, int side);

/* listen.c */
int sim__listener_open(sim_world *world, gate__sockaddr *addr, int backlog, unsigned flags,
                       sim__listener **out);
void sim__listener_close(sim__listener *listener);
sim__conn *sim__listener_pop(sim__listener *listener);
void sim__syn(sim_world *world, void *arg);
int sim__fd_open(sim_world *world, sim__io *owner, sim__conn *conn, int side,
                 sim__listener *listener);
sim__slot *sim__fd_slot(sim_world *world, int fd);
void sim__fd_close(sim_world *world, int fd);
/* Of a connection: closes with a reset. */
void sim__fd_reset(sim_world *world, int fd);
void sim__conn_unref(sim__conn *conn);

/* sim_run.c */
int sim__run(gate_io *io, uint64_t deadline_ns);
uint64_t sim__sum(const void *bytes, size_t len);
int sim__ready(const sim__io *io, const sim__rec *rec);
/* Whether a run() of it would do something at once. */
int sim__io_ready(const sim__io *io);
void sim__complete(sim__io *io, sim__rec *rec, sim__result result);

/* sim_ops.c */
void sim__finish(sim__io *io, sim__rec *rec);
/* Does it inside the submit where the knob says so and it need not wait. */
void sim__maybe_at_once(sim__io *io, sim__rec *rec);

/* sim_io.c */
/* The library frees a block: nothing in flight may be in it. */
void sim__freed(sim_world *world, const void *block, size_t size);

/* fiber.c */
/* The running fiber waits in run(): others go on until it is its turn. */
void sim__fiber_await(sim__io *io, uint64_t deadline_ns);

/* peer.c */
sim_peer *sim__peer_new(sim_world *world, sim__conn *conn, int side);
/* Bytes have arrived: a peer that reads at once does, before a reset can destroy them. */
void sim__peer_arrival(sim_peer *peer);
void sim__peers_leave(sim_world *world);
void sim__peers_free(sim_world *world);

#endif
