/* SPDX-License-Identifier: MIT */
#ifndef GATE_CORE_ERROR_H
#define GATE_CORE_ERROR_H

/* gate_error of gate.h, which callers may have in an older size, or not at all. */

#include <gate/gate.h>

/* 0: an error that is NULL, or large enough to say something. -EINVAL. */
int gate__error_check(const gate_error *error);

/* Says what happened, about no line, and returns code. */
int gate__error_set(gate_error *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
