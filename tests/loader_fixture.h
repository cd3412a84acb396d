/* For tests of loaders: data sets of noise, and all that a row of a batch holds. Included once by a
 * test program, behind its N (pictures), S (side of an input), B (rows of a batch) and kSeed. */
#ifndef SG_TESTS_LOADER_FIXTURE_H
#define SG_TESTS_LOADER_FIXTURE_H

#include "data_fixture.h"

#include "data/loader.h"

enum { IMAGE = 3 * S * S };

typedef struct {
    uint8_t image[IMAGE];
    float boxes[SG_MAX_BOXES * 4];
    int32_t classes[SG_MAX_BOXES];
    int32_t count;
    int64_t sample;
    sg_letterbox map;
} record;

/* `image`: the batch's pictures, wherever they are. What is between the fields stays as it is:
 * zero, where records are compared. */
static inline void take_record(const sg_batch *batch, int64_t row, const uint8_t *image,
                               record *r) {
    memcpy(r->image, image + row * IMAGE, IMAGE);
    memcpy(r->boxes, batch->boxes + row * SG_MAX_BOXES * 4, sizeof r->boxes);
    memcpy(r->classes, batch->classes + row * SG_MAX_BOXES, sizeof r->classes);
    r->count = batch->count[row];
    r->sample = batch->sample[row];
    r->map = batch->map[row];
}

/* Picture i of the data set in `root`. */
static inline void write_noise(const char *root, int i, int64_t width, int64_t height,
                               const char *objects, sg_random *r) {
    sg_image image = fixture_image(width, height, 0, 0, 0);
    char name[128], text[512];

    for (int64_t k = 0; k < width * height * 3; k++)
        image.rgb[k] = (uint8_t)sg_random_below(r, 256);
    snprintf(name, sizeof name, "%s/images/p%d.png", root, i);
    fixture_png(name, &image);
    sg_image_clear(&image);
    snprintf(name, sizeof name, "%s/annotations/p%d.xml", root, i);
    snprintf(text, sizeof text, "<annotation>%s</annotation>", objects);
    fixture_text(name, text);
}

/* Once all N are written. */
static inline sg_dataset *read_noise(const char *root) {
    char name[128], list[16 * N] = "";
    sg_dataset *d;

    for (int i = 0; i < N; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "p%d\n", i);
    snprintf(name, sizeof name, "%s/train.txt", root);
    fixture_text(name, list);
    assert_ok(sg_dataset_read_voc(fixture_path(root), "train.txt", NULL, &d));
    return d;
}

/* Cuts the file of picture i; in which place it is, is put into path. */
static inline void cut_noise(const char *root, const sg_dataset *d, int64_t i, char path[256]) {
    uint8_t *data;
    size_t size;

    assert_ok(sg_file_read(d->samples[i].path, 0, &data, &size));
    snprintf(path, 256, "%s/images/p%d.png", root, (int)i);
    fixture_write(path, data, size / 2);
    sg_free(data);
}

static inline sg_loader_options training(void) {
    static sg_augment_options augment;
    sg_loader_options o = sg_loader_defaults();

    augment = sg_augment_defaults();
    o.batch = B;
    o.input = S;
    o.seed = kSeed;
    o.augment = &augment;
    return o;
}

#endif
