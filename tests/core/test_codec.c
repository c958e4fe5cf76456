/* SPDX-License-Identifier: MIT */

/* Decoding: however the bytes are cut, the same requests come out. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/codec.h"
#include "seed.h"

enum { STREAM_MAX = 600, FRAMES_MAX = 600 };

/* ---- A connection in small ---- */

typedef struct feed {
    const gate_codec *codec;
    size_t body_max;
    size_t have;    /* bytes of input that wait */
    size_t scanned; /* of them, as decode said */
    size_t need;    /* what decode has announced for this frame, 0 for nothing */
    uint8_t input[STREAM_MAX];
    int code; /* the error that ended it, or 0 */
    size_t frames;
    size_t body_len[FRAMES_MAX];
    size_t bytes;
    uint8_t body[STREAM_MAX]; /* all bodies, one behind the other */
} feed;

static void feed_start(feed *f, const gate_codec *codec, size_t body_max)
{
    memset(f, 0, sizeof(*f));
    f->codec = codec;
    f->body_max = body_max;
}

static void take_frame(feed *f, const gate_frame *frame, const uint8_t *input)
{
    assert_in_range(frame->total, 1, f->have);
    assert_true(frame->body <= frame->total && frame->body_len <= frame->total - frame->body);
    assert_true(frame->body_len <= f->body_max);
    if (f->need != 0)
        assert_int_equal(f->need, frame->total);
    assert_true(f->frames < FRAMES_MAX);
    f->body_len[f->frames++] = frame->body_len;
    memcpy(f->body + f->bytes, input + frame->body, frame->body_len);
    f->bytes += frame->body_len;
    f->have -= frame->total;
    memmove(f->input, f->input + frame->total, f->have);
    f->scanned = 0;
    f->need = 0;
}

/* The input is handed over in memory of just its size, so that a read past it is noticed. */
static int decode_once(feed *f, int eof)
{
    gate_frame frame = {.scanned = f->scanned, .need = 99, .total = 99, .body = 99, .body_len = 99};
    uint8_t *exact = malloc(f->have + (f->have == 0));
    assert_non_null(exact);
    memcpy(exact, f->input, f->have);
    int rc = f->codec->decode(f->codec, exact, f->have, f->body_max, eof, &frame);
    if (rc == 1) {
        take_frame(f, &frame, exact);
    } else if (rc == 0) {
        assert_true(frame.scanned >= f->scanned && frame.scanned <= f->have);
        assert_true(frame.need == 0 || frame.need > f->have);
        assert_true(f->need == 0 || f->need == frame.need);
        f->scanned = frame.scanned;
        f->need = frame.need;
    } else {
        assert_true(rc == GATE_EFRAME || rc == GATE_ETOOBIG);
        f->code = rc;
    }
    free(exact);
    return rc;
}

static void feed_piece(feed *f, const uint8_t *bytes, size_t len)
{
    if (f->code != 0)
        return;
    assert_true(f->have + len <= STREAM_MAX);
    memcpy(f->input + f->have, bytes, len);
    f->have += len;
    while (f->have > 0 && decode_once(f, 0) == 1)
        ;
}

static void feed_whole(feed *f, const gate_codec *codec, size_t body_max, const void *bytes,
                       size_t len)
{
    feed_start(f, codec, body_max);
    feed_piece(f, bytes, len);
}

static void expect_same(const feed *f, const feed *whole)
{
    assert_int_equal(f->code, whole->code);
    assert_int_equal(f->frames, whole->frames);
    assert_memory_equal(f->body_len, whole->body_len, whole->frames * sizeof(whole->body_len[0]));
    assert_int_equal(f->bytes, whole->bytes);
    assert_memory_equal(f->body, whole->body, whole->bytes);
    if (whole->code == 0)
        assert_int_equal(f->have, whole->have);
}

static void try_two_pieces(const feed *whole, const uint8_t *bytes, size_t len)
{
    for (size_t cut = 1; cut < len; cut++) {
        feed f;
        feed_start(&f, whole->codec, whole->body_max);
        feed_piece(&f, bytes, cut);
        feed_piece(&f, bytes + cut, len - cut);
        expect_same(&f, whole);
    }
}

