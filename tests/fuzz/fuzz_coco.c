/* COCO's JSON. */
#include "fuzz.h"

#include <string.h>

#include "data/coco.h"
#include "data/image.h"

enum { kSide = 640 }; /* of pictures whose size the file does not tell */

typedef struct {
    sg_coco coco;
    sg_classes names;
} parsed;

static sg_status parse(const uint8_t *data, size_t size, const sg_fault_sink *sink, parsed *out) {
    sg_status st;

    fuzz_prepare(out, sizeof *out);
    st = sg_coco_parse("a.json", (const char *)data, size, sink, &out->coco, &out->names);
    if (st != SG_OK) fuzz_failed(st, SG_ERR_DATA, "a.json:", out, sizeof *out);
    return st;
}

static void clear(parsed *p) {
    fuzz_classes(&p->names);
    sg_coco_clear(&p->coco);
}

/* Boxes lie picture by picture, without a gap. */
static void check(const parsed *p) {
    int64_t next = 0;

    FUZZ_CHECK(p->coco.n_crowd >= 0);
    for (int64_t i = 0; i < p->coco.n_images; i++) {
        const sg_coco_image *image = &p->coco.images[i];
        int64_t width = image->width ? image->width : kSide;
        int64_t height = image->height ? image->height : kSide;

        FUZZ_CHECK(fuzz_is_line(image->file_name));
        FUZZ_CHECK((image->width == 0) == (image->height == 0));
        FUZZ_CHECK(image->width >= 0 && image->width <= SG_IMAGE_MAX_SIDE);
        FUZZ_CHECK(image->height >= 0 && image->height <= SG_IMAGE_MAX_SIDE);
        FUZZ_CHECK(image->first == next && image->count >= 0);
        next += image->count;
        FUZZ_CHECK(next <= p->coco.n_boxes);
        for (int64_t b = image->first; b < next; b++) {
            const sg_coco_box *box = &p->coco.boxes[b];

            FUZZ_CHECK(box->image == i);
            FUZZ_CHECK(box->category >= 0 && box->category < p->names.n);
            fuzz_box(box->box, width, height);
        }
    }
    FUZZ_CHECK(next == p->coco.n_boxes);
}

/* As fuzz_labels: strict and lenient agree where there is no fault. */
void fuzz_coco(const uint8_t *data, size_t size) {
    sg_fault_sink strict = {0}, lenient;
    parsed all, some;
    int64_t faults;
    sg_status st;

    lenient = fuzz_sink(&faults);
    if (parse(data, size, &lenient, &some) != SG_OK) {
        FUZZ_CHECK(parse(data, size, &strict, &all) != SG_OK);
        return;
    }
    check(&some);
    st = parse(data, size, &strict, &all);
    FUZZ_CHECK((st == SG_OK) == (faults == 0));
    if (st == SG_OK) {
        FUZZ_CHECK(all.coco.n_images == some.coco.n_images);
        FUZZ_CHECK(all.coco.n_boxes == some.coco.n_boxes && all.names.n == some.names.n);
        for (int64_t i = 0; i < all.coco.n_images; i++)
            FUZZ_CHECK(!strcmp(all.coco.images[i].file_name, some.coco.images[i].file_name));
        for (int64_t i = 0; i < all.coco.n_boxes; i++)
            FUZZ_CHECK(
                !memcmp(all.coco.boxes[i].box, some.coco.boxes[i].box, sizeof all.coco.boxes->box));
        clear(&all);
    }
    clear(&some);
}
