/* What all data sets of pictures share, whatever format they were read from. */
#include "data/dataset.h"

#include <string.h>

#include "core/mem.h"

void sg_dataset_destroy(sg_dataset *dataset) {
    if (!dataset) return;
    for (int64_t i = 0; dataset->samples && i < dataset->n; i++) {
        sg_free(dataset->samples[i].name);
        sg_free(dataset->samples[i].path);
    }
    sg_free(dataset->samples);
    sg_free(dataset->boxes);
    sg_free(dataset->box_classes);
    sg_free(dataset->list);
    sg_classes_clear(&dataset->classes);
    sg_free(dataset);
}

static void hash_sample(sg_fingerprint *f, const sg_sample *s) {
    sg_fingerprint_text(f, s->name);
    sg_fingerprint_number(f, (uint64_t)s->width);
    sg_fingerprint_number(f, (uint64_t)s->height);
    sg_fingerprint_number(f, (uint64_t)s->count);
    for (int64_t b = 0; b < s->count; b++) {
        uint32_t bits[4];

        memcpy(bits, s->boxes + 4 * b, sizeof bits);
        sg_fingerprint_number(f, (uint64_t)s->classes[b]);
        for (int i = 0; i < 4; i++) sg_fingerprint_number(f, bits[i]);
    }
}

sg_status sg_dataset_fingerprint(const sg_dataset *dataset, char hex[SG_FINGERPRINT_BYTES]) {
    sg_fingerprint f;

    SG_TRY(sg_fingerprint_begin(dataset->list, "spotgrad detector data 1", &f));
    sg_fingerprint_number(&f, (uint64_t)dataset->classes.n);
    for (int i = 0; i < dataset->classes.n; i++) sg_fingerprint_text(&f, dataset->classes.name[i]);
    sg_fingerprint_number(&f, (uint64_t)dataset->n);
    for (int64_t i = 0; i < dataset->n; i++) hash_sample(&f, &dataset->samples[i]);
    return sg_fingerprint_end(&f, hex);
}
