/* SPDX-License-Identifier: MIT */
#ifndef GATE_CORE_OWNER_H
#define GATE_CORE_OWNER_H

#include <stddef.h>

/* The struct that a member is embedded in. */
#define GATE__OWNER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
