/* SPDX-License-Identifier: MIT */

/* What gate_escape lets through, for every short input there is. The judge here decodes with a
 * table of its own: what the standard calls well-formed. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include <gate/gate.h>

/* Table 3-7 of the Unicode standard. */
static const struct {
    uint8_t low[4], high[4];
    size_t len;
} well_formed[] = {
    {{0x00}, {0x7f}, 1},
    {{0xc2, 0x80}, {0xdf, 0xbf}, 2},
    {{0xe0, 0xa0, 0x80}, {0xe0, 0xbf, 0xbf}, 3},
    {{0xe1, 0x80, 0x80}, {0xec, 0xbf, 0xbf}, 3},
    {{0xed, 0x80, 0x80}, {0xed, 0x9f, 0xbf}, 3},
    {{0xee, 0x80, 0x80}, {0xef, 0xbf, 0xbf}, 3},
    {{0xf0, 0x90, 0x80, 0x80}, {0xf0, 0xbf, 0xbf, 0xbf}, 4},
    {{0xf1, 0x80, 0x80, 0x80}, {0xf3, 0xbf, 0xbf, 0xbf}, 4},
    {{0xf4, 0x80, 0x80, 0x80}, {0xf4, 0x8f, 0xbf, 0xbf}, 4},
};

static size_t length_of(const uint8_t *at, size_t left)
{
    for (size_t i = 0; i < sizeof well_formed / sizeof *well_formed; i++) {
        size_t len = well_formed[i].len, fits = 0;
        while (fits < len && fits < left && at[fits] >= well_formed[i].low[fits] &&
               at[fits] <= well_formed[i].high[fits])
            fits++;
        if (fits == len)
            return len;
    }
    return 0;
}

static uint32_t decode(const uint8_t *at, size_t len)
{
    static const uint8_t head[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t c = at[0] & head[len];
    for (size_t i = 1; i < len; i++)
        c = c << 6 | (at[i] & 0x3f);
    return c;
}

/* C0, DEL and C1; ALM, LRM, RLM; the line separators, embeddings and overrides; the isolates. */
static int must_not_show(uint32_t c)
{
    static const uint32_t range[][2] = {{0, 0x1f},        {0x7f, 0x9f},     {0x61c, 0x61c},
                                        {0x200e, 0x200f}, {0x2028, 0x2029}, {0x202a, 0x202e},
                                        {0x2066, 0x2069}};
    for (size_t i = 0; i < sizeof range / sizeof *range; i++)
        if (c >= range[i][0] && c <= range[i][1])
            return 1;
    return 0;
}

/* What has to come out, with unlimited room. */
static size_t expect(char *text, const uint8_t *bytes, size_t len)
{
    size_t used = 0;
    for (size_t i = 0, step; i < len; i += step) {
        size_t found = length_of(bytes + i, len - i);
        uint32_t c = found ? decode(bytes + i, found) : 0;
        step = found ? found : 1;
        if (!found || (must_not_show(c) && c < 0x80))
            used += (size_t)sprintf(text + used, "\\x%02x", bytes[i]);
        else if (must_not_show(c))
            used += (size_t)sprintf(text + used, "\\u%04x", (unsigned)c);
        else {
            memcpy(text + used, bytes + i, found);
            used += found;
        }
    }
    text[used] = '\0';
    return used;
}

static void check(const uint8_t *bytes, size_t len)
{
    char text[64], wanted[64];
    size_t used = gate_escape(text, sizeof text, bytes, len);
    size_t expected = expect(wanted, bytes, len);
    if (used == expected && !memcmp(text, wanted, used + 1))
        return;
    for (size_t i = 0; i < len; i++)
        print_message("%02x ", bytes[i]);
    fail_msg("escaped as '%s', not as '%s'", text, wanted);
}

static void test_every_input_of_up_to_three_bytes(void **state)
{
    uint8_t bytes[3] = {0};
    (void)state;
    check(bytes, 0);
    for (uint32_t word = 0; word < 1u << 24; word++) {
        bytes[0] = (uint8_t)word;
        bytes[1] = (uint8_t)(word >> 8);
        bytes[2] = (uint8_t)(word >> 16);
        if (bytes[0] >= 0xc0) /* else the first byte stands alone */
            check(bytes, 3);
        if (word < 1u << 16)
            check(bytes, 2);
        if (word < 1u << 8)
            check(bytes, 1);
    }
}

static void test_every_four_bytes_behind_a_head_of_four(void **state)
{
    (void)state;
    for (unsigned head = 0xf0; head <= 0xff; head++)
        for (uint32_t word = 0; word < 1u << 24; word += word % 0x10000 ? 0x101 : 1) {
            uint8_t bytes[] = {(uint8_t)head, (uint8_t)(word >> 16), (uint8_t)(word >> 8),
                               (uint8_t)word};
            check(bytes, 4);
        }
}

static void test_every_character(void **state)
{
    (void)state;
    for (uint32_t c = 0x80; c <= 0x10ffff; c++) {
        uint8_t bytes[4];
        size_t len;
        if (c < 0x800) {
            bytes[0] = (uint8_t)(0xc0 | c >> 6);
            len = 2;
        } else if (c < 0x10000) {
            bytes[0] = (uint8_t)(0xe0 | c >> 12);
            len = 3;
        } else {
            bytes[0] = (uint8_t)(0xf0 | c >> 18);
            len = 4;
        }
        for (size_t i = 1; i < len; i++)
            bytes[i] = (uint8_t)(0x80 | ((c >> 6 * (len - 1 - i)) & 0x3f));
        check(bytes, len);
    }
}

static void test_escaping_twice_changes_nothing_more(void **state)
{
    static const char dirty[] = "a\x1b[31m\\ \xc2\x9b\xff\xe2\x80\xae\xe2\x82\xac\n";
    char once[128], twice[128];
    size_t len = gate_escape(once, sizeof once, dirty, sizeof dirty - 1);
    (void)state;
    assert_string_equal(once, "a\\x1b[31m\\ \\u009b\\xff\\u202e\xe2\x82\xac\\x0a");
    assert_int_equal(gate_escape(twice, sizeof twice, once, len), len);
    assert_string_equal(twice, once);
}

static void test_cut_between_characters_and_within_the_room(void **state)
{
    static const char bytes[] = "ab\xe2\x82\xac\x1b\xf0\x9f\x98\x80z";
    static const char whole[] = "ab\xe2\x82\xac\\x1b\xf0\x9f\x98\x80z";
    static const size_t ends[] = {0, 1, 2, 5, 9, 13, 14};
    (void)state;
    for (size_t room = 0; room <= sizeof whole; room++) {
        char text[32];
        size_t wanted = 0;
        memset(text, '#', sizeof text);
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
            if (ends[i] < room)
                wanted = ends[i];
        assert_int_equal(gate_escape(text, room, bytes, sizeof bytes - 1), wanted);
        assert_memory_equal(text, whole, wanted);
        if (room)
            assert_int_equal(text[wanted], '\0');
        for (size_t i = room; i < sizeof text; i++)
            assert_int_equal(text[i], '#');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_input_of_up_to_three_bytes),
        cmocka_unit_test(test_every_four_bytes_behind_a_head_of_four),
        cmocka_unit_test(test_every_character),
        cmocka_unit_test(test_escaping_twice_changes_nothing_more),
        cmocka_unit_test(test_cut_between_characters_and_within_the_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
