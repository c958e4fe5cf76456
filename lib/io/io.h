/* SPDX-License-Identifier: MIT */
#ifndef GATE_IO_IO_H
#define GATE_IO_IO_H

/*
 * gate_io: how the rest of the library talks to the network. Completion-based: one submits an
 * operation and is told once what became of it.
 *
 * The contract, for each backend (epoll, blocking, the simulator, io_uring):
 *  1. Submitting returns nothing. Every failure arrives through the completion.
 *  2. Completions run only from run(), never inside a submit. Each op has exactly one final one;
 *     accept (and a recv with GATE_IO_STAY) have others before it, marked GATE_IO_MORE.
 *  3. The caller owns the op, its socket and the bytes to send until the final completion. cancel
 *     only asks: the op completes all the same, with -ECANCELED or with what it had got.
 *  4. A socket has two ops: `in` (accept, recv) and `out` (connect, send, shutdown, close); each
 *     carries one operation at a time. Close only once neither is in flight.
 *  5. recv names no buffer. On completion op->buf and the result name bytes that the backend lends
 *     until the callback returns. A result of 0 is the peer's end of input.
 *  6. Time is now_ns, nanoseconds on the monotonic clock: read once a turn, and by now(). It says
 *     nothing about what has come: the process may have been stopped for hours before it was read.
 *     What a deadline is compared with is turn_ns.
 *  7. All of it from one thread at a time, but wake(), which any thread and a signal handler may
 *     call: it makes a run() that waits, or the next one, return soon.
 *  8. The descriptor may be gone as soon as a close, or a send with GATE_IO_LAST, is submitted: fd
 *     is -1 then. The op is in flight until it completes all the same, in a later turn.
 *  9. After the completion of a close the caller may free the socket: the backend holds nothing.
 */

#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/owner.h"

/* How far a backend has got with what was ready at one time: see turn_ns. */
enum { GATE__ROUND_OVER = 0, GATE__ROUND_FETCHING, GATE__ROUND_TELLING };

typedef struct gate_io gate_io;
typedef struct gate_io_ops gate_io_ops;
typedef struct gate_op gate_op;
typedef struct gate_sock gate_sock;
typedef struct gate_resolve gate_resolve;

/* Completion flags. */
enum {
    GATE_IO_MORE = 1,   /* not the final completion */
    GATE_IO_FULL = 2,   /* recv: the kernel may hold more input than this */
    GATE_IO_CLOSED = 4, /* send with GATE_IO_LAST: all was sent and the descriptor is closed */
    GATE_IO_ENDED = 8   /* send with GATE_IO_END: all was sent and our side is ended */
};

/* Submission flags. */
enum {
    GATE_IO_NOWAIT = 1,  /* accept, recv: complete with -EAGAIN once nothing is there */
    GATE_IO_MOREOUT = 2, /* send: another send follows at once (MSG_MORE) */
    GATE_IO_LAST = 4,    /* send: close the descriptor if everything was sent. Never with a recv in
                           flight. See GATE_IO_CLOSED; without it the socket is still open */
    GATE_IO_STAY = 8,    /* recv: may stay armed and complete more than once, as accept does */
    GATE_IO_END = 16 /* send: end our side if everything was sent, as shutdown does, in the segment
                        of the last bytes. See GATE_IO_ENDED; without it our side is still open */
};

/* result: bytes or a descriptor, or -errno. */
typedef void gate_op_done(gate_io *io, gate_op *op, int result, unsigned flags);

struct gate_op {
    gate_op_done *done; /* set by the submit */
    const void *buf;    /* send: the bytes to send; recv: the lent bytes */
    size_t len;         /* send: how many */
    gate_op *next;      /* the backend's */
    uint8_t kind;       /* the backend's; GATE_OP_NONE means idle */
    uint8_t state;      /* the backend's */
    uint16_t flags;     /* the submission's */
    uint32_t aux;       /* the backend's */
};

enum {
    GATE_OP_NONE = 0, /* set before done runs for a final completion */
    GATE_OP_ACCEPT,
    GATE_OP_RECV,
    GATE_OP_CONNECT,
    GATE_OP_SEND,
    GATE_OP_SHUTDOWN,
    GATE_OP_CLOSE,
    GATE_OP_RESOLVE
};

struct gate_sock {
    int fd;         /* -1: none */
    uint32_t state; /* the backend's */
    gate_op in;
    gate_op out;
};

static inline void gate__sock_init(gate_sock *sock, int fd)
{
    *sock = (gate_sock){.fd = fd};
}

static inline int gate__op_busy(const gate_op *op)
{
    return op->kind != GATE_OP_NONE;
}

/* A name look-up. The caller owns it until its completion; host is borrowed until then. */
enum { GATE_RESOLVE_MAX = 8 };
struct gate_resolve {
    gate_op op;
    const char *host;
    uint16_t port;
    uint16_t count; /* on completion with 0 */
    gate__sockaddr addrs[GATE_RESOLVE_MAX];
    void *job; /* the backend's */
};

