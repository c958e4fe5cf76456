/* SPDX-License-Identifier: MIT */
#ifndef GATE_GATE_H
#define GATE_GATE_H

/*
 * libgate puts one C function behind a TCP port, and asks such a port with one call.
 *
 * Results: every function that returns int returns 0 (or what it says) on success and a negative
 * code otherwise: -errno, or one of the GATE_E... values below. gate_strerror() explains either.
 * The library never prints, exits, or changes a signal's disposition.
 *
 * Structs that begin with a size: set it to sizeof the struct and what you do not use to 0. A later
 * version appends fields. The library takes the struct of an older or a newer header, refuses with
 * -EINVAL a field that is set and that it does not know, and reads and writes nothing after size.
 * gate_frame, gate_wrap and gate_addr have no size: they never change.
 *
 * C++: a function of the program that the library calls must not be left by an exception, nor by
 * longjmp(): what the library had begun would never be completed. Declare it noexcept, and catch
 * within it.
 *
 * Time: every *_ms is milliseconds on CLOCK_MONOTONIC. In options 0 takes the default and
 * GATE_NEVER means no limit; where a time-out is an int, that is -1, and other negative numbers are
 * -EINVAL.
 *
 * Addresses: an address is "127.0.0.1" (four decimal numbers), "::1" or "fe80::1%eth0" (brackets
 * are allowed), a host name, "*" for every IPv6 and IPv4 address of the machine, "unix:/path" or
 * "unix:@abstract". The port is not used for the two Unix forms.
 *
 * Structs have no padding on any machine: fields of 8 bytes are at offsets divisible by 8, pointers
 * come in pairs, and a field that fills a gap is named reserved and has to be 0.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define GATE_API __attribute__((visibility("default")))
#else
#define GATE_API
#endif

#define GATE_VERSION_MAJOR 0
#define GATE_VERSION_MINOR 1
#define GATE_VERSION_PATCH 0

#define GATE_NEVER UINT32_MAX

/* ---- Codes -------------------------------------------------------------------------------- */

/* Values are frozen. A plain -errno from a client function means that no byte of the request was
 * handed to the kernel; once one was, only the codes marked (sent) are returned. */
enum {
    GATE_EGONE = -4096,      /* the peer of this request has gone */
    GATE_EFRAME = -4097,     /* bytes that the codec does not allow (client: sent) */
    GATE_ETOOBIG = -4098,    /* a frame over the limit */
    GATE_ENAME = -4099,      /* the host name does not exist or has no address */
    GATE_ENAMELATER = -4100, /* the name service failed for now; try again later */
    GATE_EPORTS = -4101,     /* no free local port to connect from */
    GATE_EROOM = -4102,      /* the reply is larger than the room; raw: its start is there (sent) */
    GATE_ETRUNCATED = -4103, /* the peer closed or reset inside the reply (sent) */
    GATE_ECLOSED = -4104,    /* the peer closed or reset without a byte of reply (sent) */
    GATE_ELATE = -4105,      /* the deadline passed before the whole reply was there (sent) */
    GATE_EBROKEN = -4106,    /* another local or network error after the request began (sent) */
    GATE_ESELF = -4107       /* the connection reached itself: nobody listens on that port */
};

/* What a client's result says about the request, see gate_outcome(). */
enum {
    GATE_ANSWERED = 0,      /* the peer answered */
    GATE_NOT_SENT = 1,      /* the request never left: it is safe to send it again */
    GATE_MAYBE_EXECUTED = 2 /* the request may have been executed */
};

/* The text of a code, never NULL. Static storage for the library's own codes, else the thread's,
 * valid until the thread's next call. Any thread. */
GATE_API const char *gate_strerror(int code);

/* GATE_ANSWERED, GATE_NOT_SENT or GATE_MAYBE_EXECUTED for the result of a client function. Pure. */
GATE_API int gate_outcome(int code);

/* "0.1.0": the version of the library that is running. Static storage. */
GATE_API const char *gate_version(void);

/* ---- Requests and answers ----------------------------------------------------------------- */

typedef struct gate_server gate_server;

