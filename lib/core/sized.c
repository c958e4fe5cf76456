/* SPDX-License-Identifier: MIT */
#include "core/sized.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

/* A size beyond this is not a struct of ours. */
enum { SIZE_MOST = 4096 };

static int is_size(size_t size, size_t least)
{
    return size >= sizeof(uint32_t) && size >= least && size <= SIZE_MOST;
}

int gate__sized_check(const void *given, size_t known_size, size_t least)
{
    const unsigned char *bytes = given;
    uint32_t size;
    memcpy(&size, given, sizeof size);
    if (!is_size(size, least))
        return -EINVAL;
    for (size_t i = known_size; i < size; i++)
        if (bytes[i])
            return -EINVAL;
    return 0;
}

int gate__sized_read(void *known, size_t known_size, const void *given, size_t least)
{
    int rc = gate__sized_check(given, known_size, least);
    if (rc)
        return rc;
    uint32_t size;
    memcpy(&size, given, sizeof size);
    memset(known, 0, known_size);
    memcpy(known, given, size < known_size ? size : known_size);
    size = (uint32_t)known_size;
    memcpy(known, &size, sizeof size);
    return 0;
}

int gate__sized_write(void *given, size_t size, const void *known, size_t known_size, size_t least)
{
    if (!is_size(size, least))
        return -EINVAL;
    uint32_t said = (uint32_t)size;
    memset(given, 0, size);
    memcpy(given, known, size < known_size ? size : known_size);
    memcpy(given, &said, sizeof said);
    return 0;
}
