/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <gate/gate.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* resp_kv [PORT]: a key-value store in memory that redis-cli and redis-benchmark can talk to
 * (RESP2): PING, ECHO, GET, SET, DEL, EXISTS, INCR, MGET, and what those programs ask for on
 * their own, COMMAND and CONFIG GET. Everything is bounded. SIGTERM and SIGINT end it. */
enum {
    ARGS_MAX = 1024,                   /* of a command */
    FRAME_MAX = 1024 * 1024,           /* bytes of a command */
    INLINE_MAX = 64 * 1024,            /* bytes of a command that is typed by hand */
    REPLY_MAX = 4 * 1024 * 1024,       /* bytes of the reply to MGET */
    KEYS_MAX = 1024 * 1024,            /* a power of two */
    MEMORY_MAX = 256 * 1024 * 1024,    /* bytes of keys, values and what goes with them */
    BUFFERS_MAX = 64 * 1024 * 1024,    /* bytes of commands and replies under way, of all clients */
    ARG_MIN = sizeof "$0\r\n\r\n" - 1, /* bytes of the shortest argument */
    NUMBER_ROOM = 32                   /* a number with what stands around it */
};

typedef struct slice {
    const char *bytes;
    size_t len;
} slice;

/* In either case; the word is of letters. */
static int is_word(slice text, const char *word, size_t len)
{
    size_t i = 0;
    while (i < len && i < text.len && !((text.bytes[i] ^ word[i]) & ~0x20))
        i++;
    return i == len && i == text.len;
}

static size_t put(char *to, const void *bytes, size_t len)
{
    memcpy(to, bytes, len);
    return len;
}

/* "<mark><number>\r\n"; at most NUMBER_ROOM bytes. */
static size_t put_number(char *to, char mark, long long number)
{
    char digits[NUMBER_ROOM], *at = digits + sizeof digits;
    unsigned long long rest =
        number < 0 ? 0 - (unsigned long long)number : (unsigned long long)number;
    *--at = '\n';
    *--at = '\r';
    do
        *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (number < 0)
        *--at = '-';
    *--at = mark;
    return put(to, at, (size_t)(digits + sizeof digits - at));
}

/* "$5\r\nhello\r\n" */
static size_t put_bulk(char *to, slice text)
{
    size_t len = put_number(to, '$', (long long)text.len);
    len += put(to + len, text.bytes, text.len);
    return len + put(to + len, "\r\n", 2);
}

/* ---- The protocol: where a command ends ---------------------------------------------------- */

typedef struct command {
    size_t total;      /* whole: bytes of the input that it takes */
    size_t least;      /* more: with fewer there is nothing new to find */
    const char *error; /* broken: why */
    size_t count;
    slice args[ARGS_MAX];
} command;

enum { BROKEN = -1, MORE = 0, WHOLE = 1 };

static int broken(command *c, const char *error)
{
    c->error = error;
    return BROKEN;
}

/* Reads "<digits>\r\n" at *at and moves past it. */
static int read_length(const char *in, size_t len, size_t *at, size_t *length)
{
    size_t i = *at, n = 0;
    for (; i < len && in[i] >= '0' && in[i] <= '9'; i++) {
        n = n * 10 + (size_t)(in[i] - '0');
        if (n > FRAME_MAX || i - *at > 9)
            return BROKEN;
    }
    if (i == *at && i < len)
        return BROKEN;
    for (int k = 0; k < 2; k++, i++) {
        if (i == len)
            return MORE;
        if (in[i] != "\r\n"[k])
            return BROKEN;
    }
    *at = i;
    *length = n;
    return WHOLE;
}

/* Reads "$5\r\nhello\r\n" at *at and moves past it; `behind` more arguments follow. */
static int read_arg(command *c, const char *in, size_t len, size_t *at, size_t behind)
{
    size_t i = *at, n = 0;
    if (i == len)
        return MORE;
    if (in[i++] != '$')
        return broken(c, "expected '$'");
    int rc = read_length(in, len, &i, &n);
    if (rc != WHOLE)
        return rc == MORE ? MORE : broken(c, "invalid bulk length");
    c->least = i + n + 1;
    if (i + n + 2 + behind * ARG_MIN > FRAME_MAX)
        return broken(c, "invalid bulk length");
    if ((len > i + n && in[i + n] != '\r') || (len > i + n + 1 && in[i + n + 1] != '\n'))
        return broken(c, "expected CRLF behind a bulk string");
    if (len < i + n + 2)
        return MORE;
    c->args[c->count++] = (slice){in + i, n};
    *at = i + n + 2;
    return WHOLE;
}

