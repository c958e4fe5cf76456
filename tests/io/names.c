/* SPDX-License-Identifier: MIT */
#include "names.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static sem_t slow;
static atomic_int asked;
static atomic_int blocked_signals;
static atomic_int flags;
static atomic_int named; /* the thread of the last one is "gate-dns" */
static atomic_int threads;
static pthread_key_t thread_end; /* its destructor runs once the thread's function is over */

static void count_end(void *unused)
{
    (void)unused;
    threads--;
}

__attribute__((constructor)) static void start(void)
{
    sem_init(&slow, 0, 0);
    if (pthread_key_create(&thread_end, count_end))
        abort();
}

void names_wait_for_threads(int look_ups)
{
    while (asked < look_ups || threads > 0)
        sched_yield();
}

void names_release(void)
{
    sem_post(&slow);
}

int names_asked(void)
{
    return asked;
}

void names_wait_for(int look_ups)
{
    while (asked < look_ups)
        sched_yield();
}

int names_flags(void)
{
    return flags;
}

int names_on_named_thread(void)
{
    return named;
}

int names_blocked_signals(void)
{
    return blocked_signals;
}

static void *allocate(size_t size)
{
    void *memory = calloc(1, size);

    if (!memory)
        abort();
    return memory;
}

static void prepend(struct addrinfo **list, int family, const char *text)
{
    struct addrinfo *info = allocate(sizeof *info);
    struct sockaddr_in6 *in6 = allocate(sizeof *in6);
    struct sockaddr_in *in4 = (struct sockaddr_in *)(void *)in6;

    in6->sin6_family = (sa_family_t)family;
    inet_pton(family, text, family == AF_INET ? (void *)&in4->sin_addr : &in6->sin6_addr);
    info->ai_family = family;
    info->ai_addr = (struct sockaddr *)in6;
    info->ai_addrlen = family == AF_INET ? sizeof *in4 : sizeof *in6;
    info->ai_next = *list;
    *list = info;
}

static int error_of(const char *name)
{
    static const struct {
        const char *name;
        int error;
        int number; /* errno */
    } errors[] = {
        {"later.test", EAI_AGAIN, 0},        {"broken.test", EAI_FAIL, 0},
        {"memory.test", EAI_MEMORY, 0},      {"nodata.test", EAI_NODATA, 0},
        {"family.test", EAI_ADDRFAMILY, 0},  {"service.test", EAI_SERVICE, 0},
        {"system.test", EAI_SYSTEM, EMFILE}, {"starved.test", EAI_SYSTEM, ENOMEM},
    };

    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (!strcmp(name, errors[i].name)) {
            errno = errors[i].number;
            return errors[i].error;
        }
    return EAI_NONAME;
}

/* Addresses that no stream socket of ours could connect to. */
static void prepend_strange(struct addrinfo **list)
{
    prepend(list, AF_INET, "127.0.0.1");
    (*list)->ai_family = AF_UNIX;
    prepend(list, AF_INET, "127.0.0.1");
    (*list)->ai_addrlen = 1024;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **list)
{
    char thread_name[16] = "";
    sigset_t signals;

    (void)service;
    flags = hints->ai_flags;
    pthread_getname_np(pthread_self(), thread_name, sizeof thread_name);
    named = !strcmp(thread_name, "gate-dns");
    pthread_sigmask(SIG_SETMASK, NULL, &signals);
    blocked_signals = sigismember(&signals, SIGUSR1);
    if (gettid() != getpid() && !pthread_getspecific(thread_end)) {
        threads++;
        pthread_setspecific(thread_end, &threads);
    }
    asked++;
    *list = NULL;
    if (!strcmp(name, "slow.test"))
        while (sem_wait(&slow) < 0)
            ;
    if (!strcmp(name, "one.test") || !strcmp(name, "two.test") || !strcmp(name, "slow.test"))
        prepend(list, AF_INET, "127.0.0.1");
    if (!strcmp(name, "two.test"))
        prepend(list, AF_INET6, "::1");
    if (!strcmp(name, "foreign.test")) { /* prepended, so this one is the last */
        prepend(list, AF_INET, "127.0.0.1");
        prepend(list, AF_INET, "192.0.2.1");
        prepend(list, AF_INET6, "2001:db8::1");
    }
    for (int i = 0; i < 12 && !strcmp(name, "many.test"); i++)
        prepend(list, AF_INET, "127.0.0.1");
    if (!strcmp(name, "strange.test"))
        prepend_strange(list);
    return *list ? 0 : error_of(name);
}

void freeaddrinfo(struct addrinfo *list)
{
    while (list) {
        struct addrinfo *next = list->ai_next;

        free(list->ai_addr);
        free(list);
        list = next;
    }
}
