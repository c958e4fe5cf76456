/* SPDX-License-Identifier: MIT */
/* The limit to hold against, on io_uring: no deadlines, no limits, no framing. Multishot accept,
 * reads into a ring of provided buffers (multishot where the connection stays), answers that
 * complete silently, the close linked behind the last one, and one system call a turn. */

#include <errno.h>
#include <liburing.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "peer.h"

enum { ENTRIES = 4096, BUFFERS = 4096, GROUP = 1 };

/* What a completion is for stands above the descriptor. */
enum { ACCEPT = 1, RECV = 2, OTHER = 3, KIND_SHIFT = 32 };

static struct io_uring ring;
static struct io_uring_buf_ring *buffers;
static char *buffer_bytes;
static int is_line;

static struct io_uring_sqe *take_sqe(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

    if (sqe == NULL) {
        io_uring_submit(&ring);
        sqe = io_uring_get_sqe(&ring);
    }
    if (sqe == NULL)
        peer_die("io_uring_get_sqe");
    return sqe;
}

static void mark(struct io_uring_sqe *sqe, uint64_t kind, int fd)
{
    io_uring_sqe_set_data64(sqe, kind << KIND_SHIFT | (uint32_t)fd);
}

static void start_accept(int listener)
{
    struct io_uring_sqe *sqe = take_sqe();

    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    mark(sqe, ACCEPT, listener);
}

static void start_recv(int fd)
{
    struct io_uring_sqe *sqe = take_sqe();

    if (is_line)
        io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    else
        io_uring_prep_recv(sqe, fd, NULL, PEER_BUFFER, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
    mark(sqe, RECV, fd);
}

static void start_close(int fd)
{
    struct io_uring_sqe *sqe = take_sqe();

    io_uring_prep_close(sqe, fd);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    mark(sqe, OTHER, fd);
}

/* The two of a link have to be in one submission. The last bytes wait for the close: both leave in
 * one segment. */
static void start_send(int fd, peer_answer reply)
{
    int flags = MSG_NOSIGNAL | MSG_WAITALL | (reply.last ? MSG_MORE : 0);
    struct io_uring_sqe *sqe;

    if (io_uring_sq_space_left(&ring) < 2)
        io_uring_submit(&ring);
    sqe = take_sqe();
    io_uring_prep_send(sqe, fd, reply.bytes, reply.len, flags);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS | (reply.last ? IOSQE_IO_HARDLINK : 0);
    mark(sqe, OTHER, fd);
    if (reply.last)
        start_close(fd);
}

static void return_buffer(unsigned id)
{
    char *bytes = buffer_bytes + (size_t)id * PEER_BUFFER;

    io_uring_buf_ring_add(buffers, bytes, PEER_BUFFER, (unsigned short)id,
                          io_uring_buf_ring_mask(BUFFERS), 0);
    io_uring_buf_ring_advance(buffers, 1);
}

static void on_recv(const struct io_uring_cqe *cqe, int fd)
{
    int again = is_line && !(cqe->flags & IORING_CQE_F_MORE);
    unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    const char *bytes = buffer_bytes + (size_t)id * PEER_BUFFER;

    if (cqe->res > 0) {
        peer_answer reply =
            is_line ? peer_lines(bytes, (size_t)cqe->res) : peer_once(bytes, (size_t)cqe->res);

        start_send(fd, reply);
    }
    if (cqe->flags & IORING_CQE_F_BUFFER)
        return_buffer(id);
    if (cqe->res > 0 ? again : cqe->res == -ENOBUFS)
        start_recv(fd);
    else if (cqe->res <= 0)
        start_close(fd);
}

static void on_completion(const struct io_uring_cqe *cqe)
{
    int fd = (int)(uint32_t)cqe->user_data;

    switch (cqe->user_data >> KIND_SHIFT) {
    case ACCEPT:
        if (cqe->res >= 0)
            start_recv(cqe->res);
        if (!(cqe->flags & IORING_CQE_F_MORE))
            start_accept(fd);
        break;
    case RECV:
        on_recv(cqe, fd);
        break;
    default:
        break;
    }
}

static void set_up(void)
{
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
                                     .cq_entries = 8 * ENTRIES};
    struct io_uring_buf_reg group = {.ring_entries = BUFFERS, .bgid = GROUP};
    int rc = io_uring_queue_init_params(ENTRIES, &ring, &params);

    if (rc < 0) {
        errno = -rc;
        peer_die("io_uring_queue_init_params");
    }
    io_uring_register_ring_fd(&ring);
    buffers = mmap(NULL, BUFFERS * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE,
                   MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    buffer_bytes = malloc((size_t)BUFFERS * PEER_BUFFER);
    if (buffers == MAP_FAILED || buffer_bytes == NULL)
        peer_die("memory");
    group.ring_addr = (uint64_t)(uintptr_t)buffers;
    if (io_uring_register_buf_ring(&ring, &group, 0))
        peer_die("io_uring_register_buf_ring");
    io_uring_buf_ring_init(buffers);
    for (unsigned id = 0; id < BUFFERS; id++)
        return_buffer(id);
}

int main(int argc, char **argv)
{
    int listener;

    is_line = peer_is_line(argc, argv);
    set_up();
    listener = peer_listen();
    start_accept(listener);
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned head, count = 0;

        io_uring_submit_and_wait(&ring, 1);
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            on_completion(cqe);
            count++;
        }
        io_uring_cq_advance(&ring, count);
    }
}