/* One request that waits for its answer. It is answered exactly once, by gate_reply(),
 * gate_reply_borrowed() or gate_reject(). A handler that returns without an answer and without
 * gate_defer() rejects with an empty answer. */
typedef struct gate_request gate_request;

/* Called once for each complete request, on the thread of the worker that owns the connection; a
 * worker runs one handler at a time. body is borrowed until the handler returns and may be NULL
 * when len is 0. user is the option of that name. */
typedef void gate_handler(gate_request *req, const void *body, size_t len, void *user);

/* Gives a borrowed reply back; runs once, on the worker's thread or on the one that closes the
 * server; for an empty body before gate_reply_borrowed returns. */
typedef void gate_release(void *arg);

/* Answers with len bytes, which are copied, and framed by the codec. Replies leave in the order of
 * their requests. Before gate_defer() only the handler's thread may answer, after it any thread.
 * -EALREADY: answered before. GATE_EGONE: the peer has gone; nothing is left to do.
 * -EMSGSIZE, -EBADMSG: the codec cannot carry this body; the request still waits. -ENOMEM.
 * -ENOBUFS, after gate_defer() only: the answer would take the sum over buffers_max, or 8 times
 * output_max of answers (at least 64 KiB) already wait for this peer to read; nothing was copied,
 * and the request still waits: try again later, or reject. The answer that a connection's others
 * wait for is never refused so, once the peer has read what went before it. */
GATE_API int gate_reply(gate_request *req, const void *body, size_t len);

/* As gate_reply, then closes the connection and counts a rejection; len may be 0. Requests that
 * the peer sent behind this one are not handled. */
GATE_API int gate_reject(gate_request *req, const void *body, size_t len);

/* As gate_reply without the copy: body must stay as it is until release(arg) runs. release runs
 * exactly once when this returns 0, and never otherwise. release may be NULL. */
GATE_API int gate_reply_borrowed(gate_request *req, const void *body, size_t len,
                                 gate_release *release, void *arg);

/* Keeps the request past the handler's return, to be answered once later from any thread, even
 * when its peer goes away in the meantime (the answer then returns GATE_EGONE) and before
 * gate_server_close(). The body is not kept: copy what is needed. Handler's thread only.
 * -EALREADY: answered or deferred before. */
GATE_API int gate_defer(gate_request *req);

/* Writes the peer's address as text ("192.0.2.1:40000", "[2001:db8::1]:40000", "unix:") with a NUL
 * into text, truncated to room; also once the peer has reset the connection. Handler's thread
 * before it returns; after gate_defer() any thread, before the answer. -EALREADY: answered.
 * -errno: the system does not know it. */
GATE_API int gate_request_peer(gate_request *req, char *text, size_t room);

/* The server that received the request, also after its answer. Handler's thread. */
GATE_API gate_server *gate_request_server(gate_request *req);

/* ---- Codecs: where a request ends ---------------------------------------------------------- */

/* What decode has found. */
typedef struct gate_frame {
    size_t scanned;  /* in, out: bytes that decode knows to hold no end; 0 for a new frame */
    size_t need;     /* out: size of the whole frame where it is known before it is there, else 0 */
    size_t total;    /* out: bytes of the input that the frame takes */
    size_t body;     /* out: where the body starts in the input */
    size_t body_len; /* out */
} gate_frame;

/* What encode puts around a body. */
typedef struct gate_wrap {
    uint32_t head_len;
    uint32_t tail_len;
    uint8_t head[24];
    uint8_t tail[24];
} gate_wrap;

enum {
    GATE_CODEC_ONE_SHOT = 1,         /* one exchange a connection, then close */
    GATE_CODEC_UNTIL_EOF = 2,        /* the end of the input ends the frame: see eof below */
    GATE_CODEC_REPLY_UNTIL_CLOSE = 4 /* client: the reply is all that comes until the peer closes;
                                        decode is not asked */
};

/* A codec is pure: no state between calls but gate_frame.scanned, and no I/O. To write one's own,
 * fill this in; a struct must stay as it is while a server or client uses it. */