static void try_steps(const feed *whole, const uint8_t *bytes, size_t len, size_t step_max)
{
    feed f;
    feed_start(&f, whole->codec, whole->body_max);
    for (size_t at = 0; at < len;) {
        size_t step = 1 + seed_below(step_max);
        step = step < len - at ? step : len - at;
        feed_piece(&f, bytes + at, step);
        at += step;
    }
    expect_same(&f, whole);
}

static void try_splits(const feed *whole, const uint8_t *bytes, size_t len)
{
    try_two_pieces(whole, bytes, len);
    try_steps(whole, bytes, len, 1);
    for (int i = 0; i < 10; i++)
        try_steps(whole, bytes, len, 1 + seed_below(8));
}

/* ---- The table ---- */

typedef struct example {
    const char *codec;
    size_t body_max;
    const char *input;
    size_t len;
    const char *bodies; /* each followed by '|' */
    int code;
    size_t left;
} example;

#define IN(text) text, sizeof(text) - 1
#define ANY SIZE_MAX

static const example examples[] = {
    {"line", 100, IN("hello\n"), "hello|", 0, 0},
    {"line", 100, IN("hello\r\nyou\n\n\r\nend"), "hello|you|||", 0, 3},
    {"line", 100, IN("a\rb\r\r\n\r\r\n"), "a\rb\r|\r|", 0, 0},
    {"line", 100, IN("a\0b\n"), "a\0b|", 0, 0},
    {"line", 3, IN("abc\nabc\r\nabc\r"), "abc|abc|", 0, 4},
    {"line", 3, IN("abc\nabcd\nx\n"), "abc|", GATE_ETOOBIG, 0},
    {"line", 3, IN("abc\r\r\n"), "", GATE_ETOOBIG, 0},
    {"line", 3, IN("abcd"), "", GATE_ETOOBIG, 0},
    {"line", 3, IN("abc\rd"), "", GATE_ETOOBIG, 0},
    {"line", 0, IN("\n\r\n\n\r"), "|||", 0, 1},
    {"line", 0, IN("\na"), "|", GATE_ETOOBIG, 0},
    {"line", ANY, IN("abc\r\n\r"), "abc|", 0, 1},

    {"delimiter:\r\n", 100, IN("a\r\n\r\nb\rc\nd\r\re\r\n\r"), "a||b\rc\nd\r\re|", 0, 1},
    {"delimiter:\r\n", 3, IN("abc\r\nabc\r"), "abc|", 0, 4},
    {"delimiter:\r\n", 3, IN("abcd\r\n"), "", GATE_ETOOBIG, 0},
    {"delimiter:\r\n", 3, IN("abcde"), "", GATE_ETOOBIG, 0},
    {"delimiter:;", 100, IN("a;;b;c"), "a||b|", 0, 1},
    {"delimiter:;", 2, IN("ab;abc"), "ab|", GATE_ETOOBIG, 0},
    {"delimiter:aa", 100, IN("aaaxaaaabaa"), "|ax||b|", 0, 0},
    {"delimiter:aab", 100, IN("aaabaabxaabaa"), "a||x|", 0, 2},
    {"delimiter:abab", 100, IN("abaababababxabab"), "aba||x|", 0, 0},
    {"delimiter:abcdefghijklmnopqrstuvwx", 100, IN("1abcdefghijklmnopqrstuvwx"), "1|", 0, 0},
    {"delimiter:ab", 0, IN("ababab"), "|||", 0, 0},
    {"delimiter:ab", ANY, IN("1ab2aba"), "1|2|", 0, 1},

    {"fixed:3", 3, IN("abcdefg"), "abc|def|", 0, 1},
    {"fixed:1", 1, IN("abc"), "a|b|c|", 0, 0},
    {"fixed:3", 2, IN("abc"), "", GATE_ETOOBIG, 0},
    {"fixed:3", ANY, IN("abc"), "abc|", 0, 0},

    {"u8", 255, IN("\0\1a\3abc\2a"), "|a|abc|", 0, 2},
    {"u8", 2, IN("\2ab\3"), "ab|", GATE_ETOOBIG, 0},
    {"u8", 0, IN("\0\0\1"), "||", GATE_ETOOBIG, 0},
    {"u8", ANY, IN("\377"), "", 0, 1},
    {"u16", 100, IN("\0\1a\0\0\0\3abc\0"), "a||abc|", 0, 1},
    {"u16", 255, IN("\1\0"), "", GATE_ETOOBIG, 0},
    {"u16", 256, IN("\1\0x"), "", 0, 3},
    {"u16le", 100, IN("\1\0a\0\0\3\0abc\0"), "a||abc|", 0, 1},
    {"u16le", 255, IN("\0\1"), "", GATE_ETOOBIG, 0},
    {"u16le", 256, IN("\0\1x"), "", 0, 3},
    {"u32", 100, IN("\0\0\0\1a\0\0\0\0\0\0\0\2bc\0\0\0"), "a||bc|", 0, 3},
    {"u32", 100, IN("\377\377\377\377"), "", GATE_ETOOBIG, 0},
    {"u32", 0x01020304, IN("\1\2\3\4"), "", 0, 4},
    {"u32", 0x01020303, IN("\1\2\3\4"), "", GATE_ETOOBIG, 0},
    {"u32le", 100, IN("\1\0\0\0a\0\0\0\0\2\0\0\0bc"), "a||bc|", 0, 0},
    {"u32le", 0x01020304, IN("\4\3\2\1"), "", 0, 4},
    {"u32le", 0x01020303, IN("\4\3\2\1"), "", GATE_ETOOBIG, 0},

    {"varint", 100, IN("\0\1a\3abc\2"), "|a|abc|", 0, 1},
    {"varint", 127, IN("\200\1"), "", GATE_ETOOBIG, 0},
    {"varint", 128, IN("\200\1"), "", 0, 2},
    {"varint", 128, IN("\200"), "", 0, 1},
    {"varint", 100, IN("\1a\200\0"), "a|", GATE_EFRAME, 0},
    {"varint", 100, IN("\201\200\0"), "", GATE_EFRAME, 0},
    {"varint", ANY, IN("\377\377\377\377\17"), "", sizeof(size_t) > 4 ? 0 : GATE_ETOOBIG, 5},
    {"varint", ANY, IN("\377\377\377\377\20"), "", GATE_EFRAME, 0},
    {"varint", ANY, IN("\200\200\200\200\0"), "", GATE_EFRAME, 0},
    {"varint", ANY, IN("\200\200\200\200\200"), "", GATE_EFRAME, 0},
    {"varint", ANY, IN("\377\377\377\377\377\1"), "", GATE_EFRAME, 0},

    {"netstring", 100, IN("5:hello,0:,3:a,b,1"), "hello||a,b|", 0, 1},
    {"netstring", 100, IN("12:hello, world,"), "hello, world|", 0, 0},
    {"netstring", 5, IN("5:hello,6"), "hello|", GATE_ETOOBIG, 0},
    {"netstring", 50, IN("49"), "", 0, 2},
    {"netstring", 50, IN("51"), "", GATE_ETOOBIG, 0},
    {"netstring", 0, IN("0:,1"), "|", GATE_ETOOBIG, 0},
    {"netstring", 100, IN("5:hello."), "", GATE_EFRAME, 0},
    {"netstring", 100, IN("0:x"), "", GATE_EFRAME, 0},
    {"netstring", 100, IN("00:,"), "", GATE_EFRAME, 0},
    {"netstring", 100, IN("05:hello,"), "", GATE_EFRAME, 0},
    {"netstring", 100, IN(":,"), "", GATE_EFRAME, 0},
    {"netstring", 100, IN("+5:hello,"), "", GATE_EFRAME, 0},
    {"netstring", 100, IN("-1:"), "", GATE_EFRAME, 0},
    {"netstring", 100, IN(" 5:hello,"), "", GATE_EFRAME, 0},
    {"netstring", 100, IN("5 :hello,"), "", GATE_EFRAME, 0},
    {"netstring", 100, IN("5;"), "", GATE_EFRAME, 0},
    {"netstring", 100, IN("3:abc,\n"), "abc|", GATE_EFRAME, 0},
    {"netstring", ANY, IN("99999999999999999999999"), "", GATE_ETOOBIG, 0},
    {"netstring", ANY, IN("18446744073709551617:"), "", GATE_ETOOBIG, 0},
};
enum { EXAMPLES = sizeof(examples) / sizeof(examples[0]) };

