/* SPDX-License-Identifier: MIT */
#include "sandbox_try.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { LARGE = 1 << 20 /* malloc asks the kernel for it */ };

/* A Unix socket with a name that the kernel chooses: no file, and no network is needed. */
int sandbox_trial_begin(sandbox_trial *trial)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(name);
    struct epoll_event event = {.events = EPOLLIN};

    *trial = (sandbox_trial){
        .listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
        .client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
        .epoll_fd = epoll_create1(EPOLL_CLOEXEC),
    };
    if (trial->listener < 0 || trial->client < 0 || trial->epoll_fd < 0 ||
        bind(trial->listener, (struct sockaddr *)&name, sizeof(name.sun_family)) != 0 ||
        listen(trial->listener, 1) != 0 ||
        getsockname(trial->listener, (struct sockaddr *)&name, &len) != 0 ||
        connect(trial->client, (struct sockaddr *)&name, len) != 0 ||
        send(trial->client, "1", 1, MSG_NOSIGNAL) != 1 ||
        epoll_ctl(trial->epoll_fd, EPOLL_CTL_ADD, trial->listener, &event) != 0)
        return errno;
    return 0;
}

/* What a served connection takes, in its order. */
static const char *try_exchange(const sandbox_trial *trial, int fd)
{
    const struct linger reset = {.l_onoff = 1};
    struct sockaddr_un name;
    socklen_t len = sizeof(name);
    struct epoll_event event = {.events = EPOLLIN};
    char byte;

    if (getpeername(fd, (struct sockaddr *)&name, &len) != 0)
        return "getpeername";
    if (epoll_ctl(trial->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        return "epoll_ctl";
    if (recv(fd, &byte, 1, MSG_DONTWAIT) != 1)
        return "recv";
    if (send(fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
        return "send";
    if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) != 0)
        return "setsockopt";
    return shutdown(fd, SHUT_WR) != 0 ? "shutdown" : NULL;
}

static void *run_thread(void *arg)
{
    return arg;
}

static const char *try_process(int threads)
{
    struct sigaction action;
    struct timespec now;
    pthread_t thread;
    void *memory;

    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0 || clock_gettime(CLOCK_REALTIME, &now) != 0)
        return "clock_gettime";
    if (sigaction(SIGTERM, NULL, &action) != 0)
        return "sigaction";
    memory = malloc(LARGE);
    if (memory == NULL)
        return "malloc";
    memset(memory, 1, LARGE);
    free(memory);
    if (!threads)
        return NULL;
    errno = pthread_create(&thread, NULL, run_thread, NULL);
    if (errno == 0)
        errno = pthread_join(thread, NULL);
    return errno != 0 ? "pthread_create" : NULL;
}

static const char *try_all(const sandbox_trial *trial, int threads)
{
    struct epoll_event event;
    const char *failed;
    int fd;

    if (epoll_wait(trial->epoll_fd, &event, 1, 0) != 1)
        return "epoll_wait";
    fd = accept4(trial->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return "accept4";
    failed = try_exchange(trial, fd);
    if (failed == NULL)
        failed = try_process(threads);
    if (close(fd) != 0 && failed == NULL)
        failed = "close";
    return failed;
}

const char *sandbox_trial_end(sandbox_trial *trial, int threads)
{
    const char *failed = try_all(trial, threads);
    int error = errno;

    close(trial->listener);
    close(trial->client);
    close(trial->epoll_fd);
    errno = error;
    return failed;
}
