/* SPDX-License-Identifier: MIT */
#include "json.h"

#include <gate/gate.h>
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

/* No call here that a signal handler may not make, where the object goes into a buffer. */
static void emit(json *object, const void *bytes, size_t len)
{
    if (object->out != NULL)
        fwrite(bytes, 1, len, object->out);
    else if (len <= object->room - object->used)
        memcpy(object->text + object->used, bytes, len);
    else
        object->cut = 1;
    if (object->out == NULL && !object->cut)
        object->used += len;
}

static void emit_text(json *object, const char *text)
{
    emit(object, text, strlen(text));
}

static void emit_digits(json *object, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);

    do
        digits[--at] = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    emit(object, digits + at, sizeof(digits) - at);
}

/* An object may be read on a terminal, which some characters must not reach as they are: see
 * gate_escape. What it writes for them is JSON, but for "\x1b". */
static void emit_character(json *object, const unsigned char *at, size_t len)
{
    char safe[8];

    gate_escape(safe, sizeof(safe), at, len);
    if (safe[0] == '\\' && safe[1] == 'x') {
        emit_text(object, "\\u00");
        emit_text(object, safe + 2);
    } else {
        emit_text(object, safe);
    }
}

/* Text from the command line and from messages about it may hold any bytes, and an object that
 * cannot be parsed would be worse than a '?'. */
static void quote(json *object, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;

    emit_text(object, "\"");
    for (size_t i = 0, step; i < len; i += step) {
        size_t found = sequence_len(at + i, len - i);

        step = found == 0 ? 1 : found;
        if (found == 0)
            emit_text(object, "?");
        else if (at[i] == '"')
            emit_text(object, "\\\"");
        else if (at[i] == '\\')
            emit_text(object, "\\\\");
        else
            emit_character(object, at + i, step);
    }
    emit_text(object, "\"");
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
        emit_text(object, ",");
    object->comma = 1;
    if (name != NULL) {
        quote(object, name, strlen(name));
        emit_text(object, ":");
    }
}

void json_begin(json *object, FILE *out)
{
    *object = (json){.out = out};
    emit_text(object, "{");
}

void json_begin_text(json *object, char *text, size_t room)
{
    *object = (json){.text = text, .room = room};
    emit_text(object, "{");
}

void json_end(json *object)
{
    emit_text(object, "}\n");
}

void json_open(json *object, const char *name, char bracket)
{
    name_member(object, name);
    emit(object, &bracket, 1);
    object->comma = 0;
}

void json_close(json *object, char bracket)
{
    emit(object, &bracket, 1);
    object->comma = 1;
}

void json_null(json *object, const char *name)
{
    name_member(object, name);
    emit_text(object, "null");
}

void json_flag(json *object, const char *name, int value)
{
    name_member(object, name);
    emit_text(object, value ? "true" : "false");
}

void json_number(json *object, const char *name, int64_t value)
{
    name_member(object, name);
    if (value < 0)
        emit_text(object, "-");
    emit_digits(object, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

void json_count(json *object, const char *name, uint64_t value)
{
    name_member(object, name);
    emit_digits(object, value);
}

void json_text(json *object, const char *name, const char *text)
{
    if (text == NULL) {
        json_null(object, name);
        return;
    }
    name_member(object, name);
    quote(object, text, strlen(text));
}

void json_bytes(json *object, const char *name, const void *bytes, size_t len)
{
    if (!is_utf8(bytes, len)) {
        json_null(object, name);
        return;
    }
    name_member(object, name);
    quote(object, bytes, len);
}

void json_hex(json *object, const char *name, const void *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *at = bytes;

    name_member(object, name);
    emit_text(object, "\"");
    for (size_t i = 0; i < len; i++) {
        char pair[2] = {digits[at[i] >> 4], digits[at[i] & 15]};

        emit(object, pair, 2);
    }
    emit_text(object, "\"");
}
