#include "data/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kTextBytes = 1024 };

sg_status sg_fail_at(sg_status code, const char *file, int line, const char *fmt, ...) {
    char text[kTextBytes];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (line > 0) return sg_fail(code, "%s:%d: %s", file, line, text);
    return sg_fail(code, "%s: %s", file, text);
}

sg_status sg_fault(const sg_fault_sink *sink, const char *file, int line, const char *fmt, ...) {
    char text[kTextBytes];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (!sink->report) return sg_fail_at(SG_ERR_DATA, file, line, "%s", text);
    sink->report(sink->context, SG_FAULT_ERROR, file, line, text);
    return SG_OK;
}

/* The error's text starts with `file: ` or `file:line: `, which is said by the fault's own fields.
 */
sg_status sg_fault_from_error(const sg_fault_sink *sink, sg_status st, const char *file) {
    char copy[kTextBytes];
    const char *text = copy;
    size_t length = strlen(file);
    long line = 0;

    if (st == SG_OK || st == SG_ERR_OOM || !sink->report) return st;
    snprintf(copy, sizeof copy, "%s", sg_last_error());
    if (strncmp(text, file, length) == 0 && text[length] == ':') {
        char *end;

        text += length + 1;
        line = strtol(text, &end, 10);
        if (end > text && *end == ':')
            text = end + 1;
        else
            line = 0;
        while (*text == ' ') text++;
    }
    sink->report(sink->context, SG_FAULT_ERROR, file, (int)line, text);
    return SG_OK;
}
