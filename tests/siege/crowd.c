/* SPDX-License-Identifier: MIT */

/* Hostile clients, as many as one wants, from one thread.
 *
 *   crowd PORT hold COUNT MS    a quarter of each: silent; a byte a second; pipelining and never
 *                               reading; gone without a word (or, one in ten, with half a close)
 *                               after part of a request. MS is the server's deadline: they come one
 *                               after another within that time, and each that is cut off comes
 *                               again, so that there are always about COUNT.
 *   crowd PORT deaf COUNT MS    only those that never read
 *   crowd PORT reset COUNT MS   COUNT at a time connect, say nothing, a part or a whole request,
 *                               and reset
 *   crowd PORT greedy COUNT MS  COUNT silent ones from one address, each back as soon as it is cut
 *
 * They come from 127.0.2.1 and on, greedy ones from 127.0.9.9. For each line on standard input it
 * prints one JSON object of what it has done; at its end it goes. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum kind { SILENT, DRIP, DEAF, VANISH, HALF, RESET, GREEDY, KINDS };

static const char *const names[KINDS] = {"silent", "drip",  "deaf",  "vanished",
                                         "half",   "reset", "greedy"};

enum {
    SLOTS = 100, /* of a second: each client has its turn in one of them */
    SLOT_MS = 10,
    AGAIN_MS = 1000, /* until one that was cut off at once, or whose connect failed, comes again */
    SOURCES = 64,
    BURST = 8192, /* what a deaf one pipelines at first, then MORE each second */
    MORE = 512,
    EVENTS = 256
};

typedef struct client {
    int fd; /* -1: not there */
    enum kind kind;
    int open; /* its connection stands, or it has vanished from one */
    uint64_t came_ms;
    uint64_t due_ms; /* while it is not there: when it comes */
} client;

static struct {
    int epoll;
    in_port_t port;
    uint64_t now_ms;
    uint64_t deadline_ms;
    client *clients;
    size_t count;
    unsigned turn;
    uint64_t came;   /* connections that stood */
    uint64_t failed; /* attempts that came to nothing */
    uint64_t cut[KINDS];
    char burst[BURST];
} crowd;

static uint64_t clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void die(const char *what)
{
    fprintf(stderr, "crowd: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* What a peer that is gone makes of it is told by its events. */
static void say(const client *c, const char *bytes, size_t len)
{
    (void)!send(c->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* ---- Coming and going ---------------------------------------------------------------------- */

static void leave(client *c, uint64_t wait_ms)
{
    close(c->fd);
    c->fd = -1;
    c->open = 0;
    c->due_ms = crowd.now_ms + wait_ms;
}

static int open_from(const client *c)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    int one = 1, small = 4096;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        die("socket");
    from.sin_addr.s_addr =
        htonl(c->kind == GREEDY ? 0x7f000909 : 0x7f000201 + crowd.turn++ % SOURCES);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    if (c->kind == DEAF)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    if (bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0)
        die("bind");
    return fd;
}

static void come(client *c)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = crowd.port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLOUT | EPOLLRDHUP, .data.ptr = c};

    c->came_ms = crowd.now_ms;
    c->fd = open_from(c);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS) {
        crowd.failed++;
        leave(c, AGAIN_MS);
    } else if (epoll_ctl(crowd.epoll, EPOLL_CTL_ADD, c->fd, &event) < 0) {
        die("epoll_ctl");
    }
}

/* In repair mode a close sends nothing: the server does not learn of it. */
static void vanish(client *c)
{
    int on = 1;

    say(c, "part", 4);
    if (setsockopt(c->fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) < 0)
        die("TCP_REPAIR");
    leave(c, crowd.deadline_ms);
    c->open = 1;
}

static void reset(client *c)
{
    static const char *const words[] = {"", "part", "1\n"};
    struct linger at_once = {.l_onoff = 1};
    const char *word = words[crowd.turn % 3];

    say(c, word, strlen(word));
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    leave(c, 0);
    come(c);
}

static void begin(client *c)
{
    struct epoll_event event = {.events = EPOLLRDHUP, .data.ptr = c};

    crowd.came++;
    c->open = 1;
    if (epoll_ctl(crowd.epoll, EPOLL_CTL_MOD, c->fd, &event) < 0)
        die("epoll_ctl");
    if (c->kind == DEAF)
        say(c, crowd.burst, BURST);
    else if (c->kind == DRIP || c->kind == HALF)
        say(c, "p", 1);
    if (c->kind == HALF)
        shutdown(c->fd, SHUT_WR);
    else if (c->kind == VANISH)
        vanish(c);
    else if (c->kind == RESET)
        reset(c);
}

