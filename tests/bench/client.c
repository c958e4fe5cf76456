/* SPDX-License-Identifier: MIT */
#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "peer.h"

static long long read_cpu(void)
{
    struct timespec used;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (long long)used.tv_sec * 1000000000 + used.tv_nsec;
}

int main(int argc, char **argv)
{
    uint16_t port = (uint16_t)(argc == 3 ? atoi(argv[1]) : 0);
    long long start;

    if (port == 0)
        return 2;
    start = read_cpu();
    for (long left = atol(argv[2]); left > 0; left--) {
        char reply[256];
        size_t len = sizeof(reply);
        int rc = client_exchange(port, reply, &len);

        if (rc != 0 || len != strlen(PEER_WELCOME) || memcmp(reply, PEER_WELCOME, len) != 0) {
            fprintf(stderr, "%s: exchange failed: %d\n", argv[0], rc);
            return 1;
        }
    }
    printf("%lld\n", read_cpu() - start);
    return 0;
}
