/* SPDX-License-Identifier: MIT */
#ifndef GATE_TESTS_RING_H
#define GATE_TESTS_RING_H

/* Rings of other sizes, for the tests of the io_uring backend alone. */

#include "harness.h"

#include "io/io_uring.h"

static const gate__uring_sizes tiny = {
    .submissions = 4, .completions = 8, .buffers = 2, .buffer_size = 64};

static inline struct gate__uring *ring_of(struct loop *loop)
{
    return (struct gate__uring *)(void *)loop->io;
}

static inline void resize(struct loop *loop, const gate__uring_sizes *sizes)
{
    loop->io->ops->free(loop->io);
    assert_int_equal(gate__io_uring_open_sized(&loop->io, sizes), 0);
}

#endif
