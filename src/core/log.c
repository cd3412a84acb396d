#include "core/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

static _Atomic(sg_log_sink) current_sink;
static atomic_int current_level = SG_LOG_INFO;

void sg_log_set(sg_log_level level, sg_log_sink sink) {
    atomic_store(&current_level, (int)level);
    atomic_store(&current_sink, sink);
}

void sg_log(sg_log_level level, const char *fmt, ...) {
    sg_log_sink sink = atomic_load(&current_sink);
    char line[2048];
    va_list args;

    if (!sink || (int)level > atomic_load(&current_level)) return;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    sink(level, line);
}
