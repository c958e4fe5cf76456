/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_EXIT_H
#define GATE_CLI_EXIT_H

/* What the programs exit with. The man pages have the same list. */
enum {
    GATE_EXIT_DONE = 0,     /* done; for a server: stopped in good order */
    GATE_EXIT_REJECTED = 1, /* rejected, or not what was expected */
    GATE_EXIT_USAGE = 2,    /* the command line is wrong */
    GATE_EXIT_RESOLVE = 3,  /* a name could not be looked up */
    GATE_EXIT_REFUSED = 4,  /* connect or bind was refused */
    GATE_EXIT_TIMEOUT = 5,  /* the deadline passed */
    GATE_EXIT_PROTOCOL = 6, /* closed early, or bytes that the framing does not allow */
    GATE_EXIT_TLS = 7,
    GATE_EXIT_LOCAL = 8 /* this machine: files, memory, descriptors */
};

#endif
