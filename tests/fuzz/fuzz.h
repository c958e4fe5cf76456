/* SPDX-License-Identifier: MIT */
#ifndef GATE_TESTS_FUZZ_H
#define GATE_TESTS_FUZZ_H

/* What the fuzz targets share. A target is one fuzz_*.c, whose LLVMFuzzerTestOneInput gets bytes
 * from libFuzzer or, in the ordinary build, from replay.c. */

#include <gate/gate.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Stays in a build without asserts. */
#define CHECK(what) ((what) ? (void)0 : fuzz_fail(#what, __FILE__, __LINE__))
_Noreturn void fuzz_fail(const char *what, const char *file, int line);

/* The bytes that are left. Past their end they are zeros. */
typedef struct fuzz_input {
    const uint8_t *at;
    size_t left;
} fuzz_input;

uint8_t fuzz_byte(fuzz_input *in);
/* As many bytes as there are, up to len; *at points to them. */
size_t fuzz_bytes(fuzz_input *in, size_t len, const uint8_t **at);

/* Memory of exactly that size, so that a sanitizer sees what is read beyond it. Never NULL; to be
 * freed. The text has a NUL behind it. */
void *fuzz_copy(const void *bytes, size_t len);
char *fuzz_text(const void *bytes, size_t len);

/* The codec that the next bytes ask for; a delimiter or fixed one is made in *own. */
const gate_codec *fuzz_codec(fuzz_input *in, gate_codec *own);

/* A codec of somebody's own: a frame is a byte, with GATE_CODEC_UNTIL_EOF not before the end. But
 * the letters B, E, L, T and Z are frames or codes that no honest codec gives. */
gate_codec fuzz_own_codec(uint32_t flags);

#endif
