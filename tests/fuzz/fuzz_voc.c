/* PASCAL VOC annotations. */
#include "fuzz.h"

#include "data/voc.h"

static const char kPath[] = "a.xml:"; /* every message names the line */

enum { kMostPixels = 10000000, kSide = 100 };

static void check(const sg_voc *voc) {
    int64_t width = voc->width ? voc->width : kSide, height = voc->height ? voc->height : kSide;

    FUZZ_CHECK(voc->width >= 0 && voc->width <= kMostPixels);
    FUZZ_CHECK(voc->height >= 0 && voc->height <= kMostPixels);
    FUZZ_CHECK(voc->size_line >= 0 && (voc->size_line > 0 || (!voc->width && !voc->height)));
    FUZZ_CHECK(voc->n >= 0 && voc->n <= SG_VOC_MAX_OBJECTS);
    for (int64_t i = 0; i < voc->n; i++) {
        const sg_voc_object *object = &voc->objects[i];

        FUZZ_CHECK(fuzz_is_line(object->name));
        FUZZ_CHECK(object->line >= (i ? voc->objects[i - 1].line : 1));
        fuzz_box(object->box, width, height);
    }
}

void fuzz_voc(const uint8_t *data, size_t size) {
    sg_voc voc;
    sg_status st;

    fuzz_prepare(&voc, sizeof voc);
    st = sg_voc_parse("a.xml", (const char *)data, size, &voc);
    if (st != SG_OK) {
        fuzz_failed(st, SG_ERR_DATA, kPath, &voc, sizeof voc);
        return;
    }
    check(&voc);
    sg_voc_clear(&voc);
}
