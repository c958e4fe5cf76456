/* SPDX-License-Identifier: MIT */
/* The tutorial's server: welcomes whoever sends "1" and sends everybody else away. */
#include <gate/gate.h>

static void door(gate_request *req, const void *body, size_t len, void *user)
{
    (void)user;
    if (len == 1 && *(const char *)body == '1')
        gate_reply(req, "welcome to server!", 18);
    else
        gate_reject(req, "please go out!", 14);
}

int main(void)
{
    return gate_server_run("0.0.0.0", 9001, 0, 5000, door) ? 1 : 0;
}
