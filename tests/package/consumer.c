/* SPDX-License-Identifier: MIT */
/* Somebody's program against the installed library, valid as C and as C++: serves on a thread, asks
 * itself once, and prints the answer. */
#include <gate/gate.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void answer(gate_request *req, const void *body, size_t len, void *user)
{
    (void)user;
    if (len == 1 && memcmp(body, "1", 1) == 0)
        gate_reply(req, "welcome to server!", 18);
    else
        gate_reject(req, "please go out!", 14);
}

static void *serve(void *server)
{
    int code = gate_server_serve((gate_server *)server);

    if (code)
        fprintf(stderr, "serve: %s\n", gate_strerror(code));
    return NULL;
}

/* Asks the server that runs on another thread; returns a code of the library. */
static int ask(gate_server *server)
{
    char reply[64];
    size_t reply_len = sizeof(reply);
    pthread_t thread;
    int code;

    if (pthread_create(&thread, NULL, serve, server))
        return GATE_EBROKEN;
    code = gate_client_exchange("127.0.0.1", gate_server_port(server), "1", 1, reply, &reply_len,
                                5000);
    gate_server_stop(server);
    pthread_join(thread, NULL);
    if (!code)
        printf("%.*s\n", (int)reply_len, reply);
    return code;
}

/* Numbers of events are what the functions take, in C++ as well. */
static void tell(const gate_event *event, void *user)
{
    (void)user;
    if (event->level <= GATE_LOG_WARNING)
        fprintf(stderr, "%s: %s\n", gate_reason_name(event->reason), event->text);
}

int main(void)
{
    gate_options options;
    gate_server *server = NULL;
    int code;

    memset(&options, 0, sizeof(options));
    options.size = sizeof(options);
    options.handler = answer;
    options.log = tell;
    code = gate_server_open(&server, &options);
    if (!code)
        code = gate_server_listen(server, "127.0.0.1", 0, 5);
    if (!code)
        code = ask(server);
    gate_server_close(server);
    if (code)
        fprintf(stderr, "consumer: %s\n", gate_strerror(code));
    return code != 0;
}
