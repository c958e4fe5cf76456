/* SPDX-License-Identifier: MIT */
#include "sandbox_close.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KIND_MAX = 64 };

static int option_of(int fd, int name)
{
    int value = 0;
    socklen_t len = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, name, &value, &len) == 0 ? value : -1;
}

/* Without /proc the three that are wanted look like any other that has no file. */
static int is_of_the_kernel(int fd, mode_t mode)
{
    static const char *const kinds[] = {"anon_inode:[eventpoll]", "anon_inode:[io_uring]",
                                        "anon_inode:[eventfd]"};
    char path[KIND_MAX], kind[KIND_MAX];
    ssize_t len;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    len = readlink(path, kind, sizeof(kind) - 1);
    if (len < 0)
        return (mode & S_IFMT) == 0;
    kind[len] = '\0';
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kind, kinds[i]) == 0)
            return 1;
    return 0;
}

static int may_stay(int fd)
{
    struct stat status;

    if (fstat(fd, &status) != 0)
        return 0;
    if (S_ISSOCK(status.st_mode))
        return option_of(fd, SO_ACCEPTCONN) == 1;
    return is_of_the_kernel(fd, status.st_mode);
}

static void check(int fd)
{
    if (fd > STDERR_FILENO && !may_stay(fd))
        close(fd);
}

/* Those that are open, as /proc lists them; closing changes the list only where it was read. */
static int check_listed(DIR *list)
{
    const struct dirent *entry;

    while ((entry = readdir(list)) != NULL) {
        int fd = atoi(entry->d_name);

        if (fd != dirfd(list))
            check(fd);
    }
    return 0;
}

static int check_all(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return errno;
    for (rlim_t fd = 0; fd < limit.rlim_cur; fd++)
        check((int)fd);
    return 0;
}

/* Output to a stream's peer is what serving does anyway; a datagram can be sent to others, and a
 * stream without a peer can get one. */
static int confine_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        int type = option_of(fd, SO_TYPE), null;
        struct sockaddr_storage peer;
        socklen_t len = sizeof(peer);

        if (type < 0 ||
            (type == SOCK_STREAM && getpeername(fd, (struct sockaddr *)&peer, &len) == 0))
            continue;
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null < 0 || dup2(null, fd) < 0)
            return errno;
        close(null);
    }
    return 0;
}

int sandbox_close_others(void)
{
    DIR *list = opendir("/proc/self/fd");
    int error = list != NULL ? check_listed(list) : check_all();

    if (list != NULL)
        closedir(list);
    return error != 0 ? error : confine_standard();
}
