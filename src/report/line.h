/* What lines of answers are put together from: texts of any bytes, as JSON strings or made visible.
 */
#ifndef SG_REPORT_LINE_H
#define SG_REPORT_LINE_H

#include "core/line.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A JSON string with its quotes, of ASCII alone: what is beyond it is escaped, in pairs beyond
 * U+FFFF; U+FFFD stands for what is no UTF-8 (sg_utf8_bad). */
void sg_line_json(sg_line *line, const char *bytes, size_t n);
/* A finite number with 7 digits, as JSON. */
void sg_line_number(sg_line *line, double value);

/* For people: UTF-8 whose control characters are shown as \t, \n, \r or \xNN, and U+FFFD for
 * what is no UTF-8. */
void sg_line_visible(sg_line *line, const char *bytes, size_t n);
void sg_line_fixed(sg_line *line, double value); /* 4 decimals */

#ifdef __cplusplus
}
#endif
#endif
