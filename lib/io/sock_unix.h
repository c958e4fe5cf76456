/* SPDX-License-Identifier: MIT */
#ifndef GATE_IO_SOCK_UNIX_H
#define GATE_IO_SOCK_UNIX_H

/*
 * Files of Unix listeners. A file that nothing listens on is stale, and is replaced. Between
 * bind(2) and listen(2) the socket of another process looks just like that, and looking and
 * removing are two steps: so whoever starts on a path does all of it under a lock, which is a file
 * next to the socket, PATH.lock, that exists only meanwhile. (Binding another name and renaming it
 * would need no lock against half a start, but the kernel would go on telling that name:
 * getsockname, ss.) A lock file that a killed process has left is taken over.
 *
 * An abstract name has no file, and needs no lock.
 */

#include <sys/types.h>

#include "core/addr.h"
#include "io/io.h"

/* *lock is for unlocking; -1: the name needs none. -EADDRINUSE: another process does not get done.
 * -errno of open(2), flock(2) or stat(2). */
int gate__unix_lock(const gate__sockaddr *addr, int *lock);
void gate__unix_unlock(const gate__sockaddr *addr, int lock);

/* Binds, under the lock, and sets the rights. 0, -errno; there is no file of ours then. */
int gate__unix_bind(int fd, const gate__sockaddr *addr, const gate__rights *rights);

/* Removes the file that was just bound, under the lock. */
void gate__unix_unbind(const gate__sockaddr *addr);

/* Which file a Unix listener has made; all zero for every other address. */
typedef struct gate__sock_file {
    dev_t device;
    ino_t inode;
} gate__sock_file;

/* Remembers the file of a listener that was just opened on *addr. */
void gate__sock_file_of(gate__sock_file *file, const gate__sockaddr *addr);

/* Removes that file if it is still the same one. Call it before the listener is closed: until then
 * the kernel keeps the inode, so that no other file can have its number. */
void gate__sock_unlink(const gate__sockaddr *addr, const gate__sock_file *file);

/* The same for a listener that is closed, if nothing listens on the file any more: a process that
 * has inherited the socket goes on. */
void gate__sock_unlink_dead(const gate__sockaddr *addr, const gate__sock_file *file);

#endif
