/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_JSON_H
#define GATE_CLI_JSON_H

/* Writes one JSON object, member by member, to a stream or into a buffer; the latter also in a
 * signal handler. name is NULL inside an array. Of texts, bytes that are not UTF-8 become '?', and
 * control characters are escaped as gate_escape does it. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct json {
    FILE *out; /* NULL: into text */
    char *text;
    size_t used;
    size_t room;
    int cut;   /* there was no room for all of it */
    int comma; /* a member stands before the next one */
} json;

void json_begin(json *object, FILE *out);
void json_begin_text(json *object, char *text, size_t room); /* without a NUL */
void json_end(json *object);                                 /* and a newline */

void json_open(json *object, const char *name, char bracket); /* '{' or '[' */
void json_close(json *object, char bracket);                  /* '}' or ']' */

void json_null(json *object, const char *name);
void json_flag(json *object, const char *name, int value);
void json_number(json *object, const char *name, int64_t value);
void json_count(json *object, const char *name, uint64_t value);
void json_text(json *object, const char *name, const char *text); /* NULL: null */
/* A string, or null where the bytes are not UTF-8. */
void json_bytes(json *object, const char *name, const void *bytes, size_t len);
void json_hex(json *object, const char *name, const void *bytes, size_t len);

#endif
