/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "core/codec.h"
#include "server.h"

/* A size beyond this is not a struct of ours. */
enum { SIZE_MOST = 4096 };
enum { TIMEOUT_MS = 5000, CONNECTIONS_MAX = 65536, INFLIGHT_MAX = 128, WORKERS_MAX = 1024 };
#define OUTPUT_MAX (UINT64_C(1) << 20)

static void set_default(uint32_t *value, uint32_t otherwise)
{
    if (!*value)
        *value = otherwise;
}

/* A caller built for a later library may set fields that this one doesn't know: unless they are
 * zero, it would not get what it asked for. */
static int copy_known(gate_options *filled, const gate_options *options)
{
    const unsigned char *bytes = (const unsigned char *)options;
    size_t size = options->size;
    if (size > SIZE_MOST)
        return -EINVAL;
    if (size < offsetof(gate_options, handler) + sizeof options->handler)
        return -EINVAL;
    for (size_t i = sizeof *filled; i < size; i++)
        if (bytes[i])
            return -EINVAL;
    memset(filled, 0, sizeof *filled);
    memcpy(filled, options, size < sizeof *filled ? size : sizeof *filled);
    filled->size = sizeof *filled;
    return 0;
}

int gate__options_fill(gate_options *filled, const gate_options *options)
{
    int rc = copy_known(filled, options);
    if (rc)
        return rc;
    if (!filled->handler || filled->reserved || filled->workers > WORKERS_MAX)
        return -EINVAL;
    if (filled->flags & ~(uint32_t)GATE_DEFER_ACCEPT)
        return -EINVAL;
    if (filled->io > GATE_IO_URING || filled->log_level > GATE_LOG_DEBUG)
        return -EINVAL;
    if (!filled->codec)
        filled->codec = gate_codec_raw();
    if ((rc = gate__codec_check(filled->codec)))
        return rc;
    if (!filled->request_max)
        filled->request_max = gate__codec_request_max(filled->codec);
    if (filled->request_max > SIZE_MAX / 2)
        filled->request_max = SIZE_MAX / 2;
    if (!filled->output_max)
        filled->output_max = OUTPUT_MAX;
    if (filled->output_max > SIZE_MAX / 2)
        filled->output_max = SIZE_MAX / 2;
    if (!filled->buffers_max || filled->buffers_max > SIZE_MAX)
        filled->buffers_max = SIZE_MAX;
    set_default(&filled->workers, 1);
    set_default(&filled->timeout_ms, TIMEOUT_MS);
    set_default(&filled->idle_timeout_ms, filled->timeout_ms);
    set_default(&filled->write_timeout_ms, filled->timeout_ms);
    set_default(&filled->handler_timeout_ms, filled->timeout_ms);
    set_default(&filled->drain_timeout_ms, filled->timeout_ms);
    set_default(&filled->connections_max, CONNECTIONS_MAX);
    set_default(&filled->inflight_max, INFLIGHT_MAX);
    set_default(&filled->log_level, GATE_LOG_NOTICE);
    return 0;
}