/* "*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\n" */
static int read_array(command *c, const char *in, size_t len)
{
    size_t at = 1, count = 0;
    int rc = read_length(in, len, &at, &count);
    if (rc == BROKEN || count > ARGS_MAX)
        return broken(c, "invalid multibulk length");
    while (rc == WHOLE && c->count < count)
        rc = read_arg(c, in, len, &at, count - c->count - 1);
    c->total = at;
    return rc;
}

/* "ECHO hello\n", as typed into a terminal; words have no quotes. */
static int read_inline(command *c, const char *in, size_t len)
{
    const char *end = memchr(in, '\n', len < INLINE_MAX ? len : INLINE_MAX);
    if (!end)
        return len < INLINE_MAX ? MORE : broken(c, "too big inline request");
    c->total = (size_t)(end - in) + 1;
    for (size_t n; in < end; in += n + 1) {
        n = strcspn(in, " \t\r\n");
        if (n && c->count == ARGS_MAX)
            return broken(c, "too many arguments");
        if (n)
            c->args[c->count++] = (slice){in, n};
    }
    return WHOLE;
}

/* What it finds depends on the first byte that is wrong, never on how many bytes are there. */
static int read_command(command *c, const void *input, size_t len)
{
    const char *in = input;
    c->count = 0;
    c->least = len + 1;
    return in[0] == '*' ? read_array(c, in, len) : read_inline(c, in, len);
}

/* A codec cannot answer: what is broken is a frame too, which the handler reads again and names. */
static int decode(const gate_codec *codec, const uint8_t *input, size_t len, size_t body_max,
                  int eof, gate_frame *frame)
{
    (void)codec, (void)body_max, (void)eof;
    command c;
    if (len <= frame->scanned)
        return 0; /* a large argument that still comes in is not looked at again */
    int rc = read_command(&c, input, len);
    if (rc == MORE) {
        frame->scanned = c.least - 1;
        return 0;
    }
    frame->total = rc == WHOLE ? c.total : len;
    frame->body = 0;
    frame->body_len = frame->total;
    return 1;
}

/* ---- The store: a hash table that never grows ---------------------------------------------- */

typedef struct entry {
    struct entry *next;
    size_t key_len;
    size_t bulk_len;
    char bytes[]; /* the key, and the value as the bulk string that GET answers */
} entry;

/* One worker has it for itself: no locks. */
typedef struct store {
    size_t keys;
    size_t memory;
    uint64_t seed[2];
    char reply[REPLY_MAX + NUMBER_ROOM]; /* to put one together */
    entry *buckets[KEYS_MAX];
} store;