typedef struct gate_codec gate_codec;
struct gate_codec {
    uint32_t size;   /* sizeof(gate_codec) of the program */
    uint32_t flags;  /* GATE_CODEC_... */
    uint64_t number; /* the codec's own: fixed: the size; delimiter: its length */
    /* Looks for one frame at the start of len bytes of input (len > 0 unless eof). 1: found, frame
     * is filled in. 0: more bytes are needed. GATE_EFRAME, GATE_ETOOBIG (the body would be over
     * body_max, as soon as that is known): the connection ends. eof is 1 once the peer has ended
     * its input, with GATE_CODEC_UNTIL_EOF only. */
    int (*decode)(const gate_codec *codec, const uint8_t *input, size_t len, size_t body_max,
                  int eof, gate_frame *frame);
    /* Says what stands before and behind a body. 0, -EMSGSIZE (a length that the codec cannot
     * carry) or -EBADMSG (bytes that it cannot). NULL: bodies go out as they are. */
    int (*encode)(const gate_codec *codec, const uint8_t *body, size_t len, gate_wrap *wrap);
    void *user;        /* the codec's own */
    void *reserved;    /* NULL */
    uint8_t bytes[24]; /* the codec's own: delimiter: its bytes */
};

/* Built in, in static storage. Bodies never hold the framing.
 * raw: what one read returns; one exchange. The default.
 * line: ends at LF; a CR before it is dropped. Replies end with LF.
 * varint: a LEB128 length of at most 5 bytes, shortest form only.
 * netstring: "5:hello,". No leading zeros.
 * eof: all that the peer sends before it ends its side; one exchange. */
GATE_API const gate_codec *gate_codec_raw(void);
GATE_API const gate_codec *gate_codec_line(void);
GATE_API const gate_codec *gate_codec_varint(void);
GATE_API const gate_codec *gate_codec_netstring(void);
GATE_API const gate_codec *gate_codec_eof(void);

/* A length of 1, 2 or 4 bytes before each body. NULL for another width. */
GATE_API const gate_codec *gate_codec_prefix_be(unsigned width);
GATE_API const gate_codec *gate_codec_prefix_le(unsigned width);

/* These fill the caller's struct, which need not be initialised. The library writes no more than
 * size bytes of it, sizeof(gate_codec) of the program: call the macros below, which pass that.
 * delimiter, fixed: a delimiter of 1 to 24 bytes; bodies of body_len bytes, at least 1.
 * parse: from a name: "raw", "line", "varint", "netstring", "eof", "u8", "u16", "u32" (big-endian),
 * "u16le", "u32le", "fixed:SIZE", "delimiter:TEXT".
 * -EINVAL: none of these; the struct is left as it was. Pure. */
GATE_API int gate_codec_delimiter_sized(gate_codec *codec, size_t size, const void *delimiter,
                                        size_t len);
GATE_API int gate_codec_fixed_sized(gate_codec *codec, size_t size, size_t body_len);
GATE_API int gate_codec_parse_sized(gate_codec *codec, size_t size, const char *name);
#define gate_codec_delimiter(codec, delimiter, len) \
    gate_codec_delimiter_sized((codec), sizeof(gate_codec), (delimiter), (len))
#define gate_codec_fixed(codec, body_len) \
    gate_codec_fixed_sized((codec), sizeof(gate_codec), (body_len))
#define gate_codec_parse(codec, name) gate_codec_parse_sized((codec), sizeof(gate_codec), (name))

/* ---- Events and counters ------------------------------------------------------------------- */