static void expect_example(const example *e, const feed *f)
{
    const char *body = e->bodies;
    size_t frames = 0;
    size_t at = 0;

    for (; frames < f->frames; frames++) {
        size_t len = f->body_len[frames];
        assert_memory_equal(f->body + at, body, len);
        assert_int_equal(body[len], '|');
        body += len + 1;
        at += len;
    }
    assert_int_equal(*body, '\0');
    assert_int_equal(f->code, e->code);
    if (e->code == 0)
        assert_int_equal(f->have, e->left);
}

static void test_any_split_of_the_bytes_gives_the_same_requests(void **state)
{
    (void)state;
    seed_start();
    for (size_t i = 0; i < EXAMPLES; i++) {
        const example *e = &examples[i];
        gate_codec codec;
        feed whole;
        print_message("example %zu, %.4s\n", i, e->codec); /* for whoever sees it fail */
        assert_int_equal(gate_codec_parse(&codec, e->codec), 0);
        feed_whole(&whole, &codec, e->body_max, e->input, e->len);
        expect_example(e, &whole);
        try_splits(&whole, (const uint8_t *)e->input, e->len);
    }
}

/* ---- What is known before the frame is there ---- */

static int decode_start(const char *name, size_t body_max, const void *input, size_t len,
                        gate_frame *frame)
{
    gate_codec codec;
    assert_int_equal(gate_codec_parse(&codec, name), 0);
    *frame = (gate_frame){.need = 99};
    return codec.decode(&codec, input, len, body_max, 0, frame);
}