static uint64_t rotate(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

static void stir(uint64_t v[4])
{
    v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
    v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
}

/* SipHash-1-3, but for the order of the bytes: who does not know the seed cannot choose keys that
 * share a bucket. */
static uint64_t hash(const uint64_t seed[2], slice key)
{
    uint64_t v[4] = {seed[0] ^ 0x736f6d6570736575, seed[1] ^ 0x646f72616e646f6d ^ key.len,
                     seed[0] ^ 0x6c7967656e657261, seed[1] ^ 0x7465646279746573};
    for (size_t at = 0; at < key.len; at += sizeof(uint64_t)) {
        uint64_t word = 0;
        size_t left = key.len - at;
        memcpy(&word, key.bytes + at, left < sizeof word ? left : sizeof word);
        v[3] ^= word;
        stir(v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        stir(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static char *bulk_of(entry *e)
{
    return e->bytes + e->key_len;
}

static size_t cost(size_t key_len, size_t bulk_len)
{
    return sizeof(entry) + 16 + key_len + bulk_len; /* malloc's own: about 16 */
}

/* The link that leads to the key's entry, or to NULL where it would be. */
static entry **find(store *s, slice key)
{
    entry **link = &s->buckets[hash(s->seed, key) & (KEYS_MAX - 1)], *e;
    while ((e = *link) && (e->key_len != key.len || memcmp(e->bytes, key.bytes, key.len)))
        link = &e->next;
    return link;
}

static void drop(store *s, entry **link)
{
    entry *e = *link;
    *link = e->next;
    s->memory -= cost(e->key_len, e->bulk_len);
    s->keys--;
    free(e);
}

/* 0, or -1: the store is full, and as it was. */
static int set(store *s, slice key, slice value)
{
    size_t bulk_len = put_number(s->reply, '$', (long long)value.len) + value.len + 2;
    entry **link = find(s, key), *e = *link;
    if (!e || e->bulk_len != bulk_len) {
        size_t freed = e ? cost(e->key_len, e->bulk_len) : 0;
        size_t memory = s->memory - freed + cost(key.len, bulk_len);
        if (memory > MEMORY_MAX || (!e && s->keys == KEYS_MAX) ||
            !(e = malloc(sizeof *e + key.len + bulk_len)))
            return -1;
        if (*link)
            drop(s, link);
        *e = (entry){.next = *link, .key_len = key.len, .bulk_len = bulk_len};
        put(e->bytes, key.bytes, key.len);
        *link = e;
        s->memory = memory;
        s->keys++;
    }
    put_bulk(bulk_of(e), value);
    return 0;
}

/* ---- The commands -------------------------------------------------------------------------- */

static const char store_full[] = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";

static void say(gate_request *req, const char *text)
{
    gate_reply(req, text, strlen(text));
}

static void say_number(gate_request *req, long long number)
{
    char text[NUMBER_ROOM];
    gate_reply(req, text, put_number(text, ':', number));
}

static void ping(gate_request *req, store *s, const command *c)
{
    if (c->count > 1)
        gate_reply(req, s->reply, put_bulk(s->reply, c->args[1]));
    else
        gate_reply(req, "+PONG\r\n", 7);
}

static void get_key(gate_request *req, store *s, const command *c)
{
    entry *e = *find(s, c->args[1]);
    if (e)
        gate_reply(req, bulk_of(e), e->bulk_len);
    else
        gate_reply(req, "$-1\r\n", 5);
}

static void set_key(gate_request *req, store *s, const command *c)
{
    say(req, set(s, c->args[1], c->args[2]) ? store_full : "+OK\r\n");
}

static void delete_keys(gate_request *req, store *s, const command *c)
{
    long long deleted = 0;
    for (size_t i = 1; i < c->count; i++) {
        entry **link = find(s, c->args[i]);
        if (*link) {
            drop(s, link);
            deleted++;
        }
    }
    say_number(req, deleted);
}

static void count_keys(gate_request *req, store *s, const command *c)
{
    long long found = 0;
    for (size_t i = 1; i < c->count; i++)
        found += *find(s, c->args[i]) != NULL;
    say_number(req, found);
}

/* The number that a bulk string is, if it is as one would be written: no "042", no "+1". */
static int read_number(const char *bulk, size_t len, long long *number)
{
    char text[NUMBER_ROOM];
    const char *digits = strchr(bulk, '\n') + 1;
    if (*digits != '-' && (*digits < '0' || *digits > '9'))
        return -1;
    *number = strtoll(digits, NULL, 10);
    size_t text_len = put_number(text, '$', *number) - 1;
    return bulk + len != digits + text_len || memcmp(digits, text + 1, text_len) ? -1 : 0;
}

static void increment(gate_request *req, store *s, const command *c)
{
    long long number = 0;
    char text[NUMBER_ROOM];
    entry *e = *find(s, c->args[1]);
    int bad = e && (read_number(bulk_of(e), e->bulk_len, &number) || number == LLONG_MAX);
    size_t len = put_number(text, ':', bad ? 0 : number + 1);
    if (bad)
        say(req, "-ERR value is not an integer or out of range\r\n");
    else if (set(s, c->args[1], (slice){text + 1, len - 3}))
        say(req, store_full);
    else
        gate_reply(req, text, len);
}

static void get_keys(gate_request *req, store *s, const command *c)
{
    size_t len = put_number(s->reply, '*', (long long)c->count - 1);
    for (size_t i = 1; i < c->count; i++) {
        entry *e = *find(s, c->args[i]);
        slice bulk = e ? (slice){bulk_of(e), e->bulk_len} : (slice){"$-1\r\n", 5};
        if (bulk.len > REPLY_MAX - len) {
            say(req, "-ERR the reply is too large\r\n");
            return;
        }
        len += put(s->reply + len, bulk.bytes, bulk.len);
    }
    gate_reply(req, s->reply, len);
}

/* redis-benchmark asks for two parameters, and prints them. Here each is an empty text. */
static void configure(gate_request *req, store *s, const command *c)
{
    size_t len = put(s->reply, "*2\r\n", 4);
    len += put_bulk(s->reply + len, c->args[2]);
    len += put_bulk(s->reply + len, (slice){"", 0});
    if (is_word(c->args[1], "GET", 3))
        gate_reply(req, s->reply, len);
    else
        say(req, "-ERR only CONFIG GET is offered here\r\n");
}

/* redis-cli asks for the commands' documentation when it starts. */
static void describe(gate_request *req, store *s, const command *c)
{
    (void)s, (void)c;
    say(req, "*0\r\n");
}

static const struct verb {
    const char *name;
    size_t len, args_min, args_max; /* the name is one of the arguments */
    void (*run)(gate_request *req, store *s, const command *c);
} verbs[] = {
    {"GET", 3, 2, 2, get_key},
    {"SET", 3, 3, 3, set_key},
    {"INCR", 4, 2, 2, increment},
    {"PING", 4, 1, 2, ping},
    {"MGET", 4, 2, ARGS_MAX, get_keys},
    {"DEL", 3, 2, ARGS_MAX, delete_keys},
    {"EXISTS", 6, 2, ARGS_MAX, count_keys},
    {"ECHO", 4, 2, 2, ping},
    {"CONFIG", 6, 3, 3, configure},
    {"COMMAND", 7, 1, ARGS_MAX, describe},
};

static const struct verb *find_verb(slice name)
{
    const struct verb *v = verbs, *end = verbs + sizeof verbs / sizeof *verbs;
    while (v < end && !is_word(name, v->name, v->len))
        v++;
    return v < end ? v : NULL;
}

static void handle(gate_request *req, const void *body, size_t len, void *user)
{
    command c;
    char text[128];
    if (read_command(&c, body, len) != WHOLE) {
        int n = snprintf(text, sizeof text, "-ERR Protocol error: %s\r\n", c.error);
        gate_reject(req, text, (size_t)n);
        return;
    }
    const struct verb *v = c.count ? find_verb(c.args[0]) : NULL;
    if (!c.count)
        gate_reply(req, NULL, 0); /* an empty line or array: nothing was asked */
    else if (!v)
        say(req, "-ERR unknown command\r\n");
    else if (c.count < v->args_min || c.count > v->args_max)
        say(req, "-ERR wrong number of arguments\r\n");
    else
        v->run(req, user, &c);
}

/* ---- The program --------------------------------------------------------------------------- */

static gate_server *server;

static void stop(int signal_number)
{
    (void)signal_number;
    gate_server_stop(server);
}

int main(int argc, char **argv)
{
    static store all; /* pages that are not used take no memory */
    const gate_codec resp = {.size = sizeof resp, .decode = decode};
    gate_options options = {
        .size = sizeof options,
        .handler = handle,
        .user = &all,
        .codec = &resp,
        .request_max = FRAME_MAX,
        .buffers_max = BUFFERS_MAX,
        .idle_timeout_ms = GATE_NEVER,
    };
    struct sigaction action = {.sa_handler = stop};
    uint16_t port = argc > 1 ? (uint16_t)atoi(argv[1]) : 9001;
    int rc = getrandom(all.seed, sizeof all.seed, 0) < 0 ? -errno : 0;
    if (!rc)
        rc = gate_server_open(&server, &options);
    if (!rc)
        rc = gate_server_listen(server, "127.0.0.1", port, 0);
    if (!rc) {
        sigaction(SIGTERM, &action, NULL);
        sigaction(SIGINT, &action, NULL);
        printf("listening on port %u\n", gate_server_port(server));
        fflush(stdout);
        rc = gate_server_serve(server);
    }
    if (rc)
        fprintf(stderr, "resp_kv: %s\n", gate_strerror(rc));
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    gate_server_close(server);
    return rc ? 1 : 0;
}
