/* UTF-8: every character, every short sequence of bytes, and where a fault is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/utf8.h"

/* As RFC 3629 defines it, the slow way: decode, then ask whether that is how it is written. */
static size_t encode(uint32_t c, unsigned char out[4]) {
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};

    for (size_t i = n; i-- > 1; c >>= 6) out[i] = (unsigned char)(0x80 | (c & 0x3F));
    out[0] = (unsigned char)(lead[n] | c);
    return n;
}

static size_t slow_character(const unsigned char *s, size_t size) {
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xC0 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    uint32_t c = n == 1 ? s[0] : s[0] & (0xFFu >> (n + 1));
    unsigned char again[4];

    if (n == 0 || n > size || s[0] >= 0xF8) return 0;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80) return 0;
        c = c << 6 | (s[i] & 0x3F);
    }
    if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) return 0;
    return encode(c, again) == n && memcmp(again, s, n) == 0 ? n : 0;
}

static size_t slow_check(const unsigned char *s, size_t size) {
    size_t i = 0, n;

    for (; i < size; i += n)
        if ((n = slow_character(s + i, size - i)) == 0) return i;
    return size;
}

static void every_character(void **state) {
    (void)state;
    for (uint32_t c = 0; c < 0x110000; c++) {
        unsigned char bytes[4] = {0};
        size_t n = encode(c, bytes);
        int surrogate = c >= 0xD800 && c <= 0xDFFF;

        assert_int_equal(sg_utf8_check((const char *)bytes, n), surrogate ? 0 : n);
        assert_int_equal(sg_utf8_character((const char *)bytes, 4), surrogate ? 0 : n);
        for (size_t cut = 1; cut < n; cut++) {
            assert_int_equal(sg_utf8_check((const char *)bytes, cut), 0);
            assert_int_equal(sg_utf8_character((const char *)bytes, cut), 0);
        }
    }
}

/* All of three bytes, then those of four that begin as a character of four does. */
static void every_short_sequence(void **state) {
    (void)state;
    for (uint32_t v = 0; v < 1u << 24; v++) {
        unsigned char s[3] = {(unsigned char)(v >> 16), (unsigned char)(v >> 8), (unsigned char)v};

        if (sg_utf8_check((const char *)s, 3) != slow_check(s, 3)) fail_msg("%06X", v);
    }
    for (unsigned a = 0xF0; a < 0x100; a++)
        for (unsigned b = 0; b < 0x100; b++)
            for (unsigned c = 0x7E; c < 0xC2; c++)
                for (unsigned d = 0x7E; d < 0xC2; d++) {
                    unsigned char s[4] = {(unsigned char)a, (unsigned char)b, (unsigned char)c,
                                          (unsigned char)d};

                    if (sg_utf8_check((const char *)s, 4) != slow_check(s, 4))
                        fail_msg("%02X%02X%02X%02X", a, b, c, d);
                }
}

/* Behind any number of ASCII bytes, around the eight that are taken at once. */
static void where_the_fault_is(void **state) {
    char text[40];

    (void)state;
    assert_int_equal(sg_utf8_check("", 0), 0);
    for (size_t at = 0; at < 30; at++) {
        memset(text, 'a', sizeof text);
        text[at] = (char)0xE9;
        assert_int_equal(sg_utf8_check(text, sizeof text), at);
        assert_int_equal(sg_utf8_check(text, at), at);
        memcpy(text + at, "\xF0\x9F\x98\x80\0", 5);
        assert_int_equal(sg_utf8_check(text, sizeof text), sizeof text);
        assert_int_equal(sg_utf8_check(text, at + 3), at);
    }
}

static void characters_are_counted(void **state) {
    (void)state;
    assert_int_equal(sg_utf8_letters(""), 0);
    assert_int_equal(sg_utf8_letters("m\xC3\xBCtze"), 5);
    assert_int_equal(sg_utf8_letters("\xF0\x9F\x98\x80!"), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_character),
        cmocka_unit_test(every_short_sequence),
        cmocka_unit_test(where_the_fault_is),
        cmocka_unit_test(characters_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
