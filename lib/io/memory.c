/* SPDX-License-Identifier: MIT */
#include "io/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/text.h"

enum { PATH_SIZE = 512, FILE_SIZE = 4096 };

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The start of a small file, as text; "" where it cannot be read. */
static void read_start(const char *path, char *text, size_t room)
{
    text[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return;
    ssize_t len = read(fd, text, room - 1);
    close(fd);
    text[len > 0 ? len : 0] = '\0';
}

/* "max", or nothing at all, is no limit. */
static uint64_t read_limit(const char *path)
{
    char text[32];
    uint64_t limit;
    read_start(path, text, sizeof text);
    text[strcspn(text, "\n")] = '\0';
    return gate__text_decimal(text, UINT64_MAX, &limit) && limit ? limit : UINT64_MAX;
}

/* The least limit of a group and of those above it. */
static uint64_t group_limit(const char *root, const char *mount, const char *group,
                            size_t group_len, const char *file)
{
    char path[PATH_SIZE];
    uint64_t limit = UINT64_MAX;
    for (;;) {
        int len =
            snprintf(path, sizeof path, "%s%s%.*s/%s", root, mount, (int)group_len, group, file);
        if (len > 0 && len < PATH_SIZE)
            limit = smaller(limit, read_limit(path));
        if (!group_len)
            return limit;
        while (group_len && group[--group_len] != '/') {
        }
    }
}

/* Lines of "0::/the/group" (version 2) and "7:memory:/the/group". */
static uint64_t groups_limit(const char *root)
{
    char path[PATH_SIZE], text[FILE_SIZE];
    uint64_t limit = UINT64_MAX;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    read_start(path, text, sizeof text);
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");
        const char *names = memchr(line, ':', len);
        const char *group = names ? memchr(names + 1, ':', len - (size_t)(names + 1 - line)) : NULL;
        if (group) {
            size_t names_len = (size_t)(group - names) - 1;
            size_t group_len = len - (size_t)(++group - line);
            if (!names_len)
                limit = smaller(
                    limit, group_limit(root, "/sys/fs/cgroup", group, group_len, "memory.max"));
            else if (names_len == 6 && !memcmp(names + 1, "memory", 6))
                limit = smaller(limit, group_limit(root, "/sys/fs/cgroup/memory", group, group_len,
                                                   "memory.limit_in_bytes"));
        }
        line += len + (line[len] == '\n');
    }
    return limit;
}

uint64_t gate__memory_limit(const char *root)
{
    uint64_t limit = smaller(groups_limit(root), SIZE_MAX / 2); /* 2 GiB of addresses on 32 bits */
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    struct rlimit space;
    if (pages > 0 && size > 0)
        limit = smaller(limit, (uint64_t)pages * (uint64_t)size);
    if (!getrlimit(RLIMIT_AS, &space) && space.rlim_cur != RLIM_INFINITY)
        limit = smaller(limit, space.rlim_cur);
    return limit;
}

int gate__memory_release(void *at, size_t len)
{
    return madvise(at, len, MADV_DONTNEED) ? -errno : 0;
}
