#include "data/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"

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
    for (char *c = text; *c; c++) /* as sg_fail does */
        if ((unsigned char)*c < 0x20 || *c == 0x7F) *c = '?';
    sink->report(sink->context, SG_FAULT_ERROR, file, line, text);
    return SG_OK;
}

/* Of `file: reason` or `file:line: reason`; 0: neither. */
static size_t file_bytes(const char *text) {
    const char *stop = strstr(text, ": ");
    size_t whole = stop ? (size_t)(stop - text) : 0, length = whole;

    while (length > 0 && text[length - 1] >= '0' && text[length - 1] <= '9') length--;
    return length > 1 && length < whole && text[length - 1] == ':' ? length - 1 : whole;
}

/* The error's text starts with `file: ` or `file:line: `, which is said by the fault's own fields.
 */
sg_status sg_fault_from_error(const sg_fault_sink *sink, sg_status st, const char *file) {
    char text[kTextBytes], name[kTextBytes] = "";
    size_t length = file ? strlen(file) : 0;
    char *rest = text;
    long line = 0;

    if (st == SG_OK || st == SG_ERR_OOM || !sink->report) return st;
    snprintf(text, sizeof text, "%s", sg_last_error());
    if (!file) {
        length = file_bytes(text);
        snprintf(name, sizeof name, "%.*s", (int)length, text);
        file = name;
    }
    if (length > 0 && strncmp(text, file, length) == 0 && text[length] == ':') {
        char *end;

        rest += length + 1;
        line = strtol(rest, &end, 10);
        if (end > rest && *end == ':')
            rest = end + 1;
        else
            line = 0;
        while (*rest == ' ') rest++;
    }
    sink->report(sink->context, SG_FAULT_ERROR, file, (int)line, rest);
    return SG_OK;
}

sg_status sg_fault_of_root(sg_status st, const char *root) {
    if (st != SG_ERR_MISSING || sg_is_dir(root)) return st;
    return sg_fail(st, "%s: no such folder; set data.root=FOLDER", root);
}
