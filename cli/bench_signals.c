/* SPDX-License-Identifier: MIT */
#include "bench_signals.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const int caught[] = {SIGINT, SIGTERM};

enum { CAUGHT = sizeof(caught) / sizeof(caught[0]) };

/* A blocked signal that is ignored would come all the same. */
static sigset_t wanted_signals(void)
{
    sigset_t wanted;

    sigemptyset(&wanted);
    for (int i = 0; i < CAUGHT; i++) {
        struct sigaction action;

        if (sigaction(caught[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(&wanted, caught[i]);
    }
    return wanted;
}

int bench_signals_open(void)
{
    sigset_t wanted = wanted_signals();
    int fd = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC);

    if (fd >= 0)
        sigprocmask(SIG_BLOCK, &wanted, NULL);
    return fd;
}

int bench_signals_take(int fd)
{
    struct signalfd_siginfo info;

    return read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info) ? (int)info.ssi_signo : 0;
}

void bench_signals_close(int fd)
{
    sigset_t wanted = wanted_signals();

    if (fd < 0)
        return;
    close(fd);
    sigprocmask(SIG_UNBLOCK, &wanted, NULL);
}

const char *bench_signals_name(int signal_number)
{
    return signal_number == SIGINT ? "SIGINT" : signal_number == SIGTERM ? "SIGTERM" : NULL;
}

void bench_signals_die(int signal_number)
{
    sigset_t only;

    fflush(NULL);
    sigemptyset(&only);
    sigaddset(&only, signal_number);
    sigprocmask(SIG_UNBLOCK, &only, NULL);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
    _exit(128 + signal_number);
}