static void expect_need(const char *name, const void *input, size_t len, size_t need)
{
    gate_frame frame;
    assert_int_equal(decode_start(name, 1000, input, len, &frame), 0);
    assert_int_equal(frame.need, need);
}

static void test_need_is_the_whole_frame_once_the_length_is_there(void **state)
{
    (void)state;
    expect_need("u8", "\5", 1, 6);
    expect_need("u16", "\0", 1, 0);
    expect_need("u16", "\0\5", 2, 7);
    expect_need("u32", "\0\0\0", 3, 0);
    expect_need("u32", "\0\0\0\5abcd", 8, 9);
    expect_need("u16le", "\5\0", 2, 7);
    expect_need("u32le", "\5\0\0\0", 4, 9);
    expect_need("varint", "\205", 1, 0);
    expect_need("varint", "\205\1", 2, 135);
    expect_need("netstring", "12", 2, 0);
    expect_need("netstring", "12:", 3, 16);
    expect_need("netstring", "2:ab", 4, 5);
    expect_need("fixed:9", "a", 1, 9);
    expect_need("line", "abc", 3, 0);
    expect_need("delimiter:xy", "abcx", 4, 0);
    expect_need("eof", "abc", 3, 0);
}

static void test_search_goes_on_where_it_ended(void **state)
{
    (void)state;
    gate_frame frame;
    assert_int_equal(decode_start("line", 100, "abcd\r", 5, &frame), 0);
    assert_int_equal(frame.scanned, 5);
    assert_int_equal(decode_start("delimiter:xyz", 100, "abcdxy", 6, &frame), 0);
    assert_int_equal(frame.scanned, 4);
    assert_int_equal(decode_start("delimiter:xyz", 100, "xy", 2, &frame), 0);
    assert_int_equal(frame.scanned, 0);

    /* An end before `scanned` would be found by a search from the start. */
    frame = (gate_frame){.scanned = 3};
    const gate_codec *line = gate_codec_line();
    assert_int_equal(line->decode(line, (const uint8_t *)"a\nbc\n", 5, 100, 0, &frame), 1);
    assert_int_equal(frame.total, 5);
}

static void expect_too_big(const char *name, size_t body_max, const void *input, size_t len)
{
    gate_frame frame;
    assert_int_equal(decode_start(name, body_max, input, len, &frame), GATE_ETOOBIG);
}

