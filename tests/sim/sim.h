/* SPDX-License-Identifier: MIT */
#ifndef GATE_SIM_SIM_H
#define GATE_SIM_SIM_H

/*
 * The simulator: a gate_io backend over a network in memory, with a clock of its own. What happens
 * depends on the seed, the knobs and the test only, so a run that failed can be run again.
 *
 * A world holds the network, the clock and a heap of events keyed (time, sequence). It moves inside
 * run() of its gate_io: events that are due are executed, then the completions of that gate_io;
 * where there are none, time jumps to the next event or the deadline. So code that blocks in
 * gate_server_serve() is tested by putting what the world should do into sim_at() before the call.
 *
 * The backend also holds its user to the contract of io/io.h. A breach, a loop that spins and one
 * that waits for something that cannot come all call fail (by default: print a line and abort);
 * from then on run() returns -EIO. One thread.
 *
 * The library is linked here with its allocations and threads led to the simulator (lib_calls.h).
 * So those of a world can be counted and can fail, and a server's workers are fibers of the one
 * thread: where one of them runs its loop, the seed says who goes on.
 */

#include <stddef.h>
#include <stdint.h>

#include "io/io.h"
#include "rng.h"

enum { SIM_MS = 1000000, SIM_SECOND = 1000000000 };
enum { SIM_FAULTS_MAX = 12 };

/* Failures to inject: in pct of the occasions, one of the positive errno values. */
typedef struct sim_faults {
    uint32_t pct;
    uint32_t count;
    int errors[SIM_FAULTS_MAX];
} sim_faults;

/* What goes wrong. 0 switches each one off, or takes the default. */
typedef struct sim_knobs {
    uint32_t recv_partial_pct; /* recv gives a part of what is there */
    uint32_t recv_max;         /* bytes of one recv */
    uint32_t lend_one_pct;     /* the lent buffer has one byte */
    uint32_t full_pct;         /* GATE_IO_FULL although nothing is left */
    uint32_t send_partial_pct; /* send takes a part of what it could */
    uint32_t send_max;         /* bytes of one send */
    uint32_t last_kept_pct;    /* GATE_IO_LAST does not close, nor GATE_IO_END end */
    uint64_t latency_min_ns;   /* of one direction */
    uint64_t latency_max_ns;
    uint32_t clog_pct;        /* bytes that take longer: up to clog_max_ns more */
    uint32_t reset_loses_pct; /* a reset destroys what is on its way before it */
    uint64_t clog_max_ns;
    sim_faults accept;
    sim_faults connect;
    sim_faults recv; /* these end the connection */
    sim_faults send;
    sim_faults shutdown;
    sim_faults close;           /* closed all the same */
    sim_faults open;            /* a gate_io cannot be opened */
    sim_faults listen;          /* an address cannot be listened on */
    sim_faults thread;          /* a thread of the library's does not start */
    uint64_t alloc_fails_at;    /* the library's n-th allocation in this world fails, */
    uint64_t alloc_fails_for;   /* ... and the next ones, so many in all; 0 is 1 */
    uint32_t held_pct;          /* what is done is told later; nothing overtakes it */
    uint32_t held_room;         /* ... while so many wait nothing more is done; default 4 */
    uint64_t held_max_ns;       /* ... for so long at most */
    uint32_t at_once_pct;       /* a close, shutdown or last send is done inside its submit, and
                                      told by a later run(): until then it is in flight */
    uint32_t cancel_race_pct;   /* a cancelled op gives its result if it has one */
    uint32_t recv_multishot;    /* recv stays armed */
    uint32_t multishot_end_pct; /* ... and ends by itself after bytes */
    uint32_t accept_named;      /* accept gives the peer's address */
    uint32_t accept_end_pct;    /* accept ends by itself with a descriptor */
    uint32_t shuffle;           /* completions in any order */
    uint32_t batch_max;         /* completions of one run() */
    uint32_t early_pct;         /* run() returns before its deadline without a reason */
    uint64_t late_max_ns;       /* ... or after it */
    uint64_t turn_max_ns;       /* what each run() takes */
    uint32_t descriptors_max;   /* then EMFILE; default 65536 */
    uint32_t flow_max;          /* bytes under way in a direction; default 65536 */
    uint32_t spin_max;          /* runs without progress that are a spin; default 1000 */
} sim_knobs;

