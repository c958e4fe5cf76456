/* SPDX-License-Identifier: MIT */
/* What the library calls instead of the C library. A call that fails does nothing else, but close,
 * which Linux carries out whatever it says. */
#include "inject.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Memory -------------------------------------------------------------------------------- */

static atomic_long blocks;

long inject_blocks(void)
{
    return blocks;
}

static int memory_fails(void)
{
    int error = inject_fails(INJECT_MEMORY);
    if (error)
        errno = error;
    return error;
}

static void *count_block(void *memory)
{
    blocks += memory != NULL;
    return memory;
}

void *inject_malloc(size_t size)
{
    return memory_fails() ? NULL : count_block(malloc(size));
}

void *inject_calloc(size_t count, size_t size)
{
    return memory_fails() ? NULL : count_block(calloc(count, size));
}

void *inject_realloc(void *old, size_t size)
{
    if (memory_fails())
        return NULL;
    blocks -= old != NULL;
    return count_block(realloc(old, size));
}

void *inject_aligned_alloc(size_t alignment, size_t size)
{
    return memory_fails() ? NULL : count_block(aligned_alloc(alignment, size));
}

void *inject_mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
    int error = inject_fails(INJECT_mmap);
    if (!error)
        error = memory_fails();
    if (!error)
        return count_block(mmap(at, len, protection, flags, fd, offset));
    errno = error;
    return MAP_FAILED;
}

int inject_munmap(void *at, size_t len)
{
    blocks--;
    return munmap(at, len);
}

void inject_free(void *memory)
{
    blocks -= memory != NULL;
    free(memory);
}

/* ---- System calls -------------------------------------------------------------------------- */

#define CALL(name, parameters, arguments)        \
    int inject_##name parameters                 \
    {                                            \
        int error = inject_fails(INJECT_##name); \
        if (!error)                              \
            return name arguments;               \
        errno = error;                           \
        return -1;                               \
    }

CALL(socket, (int family, int type, int protocol), (family, type, protocol))
CALL(setsockopt, (int fd, int level, int name, const void *value, socklen_t len),
     (fd, level, name, value, len))
CALL(getsockopt, (int fd, int level, int name, void *value, socklen_t *len),
     (fd, level, name, value, len))
CALL(getsockname, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len))
CALL(getpeername, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len))
CALL(bind, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len))
CALL(listen, (int fd, int backlog), (fd, backlog))
CALL(accept4, (int fd, struct sockaddr *addr, socklen_t *len, int flags), (fd, addr, len, flags))
CALL(connect, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len))
CALL(shutdown, (int fd, int how), (fd, how))
CALL(lstat, (const char *path, struct stat *status), (path, status))
CALL(unlink, (const char *path), (path))
CALL(flock, (int fd, int how), (fd, how))
CALL(fstat, (int fd, struct stat *status), (fd, status))
CALL(fchmod, (int fd, mode_t mode), (fd, mode))
CALL(fchmodat, (int folder, const char *path, mode_t mode, int flags), (folder, path, mode, flags))
CALL(lchown, (const char *path, uid_t uid, gid_t gid), (path, uid, gid))
CALL(eventfd, (unsigned value, int flags), (value, flags))
CALL(epoll_create1, (int flags), (flags))
CALL(epoll_wait, (int fd, struct epoll_event *events, int room, int timeout),
     (fd, events, room, timeout))

/* Taking something out needs nothing, so that cannot fail. */
int inject_epoll_ctl(int fd, int command, int target, struct epoll_event *event)
{
    int error = command == EPOLL_CTL_DEL ? 0 : inject_fails(INJECT_epoll_ctl);
    if (!error)
        return epoll_ctl(fd, command, target, event);
    errno = error;
    return -1;
}

int inject_close(int fd)
{
    int error = inject_fails(INJECT_close);
    int rc = close(fd);
    if (!error)
        return rc;
    errno = error;
    return -1;
}

/* Of a socket, only making another descriptor can fail. */
int inject_fcntl(int fd, int command, ...)
{
    int error = command == F_DUPFD_CLOEXEC ? inject_fails(INJECT_fcntl) : 0, value = 0;
    if (error) {
        errno = error;
        return -1;
    }
    if (command != F_GETFL) {
        va_list arguments;
        va_start(arguments, command);
        value = va_arg(arguments, int);
        va_end(arguments);
    }
    return fcntl(fd, command, value);
}

int inject_open(const char *path, int flags, ...)
{
    int error = inject_fails(INJECT_open);
    if (error) {
        errno = error;
        return -1;
    }
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = va_arg(arguments, mode_t);
    va_end(arguments);
    return open(path, flags, mode);
}

int inject_ioctl(int fd, unsigned long request, ...)
{
    int error = inject_fails(INJECT_ioctl);
    if (error) {
        errno = error;
        return -1;
    }
    va_list arguments;
    va_start(arguments, request);
    void *value = va_arg(arguments, void *);
    va_end(arguments);
    return ioctl(fd, request, value);
}

ssize_t inject_recv(int fd, void *into, size_t len, int flags)
{
    int error = inject_fails(INJECT_recv);
    if (!error || error == INJECT_SHORT)
        return recv(fd, into, error && len ? 1 : len, flags);
    errno = error;
    return -1;
}

void inject_end_connection(int fd, int error)
{
    if (error == ECONNRESET || error == EPIPE)
        shutdown(fd, SHUT_RDWR);
}

ssize_t inject_send(int fd, const void *bytes, size_t len, int flags)
{
    int error = inject_fails(INJECT_send);
    if (!error || error == INJECT_SHORT)
        return send(fd, bytes, error && len ? 1 : len, flags);
    inject_end_connection(fd, error);
    errno = error;
    return -1;
}

int inject_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                       struct addrinfo **list)
{
    int error = inject_fails(INJECT_getaddrinfo);
    if (!error)
        return getaddrinfo(name, service, hints, list);
    errno = error > 0 ? error : 0;
    return error > 0 ? EAI_SYSTEM : error;
}

/* ---- Threads ------------------------------------------------------------------------------- */

int inject_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg)
{
    int error = inject_fails(INJECT_pthread_create);
    return error ? error : pthread_create(thread, attr, run, arg);
}