/* Why a connection was closed: one reason for each, the same in events and counters. */
typedef enum gate_reason {
    GATE_CLOSE_NONE = 0,
    GATE_CLOSE_ANSWERED = 1,         /* its last exchange was answered */
    GATE_CLOSE_REJECTED = 2,         /* answered by gate_reject() */
    GATE_CLOSE_UNANSWERED = 3,       /* the handler forgot to answer */
    GATE_CLOSE_PEER = 4,             /* the peer closed between requests */
    GATE_CLOSE_TRUNCATED = 5,        /* the peer closed inside a request */
    GATE_CLOSE_RESET = 6,            /* the peer reset, or the network failed */
    GATE_CLOSE_TIMEOUT = 7,          /* no whole request within timeout_ms */
    GATE_CLOSE_IDLE = 8,             /* no further request within idle_timeout_ms */
    GATE_CLOSE_WRITE_TIMEOUT = 9,    /* a reply was not taken within write_timeout_ms */
    GATE_CLOSE_HANDLER_TIMEOUT = 10, /* a deferred request was not answered in time */
    GATE_CLOSE_BAD_FRAME = 11,       /* GATE_EFRAME */
    GATE_CLOSE_TOO_BIG = 12,         /* GATE_ETOOBIG */
    GATE_CLOSE_NO_MEMORY = 13,
    GATE_CLOSE_PEER_LIMIT = 14,    /* over peer_connections_max */
    GATE_CLOSE_STOPPED = 15,       /* the server stopped while it waited for a request */
    GATE_CLOSE_DRAIN_TIMEOUT = 16, /* cut off at drain_timeout_ms */
    GATE_CLOSE_IO = 17,            /* another local error */
    GATE_CLOSE_COUNT = 18          /* how many there are; not frozen */
} gate_reason;

/* The name of a gate_reason: "timeout", "answered", ...; "unknown" for another number. Static,
 * never NULL. Pure. */
GATE_API const char *gate_reason_name(int reason);

enum { GATE_LOG_ERROR = 1, GATE_LOG_WARNING = 2, GATE_LOG_NOTICE = 3, GATE_LOG_DEBUG = 4 };

/* Closes for a fault are notices, other closes are debug. Texts hold nothing that gate_escape()
 * would escape. */
typedef struct gate_event {
    uint32_t size;    /* sizeof(gate_event) of the library */
    int32_t level;    /* GATE_LOG_... */
    int32_t reason;   /* gate_reason of a close, else 0 */
    uint32_t worker;  /* which one it happened on */
    const char *peer; /* its address as text, "" where there is none; valid during the call */
    const char *text; /* one line without a newline; valid during the call */
    /* These five are of a close, else 0 or "". */
    uint64_t duration_ns; /* from accept to the close */
    uint64_t requests;    /* handed to the handler */
    uint64_t bytes_in;    /* read from the peer */
    uint64_t bytes_out;   /* taken by the kernel for the peer */
    const char *listener; /* where it was accepted, as gate_listener_name() has it */
    const char *name;     /* of the kind of event, static: of a close as gate_reason_name(), else
                             "accept_pause", "accept_again", "io_fallback", "environment" */
} gate_event;

/* Runs on a worker's thread (several at a time with several workers), or the caller's. */
typedef void gate_log(const gate_event *event, void *log_user);

/* The library fills no more than size bytes; counters that it does not know are 0. */
typedef struct gate_stats {
    uint32_t size;        /* sizeof(gate_stats) of the caller, who sets it */
    uint32_t connections; /* open now */
    uint64_t accepted;
    uint64_t requests;   /* handed to the handler */
    uint64_t replies;    /* answered by gate_reply or gate_reply_borrowed */
    uint64_t rejections; /* answered by gate_reject, or forgotten */
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t accept_errors; /* failed accepts, passing and lasting */
    uint64_t accept_pauses; /* episodes without descriptors or memory */
    uint64_t closed[24];    /* by gate_reason */
} gate_stats;

/* ---- Server -------------------------------------------------------------------------------- */

enum { GATE_IO_AUTO = 0, GATE_IO_EPOLL = 1, GATE_IO_URING = 2 };

/* The kernel hands a TCP connection over only when its first bytes are there (TCP_DEFER_ACCEPT,
 * tcp(7)): one wake-up less for each connection. timeout_ms then starts at those bytes; a silent
 * client waits in the kernel for about 5 s before it is handed over and its time starts. */
enum { GATE_DEFER_ACCEPT = 1 };

/* Zero takes the default everywhere. A later version appends fields only. With several workers each
 * has an equal share of buffers_max, rounded up; connections_max and peer_connections_max hold over
 * all of them. */