/* Which knob a count is of. */
typedef enum sim_knob {
    SIM_RECV_PARTIAL,
    SIM_RECV_MAX,
    SIM_LEND_ONE,
    SIM_FULL,
    SIM_SEND_PARTIAL,
    SIM_SEND_MAX,
    SIM_LAST_KEPT,
    SIM_CLOG,
    SIM_RESET_LOSES,
    SIM_ACCEPT_FAULT,
    SIM_CONNECT_FAULT,
    SIM_RECV_FAULT,
    SIM_SEND_FAULT,
    SIM_SHUTDOWN_FAULT,
    SIM_CLOSE_FAULT,
    SIM_AT_ONCE,
    SIM_CANCEL_RACE,
    SIM_MULTISHOT_END,
    SIM_ACCEPT_END,
    SIM_SHUFFLE,
    SIM_BATCH,
    SIM_EARLY,
    SIM_LATE,
    SIM_EMFILE,
    SIM_HELD,
    SIM_OPEN_FAULT,
    SIM_LISTEN_FAULT,
    SIM_THREAD_FAULT,
    SIM_ALLOC,
    SIM_KNOB_COUNT
} sim_knob;

const char *sim_knob_name(sim_knob knob);

/* Draws a set of knobs, many of which are off. But for the errors, none of them keeps an honest
 * exchange from its end for longer than seconds. */
void sim_knobs_draw(sim_knobs *knobs, sim_rng *rng);

/* Adds, most often, nothing: what a process may run out of, with which a server may not start. */
void sim_knobs_draw_want(sim_knobs *knobs, sim_rng *rng);

typedef struct sim_world sim_world;
typedef struct sim_peer sim_peer;

/* message is one line and holds the seed. */
typedef void sim_fail(const char *message, void *arg);
typedef void sim_event(sim_world *world, void *arg);

/* ---- The world ----------------------------------------------------------------------------- */

/* knobs may be NULL. Ends the program where memory runs out, as all of the simulator does. */
sim_world *sim_open(uint64_t seed, const sim_knobs *knobs);

/* Frees it and its peers. Its gate_ios have to be freed before. */
void sim_close(sim_world *world);

void sim_on_fail(sim_world *world, sim_fail *fail, void *arg);

