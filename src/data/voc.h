/* PASCAL VOC annotations: annotation/size/{width,height} and annotation/object repeated with name
 * and bndbox/{xmin,ymin,xmax,ymax}. Everything else in the file is ignored. */
#ifndef SG_DATA_VOC_H
#define SG_DATA_VOC_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum {
    SG_VOC_MAX_BYTES = 16 << 20,
    SG_VOC_MAX_DEPTH = 64,
    SG_VOC_MAX_OBJECTS = 65536,
    SG_VOC_MAX_TEXT = 256, /* bytes of one name or number */
};

typedef struct {
    char *name;    /* owned */
    double box[4]; /* xmin ymin xmax ymax as written, neither clipped nor checked */
    int line;      /* of its <object> */
} sg_voc_object;

typedef struct {
    int64_t width, height; /* 0 where the file has no <size> or it says 0 */
    int size_line;
    int64_t n;
    sg_voc_object *objects; /* (n), owned */
} sg_voc;

/* SG_ERR_MISSING, SG_ERR_IO, SG_ERR_OOM; SG_ERR_DATA with `path:line: reason` for what is no XML,
 * cut off, too large, nested too deep, has a DOCTYPE (hence any entity of its own), lacks a field
 * or has one that is no number. Numbers are decimal (12, 12.5), whatever the locale. */
sg_status sg_voc_read(const char *path, sg_voc *out) SG_CHECKED;
sg_status sg_voc_parse(const char *path, const char *text, size_t size, sg_voc *out) SG_CHECKED;
void sg_voc_clear(sg_voc *voc);

#endif
