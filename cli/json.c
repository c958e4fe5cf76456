/* SPDX-License-Identifier: MIT */
#include "json.h"

#include <gate/gate.h>
#include <inttypes.h>
#include <string.h>

/* The length of the UTF-8 sequence at the start, 0 if there is none: no overlong forms, no
 * surrogates, nothing over U+10FFFF. */
static size_t sequence_len(const unsigned char *at, size_t left)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t len;

    if (at[0] < 0x80)
        return 1;
    if (at[0] < 0xc2 || at[0] > 0xf4)
        return 0;
    len = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
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

/* An object may be read on a terminal, which some characters must not reach as they are: see
 * gate_escape. What it writes for them is JSON, but for "\x1b". */
static void write_character(FILE *out, const unsigned char *at, size_t len)
{
    char safe[8];

    gate_escape(safe, sizeof(safe), at, len);
    if (safe[0] == '\\' && safe[1] == 'x')
        fprintf(out, "\\u00%s", safe + 2);
    else
        fputs(safe, out);
}

/* Text from the command line and from messages about it may hold any bytes, and an object that
 * cannot be parsed would be worse than a '?'. */
void json_quote(FILE *out, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;

    fputc('"', out);
    for (size_t i = 0, step; i < len; i += step) {
        size_t found = sequence_len(at + i, len - i);

        step = found == 0 ? 1 : found;
        if (found == 0)
            fputc('?', out);
        else if (at[i] == '"' || at[i] == '\\')
            fprintf(out, "\\%c", at[i]);
        else
            write_character(out, at + i, step);
    }
    fputc('"', out);
}

static int is_utf8(const void *bytes, size_t len)
{
    const unsigned char *at = bytes;

    for (size_t i = 0, step; i < len; i += step) {
        step = sequence_len(at + i, len - i);
        if (step == 0)
            return 0;
    }
    return 1;
}

static void name_member(json *object, const char *name)
{
    if (object->comma)
        fputc(',', object->out);
    object->comma = 1;
    if (name != NULL) {
        json_quote(object->out, name, strlen(name));
        fputc(':', object->out);
    }
}

void json_begin(json *object, FILE *out)
{
    *object = (json){.out = out};
    fputc('{', out);
}

void json_end(json *object)
{
    fputs("}\n", object->out);
}

void json_open(json *object, const char *name, char bracket)
{
    name_member(object, name);
    fputc(bracket, object->out);
    object->comma = 0;
}

void json_close(json *object, char bracket)
{
    fputc(bracket, object->out);
    object->comma = 1;
}

void json_null(json *object, const char *name)
{
    name_member(object, name);
    fputs("null", object->out);
}

void json_flag(json *object, const char *name, int value)
{
    name_member(object, name);
    fputs(value ? "true" : "false", object->out);
}

void json_number(json *object, const char *name, int64_t value)
{
    name_member(object, name);
    fprintf(object->out, "%" PRId64, value);
}

void json_count(json *object, const char *name, uint64_t value)
{
    name_member(object, name);
    fprintf(object->out, "%" PRIu64, value);
}

void json_text(json *object, const char *name, const char *text)
{
    if (text == NULL) {
        json_null(object, name);
        return;
    }
    name_member(object, name);
    json_quote(object->out, text, strlen(text));
}

void json_bytes(json *object, const char *name, const void *bytes, size_t len)
{
    if (!is_utf8(bytes, len)) {
        json_null(object, name);
        return;
    }
    name_member(object, name);
    json_quote(object->out, bytes, len);
}

void json_hex(json *object, const char *name, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;

    name_member(object, name);
    fputc('"', object->out);
    for (size_t i = 0; i < len; i++)
        fprintf(object->out, "%02x", (unsigned)at[i]);
    fputc('"', object->out);
}
