/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_DESCRIPTORS_H
#define GATE_CLI_DESCRIPTORS_H

#include <stdint.h>

/* Raises the soft limit of open descriptors to the hard one. The limit there is then; UINT64_MAX:
 * none. */
uint64_t descriptors_raise(void);

#endif
