/* SPDX-License-Identifier: MIT */
/* A host of plug-ins that unloads the library while a look-up is under way. The name service is the
 * program's own; it answers once the library is unloaded. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile int answered;

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **list)
{
    (void)name, (void)service, (void)hints;
    *list = NULL;
    pthread_mutex_lock(&lock);
    pthread_mutex_unlock(&lock);
    answered = 1;
    return EAI_NONAME;
}

typedef int exchange(const char *addr, uint16_t port, const void *request, size_t request_len,
                     void *reply, size_t *reply_len, int timeout_ms);

int main(int argc, char **argv)
{
    char reply[16];
    size_t len = sizeof reply;
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
    exchange *ask = library ? (exchange *)dlsym(library, "gate_client_exchange") : NULL;

    if (!ask)
        return 2;
    pthread_mutex_lock(&lock);
    printf("asked: %d\n", ask("slow.test", 9, "1", 1, reply, &len, 50));
    dlclose(library);
    pthread_mutex_unlock(&lock);
    while (!answered)
        usleep(1000);
    usleep(50000); /* the thread goes back into what called it, and ends */
    puts("survived");
    return 0;
}