/* Listener flags. */
enum {
    GATE_IO_SHARED = 1 /* several listeners will share the port (SO_REUSEPORT): the first one
                              still fails on a port that is taken */
    ,
    GATE_IO_JOIN = 2,  /* this one joins a port that GATE_IO_SHARED has opened */
    GATE_IO_DEFER = 4, /* TCP_DEFER_ACCEPT */
    GATE_IO_DUAL = 8   /* a listener on :: takes IPv4 as well */
};

/* Who may connect to a Unix socket's file; UINT32_MAX leaves one as it is. */
typedef struct gate__rights {
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
} gate__rights;

struct gate_io_ops {
    const char *name; /* "epoll", ... */

    /* Set-up calls: at once, no completion. */
    /* Opens sock listening on *addr, which becomes the bound address. rights, of a Unix socket's
     * file, may be NULL. 0, -errno. */
    int (*listen)(gate_io *io, gate_sock *sock, gate__sockaddr *addr, int backlog, unsigned flags,
                  const gate__rights *rights);
    /* Takes somebody else's listening descriptor; *addr becomes its address. 0, -errno. */
    int (*adopt)(gate_io *io, gate_sock *sock, int fd, gate__sockaddr *addr);
    /* 1: two descriptors are of the same socket. */
    int (*same)(gate_io *io, int fd, int other);
    /* Lets time pass, before the loop runs. */
    void (*pause)(gate_io *io, uint64_t ns);
    /* A number that nobody can guess. */
    uint64_t (*random)(gate_io *io);
    /* Closes at once a descriptor that accept gave and no socket has taken. */
    void (*discard)(gate_io *io, int fd);
    /* How many bytes the peer has not acknowledged yet. */
    size_t (*unacked)(gate_io *io, const gate_sock *sock);
    /* Has the close reset the connection, so that its peer does not take what it got for all there
     * is. Unix sockets know no reset: there it changes nothing. */
    void (*reset)(gate_io *io, gate_sock *sock);
    /* The peer's address of a connected socket, as long as it has its descriptor: also after the
     * peer has reset the connection. 0, -errno. */
    int (*peer)(gate_io *io, const gate_sock *sock, gate__sockaddr *addr);

    /* Stays armed: each connection completes with its descriptor and GATE_IO_MORE, until an error
     * or cancel completes it finally. op->buf is the peer's address (gate__sockaddr), lent until
     * the callback returns, or NULL where it would have to be asked for. */
    void (*accept)(gate_io *io, gate_sock *sock, unsigned flags, gate_op_done *done);
    /* Opens sock and connects it. On failure the descriptor is closed again. */
    void (*connect)(gate_io *io, gate_sock *sock, const gate__sockaddr *addr, gate_op_done *done);
    /* With GATE_IO_STAY done may carry GATE_IO_MORE: still armed, nothing to submit. */
    void (*recv)(gate_io *io, gate_sock *sock, unsigned flags, gate_op_done *done);
    /* Completes after the first bytes that went out: a short result is not an error. */
    void (*send)(gate_io *io, gate_sock *sock, const void *buf, size_t len, unsigned flags,
                 gate_op_done *done);
    /* Ends our side of the stream (SHUT_WR). */
    void (*shutdown)(gate_io *io, gate_sock *sock, gate_op_done *done);
    void (*close)(gate_io *io, gate_sock *sock, gate_op_done *done);
    /* Asks for an op in flight to end. Idle op: nothing happens. */
    void (*cancel)(gate_io *io, gate_sock *sock, gate_op *op);

    /* A name look-up: completes with 0 and the addresses, or GATE_ENAME, GATE_ENAMELATER, -ENOMEM.
     * resolve_cancel makes it complete with -ECANCELED soon, whatever the name service does. */
    void (*resolve)(gate_io *io, gate_resolve *resolve, gate_op_done *done);
    void (*resolve_cancel)(gate_io *io, gate_resolve *resolve);

    /* Waits until something completes or deadline_ns (UINT64_MAX: none), then runs what has
     * completed and returns 0. -errno: this loop cannot go on. */
    int (*run)(gate_io *io, uint64_t deadline_ns);
    /* Reads the clock anew, for a callback that may have taken long: sets and returns now_ns. */
    uint64_t (*now)(gate_io *io);
    void (*wake)(gate_io *io);
    void (*free)(gate_io *io); /* nothing may be in flight */
};

/* The head of every backend's own struct. */
struct gate_io {
    const gate_io_ops *ops;
    uint64_t now_ns;  /* the time, as last read */
    uint64_t turn_ns; /* everything that had come by then has been told: what is due after a later
                         event must not be judged by now_ns */
    int fallback;     /* why it is not the backend that is tried first: -errno, or 0 */
    int environment;  /* -EINVAL: GATE_IO has no known value, and was ignored; else 0 */
};

/* Opens the backend that `kind` (GATE_IO_... of gate.h) names; for GATE_IO_AUTO the one that the
 * environment's GATE_IO names, if it names one. */
int gate__io_open(gate_io **io, uint32_t kind);

int gate__io_epoll_open(gate_io **io);
/* -ENOSYS, -EPERM, -EINVAL, -ENOMEM, ...: not built in, or not to be had from this kernel. */
int gate__io_uring_open(gate_io **io);

#endif
