/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "core/codec.h"
#include "core/sized.h"
#include "server.h"

enum { TIMEOUT_MS = 5000, DRAIN_TIMEOUT_MS = 5000 };
enum { CONNECTIONS_MAX = 65536, INFLIGHT_MAX = 128, WORKERS_MAX = 1024 };
#define OUTPUT_MAX (UINT64_C(1) << 20)

static void set_default(uint32_t *value, uint32_t otherwise)
{
    if (!*value)
        *value = otherwise;
}

int gate__options_fill(gate_options *filled, const gate_options *options)
{
    int rc = gate__sized_read(filled, sizeof *filled, options,
                              GATE__SIZE_THROUGH(gate_options, handler));
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
    set_default(&filled->drain_timeout_ms, DRAIN_TIMEOUT_MS);
    set_default(&filled->connections_max, CONNECTIONS_MAX);
    set_default(&filled->inflight_max, INFLIGHT_MAX);
    set_default(&filled->log_level, GATE_LOG_NOTICE);
    return 0;
}
