/* SPDX-License-Identifier: MIT */

/* link LOSS DELAY REORDER SEED: a bad line between two networks, 10.77.0.1 and 10.77.0.2.
 *
 * Makes two network namespaces with a TUN device each, and carries the packets from one to the
 * other: LOSS percent of them are lost, each takes DELAY milliseconds, REORDER percent of them
 * take 1 to 20 ms longer, so that others overtake them. The kernel's own TCP does the rest on both
 * sides. Prints the descriptor of the first namespace, to be entered through /proc/PID/fd/; the
 * second one is its own. At the end of standard input it prints what it did, as JSON. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { PACKET_MAX = 2048, WAITING_MAX = 16384, MS = 1000000 };

typedef struct packet packet;
struct packet {
    packet *next; /* due later, or not before */
    packet *before;
    uint64_t due_ns;
    uint64_t number; /* in the order in which they came */
    int to;
    size_t len;
    uint8_t bytes[];
};

static struct {
    int tun[2];
    unsigned loss, delay, reorder;
    uint64_t random;
    packet *first, *last;
    unsigned waiting;
    uint64_t number;
    uint64_t newest[2]; /* number of the newest packet that each side has got */
    uint64_t carried, lost, overtaken;
} line;

static void die(const char *what)
{
    fprintf(stderr, "link: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static unsigned draw(unsigned below)
{
    line.random ^= line.random << 13;
    line.random ^= line.random >> 7;
    line.random ^= line.random << 17;
    return (unsigned)(line.random % below);
}

/* ---- The two networks ---------------------------------------------------------------------- */

static void set_address(const char *device, const char *text)
{
    struct ifreq request = {0};
    struct sockaddr_in address = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", device);
    inet_pton(AF_INET, text, &address.sin_addr);
    memcpy(&request.ifr_addr, &address, sizeof(address));
    if (ioctl(fd, SIOCSIFADDR, &request) < 0)
        die("address");
    address.sin_addr.s_addr = htonl(0xffffff00);
    memcpy(&request.ifr_netmask, &address, sizeof(address));
    if (ioctl(fd, SIOCSIFNETMASK, &request) < 0)
        die("netmask");
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        die("up");
    close(fd);
}

/* From here on this process is in a network of its own. */
static int make_network(const char *address)
{
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI, .ifr_name = "siege"};
    int fd = unshare(CLONE_NEWNET) < 0 ? -1 : open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
        die("no network with a TUN device");
    set_address(request.ifr_name, address);
    return fd;
}

/* ---- The line ------------------------------------------------------------------------------ */

/* Behind all that are due before it: without reordering that is the end. */
static void put_in_order(packet *item)
{
    packet *at = line.last;

    while (at != NULL && at->due_ns > item->due_ns)
        at = at->before;
    item->before = at;
    item->next = at != NULL ? at->next : line.first;
    *(at != NULL ? &at->next : &line.first) = item;
    *(item->next != NULL ? &item->next->before : &line.last) = item;
    line.waiting++;
}

static void take(int from, uint64_t now_ns)
{
    uint8_t bytes[PACKET_MAX];
    ssize_t len;

    while ((len = read(line.tun[from], bytes, sizeof(bytes))) > 0) {
        packet *item = NULL;

        if (draw(100) >= line.loss && line.waiting < WAITING_MAX)
            item = malloc(sizeof(*item) + (size_t)len);
        if (item == NULL) {
            line.lost++;
            continue;
        }
        *item = (packet){.to = !from, .len = (size_t)len, .number = ++line.number};
        memcpy(item->bytes, bytes, (size_t)len);
        item->due_ns = now_ns + (uint64_t)line.delay * MS;
        if (draw(100) < line.reorder)
            item->due_ns += (uint64_t)(1 + draw(20)) * MS;
        put_in_order(item);
    }
}

static void hand_over(uint64_t now_ns)
{
    while (line.first != NULL && line.first->due_ns <= now_ns) {
        packet *item = line.first;

        line.first = item->next;
        *(line.first != NULL ? &line.first->before : &line.last) = NULL;
        line.waiting--;
        if (write(line.tun[item->to], item->bytes, item->len) == (ssize_t)item->len)
            line.carried++;
        if (item->number < line.newest[item->to])
            line.overtaken++;
        else
            line.newest[item->to] = item->number;
        free(item);
    }
}

static void run(void)
{
    struct pollfd ready[] = {{.fd = line.tun[0], .events = POLLIN},
                             {.fd = line.tun[1], .events = POLLIN},
                             {.fd = STDIN_FILENO, .events = POLLIN}};

    while ((ready[2].revents & (POLLIN | POLLHUP)) == 0) {
        uint64_t now_ns = clock_ns();
        struct timespec wait = {.tv_sec = 1};

        hand_over(now_ns);
        if (line.first != NULL) {
            uint64_t left_ns = line.first->due_ns - now_ns;

            wait = (struct timespec){.tv_sec = (time_t)(left_ns / 1000000000),
                                     .tv_nsec = (long)(left_ns % 1000000000)};
        }
        if (ppoll(ready, 3, &wait, NULL) < 0)
            die("poll");
        now_ns = clock_ns();
        take(0, now_ns);
        take(1, now_ns);
    }
}

int main(int argc, char **argv)
{
    int first;

    if (argc != 5) {
        fprintf(stderr, "usage: link LOSS DELAY REORDER SEED\n");
        return 2;
    }
    line.loss = (unsigned)atoi(argv[1]);
    line.delay = (unsigned)atoi(argv[2]);
    line.reorder = (unsigned)atoi(argv[3]);
    line.random = strtoull(argv[4], NULL, 10) * 2 + 0x9e3779b97f4a7c15;
    line.tun[0] = make_network("10.77.0.1");
    first = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    line.tun[1] = make_network("10.77.0.2");
    printf("%d\n", first);
    fflush(stdout);
    run();
    printf("{\"carried\": %ju, \"lost\": %ju, \"overtaken\": %ju}\n", (uintmax_t)line.carried,
           (uintmax_t)line.lost, (uintmax_t)line.overtaken);
    return 0;
}