typedef struct gate_options {
    uint32_t size;         /* sizeof(gate_options) */
    uint32_t workers;      /* threads that serve, the caller's being one; default 1 */
    uint64_t request_max;  /* bytes of a body; default 1024 for raw, the size for
                               fixed, else 1 MiB */
    uint64_t output_max;   /* unsent reply bytes of a connection at which the server stops reading;
                               default 1 MiB */
    uint64_t buffers_max;  /* bytes of parts of requests and of copied replies that all connections
                               may hold together; the one that takes them over it is closed
                               (GATE_CLOSE_NO_MEMORY), over 3/4 of it already if it holds more
                               than 4 KiB. From half of it, or 8 times output_max in a worker,
                               reading stops from each with 4 KiB of unsent replies. Requests
                               that wait for their answer count 256 bytes. Default a quarter of the
                               memory (of the machine, of the control group, or RLIMIT_AS), but at
                               least 64 MiB, and one request and its reply for each worker */
    gate_handler *handler; /* required */
    void *user;            /* handed to the handler */
    const gate_codec *codec; /* default gate_codec_raw(); borrowed until gate_server_close */
    gate_log *log;           /* default none */
    void *log_user;
    void *reserved;              /* NULL */
    uint32_t timeout_ms;         /* from accept, later from a request's first byte, until the whole
                               request is there; default 5000 */
    uint32_t idle_timeout_ms;    /* between requests; default timeout_ms */
    uint32_t write_timeout_ms;   /* from a reply until it is sent; see rate_min; default
                               timeout_ms */
    uint32_t handler_timeout_ms; /* of a deferred request, until its answer; default timeout_ms */
    uint32_t drain_timeout_ms;   /* from the stop until the rest is cut; default 5000 */
    uint32_t connections_max;    /* over it accepting waits; default 65536 */
    uint32_t peer_connections_max; /* of one address, an IPv6 one counted by /64; over it new ones
                                      are closed at once; default as connections_max */
    uint32_t inflight_max;         /* unanswered requests of a connection; default 128 */
    uint32_t exchanges_max; /* of a connection, then it is closed; default no limit (raw, eof: 1) */
    uint32_t log_level;     /* default GATE_LOG_NOTICE */
    uint32_t io;            /* GATE_IO_...; the default is GATE_IO_AUTO: what the environment's
                               GATE_IO names (auto, epoll, io_uring; any other value is
                               ignored with a warning in the log), else the best there is */
    uint32_t flags;         /* GATE_DEFER_ACCEPT */
    uint32_t rate_min;      /* bytes a second: requests and replies get the time that they take at
                               this rate besides timeout_ms and write_timeout_ms, for each MiB
                               anew; default 65536 (64 KiB/s), GATE_NEVER: they do not */
    uint32_t reserved2;     /* 0 */
} gate_options;

/* Serves until gate_server_stop() (see gate_request_server) and returns 0, or why it could not.
 * Blocks; the handler runs on this thread. backlog and timeout_ms: 0 takes the default (the
 * kernel's largest, 5000); timeout_ms -1 is GATE_NEVER. -EINVAL: no handler, or another negative
 * number. The rest as gate_server_open, gate_server_listen and gate_server_serve. */
GATE_API int gate_server_run(const char *addr, uint16_t port, int backlog, int timeout_ms,
                             gate_handler *handler);

/* Makes a server, closed by gate_server_close(). options is copied, what it points at is borrowed.
 * -EINVAL: no handler, an unknown size, value or flag, a codec without decode. -ENOMEM. */
GATE_API int gate_server_open(gate_server **server, const gate_options *options);

/* One address that a server listens on; it lives until gate_server_close(). */
typedef struct gate_listener gate_listener;

enum {
    GATE_LISTEN_DEFER = 1,     /* TCP_DEFER_ACCEPT, as GATE_DEFER_ACCEPT for all of a server */
    GATE_LISTEN_FD = 2,        /* serve fd instead of opening a socket */
    GATE_LISTEN_UNIX_MODE = 4, /* set the permissions of the Unix socket's file */
    GATE_LISTEN_UNIX_OWNER = 8 /* set the owner and the group of the Unix socket's file */
};

