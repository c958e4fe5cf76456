/* SPDX-License-Identifier: MIT */
#include "io/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <gate/gate.h>

#include "io/sock.h"

/* What a look-up is about. All but the answer is under the pool's lock. */
struct job {
    struct job *next; /* in the queue */
    pthread_cond_t answered;
    enum { WAITS, RUNS, ABANDONED, DONE } state; /* only a thread has one that is abandoned */
    gate__resolve_notify *notify;
    void *arg;
    /* The answer: the thread's until done, then the caller's. */
    int code;
    uint16_t count;
    uint16_t port;
    gate__sockaddr addrs[GATE_RESOLVE_MAX];
    char host[];
};

/* A thread ends when no job waits. */
static struct {
    pthread_mutex_t lock;
    unsigned threads;
    struct job *first; /* jobs that wait for a thread */
    struct job **last;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .last = &pool.first};

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

/* At most `room` addresses of host. Not with AI_ADDRCONFIG, for which the loopback counts as no
 * address: on a machine with IPv6 only it hides 127.0.0.1. What cannot be reached fails at once. */
static int look_up(const char *host, uint16_t port, gate__sockaddr *addrs, uint16_t room,
                   uint16_t *count)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
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

/* An IPv6 address with the name of a zone: 0, -ENODEV where there is no such interface. 1: another
 * host. */
static int find_zone(const char *host, uint16_t port, gate__sockaddr *addr)
{
    const char *ip = host + (*host == '['), *zone = strchr(host, '%');
    char text[INET6_ADDRSTRLEN + IF_NAMESIZE], name[IF_NAMESIZE];
    unsigned index;

    if (!zone)
        return 1;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(zone + 1, "]"), zone + 1);
    index = if_nametoindex(name);
    if (!index)
        return -errno;
    snprintf(text, sizeof text, "%.*s%%%u", (int)(zone - ip), ip, index);
    return gate__addr_numeric(addr, text, port);
}

/* What needs no thread. */
static int find_at_once(const char *host, uint16_t port, gate__sockaddr *addr)
{
    int rc = gate__addr_numeric(addr, host, port);

    return rc == 1 ? find_zone(host, port, addr) : rc;
}

int gate__resolve_now(const char *host, uint16_t port, gate__sockaddr *addr)
{
    gate__sockaddr addrs[GATE_RESOLVE_MAX];
    uint16_t count, own = 0;
    int rc = find_at_once(host, port, addr);

    if (rc != 1)
        return rc;
    rc = look_up(host, port, addrs, GATE_RESOLVE_MAX, &count);
    if (rc < 0)
        return rc;
    while (own < count && !gate__sock_is_own(&addrs[own]))
        own++;
    *addr = addrs[own < count ? own : 0];
    return 0;
}

/* ---- Jobs ---------------------------------------------------------------------------------- */

static void destroy(struct job *job)
{
    pthread_cond_destroy(&job->answered);
    free(job);
}

/* Deadlines are on the monotonic clock, so the condition has to be as well. None of these fails on
 * Linux, where they only fill memory in. */
static void init_answered(struct job *job)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&job->answered, &attr);
    pthread_condattr_destroy(&attr);
}

static struct job *make_job(const gate_resolve *resolve, gate__resolve_notify *notify, void *arg)
{
    size_t size = strlen(resolve->host) + 1;
    struct job *job = calloc(1, sizeof *job + size);

    if (!job)
        return NULL;
    init_answered(job);
    memcpy(job->host, resolve->host, size);
    job->port = resolve->port;
    job->notify = notify;
    job->arg = arg;
    return job;
}

static void push(struct job *job)
{
    *pool.last = job;
    pool.last = &job->next;
}

static void take_out(struct job *job)
{
    struct job **link = &pool.first;

    while (*link != job)
        link = &(*link)->next;
    *link = job->next;
    if (!job->next)
        pool.last = link;
}

/* ---- Threads ------------------------------------------------------------------------------- */

/* With the lock held. The caller reads nothing of the answer before DONE, so that it can be written
 * without the lock, which would stop the caller for as long as the name service takes. */
static void answer(struct job *job)
{
    job->state = RUNS;
    pthread_mutex_unlock(&pool.lock);
    job->code = look_up(job->host, job->port, job->addrs, GATE_RESOLVE_MAX, &job->count);
    pthread_mutex_lock(&pool.lock);
    if (job->state == ABANDONED) {
        destroy(job);
        return;
    }
    job->state = DONE;
    pthread_cond_signal(&job->answered);
    if (job->notify)
        job->notify(job->arg);
}

