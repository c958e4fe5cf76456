/* SPDX-License-Identifier: MIT */

/* Encoding, and how codecs are made and named. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/codec.h"
#include "seed.h"

static void make(gate_codec *codec, const char *name)
{
    if (gate_codec_parse(codec, name) != 0)
        fail_msg("no codec '%s'", name);
    assert_int_equal(gate__codec_check(codec), 0);
}

/* head, body and tail in one piece. */
static size_t put_frame(uint8_t *out, const gate_wrap *wrap, const void *body, size_t len)
{
    memcpy(out, wrap->head, wrap->head_len);
    memcpy(out + wrap->head_len, body, len);
    memcpy(out + wrap->head_len + len, wrap->tail, wrap->tail_len);
    return wrap->head_len + len + wrap->tail_len;
}

static void expect_frame(const char *name, const char *body, const char *frame, size_t frame_len)
{
    gate_codec codec;
    gate_wrap wrap;
    uint8_t out[200];
    memset(&wrap, 0xee, sizeof(wrap));
    make(&codec, name);
    assert_int_equal(gate__codec_encode(&codec, body, strlen(body), &wrap), 0);
    assert_int_equal(put_frame(out, &wrap, body, strlen(body)), frame_len);
    assert_memory_equal(out, frame, frame_len);
}

static void test_encode_puts_the_framing_around_a_body(void **state)
{
    (void)state;
    expect_frame("raw", "abc", "abc", 3);
    expect_frame("eof", "abc", "abc", 3);
    expect_frame("line", "abc", "abc\n", 4);
    expect_frame("line", "", "\n", 1);
    expect_frame("delimiter:\r\n", "abc", "abc\r\n", 5);
    expect_frame("fixed:3", "abc", "abc", 3);
    expect_frame("u8", "abc", "\3abc", 4);
    expect_frame("u16", "abc", "\0\3abc", 5);
    expect_frame("u16le", "abc", "\3\0abc", 5);
    expect_frame("u32", "abc", "\0\0\0\3abc", 7);
    expect_frame("u32le", "abc", "\3\0\0\0abc", 7);
    expect_frame("varint", "abc", "\3abc", 4);
    expect_frame("netstring", "abc", "3:abc,", 6);
    expect_frame("netstring", "hello, world", "12:hello, world,", 16);
    expect_frame("netstring", "", "0:,", 3);
}

/* The body is not looked at by these codecs, so that its length alone can be tried. */
static int encode_length(const char *name, size_t len, gate_wrap *wrap)
{
    gate_codec codec;
    make(&codec, name);
    return gate__codec_encode(&codec, "", len, wrap);
}

static void test_encode_refuses_a_length_that_does_not_fit(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t most;
    } widths[] = {{"u8", UINT8_MAX},   {"u16", UINT16_MAX},   {"u16le", UINT16_MAX},
                  {"u32", UINT32_MAX}, {"u32le", UINT32_MAX}, {"varint", UINT32_MAX}};
    gate_wrap wrap;
    for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
        assert_int_equal(encode_length(widths[i].name, (size_t)widths[i].most, &wrap), 0);
        for (size_t k = 0; k < wrap.head_len; k++)
            assert_int_equal(wrap.head[k], widths[i].name[0] == 'v' && k == 4 ? 0x0f : 0xff);
        if (widths[i].most == SIZE_MAX)
            continue;
        assert_int_equal(encode_length(widths[i].name, (size_t)widths[i].most + 1, &wrap),
                         -EMSGSIZE);
        assert_int_equal(encode_length(widths[i].name, SIZE_MAX, &wrap), -EMSGSIZE);
    }
    assert_int_equal(encode_length("fixed:3", 2, &wrap), -EMSGSIZE);
    assert_int_equal(encode_length("fixed:3", 4, &wrap), -EMSGSIZE);
    assert_int_equal(encode_length("netstring", SIZE_MAX, &wrap), 0);
    assert_int_equal(wrap.head[wrap.head_len - 1], ':');
}

static int encode_text(const char *name, const char *body)
{
    gate_codec codec;
    gate_wrap wrap;
    make(&codec, name);
    return gate__codec_encode(&codec, body, strlen(body), &wrap);
}

