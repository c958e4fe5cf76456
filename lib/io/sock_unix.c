/* SPDX-License-Identifier: MIT */
#include "io/sock_unix.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LOCK_TRIES = 500, LOCK_EVERY_NS = 1000000 };

#define LOCK_SUFFIX ".lock"
enum {
    PATH_ROOM = sizeof(((gate__sockaddr *)0)->u.un.sun_path) + 1,
    LOCK_ROOM = PATH_ROOM + sizeof LOCK_SUFFIX
};

static int has_path(const gate__sockaddr *addr)
{
    return addr->u.any.sa_family == AF_UNIX && addr->u.un.sun_path[0] != '\0';
}

/* sun_path may be full to its last byte, without a NUL. */
static const char *path_of(const gate__sockaddr *addr, char path[PATH_ROOM])
{
    size_t len = addr->len - offsetof(struct sockaddr_un, sun_path);

    memcpy(path, addr->u.un.sun_path, len);
    path[len] = '\0';
    return path;
}

static int bind_to(int fd, const gate__sockaddr *addr)
{
    return bind(fd, &addr->u.any, addr->len) ? -errno : 0;
}

/* ---- The lock ------------------------------------------------------------------------------ */

static const char *lock_of(const gate__sockaddr *addr, char name[LOCK_ROOM])
{
    path_of(addr, name);
    strcat(name, LOCK_SUFFIX);
    return name;
}

/* 1: the lock is ours, and its file still the one of that name. 0: it is not. -errno. */
static int try_lock(const char *name, int fd)
{
    struct stat ours, now;

    if (flock(fd, LOCK_EX | LOCK_NB))
        return errno == EWOULDBLOCK || errno == EINTR ? 0 : -errno;
    if (fstat(fd, &ours))
        return -errno;
    if (lstat(name, &now))
        return errno == ENOENT ? 0 : -errno;
    return ours.st_ino == now.st_ino && ours.st_dev == now.st_dev;
}

int gate__unix_lock(const gate__sockaddr *addr, int *lock)
{
    const struct timespec pause = {.tv_nsec = LOCK_EVERY_NS};
    char name[LOCK_ROOM];

    *lock = -1;
    if (!has_path(addr))
        return 0;
    lock_of(addr, name);
    for (int tries = 0; tries < LOCK_TRIES; tries++) {
        int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
        int rc = fd < 0 ? -errno : try_lock(name, fd);

        if (rc == 1) {
            *lock = fd;
            return 0;
        }
        if (fd >= 0)
            close(fd);
        if (rc < 0)
            return rc;
        nanosleep(&pause, NULL);
    }
    return -EADDRINUSE;
}

void gate__unix_unlock(const gate__sockaddr *addr, int lock)
{
    char name[LOCK_ROOM];

    if (lock < 0)
        return;
    unlink(lock_of(addr, name)); /* first, so that nobody locks a file that is about to go */
    close(lock);
}

/* ---- Binding ------------------------------------------------------------------------------- */

/* 1: a socket listens on the path. 0: none does. -errno: that cannot be told. */
static int is_alive(const gate__sockaddr *addr)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error;

    if (fd < 0)
        return -errno;
    error = connect(fd, &addr->u.any, addr->len) ? errno : 0;
    close(fd);
    return error != ECONNREFUSED && error != ENOENT;
}

/* 0: there is no file any more. */
static int remove_stale(const gate__sockaddr *addr, const char *path)
{
    struct stat status;
    int alive;

    if (lstat(path, &status) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(status.st_mode))
        return -EEXIST;
    alive = is_alive(addr);
    if (alive)
        return alive < 0 ? alive : -EADDRINUSE;
    return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

/* The mode can also be set where a symbolic link has taken the name meanwhile, if the C library is
 * older than glibc 2.32. Nobody can connect before listen(2). */
static int set_rights(const char *path, const gate__rights *rights)
{
    mode_t mode = (mode_t)rights->mode;
    int is_set = rights->mode == UINT32_MAX || !fchmodat(AT_FDCWD, path, mode, AT_SYMLINK_NOFOLLOW);

    if (!is_set && (errno != EOPNOTSUPP || chmod(path, mode)))
        return -errno;
    if (rights->uid == UINT32_MAX && rights->gid == UINT32_MAX)
        return 0;
    return lchown(path, (uid_t)rights->uid, (gid_t)rights->gid) ? -errno : 0;
}

/* The file is never open to more than it will be in the end: fchmod before bind takes bits away. */
static int bind_path(int fd, const gate__sockaddr *addr, const gate__rights *rights)
{
    char path[PATH_ROOM];
    int rc = 0;

    if (!rights || !has_path(addr))
        return bind_to(fd, addr);
    if (rights->mode != UINT32_MAX && fchmod(fd, (mode_t)rights->mode))
        return -errno;
    rc = bind_to(fd, addr);
    if (rc)
        return rc;
    rc = set_rights(path_of(addr, path), rights);
    if (rc)
        unlink(path);
    return rc;
}

int gate__unix_bind(int fd, const gate__sockaddr *addr, const gate__rights *rights)
{
    char path[PATH_ROOM];
    int rc = bind_path(fd, addr, rights);

    if (rc != -EADDRINUSE || !has_path(addr))
        return rc;
    rc = remove_stale(addr, path_of(addr, path));
    return rc < 0 ? rc : bind_path(fd, addr, rights);
}

void gate__unix_unbind(const gate__sockaddr *addr)
{
    char path[PATH_ROOM];

    if (has_path(addr))
        unlink(path_of(addr, path));
}

/* ---- The file of a listener ---------------------------------------------------------------- */

void gate__sock_file_of(gate__sock_file *file, const gate__sockaddr *addr)
{
    char path[PATH_ROOM];
    struct stat status;

    *file = (gate__sock_file){0};
    if (!has_path(addr) || lstat(path_of(addr, path), &status) < 0)
        return;
    file->device = status.st_dev;
    file->inode = status.st_ino;
}

void gate__sock_unlink(const gate__sockaddr *addr, const gate__sock_file *file)
{
    char path[PATH_ROOM];
    gate__sock_file now;

    gate__sock_file_of(&now, addr);
    if (now.inode != 0 && now.inode == file->inode && now.device == file->device)
        unlink(path_of(addr, path));
}

void gate__sock_unlink_dead(const gate__sockaddr *addr, const gate__sock_file *file)
{
    int lock;

    if (!file->inode || gate__unix_lock(addr, &lock))
        return;
    if (is_alive(addr) == 0)
        gate__sock_unlink(addr, file);
    gate__unix_unlock(addr, lock);
}
