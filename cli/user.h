/* SPDX-License-Identifier: MIT */
#ifndef GATE_CLI_USER_H
#define GATE_CLI_USER_H

/* The user that a program started by root goes on as. */

#include <sys/types.h>

typedef struct user_ids {
    uid_t uid;
    gid_t gid;
} user_ids;

/* All of these: 0, or an exit code after a report. */

/* Reads USER, USER:GROUP or :GROUP, names or numbers; the largest number where one is left out. */
int user_parse_owner(user_ids *ids, const char *text);

/* Reads NAME[:GROUP], names or numbers. Asks the name service, which may open files and sockets. */
int user_parse(user_ids *ids, const char *text);

/* Becomes that user for good, with no other group, and makes sure that there is no way back.
 * Before other threads are started. */
int user_become(const user_ids *ids);

#endif
