/* SPDX-License-Identifier: MIT */

/* Structs that begin with their size: a program compiled for an older or a newer library passes
 * another one. Each struct ends at a page that cannot be touched, so that whatever the library
 * reads or writes after the caller's size is a crash. A structure test checks that each struct of
 * the header with a size has its row here. */

#include "net.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SIZE_MOST = 4096, NEWER = 64 };

typedef struct sized {
    const char *name;
    uint32_t known; /* what this library has */
    uint32_t least; /* the smallest that is taken, a multiple of 8 */
    int fills;      /* the library writes it */
    void (*prepare)(void *known);
    int (*call)(void *given, uint32_t size);
} sized;

/* ---- The structs --------------------------------------------------------------------------- */

static int open_server(const gate_options *options)
{
    gate_server *server;
    int rc = gate_server_open(&server, options);
    gate_server_close(server);
    return rc;
}

static void prepare_options(void *known)
{
    *(gate_options *)known = (gate_options){.size = sizeof(gate_options), .handler = net_echo};
}

static int call_options(void *given, uint32_t size)
{
    (void)size;
    return open_server(given);
}

static void prepare_codec(void *known)
{
    *(gate_codec *)known = *gate_codec_line();
}

static int call_codec(void *given, uint32_t size)
{
    gate_options options = {.size = sizeof options, .handler = net_echo, .codec = given};
    (void)size;
    return open_server(&options);
}

static void prepare_client_options(void *known)
{
    *(gate_client_options *)known = (gate_client_options){.size = sizeof(gate_client_options)};
}

/* Nothing listens on that address: any other code says that the options were taken. */
static int call_client_options(void *given, uint32_t size)
{
    gate_client *client;
    int rc = gate_client_open(&client, "unix:@gate-test-sizes", 0, given);
    (void)size;
    gate_client_close(client);
    return rc == -ECONNREFUSED ? 0 : rc;
}

static int call_stats(void *given, uint32_t size)
{
    gate_options options = {.size = sizeof options, .handler = net_echo};
    gate_server *server;
    (void)size;
    assert_int_equal(gate_server_open(&server, &options), 0);
    int rc = gate_server_stats(server, given);
    gate_server_close(server);
    return rc;
}

static void prepare_listen(void *known)
{
    *(gate_listen_options *)known = (gate_listen_options){.size = sizeof(gate_listen_options)};
}

static int listen_with(const gate_listen_options *asked, gate_error *error)
{
    gate_options options = {.size = sizeof options, .handler = net_echo};
    gate_server *server;
    assert_int_equal(gate_server_open(&server, &options), 0);
    int rc = gate_server_listen_with(server, "127.0.0.1", 0, asked, NULL, error);
    gate_server_close(server);
    return rc;
}

static int call_listen(void *given, uint32_t size)
{
    (void)size;
    return listen_with(given, NULL);
}

static int call_error(void *given, uint32_t size)
{
    (void)size;
    return listen_with(NULL, given);
}

static int call_parse(void *given, uint32_t size)
{
    return gate_codec_parse_sized(given, size, "netstring");
}

static int call_fixed(void *given, uint32_t size)
{
    return gate_codec_fixed_sized(given, size, 5);
}

static int call_delimiter(void *given, uint32_t size)
{
    return gate_codec_delimiter_sized(given, size, ";", 1);
}

enum {
    THROUGH_HANDLER = (offsetof(gate_options, handler) + sizeof(gate_handler *) + 7) / 8 * 8,
    CODEC_LEAST = offsetof(gate_codec, bytes) + 24
};

static const sized structs[] = {
    {"gate_options", sizeof(gate_options), THROUGH_HANDLER, 0, prepare_options, call_options},
    {"gate_codec", sizeof(gate_codec), CODEC_LEAST, 0, prepare_codec, call_codec},
    {"gate_client_options", sizeof(gate_client_options), 8, 0, prepare_client_options,
     call_client_options},
    {"gate_stats", sizeof(gate_stats), 8, 1, NULL, call_stats},
    {"gate_listen_options", sizeof(gate_listen_options), 8, 0, prepare_listen, call_listen},
    {"gate_error", sizeof(gate_error), 16, 1, NULL, call_error},
    {"gate_codec", sizeof(gate_codec), CODEC_LEAST, 1, NULL, call_parse},
    {"gate_codec", sizeof(gate_codec), CODEC_LEAST, 1, NULL, call_fixed},
    {"gate_codec", sizeof(gate_codec), CODEC_LEAST, 1, NULL, call_delimiter},
};
enum { STRUCTS = sizeof structs / sizeof structs[0] };

/* ---- Structs at the end of a page ---------------------------------------------------------- */

typedef struct edge {
    uint8_t *pages;
    size_t room; /* bytes that can be touched */
} edge;

