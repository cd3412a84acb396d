/* Names of classes; their index is the class id. */
#ifndef SG_DATA_CLASSES_H
#define SG_DATA_CLASSES_H

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SG_MAX_CLASSES = 256 }; /* more are SG_ERR_DATA */

typedef struct {
    int n;
    char **name; /* (n), owned */
} sg_classes;

/* `list`, data.classes: names divided by commas, spaces around them dropped. SG_ERR_CONFIG: an
 * empty or repeated name, one that is not UTF-8, more than SG_MAX_CLASSES. */
sg_status sg_classes_parse(const char *list, sg_classes *out) SG_CHECKED;
/* The same for at most `most` names of something else, a `what`. */
sg_status sg_names_parse(const char *what, const char *list, int most, sg_classes *out) SG_CHECKED;
sg_status sg_classes_copy(const sg_classes *from, sg_classes *out) SG_CHECKED;
int sg_classes_find(const sg_classes *classes, const char *name); /* -1: no such class */
/* The id of `name`, added at the end when it is new and `may_grow`; -1: unknown. SG_ERR_DATA: more
 * than SG_MAX_CLASSES, SG_ERR_OOM. */
sg_status sg_classes_intern(sg_classes *classes, const char *name, int may_grow,
                            int *id) SG_CHECKED;
void sg_classes_clear(sg_classes *classes);

#ifdef __cplusplus
}
#endif
#endif
