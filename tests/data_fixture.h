/* What the tests of data/ share: a temporary folder, files and small data sets in it. */
#ifndef TESTS_DATA_FIXTURE_H
#define TESTS_DATA_FIXTURE_H

#define _GNU_SOURCE

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/philox.h"
#include "data/fault.h"
#include "data/image.h"

#define assert_ok(expr)                                                                            \
    do {                                                                                           \
        sg_status st_ = (expr);                                                                    \
        if (st_ != SG_OK) fail_msg("%s: %s", #expr, sg_last_error());                              \
    } while (0)

/* The call fails with this code and its text holds `part`. */
#define assert_fails(expr, code, part)                                                             \
    do {                                                                                           \
        assert_int_equal(expr, code);                                                              \
        if (!strstr(sg_last_error(), part)) fail_msg("`%s` lacks `%s`", sg_last_error(), part);    \
        assert_null(strchr(sg_last_error(), '\n'));                                                \
    } while (0)

static char fixture_root[64];

static inline int fixture_setup(void **state) {
    (void)state;
    strcpy(fixture_root, "/tmp/spotgrad-test-XXXXXX");
    return mkdtemp(fixture_root) ? 0 : -1;
}

static inline int fixture_teardown(void **state) {
    char command[128];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", fixture_root);
    return system(command);
}

/* A path in the temporary folder; good until the eighth call after. */
static inline const char *fixture_path(const char *name) {
    static char paths[8][512];
    static int next;
    char *path = paths[next++ % 8];

    snprintf(path, 512, "%s/%s", fixture_root, name);
    return path;
}

/* Write without the syncing that sg_file_write does. */
static inline void fixture_write(const char *name, const void *data, size_t size) {
    char folder[512];
    FILE *f;

    snprintf(folder, sizeof folder, "%s", fixture_path(name));
    *strrchr(folder, '/') = '\0';
    assert_ok(sg_make_dirs(folder));
    f = fopen(fixture_path(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static inline void fixture_text(const char *name, const char *text) {
    fixture_write(name, text, strlen(text));
}

static inline void fixture_png(const char *name, const sg_image *image) {
    uint8_t *data;
    size_t size;

    assert_ok(sg_image_encode_png(image, 1, &data, &size));
    fixture_write(name, data, size);
    sg_free(data);
}

/* A picture of one colour. */
static inline sg_image fixture_image(int64_t width, int64_t height, int r, int g, int b) {
    sg_image image;

    assert_ok(sg_image_create(width, height, &image));
    for (int64_t i = 0; i < width * height; i++) {
        image.rgb[3 * i] = (uint8_t)r;
        image.rgb[3 * i + 1] = (uint8_t)g;
        image.rgb[3 * i + 2] = (uint8_t)b;
    }
    return image;
}

static inline void fixture_fill(sg_image *image, int x0, int y0, int x1, int y1, int r, int g,
                                int b) {
    for (int y = y0; y < y1; y++) {
        for (int x = x0; x < x1; x++) {
            uint8_t *p = image->rgb + (y * image->width + x) * 3;

            p[0] = (uint8_t)r;
            p[1] = (uint8_t)g;
            p[2] = (uint8_t)b;
        }
    }
}

/* What the check of a data set reports: its sink's `report` is fixture_note, of a fixture_report.
 */
typedef struct {
    char text[8192]; /* "FILE:LINE: what", a line a fault */
    int errors, warnings;
} fixture_report;

static inline void fixture_note(void *context, sg_fault_level level, const char *file, int line,
                                const char *text) {
    fixture_report *r = context;
    size_t used = strlen(r->text);

    if (level == SG_FAULT_ERROR)
        r->errors++;
    else
        r->warnings++;
    snprintf(r->text + used, sizeof r->text - used, "%s:%d: %s\n",
             strrchr(file, '/') ? strrchr(file, '/') + 1 : file, line, text);
}

static inline void fixture_holds(const fixture_report *r, const char *part) {
    if (!strstr(r->text, part)) fail_msg("no `%s` in\n%s", part, r->text);
}

/* One object of an annotation. */
#define OBJECT(class, x0, y0, x1, y1)                                                              \
    "<object><name>" class "</name><bndbox><xmin>" #x0 "</xmin><ymin>" #y0 "</ymin><xmax>" #x1     \
                           "</xmax><ymax>" #y1 "</ymax></bndbox></object>\n"

#endif
