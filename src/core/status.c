#include "core/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { kTextBytes = 1024 };

static _Thread_local char last_text[kTextBytes];

/* What a file at fault says may be quoted in it. */
static void make_one_line(char *text) {
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7F) *c = '?';
}

sg_status sg_fail(sg_status code, const char *fmt, ...) {
    char text[kTextBytes]; /* the arguments may include sg_last_error() itself */
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    make_one_line(text);
    memcpy(last_text, text, sizeof text);
    return code;
}

const char *sg_last_error(void) { return last_text; }

const char *sg_status_text(sg_status code) {
#define SG_STATUS_TEXT(name, text) text,
    static const char *const texts[] = {SG_STATUS_LIST(SG_STATUS_TEXT)};
#undef SG_STATUS_TEXT

    return code >= 0 && code < SG_STATUS_COUNT ? texts[code] : "unknown status";
}
