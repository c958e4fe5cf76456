/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <gate/gate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* own_codec [PORT]: a protocol of one's own, in which each message stands in angle brackets:
 * "<hello>" is answered by "<hello to you>". */
static int decode(const gate_codec *codec, const uint8_t *input, size_t len, size_t body_max,
                  int eof, gate_frame *frame)
{
    (void)codec;
    (void)eof;
    if (input[0] != '<')
        return GATE_EFRAME;
    size_t from = frame->scanned > 1 ? frame->scanned : 1; /* nothing is looked at twice */
    const uint8_t *end = memchr(input + from, '>', len - from);
    size_t body_len = end ? (size_t)(end - input) - 1 : len - 1;
    if (body_len > body_max)
        return GATE_ETOOBIG;
    frame->scanned = len;
    frame->body = 1;
    frame->body_len = body_len;
    frame->total = body_len + 2;
    return end != NULL;
}

static int encode(const gate_codec *codec, const uint8_t *body, size_t len, gate_wrap *wrap)
{
    (void)codec;
    if (len && memchr(body, '>', len))
        return -EBADMSG;
    *wrap = (gate_wrap){.head = "<", .head_len = 1, .tail = ">", .tail_len = 1};
    return 0;
}

static void greet(gate_request *req, const void *body, size_t len, void *user)
{
    char text[128];
    (void)user;
    int n = snprintf(text, sizeof text, "%.*s to you", (int)len, (const char *)body);
    gate_reply(req, text, (size_t)n);
}

int main(int argc, char **argv)
{
    const gate_codec brackets = {.size = sizeof brackets, .decode = decode, .encode = encode};
    gate_options options = {
        .size = sizeof options,
        .handler = greet,
        .codec = &brackets,
        .request_max = 100,
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
        fprintf(stderr, "own_codec: %s\n", gate_strerror(rc));
    gate_server_close(server);
    return rc ? 1 : 0;
}
