#include "core/line.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"

enum { kFirst = 4096 };

void sg_line_clear(sg_line *line) {
    sg_free(line->data);
    memset(line, 0, sizeof *line);
}

sg_status sg_line_status(const sg_line *line) {
    return line->failed
               ? sg_fail(SG_ERR_OOM, "no memory for more than %zu bytes of text", line->size)
               : SG_OK;
}

sg_status sg_line_take(sg_line *line, char **out) {
    sg_status st;

    sg_line_put(line, "", 1);
    st = sg_line_status(line);
    if (st == SG_OK)
        *out = line->data;
    else
        sg_free(line->data);
    memset(line, 0, sizeof *line);
    return st;
}

/* Room for n bytes more, or NULL. */
static char *reserve(sg_line *line, size_t n) {
    size_t capacity = line->capacity ? line->capacity : kFirst;
    char *grown;

    if (line->failed) return NULL;
    while (capacity - line->size < n) capacity *= 2;
    if (capacity > line->capacity) {
        grown = sg_realloc(line->data, line->capacity, capacity);
        if (!grown) {
            line->failed = true;
            return NULL;
        }
        line->data = grown;
        line->capacity = capacity;
    }
    return line->data + line->size;
}

void sg_line_put(sg_line *line, const char *bytes, size_t n) {
    char *to = reserve(line, n);

    if (!to || n == 0) return;
    memcpy(to, bytes, n);
    line->size += n;
}

void sg_line_text(sg_line *line, const char *text) { sg_line_put(line, text, strlen(text)); }

void sg_line_printf(sg_line *line, const char *fmt, ...) {
    va_list args, again;
    char *to;
    int n;

    va_start(args, fmt);
    va_copy(again, args);
    n = vsnprintf(NULL, 0, fmt, args);
    line->failed = line->failed || n < 0;             /* also of more than 2 GiB */
    to = n < 0 ? NULL : reserve(line, (size_t)n + 1); /* with the NUL that it writes */
    if (to) {
        vsnprintf(to, (size_t)n + 1, fmt, again);
        line->size += (size_t)n;
    }
    va_end(again);
    va_end(args);
}
