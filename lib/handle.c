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
