#include "core/cells.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"

enum { kFirstCells = 64, kGap = 2 };

void sg_cells_add(sg_cells *cells, const char *fmt, ...) {
    va_list args;

    if (cells->failed) return;
    if (cells->n == cells->capacity) {
        size_t capacity = cells->capacity ? 2 * cells->capacity : kFirstCells;
        char **larger =
            sg_realloc(cells->cell, cells->n * sizeof *larger, capacity * sizeof *larger);

        cells->failed = !larger;
        if (cells->failed) return;
        cells->cell = larger;
        cells->capacity = capacity;
    }
    va_start(args, fmt);
    cells->cell[cells->n] = sg_str_vprintf(fmt, args);
    va_end(args);
    cells->failed = !cells->cell[cells->n];
    cells->n += !cells->failed;
}

/* Of a UTF-8 text: all bytes but the continuations. */
static size_t width_of(const char *text) {
    size_t n = 0;

    for (; *text; text++) n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static char *put(char *at, const char *text, size_t width, bool left, bool last) {
    size_t pad = width - width_of(text);

    for (size_t i = 0; i < pad && !left; i++) *at++ = ' ';
    while (*text) *at++ = *text++;
    for (size_t i = 0; i < pad && left && !last; i++) *at++ = ' ';
    return at;
}

/* Room for `width` sizes. */
static char *write_lines(const sg_cells *c, size_t *width) {
    size_t columns = (size_t)c->columns, rows = c->n / columns, bytes = 1;
    char *text, *at;

    memset(width, 0, columns * sizeof *width);
    for (size_t i = 0; i < rows * columns; i++) {
        size_t w = width_of(c->cell[i]);

        if (w > width[i % columns]) width[i % columns] = w;
        bytes += strlen(c->cell[i]);
    }
    for (size_t i = 0; i < columns; i++) bytes += rows * (width[i] + kGap);
    text = at = sg_malloc(bytes);
    for (size_t i = 0; text && i < rows * columns; i++) {
        bool last = i % columns + 1 == columns;

        at = put(at, c->cell[i], width[i % columns], i % columns < (size_t)c->left, last);
        for (int k = 0; k < kGap && !last; k++) *at++ = ' ';
        if (last) *at++ = '\n';
    }
    if (text) *at = '\0';
    return text;
}

sg_status sg_cells_lines(sg_cells *cells, char **out) {
    size_t *width = cells->failed ? NULL : sg_malloc((size_t)cells->columns * sizeof *width);
    char *text = width ? write_lines(cells, width) : NULL;

    sg_free(width);
    for (size_t i = 0; i < cells->n; i++) sg_free(cells->cell[i]);
    sg_free(cells->cell);
    *cells = (sg_cells){0};
    if (!text) return sg_fail(SG_ERR_OOM, "no memory for a table");
    *out = text;
    return SG_OK;
}
