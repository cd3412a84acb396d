/* Lines of answers, put together in memory: texts of any bytes, as JSON strings or made visible. */
#ifndef SG_REPORT_LINE_H
#define SG_REPORT_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Begins as {0}. Where memory is short nothing is put any more: ask sg_line_status at the end. */
typedef struct {
    char *data; /* (size), owned, no NUL behind */
    size_t size, capacity;
    bool failed;
} sg_line;

void sg_line_clear(sg_line *line);
sg_status sg_line_status(const sg_line *line) SG_CHECKED; /* SG_OK, SG_ERR_OOM */

void sg_line_put(sg_line *line, const char *bytes, size_t n);
void sg_line_text(sg_line *line, const char *text);                       /* as it is */
void sg_line_printf(sg_line *line, const char *fmt, ...) SG_PRINTF(2, 3); /* cut at 255 bytes */

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
