/* Whole exports of a detector: what is written, what it is compared with, what is refused. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"
#include "nn/mask_detector.h"
#include "nn/nms.h"
#include "train/export_sample.h"

static bool holds(const uint8_t *bytes, size_t size, const char *text) {
    size_t n = strlen(text);

    for (size_t i = 0; i + n <= size; i++)
        if (memcmp(bytes + i, text, n) == 0) return true;
    return false;
}

static const char kConfig[] = "[data]\nroot = /nowhere\nclasses = it's, \xc3\xa9\n"
                              "[model]\ntype = mask_detector\nsize = nano\ninput = 64\n"
                              "[predict]\nscore = 0.004\nmax_boxes = 200\n";

static char model_path[] = "/tmp/spotgrad-export-XXXXXX";

/* A nano detector of drawn weights, with the scores that training would begin with moved up. */
static int write_model(void **state) {
    static char first[] = "it's", second[] = "\xc3\xa9";
    static char *classes[] = {first, second};
    const sg_model_about about = {.run_id = "r-1",
                                  .version = "0.1.0",
                                  .numeric_class = "cpu f32",
                                  .data_fingerprint = "ffee",
                                  .config = kConfig,
                                  .history = "{\"step\":3,\"mAP50\":0.5}\n{\"train\":4}\n",
                                  .classes = classes,
                                  .n_classes = 2};
    sg_mask_detector_options o = sg_mask_detector_defaults();
    sg_table *table;
    sg_graph *g;
    sg_state *s;
    int file = mkstemp(model_path);

    (void)state;
    o.classes = 2;
    o.input = 64;
    if (file < 0 || sg_table_create(&table) != SG_OK ||
        sg_graph_create(SG_EVAL, table, &g) != SG_OK)
        return -1;
    if (sg_mask_detector_build(g, 1, &o) != SG_OK) return -1;
    sg_table_freeze(table);
    if (sg_state_create(table, 0, &s) != SG_OK) return -1;
    sg_state_init(s, 7);
    for (int i = 0; i < table->n_entries; i++) /* uneven, as those of a trained model */
        for (int64_t k = 0; k < table->entry[i].count; k++)
            s->ema[table->entry[i].offset + k] *= 1.0f + 0.03f * (float)((k * 7 + i) % 5);
    if (sg_model_file_write(model_path, &about, s) != SG_OK) return -1;
    sg_state_destroy(s);
    sg_graph_destroy(g);
    sg_table_destroy(table);
    return 0;
}

static int remove_model(void **state) {
    (void)state;
    return remove(model_path);
}

static void export_bytes(const sg_export_options *o, uint8_t **bytes, size_t *size) {
    const sg_trained_source source = {.path = model_path};
    sg_onnx *m;

    if (sg_export_model(&source, o, &m) != SG_OK) fail_msg("%s", sg_last_error());
    assert_int_equal(sg_onnx_pack(m, bytes, size), SG_OK);
    sg_onnx_destroy(m);
}

static void test_detector(void **state) {
    const sg_trained_source source = {.path = model_path};

    (void)state;
    for (int way = 0; way < 4; way++) {
        const sg_export_options o = {.nms = way & 1, .preprocess = way & 2};
        sg_export_sample sample;
        uint8_t *bytes;
        size_t size;

        export_bytes(&o, &bytes, &size);
        assert_true(holds(bytes, size, "{0: 'it\\'s', 1: '\xc3\xa9'}"));
        assert_true(holds(bytes, size, "{\"step\":3,\"mAP50\":0.5}"));
        assert_int_equal(sg_export_sample_take(&source, &o, NULL, &sample), SG_OK);
        assert_false(sample.real);
        if (o.nms) assert_true(((const float *)sample.output[0].data)[4] > 0.004f);
        if (sg_export_verify(bytes, size, &sample) != SG_OK) fail_msg("%s", sg_last_error());
        sg_export_sample_clear(&sample);
        sg_free(bytes);
    }
}

/* Behind those of the first picture. */
static void add_box(sg_onnx_array *rows) {
    float *row = rows->data;

    while (row[4] > 0.0f) row += 6;
    memcpy(row, (const float[]){1, 2, 30, 40, 0.9f, 0}, 6 * sizeof *row);
}

