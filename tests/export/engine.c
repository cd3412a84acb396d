/* What our own engine computes, for others to compare with.
 *
 *   engine MODEL.h5 pictures FOLDER FILE...    of a detector
 *   engine MODEL.h5 texts < LINES             of a text classifier
 *
 * Pictures: FOLDER/input.u8 (n, 3, S, S) after the letterbox, boxes.f32 (n, A, 4), scores.f32
 * (n, A, classes), one picture after the other as little-endian rows; prints {"side", "anchors",
 * "classes"}. Texts: a JSON object a line, with its tokens, n-grams, their weights, subwords, and
 * probabilities computed in batches as `predict` does. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "data/text_clean.h"
#include "train/detector_model.h"
#include "train/text_trained.h"

enum { kTextBatch = 8 };

static void must(sg_status st) {
    if (st == SG_OK) return;
    fprintf(stderr, "engine: %s\n", sg_last_error());
    exit(1);
}

/* --- pictures --------------------------------------------------------------------------------- */

static FILE *create(const char *folder, const char *name) {
    char *path = sg_path_join(folder, name);
    FILE *file = path ? fopen(path, "wb") : NULL;

    if (!file) must(sg_fail(SG_ERR_IO, "%s/%s: cannot be written", folder, name));
    sg_free(path);
    return file;
}

static void put(FILE *file, const void *data, size_t bytes) {
    if (fwrite(data, 1, bytes, file) != bytes) must(sg_fail(SG_ERR_IO, "cannot write"));
}

static void answer_pictures(const char *path, const char *folder, char **files, int n) {
    const sg_detector_model_options options = {1, 1, 1};
    FILE *input = create(folder, "input.u8"), *boxes = create(folder, "boxes.f32");
    FILE *scores = create(folder, "scores.f32");
    sg_detector_model m;
    sg_anchors anchors;
    sg_detection *found;
    size_t side, A, C;

    must(sg_detector_model_load(path, NULL, 0, &options, &m));
    anchors = sg_mask_detector_anchors(&m.model);
    side = (size_t)m.model.input;
    A = (size_t)sg_anchor_count(&anchors);
    C = (size_t)m.model.classes;
    found = sg_malloc((size_t)m.config.predict.max_boxes * sizeof *found);
    if (!found) must(sg_fail(SG_ERR_OOM, "no memory for boxes"));
    for (int i = 0; i < n; i++) {
        sg_image image = {0};
        int64_t count;

        must(sg_image_read(files[i], &image));
        must(sg_detector_predict(&m, 0, &image, found, &count));
        put(input, m.input[0], 3 * side * side);
        put(boxes, m.boxes[0], A * 4 * sizeof(float));
        put(scores, m.scores[0], A * C * sizeof(float));
        sg_image_clear(&image);
    }
    printf("{\"side\": %zu, \"anchors\": %zu, \"classes\": %zu}\n", side, A, C);
    sg_free(found);
    sg_detector_model_clear(&m);
    if (fclose(input) || fclose(boxes) || fclose(scores)) must(sg_fail(SG_ERR_IO, "cannot write"));
}

/* --- texts ------------------------------------------------------------------------------------ */

typedef struct {
    char *data; /* all of standard input */
    size_t size;
    const char **line; /* (n) into it */
    int64_t *length;   /* (n) */
    int64_t n;
} lines;

static void read_all(lines *l) {
    size_t capacity = 1 << 20, got;

    l->data = malloc(capacity);
    while (l->data && (got = fread(l->data + l->size, 1, capacity - l->size, stdin)) > 0) {
        l->size += got;
        if (l->size == capacity) l->data = realloc(l->data, capacity *= 2);
    }
    if (!l->data) must(sg_fail(SG_ERR_OOM, "no memory for texts"));
}

/* Only LF ends a line. */
static void divide(lines *l) {
    l->line = calloc(l->size + 1, sizeof *l->line);
    l->length = calloc(l->size + 1, sizeof *l->length);
    if (!l->line || !l->length) must(sg_fail(SG_ERR_OOM, "no memory for texts"));
    for (size_t at = 0; at < l->size;) {
        const char *end = memchr(l->data + at, '\n', l->size - at);
        size_t length = end ? (size_t)(end - l->data) - at : l->size - at;

        l->line[l->n] = l->data + at;
        l->length[l->n++] = (int64_t)length;
        at += length + 1;
    }
}

static const char *line_at(const void *texts, int64_t i, int64_t *bytes) {
    const lines *l = texts;

    *bytes = l->length[i];
    return l->line[i];
}

static json_t *integers(const int32_t *value, int64_t n) {
    json_t *array = json_array();

    for (int64_t i = 0; i < n; i++) json_array_append_new(array, json_integer(value[i]));
    return array;
}

static json_t *reals(const float *value, int64_t n) {
    json_t *array = json_array();

    for (int64_t i = 0; i < n; i++) json_array_append_new(array, json_real((double)value[i]));
    return array;
}

static void print_text(const sg_text *cleaned, const sg_encoded *e, const float *probabilities,
                       int64_t classes) {
    json_t *object = json_object();
    char *text;

    json_object_set_new(object, "tokens", json_stringn(cleaned->data, cleaned->bytes));
    json_object_set_new(object, "ngrams", integers(e->ngram, e->n_ngrams));
    json_object_set_new(object, "weights", reals(e->weight, e->n_ngrams));
    json_object_set_new(object, "subwords", integers(e->subword, e->n_subwords));
    json_object_set_new(object, "probabilities", reals(probabilities, classes));
    text = json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9));
    if (!text) must(sg_fail(SG_ERR_OOM, "no memory for an answer"));
    puts(text);
    free(text);
    json_decref(object);
}

static void answer_texts(const char *path) {
    const sg_text_trained_options options = {kTextBatch, 1};
    lines l = {0};
    sg_text_trained t;
    sg_encoder *encoder;
    sg_text cleaned = {0};
    float *probabilities;

    read_all(&l);
    divide(&l);
    must(sg_text_trained_load(path, NULL, 0, &options, &t));
    must(sg_encoder_create(t.model.tokenizer, &encoder));
    probabilities = calloc((size_t)(l.n * t.model.n_classes) + 1, sizeof *probabilities);
    if (!probabilities) must(sg_fail(SG_ERR_OOM, "no memory for answers"));
    must(sg_text_trained_answer(&t, line_at, &l, l.n, probabilities));
    for (int64_t i = 0; i < l.n; i++) {
        sg_encoded e;

        must(sg_text_clean(l.line[i], (size_t)l.length[i], &cleaned));
        must(sg_encoder_encode(encoder, l.line[i], l.length[i], &e));
        print_text(&cleaned, &e, probabilities + i * t.model.n_classes, t.model.n_classes);
    }
    sg_text_clear(&cleaned);
    sg_encoder_destroy(encoder);
    sg_text_trained_clear(&t);
    free(probabilities);
    free(l.line);
    free(l.length);
    free(l.data);
}

int main(int argc, char **argv) {
    if (argc > 4 && strcmp(argv[2], "pictures") == 0) {
        answer_pictures(argv[1], argv[3], argv + 4, argc - 4);
    } else if (argc == 3 && strcmp(argv[2], "texts") == 0) {
        answer_texts(argv[1]);
    } else {
        fprintf(stderr, "usage: engine MODEL.h5 pictures FOLDER FILE... | texts\n");
        return 64;
    }
    return 0;
}