/* Zero takes the default everywhere; a field that needs a flag is only read with it. */
typedef struct gate_listen_options {
    uint32_t size;      /* sizeof(gate_listen_options) */
    uint32_t flags;     /* GATE_LISTEN_... */
    int32_t backlog;    /* connections that may wait to be accepted; default the kernel's largest */
    int32_t fd;         /* GATE_LISTEN_FD: a listening stream socket of the caller's, which becomes
                           the server's when the call returns 0; O_NONBLOCK, TCP_NODELAY and
                           SO_OOBINLINE are set and stay so. addr and port are not used */
    uint32_t unix_mode; /* GATE_LISTEN_UNIX_MODE: 0 to 0777; else what umask(2) leaves */
    uint32_t unix_uid;  /* GATE_LISTEN_UNIX_OWNER: UINT32_MAX leaves it as it is */
    uint32_t unix_gid;  /* GATE_LISTEN_UNIX_OWNER: UINT32_MAX leaves it as it is */
    uint32_t reserved;  /* 0 */
} gate_listen_options;

/* What went wrong, in words: for the functions that have an argument of this type, which may be
 * NULL. Filled in whatever the result is; no more than size bytes are written. */
typedef struct gate_error {
    uint32_t size;  /* sizeof(gate_error) of the caller */
    int32_t code;   /* the function's result */
    uint32_t line;  /* of what was read, from 1; 0: it is about no line */
    char text[240]; /* a sentence without a full stop; "" on success */
} gate_error;

/* Listens on one more address; before gate_server_serve(). options and listener may be NULL. Blocks
 * while a name is looked up; of several addresses that it has the first is taken. On an error
 * nothing has changed.
 * A Unix socket's file that nothing listens on is replaced. The process that serves removes it, or
 * gate_server_close() where nothing listens on it any more. While a server starts there is a file
 * PATH.lock next to it.
 * After a fork(2) before gate_server_serve() either process may serve, and the other one closes its
 * copy or ends. After it the child may only exec or _exit.
 * Permissions and owner are set before anyone can connect.
 * -EADDRINUSE, -EADDRNOTAVAIL, -EACCES, -EPERM, ...: errno of bind(2), listen(2), chmod(2) or
 * chown(2). -EINVAL, -ENAMETOOLONG: not an address, or options that do not fit it. -ENOTSOCK: fd is
 * no socket. -EEXIST: fd is one that this server has, or the path is no socket. GATE_ENAME,
 * GATE_ENAMELATER. -EBUSY: already serving. -ENOMEM. A port that is in use is tried again for 200
 * ms, since the kernel keeps that of a killed process for a moment. */
GATE_API int gate_server_listen_with(gate_server *server, const char *addr, uint16_t port,
                                     const gate_listen_options *options, gate_listener **listener,
                                     gate_error *error);

/* Short forms of gate_server_listen_with(). fd becomes the server's when the call returns 0. */
GATE_API int gate_server_listen(gate_server *server, const char *addr, uint16_t port, int backlog);
GATE_API int gate_server_listen_fd(gate_server *server, int fd);

/* The port of a listener as the kernel chose it, also of an inherited one; 0 for a Unix socket. Any
 * thread, until gate_server_close(). */
GATE_API uint16_t gate_listener_port(const gate_listener *listener);

/* Writes the address that the listener has, also an inherited one ("127.0.0.1:9001", "[::]:9001",
 * "unix:/run/gate.sock"), with a NUL into text, truncated to room. Any thread, until
 * gate_server_close(). -EINVAL: a null pointer, or no room. */
GATE_API int gate_listener_name(const gate_listener *listener, char *text, size_t room);

/* The port of the first TCP listener, as the kernel chose it; 0 where there is none. */
GATE_API uint16_t gate_server_port(const gate_server *server);

/* Serves on this thread, and on workers - 1 more that end before this returns. 0 after a stop, once
 * each request that reached the handler was answered. -EINVAL: nothing to listen on. -EBUSY: twice.
 * Else the first error that made serving impossible. */
GATE_API int gate_server_serve(gate_server *server);

