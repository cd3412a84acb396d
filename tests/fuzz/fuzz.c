#include "fuzz.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "core/utf8.h"

enum { kPattern = 0xA5 };

static const double kFarthest =
    2e7; /* pixels; two coordinates of at most 1e7 added: voc.c, coco.c */

static const fuzz_entry entries[] = {
#define FUZZ_ENTRY(name, ...) {#name, fuzz_##name},
#include "entries.def"
#undef FUZZ_ENTRY
};

const fuzz_entry *fuzz_entry_find(const char *name) {
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        if (strcmp(entries[i].name, name) == 0) return &entries[i];
    return NULL;
}

void fuzz_run(const fuzz_entry *entry, const uint8_t *data, size_t size) {
    long live = sg_mem_live();

    entry->run(data, size);
    FUZZ_CHECK(sg_mem_live() == live);
}

void fuzz_broken(const char *file, int line, const char *promise) {
    fprintf(stderr, "%s:%d: broken promise: %s\nlast error: %s\n", file, line, promise,
            sg_last_error());
    abort();
}

void fuzz_prepare(void *out, size_t size) {
    (void)sg_fail(SG_ERR_ARG, "%s", "");
    memset(out, kPattern, size);
}

void fuzz_failed(sg_status st, sg_status wanted, const char *start, const void *out, size_t size) {
    const uint8_t *bytes = out;

    FUZZ_CHECK(st == wanted);
    FUZZ_CHECK(fuzz_is_line(sg_last_error()));
    FUZZ_CHECK(strncmp(sg_last_error(), start, strlen(start)) == 0);
    FUZZ_CHECK(bytes[0] == kPattern && memcmp(bytes, bytes + 1, size - 1) == 0);
}

bool fuzz_is_line(const char *text) {
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F) return false;
    return *text != '\0';
}

char *fuzz_text(const uint8_t *data, size_t size) {
    char *text = sg_malloc(size + 1);

    FUZZ_CHECK(text);
    if (size > 0) memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

void fuzz_box(const double box[4], int64_t width, int64_t height) {
    float clipped[4];
    sg_box_verdict verdict = sg_box_clip(box, width, height, clipped);

    for (int i = 0; i < 4; i++) FUZZ_CHECK(fabs(box[i]) <= kFarthest);
    if (verdict == SG_BOX_EMPTY || verdict == SG_BOX_OUTSIDE) return;
    FUZZ_CHECK(clipped[0] >= 0.0f && clipped[2] > clipped[0] && clipped[2] <= (float)width);
    FUZZ_CHECK(clipped[1] >= 0.0f && clipped[3] > clipped[1] && clipped[3] <= (float)height);
}

void fuzz_classes(sg_classes *classes) {
    FUZZ_CHECK(classes->n >= 0 && classes->n <= SG_MAX_CLASSES);
    for (int i = 0; i < classes->n; i++) {
        FUZZ_CHECK(fuzz_is_line(classes->name[i]));
        FUZZ_CHECK(!classes->name[i][sg_utf8_check(classes->name[i], strlen(classes->name[i]))]);
        FUZZ_CHECK(sg_classes_find(classes, classes->name[i]) == i);
    }
    sg_classes_clear(classes);
}

void fuzz_file_of_names(fuzz_names_parser parse, const char *path, const uint8_t *data,
                        size_t size) {
    char *text = fuzz_text(data, size), start[64];
    sg_classes classes;
    sg_status st;

    snprintf(start, sizeof start, "%s:", path);
    fuzz_prepare(&classes, sizeof classes);
    st = parse(path, text, size, &classes);
    sg_free(text);
    if (st != SG_OK) {
        fuzz_failed(st, SG_ERR_DATA, start, &classes, sizeof classes);
        return;
    }
    FUZZ_CHECK(classes.n > 0);
    fuzz_classes(&classes);
}

static void count_fault(void *context, sg_fault_level level, const char *file, int line,
                        const char *text) {
    FUZZ_CHECK(level == SG_FAULT_ERROR || level == SG_FAULT_WARNING);
    FUZZ_CHECK(fuzz_is_line(file) && fuzz_is_line(text) && line >= 0);
    ++*(int64_t *)context;
}

sg_fault_sink fuzz_sink(int64_t *n) {
    *n = 0;
    return (sg_fault_sink){.report = count_fault, .context = n};
}
