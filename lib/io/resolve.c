/* SPDX-License-Identifier: MIT */
#include "io/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <gate/gate.h>

enum { STACK_SIZE = 256 * 1024 };

/* Shared by the thread and the caller; whoever leaves last frees it. */
struct job {
    pthread_mutex_t lock;
    pthread_cond_t answered;
    /* These four under the lock. */
    unsigned users;
    int done;
    gate__resolve_notify *notify; /* NULL once the caller has left */
    void *arg;
    /* The answer: the thread's until done, then the caller's. */
    int code;
    uint16_t count;
    uint16_t port;
    gate__sockaddr addrs[GATE_RESOLVE_MAX];
    char host[];
};

/* ---- getaddrinfo --------------------------------------------------------------------------- */

static int code_of(int error, int system_error)
{
    switch (error) {
    case EAI_NONAME:
    case EAI_NODATA:
    case EAI_ADDRFAMILY:
    case EAI_SERVICE:
        return GATE_ENAME;
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_SYSTEM:
        return system_error == ENOMEM ? -ENOMEM : GATE_ENAMELATER;
    default:
        return GATE_ENAMELATER;
    }
}

static int keep(const struct addrinfo *info, uint16_t port, gate__sockaddr *addr)
{
    if (info->ai_addrlen > sizeof addr->u)
        return 0;
    addr->len = info->ai_addrlen;
    memcpy(&addr->u, info->ai_addr, info->ai_addrlen);
    if (info->ai_family == AF_INET)
        addr->u.in4.sin_port = htons(port);
    else if (info->ai_family == AF_INET6)
        addr->u.in6.sin6_port = htons(port);
    else
        return 0;
    return 1;
}

/* At most `room` addresses of host. */
static int look_up(const char *host, uint16_t port, gate__sockaddr *addrs, uint16_t room,
                   uint16_t *count)
{
    const struct addrinfo hints = {
        .ai_flags = AI_ADDRCONFIG, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int error = getaddrinfo(host, NULL, &hints, &list);

    *count = 0;
    if (error)
        return code_of(error, errno);
    for (const struct addrinfo *info = list; info && *count < room; info = info->ai_next)
        if (keep(info, port, &addrs[*count]))
            ++*count;
    freeaddrinfo(list);
    return *count ? 0 : GATE_ENAME;
}

int gate__resolve_now(const char *host, uint16_t port, gate__sockaddr *addr)
{
    int rc = gate__addr_numeric(addr, host, port);
    uint16_t count;

    return rc == 1 ? look_up(host, port, addr, 1, &count) : rc;
}

/* ---- The job and its thread ---------------------------------------------------------------- */

static void destroy(struct job *job)
{
    pthread_cond_destroy(&job->answered);
    pthread_mutex_destroy(&job->lock);
    free(job);
}

/* With the lock held, which it gives up. */
static void leave(struct job *job)
{
    unsigned left = --job->users;

    pthread_mutex_unlock(&job->lock);
    if (left == 0)
        destroy(job);
}

/* The caller reads nothing of the answer before `done`, so that it can be written without the
 * lock, which would stop the caller for as long as the name service takes. */
static void *answer(void *arg)
{
    struct job *job = arg;

    job->code = look_up(job->host, job->port, job->addrs, GATE_RESOLVE_MAX, &job->count);
    pthread_mutex_lock(&job->lock);
    job->done = 1;
    pthread_cond_signal(&job->answered);
    if (job->notify)
        job->notify(job->arg);
    leave(job);
    return NULL;
}

/* Deadlines are on the monotonic clock, so the condition has to be as well. None of these fails on
 * Linux, where they only fill memory in. */
static void init_sync(struct job *job)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&job->answered, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&job->lock, NULL);
}

static struct job *make_job(const gate_resolve *resolve, gate__resolve_notify *notify, void *arg)
{
    size_t size = strlen(resolve->host) + 1;
    struct job *job = calloc(1, sizeof *job + size);

    if (!job)
        return NULL;
    init_sync(job);
    memcpy(job->host, resolve->host, size);
    job->port = resolve->port;
    job->notify = notify;
    job->arg = arg;
    job->users = 2;
    return job;
}

/* The thread takes no signal of the program's: its handlers expect threads that they know. Making
 * the attributes cannot fail, as above. */
static int start_thread(struct job *job)
{
    sigset_t all, before;
    pthread_attr_t attr;
    pthread_t thread;
    int error;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&thread, &attr, answer, job);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return error;
}

/* ---- The caller's side --------------------------------------------------------------------- */

int gate__resolve_start(gate_resolve *resolve, gate__resolve_notify *notify, void *arg)
{
    struct job *job;
    int rc = gate__addr_numeric(&resolve->addrs[0], resolve->host, resolve->port);

    resolve->count = rc == 0;
    resolve->job = NULL;
    if (rc != 1)
        return rc;
    job = make_job(resolve, notify, arg);
    if (!job)
        return -ENOMEM;
    if (start_thread(job)) {
        destroy(job);
        return -ENOMEM;
    }
    resolve->job = job;
    return 1;
}

int gate__resolve_take(gate_resolve *resolve)
{
    struct job *job = resolve->job;
    int code;

    pthread_mutex_lock(&job->lock);
    if (!job->done) {
        pthread_mutex_unlock(&job->lock);
        return -EAGAIN;
    }
    code = job->code;
    resolve->count = job->count;
    memcpy(resolve->addrs, job->addrs, job->count * sizeof *job->addrs);
    resolve->job = NULL;
    leave(job);
    return code;
}

void gate__resolve_wait(gate_resolve *resolve, uint64_t deadline_ns)
{
    struct job *job = resolve->job;
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000),
                             .tv_nsec = (long)(deadline_ns % 1000000000)};
    int error = 0;

    pthread_mutex_lock(&job->lock);
    while (!job->done && !error) {
        if (deadline_ns == UINT64_MAX)
            error = pthread_cond_wait(&job->answered, &job->lock);
        else
            error = pthread_cond_timedwait(&job->answered, &job->lock, &until);
    }
    pthread_mutex_unlock(&job->lock);
}

void gate__resolve_abandon(gate_resolve *resolve)
{
    struct job *job = resolve->job;

    pthread_mutex_lock(&job->lock);
    job->notify = NULL;
    resolve->job = NULL;
    leave(job);
}

/* ---- The look-ups of a loop ---------------------------------------------------------------- */

static gate_resolve *resolve_of(gate_op *op)
{
    return GATE__OWNER(op, gate_resolve, op);
}

int gate__lookups_add(gate_op **list, gate_resolve *resolve, gate__resolve_notify *notify,
                      void *arg)
{
    int rc = gate__resolve_start(resolve, notify, arg);

    if (rc != 1)
        return rc;
    resolve->op.next = *list;
    *list = &resolve->op;
    return 1;
}

gate_op *gate__lookups_take(gate_op **list)
{
    for (gate_op **link = list; *link; link = &(*link)->next) {
        gate_op *op = *link;
        int rc = gate__resolve_take(resolve_of(op));

        if (rc == -EAGAIN)
            continue;
        *link = op->next;
        op->aux = (uint32_t)rc;
        return op;
    }
    return NULL;
}

int gate__lookups_remove(gate_op **list, gate_resolve *resolve)
{
    gate_op **link = list;

    while (*link && *link != &resolve->op)
        link = &(*link)->next;
    if (!*link)
        return 0;
    *link = resolve->op.next;
    gate__resolve_abandon(resolve);
    return 1;
}