static int make_edge(void **state)
{
    static edge e;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    e.room = page > 2 * SIZE_MOST ? page : 2 * SIZE_MOST;
    e.pages = mmap(NULL, e.room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *state = &e;
    return e.pages == MAP_FAILED || mprotect(e.pages + e.room, page, PROT_NONE);
}

static int free_edge(void **state)
{
    edge *e = *state;
    return munmap(e->pages, e->room + (size_t)sysconf(_SC_PAGESIZE));
}

/* As a caller with this size has it: what it does not set is 0, or rubbish in what the library
 * fills. */
static uint8_t *place(const edge *e, const sized *s, uint32_t size)
{
    uint8_t known[SIZE_MOST] = {0};
    uint8_t *given = e->pages + e->room - size;
    memset(e->pages, 0xa5, e->room);
    if (!s->fills) {
        memset(given, 0, size);
        s->prepare(known);
        memcpy(given, known, size < s->known ? size : s->known);
    }
    if (size >= sizeof size)
        memcpy(given, &size, sizeof size);
    return given;
}

static void check_written(const edge *e, const sized *s, const uint8_t *given, uint32_t size)
{
    uint32_t said;
    memcpy(&said, given, sizeof said);
    assert_int_equal(said, size);
    for (const uint8_t *at = e->pages; at < given; at++)
        assert_int_equal(*at, 0xa5);
    for (uint32_t i = s->known; i < size; i++)
        assert_int_equal(given[i], 0);
}

static void test_sizes_of_other_versions_are_taken(void **state)
{
    for (size_t i = 0; i < STRUCTS; i++)
        for (uint32_t size = structs[i].least; size <= structs[i].known + NEWER; size += 8) {
            uint8_t *given = place(*state, &structs[i], size);
            int rc = structs[i].call(given, size);
            if (rc)
                fail_msg("%s of %u bytes: %d", structs[i].name, size, rc);
            if (structs[i].fills)
                check_written(*state, &structs[i], given, size);
        }
}

static void test_sizes_that_no_version_has_are_refused(void **state)
{
    for (size_t i = 0; i < STRUCTS; i++) {
        const uint32_t sizes[] = {8, structs[i].least - 8, SIZE_MOST + 8};
        for (size_t k = 0; k < 3; k++) {
            if (sizes[k] >= structs[i].least && sizes[k] <= SIZE_MOST)
                continue;
            uint8_t *given = place(*state, &structs[i], sizes[k] ? sizes[k] : 8);
            memcpy(given, &sizes[k], sizeof sizes[k]);
            if (structs[i].call(given, sizes[k]) != -EINVAL)
                fail_msg("%s of %u bytes is taken", structs[i].name, sizes[k]);
        }
    }
}

static void test_fields_that_this_library_does_not_know_must_be_zero(void **state)
{
    for (size_t i = 0; i < STRUCTS; i++)
        for (uint32_t at = structs[i].known; !structs[i].fills && at < structs[i].known + 8; at++) {
            uint8_t *given = place(*state, &structs[i], structs[i].known + 8);
            given[at] = 1;
            if (structs[i].call(given, structs[i].known + 8) != -EINVAL)
                fail_msg("%s with byte %u set is taken", structs[i].name, at);
        }
}

static void test_an_older_caller_gets_the_counters_it_knows(void **state)
{
    (void)state;
    struct {
        gate_stats stats;
        uint8_t after[8];
    } given;
    gate_options options = net_options(net_echo, gate_codec_line());
    net_server *s = net_start(&options);
    int fd = net_connect(s->port);
    net_put(fd, "1\n");
    net_expect(fd, "1\n");
    memset(&given, 0xa5, sizeof given);
    given.stats.size = offsetof(gate_stats, replies);
    assert_int_equal(gate_server_stats(s->server, &given.stats), 0);
    assert_int_equal(given.stats.requests, 1);
    assert_int_equal(given.stats.replies, UINT64_C(0xa5a5a5a5a5a5a5a5));
    net_close(fd);
    net_stop(s);
}

static void test_a_codec_of_an_older_program_serves_and_asks(void **state)
{
    const edge *e = *state;
    gate_codec *codec = (gate_codec *)(void *)(e->pages + e->room - CODEC_LEAST);
    assert_int_equal(gate_codec_parse_sized(codec, CODEC_LEAST, "line"), 0);
    gate_options options = net_options(net_echo, codec);
    gate_client_options ours = {.size = sizeof ours, .codec = codec};
    gate_client *client;
    char reply[8];
    size_t len = sizeof reply;
    net_server *s = net_start(&options);
    assert_int_equal(gate_client_open(&client, "127.0.0.1", s->port, &ours), 0);
    assert_int_equal(gate_client_call(client, "abc", 3, reply, &len, 0), 0);
    assert_int_equal(len, 3);
    gate_client_close(client);
    net_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_of_other_versions_are_taken),
        cmocka_unit_test(test_sizes_that_no_version_has_are_refused),
        cmocka_unit_test(test_fields_that_this_library_does_not_know_must_be_zero),
        cmocka_unit_test(test_an_older_caller_gets_the_counters_it_knows),
        cmocka_unit_test(test_a_codec_of_an_older_program_serves_and_asks),
    };
    return cmocka_run_group_tests(tests, make_edge, free_edge);
}