/* What the graph answers otherwise is found. */
static void test_difference_is_found(void **state) {
    const sg_trained_source source = {.path = model_path};
    const sg_export_options raw = {.nms = false}, found = {.nms = true};
    sg_export_sample sample;
    uint8_t *bytes;
    size_t size;

    (void)state;
    export_bytes(&raw, &bytes, &size);
    assert_int_equal(sg_export_sample_take(&source, &raw, NULL, &sample), SG_OK);
    ((float *)sample.output[0].data)[sg_onnx_array_count(&sample.output[0]) - 1] += 1e-3f;
    assert_int_equal(sg_export_verify(bytes, size, &sample), SG_ERR_DATA);
    assert_non_null(strstr(sg_last_error(), "the exported graph differs: scores by 0.001"));
    ((float *)sample.output[0].data)[0] = NAN; /* one in the middle, and others that are right */
    assert_int_equal(sg_export_verify(bytes, size, &sample), SG_ERR_DATA);
    assert_non_null(strstr(sg_last_error(), "the exported graph differs: boxes by nan"));
    sg_export_sample_clear(&sample);
    sg_free(bytes);
    export_bytes(&found, &bytes, &size);
    assert_int_equal(sg_export_sample_take(&source, &found, NULL, &sample), SG_OK);
    ((float *)sample.output[0].data)[0] -= 20.0f;
    assert_int_equal(sg_export_verify(bytes, size, &sample), SG_ERR_DATA);
    assert_non_null(strstr(sg_last_error(), "only it finds a box"));
    ((float *)sample.output[0].data)[0] += 20.0f;
    add_box(&sample.output[0]);
    assert_int_equal(sg_export_verify(bytes, size, &sample), SG_ERR_DATA);
    assert_non_null(strstr(sg_last_error(), "only our own engine finds a box"));
    sg_export_sample_clear(&sample);
    sg_free(bytes);
}

/* --- a graph in place of our engine ----------------------------------------------------------- */

/* Of what share of the rows of b there is the like in a. */
static double alike(const sg_onnx_array *a, const sg_onnx_array *b) {
    const float *x = a->data, *y = b->data;
    int64_t n = 0;

    for (int64_t i = 0; i < b->dim[0]; i++) {
        bool is = false;

        for (int64_t k = 0; k < a->dim[0] && !is; k++)
            is = x[6 * k + 5] == y[6 * i + 5] &&
                 fabs((double)x[6 * k + 4] - (double)y[6 * i + 4]) < 1e-5 &&
                 sg_box_iou(x + 6 * k, y + 6 * i) > 0.999;
        n += is;
    }
    return (double)n / (double)b->dim[0];
}

/* What `predict` finds comes out of a graph's output, whichever that is. */
static void test_graph_answers(void **state) {
    const sg_trained_source source = {.path = model_path};

    (void)state;
    for (int way = 0; way < 4; way++) {
        const sg_export_options o = {.nms = way & 1, .preprocess = way & 2};
        sg_export_sample own, graphs;
        sg_export_graph graph;
        int64_t compared;
        uint8_t *bytes;

        export_bytes(&o, &bytes, &graph.size);
        graph.bytes = bytes;
        assert_int_equal(sg_export_sample_take(&source, &o, NULL, &own), SG_OK);
        if (sg_export_sample_take(&source, &o, &graph, &graphs) != SG_OK)
            fail_msg("%s", sg_last_error());
        assert_true(own.found > 0);
        assert_int_equal(graphs.found, own.found);
        for (int i = 0; i < own.n; i++) assert_true(alike(&graphs.boxes[i], &own.boxes[i]) >= 0.98);
        if (sg_export_resembles(&graphs, &own, &compared) != SG_OK) fail_msg("%s", sg_last_error());
        sg_export_sample_clear(&own);
        sg_export_sample_clear(&graphs);
        sg_free(bytes);
    }
}

static void resembles_not(const sg_export_sample *s, const sg_export_sample *own,
                          const char *text) {
    int64_t compared;

    assert_int_equal(sg_export_resembles(s, own, &compared), SG_ERR_DATA);
    if (!strstr(sg_last_error(), text)) fail_msg("%s", sg_last_error());
}

