/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L
#include <gate/gate.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* counter [PORT]: counts the lines that anybody sends. Two workers run the handler at once, so
 * what they share is atomic. SIGTERM and SIGINT end it in good order. */
typedef struct tally {
    atomic_ulong lines;
} tally;

static gate_server *server;

static void count(gate_request *req, const void *line, size_t len, void *user)
{
    tally *t = user;
    char text[32];
    (void)line;
    (void)len;
    int n = snprintf(text, sizeof text, "%lu", atomic_fetch_add(&t->lines, 1) + 1);
    gate_reply(req, text, (size_t)n);
}

static void stop(int signal_number)
{
    (void)signal_number;
    gate_server_stop(server); /* allowed here: it is async-signal-safe */
}

int main(int argc, char **argv)
{
    tally t = {0};
    gate_options options = {
        .size = sizeof options,
        .workers = 2,
        .handler = count,
        .user = &t,
        .codec = gate_codec_line(),
    };
    uint16_t port = argc > 1 ? (uint16_t)atoi(argv[1]) : 9001;
    struct sigaction action = {.sa_handler = stop};
    int rc = gate_server_open(&server, &options);
    if (!rc)
        rc = gate_server_listen(server, "127.0.0.1", port, 0);
    if (!rc) {
        sigaction(SIGTERM, &action, NULL);
        sigaction(SIGINT, &action, NULL);
        printf("listening on port %u\n", gate_server_port(server));
        fflush(stdout);
        rc = gate_server_serve(server);
        printf("%lu lines\n", atomic_load(&t.lines));
    }
    if (rc)
        fprintf(stderr, "counter: %s\n", gate_strerror(rc));
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    gate_server_close(server);
    return rc ? 1 : 0;
}
