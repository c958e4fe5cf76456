/* SPDX-License-Identifier: MIT */
#ifndef GATE_CORE_SIZED_H
#define GATE_CORE_SIZED_H

/* The structs of the interface that begin with their size, a uint32_t. A program brings the struct
 * of the header that it was compiled with: an older one lacks fields of this library's, a newer one
 * has more. least is the smallest that makes sense. Nothing after the caller's size is read or
 * written. */

#include <stddef.h>

/* Up to and including a field. */
#define GATE__SIZE_THROUGH(type, field) (offsetof(type, field) + sizeof(((type *)0)->field))

/* The struct as this library knows it, with 0 for what the caller's does not have. -EINVAL: not a
 * size of ours, or a field is set that this library does not know: the caller would not get what
 * it asked for. */
int gate__sized_read(void *known, size_t known_size, const void *given, size_t least);

/* As gate__sized_read without the copy, for a struct that stays the caller's. */
int gate__sized_check(const void *given, size_t known_size, size_t least);

/* Fills a caller's struct of `size` bytes, which begins with that size afterwards; what this
 * library does not know is set to 0. -EINVAL: not a size of ours, and nothing is written. */
int gate__sized_write(void *given, size_t size, const void *known, size_t known_size, size_t least);

#endif
