/* Log lines. The library never prints: it hands lines to the sink that the program has set. */
#ifndef SG_CORE_LOG_H
#define SG_CORE_LOG_H

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { SG_LOG_ERROR, SG_LOG_WARN, SG_LOG_INFO, SG_LOG_DEBUG } sg_log_level;

/* Called from any thread; `line` ends without a newline, what it quotes may hold any byte. */
typedef void (*sg_log_sink)(sg_log_level level, const char *line);

void sg_log_set(sg_log_level level, sg_log_sink sink); /* NULL: silent, as at start */
void sg_log(sg_log_level level, const char *fmt, ...) SG_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif
#endif