static void on_event(client *c, uint32_t events)
{
    if (c->fd < 0)
        return;
    if ((events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) == 0) {
        begin(c);
    } else if (!c->open) {
        crowd.failed++;
        leave(c, AGAIN_MS);
    } else {
        crowd.cut[c->kind]++;
        leave(c, AGAIN_MS);
        if (c->kind == GREEDY || crowd.now_ms - c->came_ms > AGAIN_MS)
            come(c);
    }
}

/* What a client does once a second. */
static void take_turn(client *c)
{
    if (c->fd < 0 && c->due_ms <= crowd.now_ms) {
        crowd.cut[c->kind] += (uint64_t)c->open;
        c->open = 0;
        come(c);
    } else if (c->open && c->fd >= 0 && c->kind == DRIP) {
        say(c, "p", 1);
    } else if (c->open && c->fd >= 0 && c->kind == DEAF) {
        say(c, crowd.burst, MORE);
    }
}

/* ---- The program --------------------------------------------------------------------------- */

static void tell(void)
{
    uint64_t open = 0, held[KINDS] = {0};

    for (size_t i = 0; i < crowd.count; i++) {
        open += (uint64_t)crowd.clients[i].open;
        held[crowd.clients[i].kind] += (uint64_t)crowd.clients[i].open;
    }
    printf("{\"open\": %ju, \"came\": %ju, \"failed\": %ju", (uintmax_t)open, (uintmax_t)crowd.came,
           (uintmax_t)crowd.failed);
    for (int kind = 0; kind < KINDS; kind++)
        printf(", \"%s\": {\"open\": %ju, \"cut\": %ju}", names[kind], (uintmax_t)held[kind],
               (uintmax_t)crowd.cut[kind]);
    printf("}\n");
    fflush(stdout);
}

/* 0: nobody wants us any more. */
static int on_input(void)
{
    char line[64];

    if (read(STDIN_FILENO, line, sizeof(line)) <= 0)
        return 0;
    tell();
    return 1;
}

static void run(void)
{
    struct epoll_event events[EVENTS];
    uint64_t slot = 0, begun_ms = clock_ms();

    for (int on = 1; on;) {
        uint64_t due_ms = begun_ms + slot * SLOT_MS;
        uint64_t now_ms = clock_ms();
        int count =
            epoll_wait(crowd.epoll, events, EVENTS, due_ms > now_ms ? (int)(due_ms - now_ms) : 0);

        crowd.now_ms = clock_ms();
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL)
                on = on_input();
            else
                on_event(events[i].data.ptr, events[i].events);
        }
        if (crowd.now_ms < due_ms)
            continue;
        for (size_t i = slot % SLOTS; i < crowd.count; i += SLOTS)
            take_turn(&crowd.clients[i]);
        slot++;
    }
}

static enum kind choose_kind(const char *mode, size_t i)
{
    static const enum kind quarters[] = {SILENT, DRIP, DEAF, VANISH};
    enum kind kind = quarters[i % 4];

    if (strcmp(mode, "reset") == 0)
        return RESET;
    if (strcmp(mode, "greedy") == 0)
        return GREEDY;
    if (strcmp(mode, "deaf") == 0)
        return DEAF;
    return kind == VANISH && i / 4 % 10 == 0 ? HALF : kind;
}

static void assemble(const char *mode)
{
    uint64_t now_ms = clock_ms();
    struct rlimit limit = {.rlim_cur = crowd.count + 64, .rlim_max = crowd.count + 64};
    struct epoll_event event = {.events = EPOLLIN};

    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        die("RLIMIT_NOFILE");
    crowd.epoll = epoll_create1(EPOLL_CLOEXEC);
    crowd.clients = calloc(crowd.count, sizeof(crowd.clients[0]));
    if (crowd.epoll < 0 || crowd.clients == NULL)
        die("start");
    if (epoll_ctl(crowd.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0)
        die("epoll_ctl");
    for (size_t i = 0; i < crowd.count; i++)
        crowd.clients[i] = (client){.fd = -1,
                                    .kind = choose_kind(mode, i),
                                    .due_ms = now_ms + i * crowd.deadline_ms / crowd.count};
    for (size_t i = 0; i < BURST; i++)
        crowd.burst[i] = "1\n"[i % 2];
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: crowd PORT hold|deaf|reset|greedy COUNT MS\n");
        return 2;
    }
    crowd.port = htons((uint16_t)atoi(argv[1]));
    crowd.count = strtoul(argv[3], NULL, 10);
    crowd.deadline_ms = strtoul(argv[4], NULL, 10);
    assemble(argv[2]);
    run();
    return 0;
}
