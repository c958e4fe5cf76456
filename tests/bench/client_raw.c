/* SPDX-License-Identifier: MIT */
/* The client to hold against: blocking calls, and no deadline. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

static int talk(int fd, char *reply, size_t *reply_len)
{
    size_t room = *reply_len;
    ssize_t got;

    *reply_len = 0;
    if (send(fd, "1", 1, MSG_NOSIGNAL) != 1)
        return -errno;
    while (*reply_len < room && (got = recv(fd, reply + *reply_len, room - *reply_len, 0)) != 0) {
        if (got < 0)
            return -errno;
        *reply_len += (size_t)got;
    }
    return 0;
}

int client_exchange(uint16_t port, void *reply, size_t *reply_len)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc;

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
        return -errno;
    rc = talk(fd, reply, reply_len);
    close(fd);
    return rc;
}
