/* Names of files that are being written.
 *
 *   PATH.PLACE.PID.tmp   PLACE, 8 hexadecimal digits, stands for the process numbers that PID is
 * one of: a machine's since it was started, or a container's. A long name is cut for it
 *
 * So that no two processes write to one file, on whichever machines of a shared folder they are (in
 * each container the first process has number 1); and so that what a killed one has left can be
 * told from what a living one is writing. */
#ifndef SG_CORE_TEMPORARY_H
#define SG_CORE_TEMPORARY_H

#include <stdbool.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    SG_TEMPORARY_NOT,   /* another name */
    SG_TEMPORARY_LIVES, /* its process is at work */
    SG_TEMPORARY_DEAD, /* it is of a process of this place that is no more, or has this one's number
                        */
    SG_TEMPORARY_UNKNOWN, /* of another place */
} sg_temporary;

/* The caller's (sg_free); NULL when there is no memory. */
char *sg_temporary_name(const char *path);

/* Of a name without its folder. "NAME.PID.tmp" too, which older versions wrote. */
sg_temporary sg_temporary_of(const char *name);

#ifdef __cplusplus
}
#endif
#endif
