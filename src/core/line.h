/* Text that grows in memory. */
#ifndef SG_CORE_LINE_H
#define SG_CORE_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Begins as {0}. Where memory is short, or a text cannot be printed, nothing is put any more: ask
 * at the end. */
typedef struct {
    char *data; /* (size), owned, no NUL behind */
    size_t size, capacity;
    bool failed;
} sg_line;

void sg_line_clear(sg_line *line);
sg_status sg_line_status(const sg_line *line) SG_CHECKED; /* SG_OK, SG_ERR_OOM */
/* All of it, with a NUL behind: the caller's (sg_free). Clears the line in any case. SG_ERR_OOM. */
sg_status sg_line_take(sg_line *line, char **out) SG_CHECKED;

void sg_line_put(sg_line *line, const char *bytes, size_t n);
void sg_line_text(sg_line *line, const char *text); /* as it is */
void sg_line_printf(sg_line *line, const char *fmt, ...) SG_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif
#endif