/* Calls fail as a breach of the contract does. */
void sim_failed(sim_world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Fails if a descriptor or a gate_io is left, or memory that the library has taken. */
void sim_check_end(sim_world *world);

/* Fails where nothing moves on an accepted connection, and no send begins, for longer. 0: no
 * limit. */
void sim_watch_lives(sim_world *world, uint64_t life_max_ns);

/* Memory that the library has taken in this world and holds. */
uint64_t sim_lib_bytes(const sim_world *world);

/* Switches every knob off. What has happened stays. */
void sim_heal(sim_world *world);

/* The process is stopped for so long while it waits: the network goes on, and the next run() of
 * each loop returns late and without having looked at anything. */
void sim_stop_process(sim_world *world, uint64_t ns);

/* A callback that takes its time: the clock moves, and nothing else. */
void sim_spend(sim_world *world, uint64_t ns);

/* All that was spent. */
uint64_t sim_spent(const sim_world *world);

uint64_t sim_now(const sim_world *world);
uint64_t sim_seed(const sim_world *world);

/* May be changed at any time. */
sim_knobs *sim_knobs_of(sim_world *world);

/* How often a knob has had an effect. */
uint64_t sim_fired(const sim_world *world, sim_knob knob);

/* Depends on each event and completion so far, their order and times. */
uint64_t sim_hash(const sim_world *world);

/* How many events and completions that were. */
uint64_t sim_steps(const sim_world *world);

/* When the first of the connections had come that were still in a listener's queue when it was
 * closed; UINT64_MAX: there was none. */
uint64_t sim_queue_lost_ns(const sim_world *world);

/* Calls fn(world, arg) at the time at_ns, at once if that is over. */
void sim_at(sim_world *world, uint64_t at_ns, sim_event *fn, void *arg);
void sim_in(sim_world *world, uint64_t delay_ns, sim_event *fn, void *arg);

/* Calls fn(world, arg) in the middle of that step (see sim_steps), whatever that is. One at a time;
 * a step of 0 takes it back. */
void sim_at_step(sim_world *world, uint64_t step, sim_event *fn, void *arg);

/* Calls fn(world, arg) before each run() does anything: all that was told before is seen to. */
void sim_on_run(sim_world *world, sim_event *fn, void *arg);

/* ---- Bare gate_io -------------------------------------------------------------------------- */

/* One more gate_io of this world; freed by its own free. */
gate_io *sim_io_open(sim_world *world);

/* The same for whoever opens its backend through a function; arg is the world. 0, -errno. */
int sim_io_for(gate_io **io, uint32_t kind, void *world);

/* Executes what is due and one run() of each gate_io; where nothing was, moves to the next event.
 * 0: nothing is left to happen. */
int sim_step(sim_world *world);

/* Steps until *done is not 0 (NULL: never) or the time is until_ns. 1: done. */
int sim_run_until(sim_world *world, const int *done, uint64_t until_ns);

/* A listening descriptor that belongs to no gate_io yet, for adopt; *addr becomes its address. */
int sim_listen_fd(sim_world *world, gate__sockaddr *addr, int backlog);

/* Descriptors in use. */
size_t sim_descriptors(const sim_world *world);

/* What a look-up of host gives, delay_ns later: result (0 or a code), and where 0, the addresses.
 * Names that are not set do not exist. */
void sim_resolves(sim_world *world, const char *host, int result, const gate__sockaddr *addrs,
                  size_t count, uint64_t delay_ns);

/* An IPv4 address from "192.0.2.1". */
gate__sockaddr sim_addr(const char *host, uint16_t port);

/* ---- Scripted peers ------------------------------------------------------------------------ */

/* The other side of a connection. The test reads the fields, and sets those under "behaviour". */
struct sim_peer {
    sim_world *world;
    struct sim__conn *conn; /* the simulator's */
    sim_peer *next;         /* the simulator's */
    int side;               /* the simulator's */
    int queued;             /* the simulator's */
    int closing;            /* the simulator's */
    int read_waits;         /* the simulator's */
    int send_waits;         /* the simulator's */
    uint64_t read_next_ns;  /* the simulator's */
    uint64_t send_next_ns;  /* the simulator's */
    int connected;          /* 1, or -errno of the connect */
    int closed;             /* gave its end back */
    int eof;                /* saw the other side's end */
    int reset;              /* saw a reset */
    int faulted;            /* the simulator broke this connection */
    uint64_t connected_ns;  /* when */
    uint64_t first_ns;      /* the first byte came */
    uint64_t end_ns;        /* the end or the reset came */
    uint8_t *got;           /* what it received */
    size_t got_len;
    size_t got_room;
    uint8_t *outbox; /* what it has still to send */
    size_t outbox_len;
    size_t outbox_room;
    uint64_t sent; /* bytes handed to the network */

    /* behaviour */
    int read_stopped;       /* reads nothing */
    int stays;              /* keeps its end after the other side's end (else closes it) */
    size_t read_max;        /* bytes of a read, 0: all that is there ... */
    uint64_t read_every_ns; /* ... each so often, 0: at once */
    size_t send_max;        /* as these two */
    uint64_t send_every_ns;
    void (*changed)(sim_peer *peer, void *arg); /* after anything that happened to it */
    void *arg;
};

/* Connects to the listener at *to, from `from` ("198.51.100.1" if NULL). The world's. */
sim_peer *sim_peer_connect(sim_world *world, const gate__sockaddr *to, const char *from);

/* Bytes to send, behind those that wait. Also before it is connected. */
void sim_peer_send(sim_peer *peer, const void *bytes, size_t len);

/* Ends its output once all is sent. */
void sim_peer_half_close(sim_peer *peer);

/* Closes once all is sent. */
void sim_peer_close(sim_peer *peer);

/* Resets now. */
void sim_peer_reset(sim_peer *peer);

/* When the other side took the connection from its queue and began to read from it, which may be
 * later where it has a limit; 0: not yet, or not any more. */
uint64_t sim_peer_accepted_ns(const sim_peer *peer);

/* How many of its bytes have arrived at the other side's socket, read or not; *ended: so has its
 * end. */
uint64_t sim_peer_arrived(const sim_peer *peer, int *ended);

/* Has the peer look again after its behaviour was changed. */
void sim_peer_kick(sim_peer *peer);

/* Listens at *addr, whose port is chosen if 0, with a peer for each connection, which is set up by
 * accepted(peer, arg). NULL: its queue is always full. Ends with the world. */
void sim_peers_listen(sim_world *world, gate__sockaddr *addr, int backlog,
                      void (*accepted)(sim_peer *peer, void *arg), void *arg);

#endif
