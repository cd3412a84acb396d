/* Faults of a data set: the first one ends a reading, or each is reported and reading goes on. */
#ifndef SG_DATA_FAULT_H
#define SG_DATA_FAULT_H

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    SG_FAULT_ERROR,   /* training would refuse it, or it spoils the measurement */
    SG_FAULT_WARNING, /* handled (a clipped box), worth knowing */
} sg_fault_level;

/* `file`: what is at fault; `line`: in it, 0 where that means nothing. Both texts are the callee's
 * only during the call. */
typedef void (*sg_fault_fn)(void *context, sg_fault_level level, const char *file, int line,
                            const char *text);

/* Where a fault of a single line or annotation goes. `report` NULL: it ends the reading as an
 * SG_ERR_DATA. Else it is reported, the line is left out, and the reading goes on. */
typedef struct {
    sg_fault_fn report;
    void *context;
} sg_fault_sink;

/* As sg_fail, with `file:line: ` before the text, or `file: ` where line is 0. */
sg_status sg_fail_at(sg_status code, const char *file, int line, const char *fmt, ...)
    SG_PRINTF(4, 5);

/* SG_OK when the fault was reported. A control byte in it becomes `?`. */
sg_status sg_fault(const sg_fault_sink *sink, const char *file, int line, const char *fmt, ...)
    SG_PRINTF(4, 5) SG_CHECKED;

/* The last error, with which something of `file` failed, reported as a fault; NULL: of the file
 * that its text begins with. Out of memory is no fault of the data: it is passed on, as is
 * everything where nothing reports. */
sg_status sg_fault_from_error(const sg_fault_sink *sink, sg_status st, const char *file) SG_CHECKED;

/* Passes `st` on; where it is that something is missing, and `root`, data.root, is no folder, that
 * is what is told. */
sg_status sg_fault_of_root(sg_status st, const char *root) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
