/* Which bytes are UTF-8, and how many characters. */
#ifndef SG_CORE_UTF8_H
#define SG_CORE_UTF8_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where the first byte is that begins no whole, well-formed character (Unicode 15, table 3-7: no
 * overlong forms, no surrogates, nothing above U+10FFFF); `size` when all of it is UTF-8. A NUL is
 * a character like others. */
size_t sg_utf8_check(const char *bytes, size_t size);

/* How many bytes the character at `bytes` has, 1 to 4; 0: no whole, well-formed one begins there.
 * `size` is 1 or more. */
size_t sg_utf8_character(const char *bytes, size_t size);

/* Where sg_utf8_check has stopped, before the end: how many bytes are replaced by one U+FFFD, at
 * least 1. They are the longest beginning of a character (Unicode 15, 3.9, "maximal subpart"), as
 * Python's errors="replace" and browsers have it. */
size_t sg_utf8_bad(const char *bytes, size_t size);

/* Characters of a text that is UTF-8. */
int sg_utf8_letters(const char *text);

#ifdef __cplusplus
}
#endif
#endif
