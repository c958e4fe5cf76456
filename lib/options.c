/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "core/codec.h"
#include "core/sized.h"
#include "server.h"

enum { TIMEOUT_MS = 5000, DRAIN_TIMEOUT_MS = 5000 };
enum { CONNECTIONS_MAX = 65536, INFLIGHT_MAX = 128, WORKERS_MAX = 1024 };
enum { RATE_MIN = 64 * 1024 };
#define OUTPUT_MAX (UINT64_C(1) << 20)
#define BUFFERS_MIN (UINT64_C(64) << 20)

static void set_default(uint32_t *value, uint32_t otherwise)
{
    if (!*value)
        *value = otherwise;
}

/* A quarter of the memory there is, but at least 64 MiB, and what a request and the replies of one
 * connection need in each worker: of its share a quarter is for those who hold little. */
static uint64_t default_buffers(const gate_options *filled, uint64_t memory)
{
    uint64_t least = filled->request_max + 2 * filled->output_max;
    uint64_t most = SIZE_MAX / 2 / filled->workers;
    least = (least < most / 2 ? least + least / 2 : most) * filled->workers;
    uint64_t quarter = memory / 4;
    quarter = quarter < BUFFERS_MIN ? BUFFERS_MIN : quarter;
    return quarter < least ? least : quarter;
}

int gate__options_fill(gate_options *filled, const gate_options *options, uint64_t memory)
{
    int rc = gate__sized_read(filled, sizeof *filled, options,
                              GATE__SIZE_THROUGH(gate_options, handler));
    if (rc)
        return rc;
    if (!filled->handler || filled->reserved || filled->reserved2 || filled->workers > WORKERS_MAX)
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
    set_default(&filled->workers, 1);
    if (!filled->buffers_max)
        filled->buffers_max = default_buffers(filled, memory);
    if (filled->buffers_max > SIZE_MAX)
        filled->buffers_max = SIZE_MAX;
    set_default(&filled->timeout_ms, TIMEOUT_MS);
    set_default(&filled->idle_timeout_ms, filled->timeout_ms);
    set_default(&filled->write_timeout_ms, filled->timeout_ms);
    set_default(&filled->handler_timeout_ms, filled->timeout_ms);
    set_default(&filled->drain_timeout_ms, DRAIN_TIMEOUT_MS);
    set_default(&filled->connections_max, CONNECTIONS_MAX);
    set_default(&filled->inflight_max, INFLIGHT_MAX);
    set_default(&filled->rate_min, RATE_MIN);
    set_default(&filled->log_level, GATE_LOG_NOTICE);
    return 0;
}
