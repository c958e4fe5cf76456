/* SPDX-License-Identifier: MIT */
/* Knocks at the door on this machine and prints what it says. */
#include <gate/gate.h>
#include <stdio.h>

int main(void)
{
    char reply[1024];
    size_t len = sizeof reply;
    int rc = gate_client_exchange("127.0.0.1", 9001, "1", 1, reply, &len, 5000);
    puts(rc ? gate_strerror(rc) : "answered:");
    printf("%.*s\n", (int)len, reply);
    return rc ? 1 : 0;
}