static void test_encode_refuses_a_body_that_would_end_the_frame_early(void **state)
{
    (void)state;
    assert_int_equal(encode_text("line", "a\nb"), -EBADMSG);
    assert_int_equal(encode_text("line", "\n"), -EBADMSG);
    assert_int_equal(encode_text("line", "a\r"), -EBADMSG);
    assert_int_equal(encode_text("line", "a\rb"), 0);
    assert_int_equal(encode_text("delimiter:;", "a;b"), -EBADMSG);
    assert_int_equal(encode_text("delimiter:;", "ab"), 0);
    assert_int_equal(encode_text("delimiter:xyz", "axyzb"), -EBADMSG);
    assert_int_equal(encode_text("delimiter:xyz", "xy"), 0);
    /* Formed by the end of the body and the start of the delimiter. */
    assert_int_equal(encode_text("delimiter:aa", "xa"), -EBADMSG);
    assert_int_equal(encode_text("delimiter:aba", "xab"), -EBADMSG);
    assert_int_equal(encode_text("delimiter:aba", "ab"), -EBADMSG);
    assert_int_equal(encode_text("delimiter:ab", "xa"), 0);
    assert_int_equal(encode_text("delimiter:abab", "aba"), 0);
    assert_int_equal(encode_text("delimiter:abab", "ab"), -EBADMSG);
}

/* ---- There and back ---- */

static const char *const framed[] = {
    "line",          "varint",       "netstring",      "u8",      "u16",
    "u32",           "u16le",        "u32le",          "fixed:7", "delimiter:\r\n",
    "delimiter:aba", "delimiter:aa", "delimiter:aabaa"};
enum { FRAMED = sizeof(framed) / sizeof(framed[0]), BODY_MAX = 20000 };

/* Few different bytes, so that bodies near to the framing are common. */
static uint8_t *random_body(const gate_codec *codec, size_t *len)
{
    static const uint8_t often[] = "aaaabbbb\r\n";
    *len = seed_below(seed_below(10) == 0 ? BODY_MAX : 12);
    if (codec->number == 7 && seed_below(4) > 0)
        *len = 7;
    uint8_t *body = malloc(*len + 1);
    assert_non_null(body);
    for (size_t i = 0; i < *len; i++)
        body[i] = seed_below(8) == 0 ? (uint8_t)seed_next() : often[seed_below(10)];
    return body;
}

static void expect_decoded(const gate_codec *codec, const uint8_t *out, size_t total,
                           const uint8_t *body, size_t len)
{
    gate_frame frame = {0};
    assert_int_equal(codec->decode(codec, out, total, len, 0, &frame), 1);
    assert_int_equal(frame.total, total);
    assert_int_equal(frame.body_len, len);
    assert_memory_equal(out + frame.body, body, len);
    if (len > 0) {
        frame = (gate_frame){0};
        assert_int_equal(codec->decode(codec, out, total, len - 1, 0, &frame), GATE_ETOOBIG);
    }
}

/* What encode refuses for its bytes is just what decode would not give back. */
static void expect_not_decoded(const gate_codec *codec, const uint8_t *body, size_t len)
{
    size_t end_len = codec->number > 0 ? (size_t)codec->number : 1;
    uint8_t *out = malloc(len + end_len);
    assert_non_null(out);
    memcpy(out, body, len);
    memcpy(out + len, codec->number > 0 ? codec->bytes : (const uint8_t *)"\n", end_len);
    gate_frame frame = {0};
    assert_int_equal(codec->decode(codec, out, len + end_len, SIZE_MAX, 0, &frame), 1);
    assert_true(frame.body_len < len);
    free(out);
}

static void test_what_encode_makes_decode_gives_back(void **state)
{
    (void)state;
    int made = 0;
    seed_start();
    for (int round = 0; round < 20000; round++) {
        gate_codec codec;
        gate_wrap wrap;
        size_t len;
        make(&codec, framed[seed_below(FRAMED)]);
        uint8_t *body = random_body(&codec, &len);
        int rc = gate__codec_encode(&codec, body, len, &wrap);
        if (rc == 0) {
            uint8_t *out = malloc(len + sizeof(wrap.head) + sizeof(wrap.tail));
            assert_non_null(out);
            expect_decoded(&codec, out, put_frame(out, &wrap, body, len), body, len);
            free(out);
            made++;
        } else if (rc == -EBADMSG) {
            expect_not_decoded(&codec, body, len);
        } else {
            assert_int_equal(rc, -EMSGSIZE);
        }
        free(body);
    }
    assert_true(made > 5000);
}

static void test_varint_is_shortest_on_each_side_of_a_width(void **state)
{
    (void)state;
    const gate_codec *codec = gate_codec_varint();
    for (uint32_t bits = 7; bits < 32; bits += 7) {
        for (uint32_t len = (1u << bits) - 1; len <= 1u << bits; len++) {
            gate_wrap wrap;
            gate_frame frame = {0};
            assert_int_equal(gate__codec_encode(codec, "", len, &wrap), 0);
            assert_int_equal(wrap.head_len, len >> bits == 0 ? bits / 7 : bits / 7 + 1);
            assert_int_equal(codec->decode(codec, wrap.head, wrap.head_len, len, 0, &frame), 0);
            assert_int_equal(frame.need, wrap.head_len + len);
        }
    }
}