static void *answer_all(void *unused)
{
    pthread_setname_np(pthread_self(), "gate-dns");
    pthread_mutex_lock(&pool.lock);
    while (pool.first) {
        struct job *job = pool.first;

        take_out(job);
        answer(job);
    }
    pool.threads--;
    pthread_mutex_unlock(&pool.lock);
    return unused;
}

/* The thread takes no signal of the program's: its handlers expect threads that they know. Its
 * stack has the default size: it also holds each library's thread-local variables, of which there
 * may be megabytes. Making the attributes cannot fail, as above. */
static int start_thread(void)
{
    sigset_t all, before;
    pthread_attr_t attr;
    pthread_t thread;
    int error;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&thread, &attr, answer_all, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return -error;
}

/* Where there can be no further thread, those that run have to do. */
static int submit(struct job *job)
{
    int rc = 0;

    pthread_mutex_lock(&pool.lock);
    push(job);
    if (pool.threads < GATE_RESOLVE_THREADS) {
        rc = start_thread();
        pool.threads += rc == 0;
    }
    if (pool.threads > 0)
        rc = 0;
    else
        take_out(job);
    pthread_mutex_unlock(&pool.lock);
    return rc;
}

unsigned gate__resolve_threads(void)
{
    unsigned threads;

    pthread_mutex_lock(&pool.lock);
    threads = pool.threads;
    pthread_mutex_unlock(&pool.lock);
    return threads;
}

/* ---- fork ---------------------------------------------------------------------------------- */

static void lock_pool(void)
{
    pthread_mutex_lock(&pool.lock);
}

static void unlock_pool(void)
{
    pthread_mutex_unlock(&pool.lock);
}

/* The threads, and those that wait for their answers, are the parent's. */
static void begin_in_child(void)
{
    pool.threads = 0;
    pool.first = NULL;
    pool.last = &pool.first;
    pthread_mutex_unlock(&pool.lock);
}

static int fork_rc;

static void watch_forks(void)
{
    fork_rc = -pthread_atfork(lock_pool, unlock_pool, begin_in_child);
}

/* ---- The caller's side --------------------------------------------------------------------- */

int gate__resolve_start(gate_resolve *resolve, gate__resolve_notify *notify, void *arg)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct job *job;
    int rc = find_at_once(resolve->host, resolve->port, &resolve->addrs[0]);

    resolve->count = rc == 0;
    resolve->job = NULL;
    if (rc != 1)
        return rc;
    pthread_once(&once, watch_forks);
    job = fork_rc == 0 ? make_job(resolve, notify, arg) : NULL;
    if (!job)
        return -ENOMEM;
    rc = submit(job);
    if (rc < 0) {
        destroy(job);
        return rc;
    }
    resolve->job = job;
    return 1;
}

int gate__resolve_take(gate_resolve *resolve)
{
    struct job *job = resolve->job;
    int code = -EAGAIN;

    pthread_mutex_lock(&pool.lock);
    if (job->state == DONE) {
        code = job->code;
        resolve->count = job->count;
        memcpy(resolve->addrs, job->addrs, job->count * sizeof *job->addrs);
        resolve->job = NULL;
        destroy(job);
    }
    pthread_mutex_unlock(&pool.lock);
    return code;
}

void gate__resolve_wait(gate_resolve *resolve, uint64_t deadline_ns)
{
    struct job *job = resolve->job;
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000),
                             .tv_nsec = (long)(deadline_ns % 1000000000)};
    int error = 0;

    pthread_mutex_lock(&pool.lock);
    while (job->state != DONE && !error) {
        if (deadline_ns == UINT64_MAX)
            error = pthread_cond_wait(&job->answered, &pool.lock);
        else
            error = pthread_cond_timedwait(&job->answered, &pool.lock, &until);
    }
    pthread_mutex_unlock(&pool.lock);
}

void gate__resolve_abandon(gate_resolve *resolve)
{
    struct job *job = resolve->job;

    pthread_mutex_lock(&pool.lock);
    resolve->job = NULL;
    if (job->state == WAITS)
        take_out(job);
    if (job->state == RUNS)
        job->state = ABANDONED;
    else
        destroy(job);
    pthread_mutex_unlock(&pool.lock);
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
