#include "core/utf8.h"

#include <stdint.h>
#include <string.h>

/* Of a character's first byte: how many follow it, and the range of the first of them, which is
 * narrower where overlong forms, surrogates and what is above U+10FFFF would begin. */
typedef struct {
    size_t more;
    unsigned char low, high;
} form;

static form form_of(unsigned char lead) {
    if (lead >= 0xC2 && lead <= 0xDF) return (form){1, 0x80, 0xBF};
    if (lead == 0xE0) return (form){2, 0xA0, 0xBF};
    if (lead == 0xED) return (form){2, 0x80, 0x9F};
    if (lead >= 0xE1 && lead <= 0xEF) return (form){2, 0x80, 0xBF};
    if (lead == 0xF0) return (form){3, 0x90, 0xBF};
    if (lead >= 0xF1 && lead <= 0xF3) return (form){3, 0x80, 0xBF};
    if (lead == 0xF4) return (form){3, 0x80, 0x8F};
    return (form){0, 0, 0};
}

size_t sg_utf8_character(const char *bytes, size_t size) {
    const unsigned char *s = (const unsigned char *)bytes;
    form f = form_of(*s);

    if (*s < 0x80) return 1;
    if (f.more == 0 || f.more >= size || s[1] < f.low || s[1] > f.high) return 0;
    for (size_t i = 2; i <= f.more; i++)
        if (s[i] < 0x80 || s[i] > 0xBF) return 0;
    return f.more + 1;
}

size_t sg_utf8_check(const char *bytes, size_t size) {
    const uint64_t high = UINT64_C(0x8080808080808080);
    size_t i = 0;

    while (i < size) {
        uint64_t eight;
        size_t n;

        if (size - i >= sizeof eight) { /* most texts are mostly ASCII */
            memcpy(&eight, bytes + i, sizeof eight);
            if (!(eight & high)) {
                i += sizeof eight;
                continue;
            }
        }
        n = sg_utf8_character(bytes + i, size - i);
        if (n == 0) return i;
        i += n;
    }
    return size;
}

size_t sg_utf8_bad(const char *bytes, size_t size) {
    const unsigned char *s = (const unsigned char *)bytes;
    form f = form_of(*s);
    size_t n;

    if (f.more == 0 || size < 2 || s[1] < f.low || s[1] > f.high) return 1;
    for (n = 2; n <= f.more && n < size && s[n] >= 0x80 && s[n] <= 0xBF;) n++;
    return n;
}

int sg_utf8_letters(const char *text) {
    int n = 0;

    for (; *text; text++) n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}
