/* SPDX-License-Identifier: MIT */
#include "core/metrics.h"

_Static_assert(sizeof((gate_stats *)0)->closed / sizeof(uint64_t) >= GATE_CLOSE_COUNT,
               "gate_stats has room for each reason");

void gate__metrics_sum(const gate__metrics *metrics, gate_stats *stats)
{
    stats->connections += (uint32_t)gate__count_get(&metrics->connections);
    stats->accepted += gate__count_get(&metrics->accepted);
    stats->requests += gate__count_get(&metrics->requests);
    stats->replies += gate__count_get(&metrics->replies);
    stats->rejections += gate__count_get(&metrics->rejections);
    stats->bytes_in += gate__count_get(&metrics->bytes_in);
    stats->bytes_out += gate__count_get(&metrics->bytes_out);
    stats->accept_errors += gate__count_get(&metrics->accept_errors);
    stats->accept_pauses += gate__count_get(&metrics->accept_pauses);
    for (int reason = 0; reason < GATE_CLOSE_COUNT; reason++)
        stats->closed[reason] += gate__count_get(&metrics->closed[reason]);
}
