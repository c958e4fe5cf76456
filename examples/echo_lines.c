/* SPDX-License-Identifier: MIT */
#include <gate/gate.h>
#include <stdio.h>
#include <stdlib.h>

/* echo_lines [PORT]: sends each line back. Connections stay open, and a client may send many lines
 * without waiting: the replies come in the same order. */
static void echo(gate_request *req, const void *line, size_t len, void *user)
{
    (void)user;
    gate_reply(req, line, len);
}

int main(int argc, char **argv)
{
    gate_options options = {
        .size = sizeof options,
        .handler = echo,
        .codec = gate_codec_line(),
        .request_max = 64 * 1024,
        .idle_timeout_ms = 60 * 1000,
    };
    uint16_t port = argc > 1 ? (uint16_t)atoi(argv[1]) : 9001;
    gate_server *server;
    int rc = gate_server_open(&server, &options);
    if (!rc)
        rc = gate_server_listen(server, "127.0.0.1", port, 0);
    if (!rc) {
        printf("listening on port %u\n", gate_server_port(server));
        fflush(stdout);
        rc = gate_server_serve(server);
    }
    if (rc)
        fprintf(stderr, "echo_lines: %s\n", gate_strerror(rc));
    gate_server_close(server);
    return rc ? 1 : 0;
}