static void test_loose_comparison(void **state) {
    const sg_trained_source source = {.path = model_path};
    const sg_export_options raw = {.nms = false}, found = {.nms = true};
    sg_export_sample own, other;
    int64_t boxes, compared;
    float *v;

    (void)state;
    assert_int_equal(sg_export_sample_take(&source, &raw, NULL, &own), SG_OK);
    assert_int_equal(sg_export_sample_take(&source, &raw, NULL, &other), SG_OK);
    v = other.output[0].data;
    boxes = 4 * own.output[0].dim[2]; /* of the first picture */
    for (int64_t i = 0; i < boxes; i++) v[i] *= 1.05f;
    if (sg_export_resembles(&other, &own, &compared) != SG_OK) fail_msg("%s", sg_last_error());
    assert_int_equal(compared, own.n);
    for (int64_t i = 0; i < boxes; i++) v[i] *= 1.3f;
    resembles_not(&other, &own, "the graph in int8 differs: boxes by ");
    memcpy(v, own.output[0].data, sg_onnx_array_bytes(&own.output[0]));
    v[boxes] = NAN;
    resembles_not(&other, &own, "the graph in int8 differs: scores by nan");
    v[boxes] = 30.0f;
    resembles_not(&other, &own, "the graph in int8 differs: scores by ");
    sg_export_sample_clear(&own);
    sg_export_sample_clear(&other);

    assert_int_equal(sg_export_sample_take(&source, &found, NULL, &own), SG_OK);
    assert_int_equal(sg_export_sample_take(&source, &found, NULL, &other), SG_OK);
    assert_int_equal(sg_export_resembles(&other, &own, &compared), SG_OK);
    assert_int_equal(compared, 0);           /* of drawn weights none is sure */
    ((float *)own.output[0].data)[4] = 0.9f; /* one that is, and there */
    if (sg_export_resembles(&other, &own, &compared) != SG_OK) fail_msg("%s", sg_last_error());
    assert_int_equal(compared, 1);
    ((float *)own.output[0].data)[0] -= 500.0f;
    resembles_not(&other, &own, "the graph in int8 differs: of 1 boxes it finds 0");
    sg_export_sample_clear(&own);
    sg_export_sample_clear(&other);
}

/* --- the file that it comes of ---------------------------------------------------------------- */

static void test_on_cpu(void **state) {
    static const char *const keys[] = {"run.device=cuda", "train.precision=bf16"};
    sg_export_source source;
    sg_export_sample sample;
    const sg_export_options raw = {.nms = false};

    (void)state;
    assert_int_equal(sg_export_open(model_path, keys, 2, &source), SG_OK);
    if (sg_export_sample_take(&source.file, &raw, NULL, &sample) != SG_OK)
        fail_msg("%s", sg_last_error());
    sg_export_sample_clear(&sample);
    assert_int_equal(sg_export_unchanged(&source, SG_OK), SG_OK);
    assert_int_equal(sg_export_unchanged(&source, SG_ERR_DATA), SG_ERR_DATA);
    sg_export_close(&source);
}

static void test_another_file(void **state) {
    char path[64], link_path[64];
    sg_export_source source;

    (void)state;
    snprintf(path, sizeof path, "%s.copy", model_path);
    snprintf(link_path, sizeof link_path, "%s.link", model_path);
    assert_int_equal(sg_export_open(path, NULL, 0, &source), SG_ERR_MISSING);
    assert_int_equal(sg_file_write(path, "one", 3), SG_OK);
    assert_int_equal(sg_export_open(path, NULL, 0, &source), SG_OK);
    assert_int_equal(link(path, link_path), 0); /* as a run gives names */
    assert_int_equal(sg_export_unchanged(&source, SG_OK), SG_OK);
    assert_int_equal(sg_file_write(path, "two", 3), SG_OK);
    assert_int_equal(sg_export_unchanged(&source, SG_ERR_DATA), SG_ERR_UNAVAILABLE);
    assert_non_null(strstr(sg_last_error(), ".copy: was replaced meanwhile; export again, or "));
    assert_int_equal(rename(link_path, path), 0); /* the first again */
    assert_int_equal(sg_export_unchanged(&source, SG_OK), SG_OK);
    assert_int_equal(remove(path), 0);
    assert_int_equal(sg_export_unchanged(&source, SG_OK), SG_ERR_UNAVAILABLE);
    assert_non_null(strstr(sg_last_error(), ".copy: was removed meanwhile"));
    sg_export_close(&source);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_detector),      cmocka_unit_test(test_difference_is_found),
        cmocka_unit_test(test_graph_answers), cmocka_unit_test(test_loose_comparison),
        cmocka_unit_test(test_on_cpu),        cmocka_unit_test(test_another_file),
    };

    return cmocka_run_group_tests(tests, write_model, remove_model);
}
