/* YOLO's label files, and the names of data.yaml. */
#include "fuzz.h"

#include <string.h>

#include "core/mem.h"
#include "data/yolo.h"

enum { kWidth = 640, kHeight = 480, kClasses = 3 };

typedef struct {
    sg_yolo_box *boxes;
    int64_t n;
} labels;

static sg_status parse(const uint8_t *data, size_t size, const sg_fault_sink *sink, labels *out) {
    char *text = fuzz_text(data, size);
    sg_status st;

    fuzz_prepare(out, sizeof *out);
    st = sg_yolo_parse("a.txt", text, size, kWidth, kHeight, kClasses, sink, &out->boxes, &out->n);
    sg_free(text);
    if (st != SG_OK) fuzz_failed(st, SG_ERR_DATA, "a.txt:", out, sizeof *out);
    return st;
}

static void check(const labels *found) {
    FUZZ_CHECK(found->n >= 0 && found->n <= SG_YOLO_MAX_BOXES);
    for (int64_t i = 0; i < found->n; i++) {
        const sg_yolo_box *box = &found->boxes[i];

        FUZZ_CHECK(box->category >= 0 && box->category < kClasses);
        FUZZ_CHECK(box->line > (i ? found->boxes[i - 1].line : 0));
        FUZZ_CHECK(box->box[0] >= -kWidth && box->box[2] <= 2 * kWidth);
        FUZZ_CHECK(box->box[1] >= -kHeight && box->box[3] <= 2 * kHeight);
        fuzz_box(box->box, kWidth, kHeight);
    }
}

/* Once stopping at the first fault, once leaving out faulty lines: what the first way takes whole,
 * the second takes without a fault. */
void fuzz_labels(const uint8_t *data, size_t size) {
    sg_fault_sink strict = {0}, lenient;
    labels all, some;
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
        FUZZ_CHECK(all.n == some.n);
        for (int64_t i = 0; i < all.n; i++)
            FUZZ_CHECK(memcmp(&all.boxes[i].box, &some.boxes[i].box, sizeof all.boxes->box) == 0);
        sg_free(all.boxes);
    }
    sg_free(some.boxes);
}

void fuzz_names(const uint8_t *data, size_t size) {
    fuzz_file_of_names(sg_yolo_parse_names, "data.yaml", data, size);
}
