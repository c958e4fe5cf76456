/* SPDX-License-Identifier: MIT */
#ifndef GATE_CORE_TEXT_H
#define GATE_CORE_TEXT_H

#include <stdint.h>

/* Reads the whole of text as a decimal number up to max: digits only, no leading zeros but "0"
 * itself, not empty. 1: *value is set. 0: text is not that. */
static inline int gate__text_decimal(const char *text, uint64_t max, uint64_t *value)
{
    if (text[0] == '\0' || (text[0] == '0' && text[1] != '\0'))
        return 0;
    uint64_t sum = 0;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return 0;
        uint64_t digit = (uint64_t)(*text - '0');
        if (sum > max / 10 || digit > max - sum * 10)
            return 0;
        sum = sum * 10 + digit;
    }
    *value = sum;
    return 1;
}

#endif
