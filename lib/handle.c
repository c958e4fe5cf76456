/* SPDX-License-Identifier: MIT */
#include "handle.h"

#include <errno.h>
#include <stdio.h>

uint16_t gate_listener_port(const gate_listener *listener)
{
    return listener ? gate__addr_port(&listener->addr) : 0;
}

int gate_listener_name(const gate_listener *listener, char *text, size_t room)
{
    if (!listener || !text || !room)
        return -EINVAL;
    snprintf(text, room, "%s", listener->name);
    return 0;
}

void gate__handle_leave(gate_listener *listener)
{
    if (!atomic_exchange(&listener->left, 1))
        gate__sock_unlink(&listener->addr, &listener->file);
}

void gate__handle_closed(gate_listener *listener)
{
    if (!atomic_exchange(&listener->left, 1))
        gate__sock_unlink_dead(&listener->addr, &listener->file);
}