/* ---- Making and naming ---- */

static void test_parse_knows_the_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const gate_codec *(*get)(void);
        uint32_t flags;
    } fixed_names[] = {
        {"raw", gate_codec_raw, GATE_CODEC_ONE_SHOT | GATE_CODEC_REPLY_UNTIL_CLOSE},
        {"line", gate_codec_line, 0},
        {"varint", gate_codec_varint, 0},
        {"netstring", gate_codec_netstring, 0},
        {"eof", gate_codec_eof,
         GATE_CODEC_ONE_SHOT | GATE_CODEC_UNTIL_EOF | GATE_CODEC_REPLY_UNTIL_CLOSE},
    };
    gate_codec codec;
    for (size_t i = 0; i < sizeof(fixed_names) / sizeof(fixed_names[0]); i++) {
        make(&codec, fixed_names[i].name);
        assert_memory_equal(&codec, fixed_names[i].get(), sizeof(codec));
        assert_int_equal(codec.flags, fixed_names[i].flags);
    }
    make(&codec, "u16");
    assert_memory_equal(&codec, gate_codec_prefix_be(2), sizeof(codec));
    make(&codec, "u32le");
    assert_memory_equal(&codec, gate_codec_prefix_le(4), sizeof(codec));
}

static void test_parse_refuses_other_names_and_leaves_the_struct(void **state)
{
    (void)state;
    static const char *const names[] = {"",
                                        "Raw",
                                        "line ",
                                        "u64",
                                        "u8le",
                                        "fixed",
                                        "fixed:",
                                        "fixed:0",
                                        "fixed:-1",
                                        "fixed:1k",
                                        "fixed:01",
                                        "fixed: 1",
                                        "delimiter",
                                        "delimiter:",
                                        "fixed:99999999999999999999",
                                        "fixed:18446744073709551616",
                                        "delimiter:1234567890123456789012345"};
    gate_codec codec = {.number = 42};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (gate_codec_parse(&codec, names[i]) != -EINVAL)
            fail_msg("'%s' is taken", names[i]);
        assert_int_equal(codec.number, 42);
    }
    assert_int_equal(gate_codec_parse(NULL, "line"), -EINVAL);
    assert_int_equal(gate_codec_parse(&codec, NULL), -EINVAL);
}

static void test_constructors_refuse_what_cannot_be(void **state)
{
    (void)state;
    gate_codec codec;
    assert_int_equal(gate_codec_fixed(&codec, 0), -EINVAL);
    assert_int_equal(gate_codec_fixed(NULL, 1), -EINVAL);
    assert_int_equal(gate_codec_fixed(&codec, SIZE_MAX), 0);
    assert_int_equal(gate_codec_delimiter(&codec, "", 0), -EINVAL);
    assert_int_equal(gate_codec_delimiter(&codec, "1234567890123456789012345", 25), -EINVAL);
    assert_int_equal(gate_codec_delimiter(&codec, NULL, 1), -EINVAL);
    assert_int_equal(gate_codec_delimiter(NULL, "a", 1), -EINVAL);
    assert_int_equal(gate_codec_delimiter(&codec, "123456789012345678901234", 24), 0);
    for (unsigned width = 0; width < 10; width++) {
        int known = width == 1 || width == 2 || width == 4;
        assert_int_equal(gate_codec_prefix_be(width) != NULL, known);
        assert_int_equal(gate_codec_prefix_le(width) != NULL, known);
    }
}

static void test_a_delimiter_may_hold_any_byte(void **state)
{
    (void)state;
    gate_codec codec;
    gate_frame frame = {0};
    assert_int_equal(gate_codec_delimiter(&codec, "\0\0", 2), 0);
    assert_int_equal(codec.decode(&codec, (const uint8_t *)"a\0b\0\0", 5, 9, 0, &frame), 1);
    assert_int_equal(frame.body_len, 3);
}

static void test_check_refuses_a_codec_that_cannot_be_used(void **state)
{
    (void)state;
    gate_codec codec = *gate_codec_line();
    assert_int_equal(gate__codec_check(&codec), 0);
    codec.encode = NULL;
    assert_int_equal(gate__codec_check(&codec), 0);
    codec.flags = 8;
    assert_int_equal(gate__codec_check(&codec), -EINVAL);
    codec.flags = 0;
    codec.decode = NULL;
    assert_int_equal(gate__codec_check(&codec), -EINVAL);
    codec = *gate_codec_line();
    codec.reserved = &codec;
    assert_int_equal(gate__codec_check(&codec), -EINVAL);
    codec.reserved = NULL;
    codec.size--;
    assert_int_equal(gate__codec_check(&codec), -EINVAL);
    assert_int_equal(gate__codec_check(NULL), -EINVAL);
}

