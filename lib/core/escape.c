/* SPDX-License-Identifier: MIT */
#include <gate/gate.h>
#include <stdio.h>
#include <string.h>

/* The length of the UTF-8 sequence at the start, 0 if there is none: no overlong forms, no
 * surrogates, nothing over U+10FFFF. */
static size_t sequence_len(const uint8_t *at, size_t left)
{
    uint8_t low = 0x80, high = 0xbf;
    if (at[0] < 0x80)
        return 1;
    if (at[0] < 0xc2 || at[0] > 0xf4)
        return 0;
    size_t len = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (at[0] == 0xe0)
        low = 0xa0;
    else if (at[0] == 0xed)
        high = 0x9f;
    else if (at[0] == 0xf0)
        low = 0x90;
    else if (at[0] == 0xf4)
        high = 0x8f;
    if (left < len || at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

/* The character of a sequence of at most 3 bytes: none of more than that is escaped. */
static uint32_t character(const uint8_t *at, size_t len)
{
    if (len == 1)
        return at[0];
    if (len == 2)
        return (at[0] & 0x1fu) << 6 | (at[1] & 0x3fu);
    return (at[0] & 0x0fu) << 12 | (at[1] & 0x3fu) << 6 | (at[2] & 0x3fu);
}

/* A terminal obeys the first two ranges; the others end a line, or have text shown in another order
 * than it is stored in. */
static int is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x061c || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/* What stands for the sequence at the start; 0: it stands for itself. */
static size_t replace(char escape[8], const uint8_t *at, size_t len)
{
    uint32_t c = len == 4 ? UINT32_MAX : character(at, len ? len : 1);
    if (len && !is_control(c))
        return 0;
    return (size_t)snprintf(escape, 8, c < 0x80 || !len ? "\\x%02x" : "\\u%04x", (unsigned)c);
}

size_t gate_escape(char *text, size_t room, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    size_t used = 0;
    if (!room)
        return 0;
    for (size_t i = 0; i < len;) {
        char escape[8];
        size_t found = sequence_len(at + i, len - i);
        size_t take = found ? found : 1;
        size_t out = replace(escape, at + i, found);
        size_t add = out ? out : take;
        if (add >= room - used)
            break;
        memcpy(text + used, out ? escape : (const char *)at + i, add);
        used += add;
        i += take;
    }
    text[used] = '\0';
    return used;
}
