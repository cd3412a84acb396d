/* A table for people: cells, row by row, that become lines with aligned columns. */
#ifndef SG_CORE_CELLS_H
#define SG_CORE_CELLS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Begins as {.columns = C, .left = L}: the first L columns are flush left, the others right. */
typedef struct {
    int columns, left;
    size_t n, capacity;
    char **cell; /* (n), owned */
    bool failed; /* there was no memory; sg_cells_lines tells */
} sg_cells;

/* The next cell. */
void sg_cells_add(sg_cells *cells, const char *fmt, ...) SG_PRINTF(2, 3);
/* Whole rows as lines, each with an LF; the caller's (sg_free). Clears the cells in any case.
 * SG_ERR_OOM. A character takes one column. */
sg_status sg_cells_lines(sg_cells *cells, char **out) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
