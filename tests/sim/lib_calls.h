/* SPDX-License-Identifier: MIT */
#ifndef GATE_SIM_LIB_CALLS_H
#define GATE_SIM_LIB_CALLS_H

/* What the library's malloc, pthread_create and so on become in the simulator's programs: in their
 * copy of it these symbols have another name (see tests/CMakeLists.txt). The simulator's own
 * allocations, and those of the tests, are none of these. */

#include <pthread.h>
#include <stddef.h>

void *sim_lib_malloc(size_t size);
void *sim_lib_calloc(size_t count, size_t size);
void *sim_lib_realloc(void *block, size_t size);
void *sim_lib_aligned_alloc(size_t alignment, size_t size);
void sim_lib_free(void *block);

int sim_lib_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*routine)(void *),
                           void *arg);
int sim_lib_pthread_join(pthread_t thread, void **result);

#endif