static void test_only_raw_has_the_small_default_limit(void **state)
{
    (void)state;
    gate_codec copy = *gate_codec_raw();
    assert_int_equal(gate__codec_request_max(gate_codec_raw()), 1024);
    assert_int_equal(gate__codec_request_max(&copy), 1024);
    assert_int_equal(gate__codec_request_max(gate_codec_line()), 1024 * 1024);
    assert_int_equal(gate__codec_request_max(gate_codec_eof()), 1024 * 1024);
}

static int encode_given(const gate_codec *codec, const uint8_t *body, size_t len, gate_wrap *wrap)
{
    (void)body, (void)len;
    wrap->head_len = (uint32_t)codec->number & 0xff;
    wrap->tail_len = (uint32_t)codec->number >> 8;
    return 0;
}

static void test_a_wrap_over_its_room_is_refused(void **state)
{
    (void)state;
    gate_codec codec = *gate_codec_line();
    gate_wrap wrap;
    codec.encode = encode_given;
    codec.number = 24 | 24 << 8;
    assert_int_equal(gate__codec_encode(&codec, "a", 1, &wrap), 0);
    codec.number = 25;
    assert_int_equal(gate__codec_encode(&codec, "a", 1, &wrap), -EMSGSIZE);
    assert_int_equal(wrap.head_len, 0); /* for a caller that goes on all the same */
    codec.number = 25 << 8;
    assert_int_equal(gate__codec_encode(&codec, "a", 1, &wrap), -EMSGSIZE);
    assert_int_equal(wrap.tail_len, 0);
}

static int encode_fails(const gate_codec *codec, const uint8_t *body, size_t len, gate_wrap *wrap)
{
    (void)body, (void)len;
    wrap->head_len = 1;
    wrap->tail_len = 1;
    return (int)codec->number;
}

static void test_a_wrap_that_was_refused_is_empty(void **state)
{
    (void)state;
    gate_codec codec = *gate_codec_line();
    gate_wrap wrap;
    codec.encode = encode_fails;
    codec.number = 1; /* no code at all */
    assert_int_equal(gate__codec_encode(&codec, "a", 1, &wrap), -EBADMSG);
    assert_int_equal(wrap.head_len + wrap.tail_len, 0);
    codec.number = (uint64_t)(int64_t)-EMSGSIZE;
    assert_int_equal(gate__codec_encode(&codec, "a", 1, &wrap), -EMSGSIZE);
    assert_int_equal(wrap.head_len + wrap.tail_len, 0);
}

static void test_bytes_of_a_wrap_that_nobody_wrote_are_zero(void **state)
{
    (void)state;
    static const uint8_t zeros[24];
    gate_codec codec = *gate_codec_line();
    gate_wrap wrap;
    memset(&wrap, 'x', sizeof wrap);
    codec.encode = encode_given;
    codec.number = 24 | 24 << 8;
    assert_int_equal(gate__codec_encode(&codec, "a", 1, &wrap), 0);
    assert_memory_equal(wrap.head, zeros, 24);
    assert_memory_equal(wrap.tail, zeros, 24);
}

static void test_an_empty_body_may_be_null(void **state)
{
    (void)state;
    static const char *const names[] = {"raw", "line", "delimiter:ab", "u8", "varint", "netstring"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        gate_codec codec;
        gate_wrap wrap;
        make(&codec, names[i]);
        assert_int_equal(gate__codec_encode(&codec, NULL, 0, &wrap), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode_puts_the_framing_around_a_body),
        cmocka_unit_test(test_encode_refuses_a_length_that_does_not_fit),
        cmocka_unit_test(test_encode_refuses_a_body_that_would_end_the_frame_early),
        cmocka_unit_test(test_what_encode_makes_decode_gives_back),
        cmocka_unit_test(test_varint_is_shortest_on_each_side_of_a_width),
        cmocka_unit_test(test_parse_knows_the_names),
        cmocka_unit_test(test_parse_refuses_other_names_and_leaves_the_struct),
        cmocka_unit_test(test_constructors_refuse_what_cannot_be),
        cmocka_unit_test(test_a_delimiter_may_hold_any_byte),
        cmocka_unit_test(test_check_refuses_a_codec_that_cannot_be_used),
        cmocka_unit_test(test_only_raw_has_the_small_default_limit),
        cmocka_unit_test(test_a_wrap_over_its_room_is_refused),
        cmocka_unit_test(test_a_wrap_that_was_refused_is_empty),
        cmocka_unit_test(test_bytes_of_a_wrap_that_nobody_wrote_are_zero),
        cmocka_unit_test(test_an_empty_body_may_be_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
