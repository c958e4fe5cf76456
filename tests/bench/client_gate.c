/* SPDX-License-Identifier: MIT */
#include <gate/gate.h>

#include "client.h"

int client_exchange(uint16_t port, void *reply, size_t *reply_len)
{
    return gate_client_exchange("127.0.0.1", port, "1", 1, reply, reply_len, 5000);
}