/* Ends serving gracefully: connections that the kernel has queued are still accepted, requests that
 * have arrived are answered, and those of which a part has arrived get the rest of their deadline
 * or drain_timeout_ms, whichever is sooner. Any thread, a handler, or a signal handler; any number
 * of times; async-signal-safe. */
GATE_API void gate_server_stop(gate_server *server);

/* Counters, summed over the workers; each is a moment's value. Any thread. -EINVAL: stats->size. */
GATE_API int gate_server_stats(const gate_server *server, gate_stats *stats);

/* Frees the server, which must not be serving. NULL is fine. Deferred requests end with it. */
GATE_API void gate_server_close(gate_server *server);

/* ---- Client -------------------------------------------------------------------------------- */

/* Sends one request and reads the reply until the peer closes; one deadline of timeout_ms
 * (0: 5000, -1: no limit) over name lookup, connect, send and receive. *reply_len: in the room, out
 * what is there, also on an error. Blocks; any thread. An empty reply cannot be told from a close:
 * both are GATE_ECLOSED. -EINVAL, GATE_ENAME, -ECONNREFUSED, -ETIMEDOUT, ...: not sent, see
 * gate_outcome(). */
GATE_API int gate_client_exchange(const char *addr, uint16_t port, const void *request,
                                  size_t request_len, void *reply, size_t *reply_len,
                                  int timeout_ms);

/* A connection that can be asked more than once. One thread at a time. */
typedef struct gate_client gate_client;

typedef struct gate_client_options {
    uint32_t size;           /* sizeof(gate_client_options) */
    uint32_t timeout_ms;     /* for gate_client_open; default 5000 */
    const gate_codec *codec; /* default gate_codec_raw(); borrowed until gate_client_close */
} gate_client_options;

/* Looks up and connects, trying each address of a name within timeout_ms. options may be NULL.
 * Errors as gate_client_exchange before anything is sent. */
GATE_API int gate_client_open(gate_client **client, const char *addr, uint16_t port,
                              const gate_client_options *options);

/* One exchange within timeout_ms (0: 5000, -1: no limit); connects anew where the last exchange
 * ended the connection, or the peer has closed it since. *reply_len: in the room, out the reply's
 * length. With codec eof the client ends its side after the request. After any error but -EINVAL,
 * -EMSGSIZE and -EBADMSG the connection is closed. */
GATE_API int gate_client_call(gate_client *client, const void *request, size_t request_len,
                              void *reply, size_t *reply_len, int timeout_ms);

/* NULL is fine. */
GATE_API void gate_client_close(gate_client *client);

/* ---- Addresses as people write them -------------------------------------------------------- */

enum {
    GATE_ADDR_TCP = 1,    /* host and port */
    GATE_ADDR_UNIX = 2,   /* host is "unix:/path" or "unix:@name" */
    GATE_ADDR_FD = 3,     /* fd is an inherited descriptor */
    GATE_ADDR_SYSTEMD = 4 /* host is the name of a socket that the service manager passes */
};

typedef struct gate_addr {
    uint32_t kind; /* GATE_ADDR_... */
    uint32_t port; /* 0 to 65535 */
    int32_t fd;
    char host[256]; /* without brackets; "*" where it was left out */
} gate_addr;

/* Reads "host:port", ":port", "*:port", "[::1]:9001", "host" (port_default), "unix:/path",
 * "unix:@abstract", "fd:3" or "systemd:NAME". Pure. On -EINVAL or -ENAMETOOLONG *why (if not NULL)
 * is a static sentence that says what is wrong and what to write. */
GATE_API int gate_addr_parse(gate_addr *addr, const char *text, uint16_t port_default,
                             const char **why);

/* Writes len bytes as text that a terminal or a log can take: UTF-8 as it is, but "\x1b" or
 * "\u202e" for control characters (C0, DEL, C1), line separators, characters that change the
 * direction of text, and "\xff" for a byte that is not UTF-8. A NUL ends it; it is cut to room
 * between characters. Its length, without the NUL. Escaping twice changes nothing more. Pure. */
GATE_API size_t gate_escape(char *text, size_t room, const void *bytes, size_t len);

#ifdef __cplusplus
}
#endif

#endif
