/* SPDX-License-Identifier: MIT */
#ifndef TESTS_IO_FAR_H
#define TESTS_IO_FAR_H

/* The other side of a loop's connections: descriptors of the kernel, or of the loop's world. Every
 * call waits until it is done, and checks that it worked; the loop's completions run in none. */

#include "harness.h"

int far_listen(struct loop *loop, gate__sockaddr *addr, int backlog);
int far_connect(struct loop *loop, const gate__sockaddr *addr);
int far_accept(struct loop *loop, int listener);
/* The same for a descriptor that the loop shall have. */
int far_accept_for_loop(struct loop *loop, int listener);

/* Gives *addr a port that nobody listens on; to be closed. */
int far_refuse(struct loop *loop, gate__sockaddr *addr);

void far_send(struct loop *loop, int fd, const void *bytes, size_t len);
/* Reads len bytes, or up to the end of the input. */
size_t far_recv(struct loop *loop, int fd, void *bytes, size_t len);
/* Reads on to the end of the input (0) or a reset (1). */
int far_sees_reset(struct loop *loop, int fd);
void far_end(struct loop *loop, int fd); /* ends the output */
void far_close(struct loop *loop, int fd);
void far_reset(struct loop *loop, int fd); /* closes with a reset */

#endif