static void test_a_length_over_the_limit_is_refused_without_the_data(void **state)
{
    (void)state;
    expect_too_big("u8", 254, "\377", 1);
    expect_too_big("u16", 65534, "\377\377", 2);
    expect_too_big("u16le", 65534, "\377\377", 2);
    expect_too_big("u32", 1 << 20, "\0\20\0\1", 4);
    expect_too_big("u32le", 1 << 20, "\1\0\20\0", 4);
    expect_too_big("varint", 1 << 20, "\201\200\100", 3);
    expect_too_big("netstring", 999, "1000", 4);
    expect_too_big("fixed:1025", 1024, "a", 1);
}

/* ---- raw and eof ---- */

static void test_raw_takes_what_is_there_up_to_the_limit(void **state)
{
    (void)state;
    static const size_t limits[] = {0, 1, 4, 5, 6, SIZE_MAX};
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        gate_frame frame;
        size_t expected = limits[i] < 5 ? limits[i] : 5;
        assert_int_equal(decode_start("raw", limits[i], "hello", 5, &frame), 1);
        assert_int_equal(frame.total, expected);
        assert_int_equal(frame.body, 0);
        assert_int_equal(frame.body_len, expected);
    }
}

static void test_eof_takes_everything_at_the_end_of_the_input(void **state)
{
    (void)state;
    const gate_codec *eof = gate_codec_eof();
    const uint8_t *input = (const uint8_t *)"hello";
    gate_frame frame = {0};
    assert_int_equal(eof->decode(eof, input, 5, 5, 0, &frame), 0);
    assert_int_equal(eof->decode(eof, input, 5, 4, 0, &frame), GATE_ETOOBIG);
    assert_int_equal(eof->decode(eof, input, 5, 4, 1, &frame), GATE_ETOOBIG);
    assert_int_equal(eof->decode(eof, input, 5, 5, 1, &frame), 1);
    assert_int_equal(frame.total, 5);
    assert_int_equal(frame.body, 0);
    assert_int_equal(frame.body_len, 5);
    assert_int_equal(eof->decode(eof, NULL, 0, 5, 1, &frame), 1);
    assert_int_equal(frame.total, 0);
    assert_int_equal(frame.body_len, 0);
}

/* ---- Random bytes ---- */

static const char *const framed[] = {
    "line",    "varint",         "netstring",     "u8",          "u16", "u32", "u16le", "u32le",
    "fixed:7", "delimiter:\r\n", "delimiter:aba", "delimiter:aa"};
enum { FRAMED = sizeof(framed) / sizeof(framed[0]) };

/* Few different bytes, so that ends, lengths and near misses are common. */
static size_t random_stream(uint8_t *bytes)
{
    static const uint8_t often[] = {'a',  'b',  '\n', '\r', 0,   0,   1,   2,
                                    0x80, 0xff, '0',  '1',  '2', ':', ',', 3};
    size_t len = 1 + seed_below(120);
    for (size_t i = 0; i < len; i++)
        bytes[i] = seed_below(20) == 0 ? (uint8_t)seed_next() : often[seed_below(sizeof(often))];
    return len;
}

static void test_random_bytes_give_the_same_requests_however_split(void **state)
{
    (void)state;
    static const size_t limits[] = {0, 1, 5, 30, 1000, SIZE_MAX - 1, SIZE_MAX};
    seed_start();
    for (int round = 0; round < 1500; round++) {
        uint8_t bytes[STREAM_MAX];
        size_t len = random_stream(bytes);
        gate_codec codec;
        feed whole;
        assert_int_equal(gate_codec_parse(&codec, framed[seed_below(FRAMED)]), 0);
        feed_whole(&whole, &codec, limits[seed_below(7)], bytes, len);
        try_splits(&whole, bytes, len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_split_of_the_bytes_gives_the_same_requests),
        cmocka_unit_test(test_need_is_the_whole_frame_once_the_length_is_there),
        cmocka_unit_test(test_search_goes_on_where_it_ended),
        cmocka_unit_test(test_a_length_over_the_limit_is_refused_without_the_data),
        cmocka_unit_test(test_raw_takes_what_is_there_up_to_the_limit),
        cmocka_unit_test(test_eof_takes_everything_at_the_end_of_the_input),
        cmocka_unit_test(test_random_bytes_give_the_same_requests_however_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
