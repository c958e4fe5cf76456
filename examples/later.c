/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <gate/gate.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* later [PORT]: answers from another thread. The handler only defers the request and puts it on a
 * list, so a slow job never holds up other clients. Replies of one connection leave in order. */
typedef struct job {
    struct job *next;
    gate_request *req;
    size_t len;
    char text[];
} job;

typedef struct jobs {
    pthread_mutex_t lock;
    pthread_cond_t more;
    job *first;
    job **last;
} jobs;

static void accept_job(gate_request *req, const void *line, size_t len, void *user)
{
    jobs *list = user;
    job *j = malloc(sizeof *j + len);
    if (!j || gate_defer(req)) {
        free(j);
        gate_reject(req, "try again", 9);
        return;
    }
    *j = (job){.req = req, .len = len};
    if (len)
        memcpy(j->text, line, len); /* the line is gone when this function returns */
    pthread_mutex_lock(&list->lock);
    *list->last = j;
    list->last = &j->next;
    pthread_cond_signal(&list->more);
    pthread_mutex_unlock(&list->lock);
}

static void *work(void *arg)
{
    jobs *list = arg;
    for (;;) {
        pthread_mutex_lock(&list->lock);
        while (!list->first)
            pthread_cond_wait(&list->more, &list->lock);
        job *j = list->first;
        list->first = j->next;
        if (!list->first)
            list->last = &list->first;
        pthread_mutex_unlock(&list->lock);
        for (size_t i = 0; i < j->len; i++)
            j->text[i] = (char)toupper((unsigned char)j->text[i]);
        gate_reply(j->req, j->text, j->len); /* GATE_EGONE where the client has left: fine */
        free(j);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static jobs list = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};
    gate_options options = {
        .size = sizeof options,
        .handler = accept_job,
        .user = &list,
        .codec = gate_codec_line(),
    };
    uint16_t port = argc > 1 ? (uint16_t)atoi(argv[1]) : 9001;
    gate_server *server;
    pthread_t worker;
    list.last = &list.first;
    int rc = gate_server_open(&server, &options);
    if (!rc)
        rc = gate_server_listen(server, "127.0.0.1", port, 0);
    if (!rc)
        rc = -pthread_create(&worker, NULL, work, &list);
    if (!rc) {
        printf("listening on port %u\n", gate_server_port(server));
        fflush(stdout);
        rc = gate_server_serve(server); /* until the process is ended */
    }
    fprintf(stderr, "later: %s\n", gate_strerror(rc));
    return 1;
}
