/* SPDX-License-Identifier: MIT */

/* A client with a custom codec: what decode finds is the reply, however the frame ends, and what
 * encode says is not trusted. */

#include "net.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- A frame in angle brackets that ends with the input ---- */

static int decode_bracketed(const gate_codec *codec, const uint8_t *input, size_t len,
                            size_t body_max, int eof, gate_frame *frame)
{
    (void)codec;
    if (!eof)
        return len > body_max + 2 ? GATE_ETOOBIG : 0;
    if (input[0] != '<')
        return GATE_EFRAME;
    if (input[len - 1] != '>')
        return 0;
    *frame = (gate_frame){.total = len, .body = 1, .body_len = len - 2};
    return len - 2 > body_max ? GATE_ETOOBIG : 1;
}

static int encode_bracketed(const gate_codec *codec, const uint8_t *body, size_t len,
                            gate_wrap *wrap)
{
    (void)codec, (void)body, (void)len;
    *wrap = (gate_wrap){.head_len = 1, .tail_len = 1, .head = "<", .tail = ">"};
    return 0;
}

static const gate_codec bracketed = {
    .size = sizeof(gate_codec),
    .flags = GATE_CODEC_ONE_SHOT | GATE_CODEC_UNTIL_EOF,
    .decode = decode_bracketed,
    .encode = encode_bracketed,
};

typedef struct answer {
    const char *says; /* and then closes */
    size_t room;
    int code;
    const char *reply;
} answer;

static gate_client *open_client(uint16_t port, const gate_codec *codec)
{
    const gate_client_options options = {.size = sizeof options, .codec = codec};
    gate_client *client;
    assert_int_equal(gate_client_open(&client, "127.0.0.1", port, &options), 0);
    return client;
}

/* The answer is there before the question, which the kernel does not mind. */
static void ask_bracketed(int listener, uint16_t port, const answer *a)
{
    char reply[16], request[8];
    size_t len = a->room;
    gate_client *client = open_client(port, &bracketed);
    int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    net_put(peer, a->says);
    net_finish(peer);
    assert_int_equal(gate_client_call(client, "hi", 2, reply, &len, 20000), a->code);
    assert_int_equal(len, strlen(a->reply));
    assert_memory_equal(reply, a->reply, len);
    assert_int_equal(net_read(peer, request, sizeof request), 4);
    assert_memory_equal(request, "<hi>", 4);
    net_close(peer);
    gate_client_close(client);
}

static void test_framing_of_a_codec_that_reads_until_the_end_is_not_in_the_reply(void **state)
{
    static const answer answers[] = {
        {"<hello>", 16, 0, "hello"},    {"<>", 16, 0, ""},
        {"<hello>", 5, 0, "hello"},     {"<hello>", 4, GATE_EROOM, ""},
        {"hello", 16, GATE_EFRAME, ""}, {"<hel", 16, GATE_ETRUNCATED, ""},
        {"", 16, GATE_ECLOSED, ""},
    };
    uint16_t port;
    (void)state;
    int listener = net_listen(&port, 5);
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        ask_bracketed(listener, port, &answers[i]);
    net_close(listener);
}

static void test_client_and_server_agree_on_a_custom_codec_that_reads_until_the_end(void **state)
{
    char reply[16];
    size_t len = sizeof reply;
    (void)state;
    gate_options options = net_options(net_echo, &bracketed);
    net_server *s = net_start(&options);
    gate_client *client = open_client(s->port, &bracketed);
    assert_int_equal(gate_client_call(client, "hello", 5, reply, &len, 0), 0);
    assert_int_equal(len, 5);
    assert_memory_equal(reply, "hello", 5);
    gate_client_close(client);
    net_stop(s);
}

/* ---- A codec that lies ---- */

static int encode_lies(const gate_codec *codec, const uint8_t *body, size_t len, gate_wrap *wrap)
{
    (void)codec, (void)len;
    wrap->head_len = *body == 'h' ? 400 : 0;
    wrap->tail_len = *body == 't' ? UINT32_MAX : 0;
    return *body == 'p' ? 7 : *body == 'n' ? -77 : 0;
}

static void test_an_encode_that_lies_sends_nothing(void **state)
{
    gate_codec lying = *gate_codec_line();
    uint16_t port;
    char byte;
    (void)state;
    lying.encode = encode_lies;
    int listener = net_listen(&port, 5);
    gate_client *client = open_client(port, &lying);
    int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    for (const char *body = "htpn"; *body; body++) {
        char reply[16];
        size_t len = sizeof reply;
        int rc = gate_client_call(client, body, 1, reply, &len, 20000);
        assert_true(rc < 0 && gate_outcome(rc) == GATE_NOT_SENT);
        assert_int_equal(len, 0);
    }
    gate_client_close(client);
    assert_int_equal(net_read(peer, &byte, 1), 0);
    net_close(peer);
    net_close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(test_framing_of_a_codec_that_reads_until_the_end_is_not_in_the_reply),
        NET_TEST(test_client_and_server_agree_on_a_custom_codec_that_reads_until_the_end),
        NET_TEST(test_an_encode_that_lies_sends_nothing),
    };
    return cmocka_run_group_tests_name("client codecs", tests, NULL, NULL);
}
