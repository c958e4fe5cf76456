/* SPDX-License-Identifier: MIT */

/* callers HOST PORT once|line THREADS MS TIMEOUT_MS REPLY
 *
 * Honest clients with the client library: each thread asks again and again, with
 * gate_client_exchange or over a connection that is kept open, for MS milliseconds or until nobody
 * listens any more. Prints one JSON object of what came of it, by the library's codes. An answer is
 * wrong if it is not exactly REPLY. */

#include <errno.h>
#include <gate/gate.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { THREADS_MAX = 256, CODES = 32 };

typedef struct tally {
    uint64_t answered;
    uint64_t wrong;
    uint64_t not_sent; /* failed, and the library says that nothing was sent */
    uint64_t slowest_ms;
    int code[CODES];
    uint64_t times[CODES];
    size_t codes;
} tally;

static struct {
    const char *host;
    uint16_t port;
    int once;
    int timeout_ms;
    uint64_t end_ms;
    const char *reply;
    size_t reply_len;
} task;

static uint64_t clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void count_code(tally *sum, int code, uint64_t times)
{
    size_t i = 0;

    while (i < sum->codes && sum->code[i] != code)
        i++;
    if (i == CODES) {
        fprintf(stderr, "callers: too many kinds of failures\n");
        exit(1);
    }
    if (i == sum->codes)
        sum->codes++;
    sum->code[i] = code;
    sum->times[i] += times;
}

static int ask(gate_client **client, char *reply, size_t *len)
{
    gate_client_options options = {
        .size = sizeof(options),
        .timeout_ms = (uint32_t)task.timeout_ms,
        .codec = gate_codec_line(),
    };
    int code = 0;

    if (task.once)
        return gate_client_exchange(task.host, task.port, "1", 1, reply, len, task.timeout_ms);
    if (*client == NULL)
        code = gate_client_open(client, task.host, task.port, &options);
    return code < 0 ? code : gate_client_call(*client, "1", 1, reply, len, task.timeout_ms);
}

static void *call(void *arg)
{
    tally *sum = arg;
    gate_client *client = NULL;
    size_t room = task.reply_len + 100;
    char *reply = malloc(room);
    int code = reply == NULL ? -ECONNREFUSED : 0;

    while (code != -ECONNREFUSED && clock_ms() < task.end_ms) {
        uint64_t begun_ms = clock_ms(), took_ms;
        size_t len = room;

        code = ask(&client, reply, &len);
        took_ms = clock_ms() - begun_ms;
        if (took_ms > sum->slowest_ms)
            sum->slowest_ms = took_ms;
        if (code < 0) {
            count_code(sum, code, 1);
            sum->not_sent += gate_outcome(code) == GATE_NOT_SENT;
        } else if (len == task.reply_len && memcmp(reply, task.reply, len) == 0) {
            sum->answered++;
        } else {
            sum->wrong++;
        }
    }
    gate_client_close(client);
    free(reply);
    return NULL;
}

static void add(tally *sum, const tally *more)
{
    sum->answered += more->answered;
    sum->wrong += more->wrong;
    sum->not_sent += more->not_sent;
    if (more->slowest_ms > sum->slowest_ms)
        sum->slowest_ms = more->slowest_ms;
    for (size_t i = 0; i < more->codes; i++)
        count_code(sum, more->code[i], more->times[i]);
}

static void tell(const tally *sum)
{
    printf("{\"answered\": %ju, \"wrong\": %ju, \"not_sent\": %ju, \"slowest_ms\": %ju, "
           "\"codes\": {",
           (uintmax_t)sum->answered, (uintmax_t)sum->wrong, (uintmax_t)sum->not_sent,
           (uintmax_t)sum->slowest_ms);
    for (size_t i = 0; i < sum->codes; i++)
        printf("%s\"%d\": %ju", i > 0 ? ", " : "", sum->code[i], (uintmax_t)sum->times[i]);
    printf("}}\n");
}

int main(int argc, char **argv)
{
    static pthread_t threads[THREADS_MAX];
    static tally tallies[THREADS_MAX], sum;
    int count = argc == 8 ? atoi(argv[4]) : 0, started = 0;

    if (count < 1 || count > THREADS_MAX) {
        fprintf(stderr, "usage: callers HOST PORT once|line THREADS MS TIMEOUT_MS REPLY\n");
        return 2;
    }
    task.host = argv[1];
    task.port = (uint16_t)atoi(argv[2]);
    task.once = strcmp(argv[3], "once") == 0;
    task.end_ms = clock_ms() + strtoul(argv[5], NULL, 10);
    task.timeout_ms = atoi(argv[6]);
    task.reply = argv[7];
    task.reply_len = strlen(argv[7]);
    while (started < count && pthread_create(&threads[started], NULL, call, &tallies[started]) == 0)
        started++;
    for (int i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        add(&sum, &tallies[i]);
    }
    tell(&sum);
    return started == count ? 0 : 1;
}
