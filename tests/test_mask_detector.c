/* The mask detector: its size, its shapes, that all of it learns, and that inference computes what
 * training computed. On the reference backend, at 64 pixels. */
#include "trainer_fixture.h"

#include <stdio.h>

#include "core/philox.h"
#include "graph/program.h"
#include "nn/mask_detector.h"
#include "ops/ops.h"

enum { kSide = 64, kBatch = 2, kPixels = kBatch * 3 * kSide * kSide };

static sg_mask_detector_options tiny_input(int64_t finest) {
    sg_mask_detector_options o = sg_mask_detector_defaults();

    o.input = kSide;
    o.finest = finest;
    return o;
}

/* --- size and shape --------------------------------------------------------------------------- */

static void test_size(void **state) {
    sg_mask_detector_options o = sg_mask_detector_defaults();
    int64_t parameters;
    double flop;
    char *text;

    (void)state;
    CHECK_OK(sg_mask_detector_summary(&o, &text, &parameters, &flop));
    assert_int_equal(parameters, 1165605);
    assert_true(flop > 0.75e9 && flop < 1.0e9);
    assert_non_null(strstr(text, "backbone.stage4    160 x 8 x 8"));
    assert_non_null(strstr(text, "1344 anchors"));
    sg_free(text);
    o.size = SG_DETECTOR_SMALL;
    CHECK_OK(sg_mask_detector_summary(&o, &text, &parameters, NULL));
    assert_in_range(parameters, 3800000, 4200000);
    sg_free(text);
}

/* The first block by hand: 3 -> 16 filters of 3 x 3 on 128 x 128, a scale and a shift each. */
static void test_summary_counts(void **state) {
    sg_mask_detector_options o = sg_mask_detector_defaults();
    char *text, want[96];

    (void)state;
    CHECK_OK(sg_mask_detector_summary(&o, &text, NULL, NULL));
    snprintf(want, sizeof want, "%-18s %-16s %10d %9.1f", "backbone.stem", "16 x 128 x 128",
             3 * 16 * 9 + 2 * 16, 2.0 * 27 * 16 * 128 * 128 / 1e6);
    assert_non_null(strstr(text, want));
    sg_free(text);
}

static void check_shapes(sg_mode mode, const sg_mask_detector_options *o) {
    static const char *const names[] = {"image", "boxes", "classes", "count"};
    sg_anchors anchors = sg_mask_detector_anchors(o);
    sg_shape boxes = sg_shape_3(3, sg_anchor_count(&anchors), 4);
    sg_shape scores = sg_shape_3(3, sg_anchor_count(&anchors), o->classes);
    sg_table *table;
    sg_graph *g;

    CHECK_OK(sg_table_create(&table));
    CHECK_OK(sg_graph_create(mode, table, &g));
    CHECK_OK(sg_mask_detector_build(g, 3, o));
    assert_int_equal(sg_graph_inputs(g), mode == SG_TRAIN ? 4 : 1);
    for (int i = 0; i < sg_graph_inputs(g); i++)
        assert_string_equal(sg_graph_input_name(g, i), names[i]);
    if (mode == SG_EVAL) {
        assert_int_equal(sg_graph_outputs(g), 2);
        assert_string_equal(sg_graph_output_name(g, 0), "boxes");
        assert_true(sg_shape_equal(&sg_graph_output(g, 0)->shape, &boxes));
        assert_true(sg_shape_equal(&sg_graph_output(g, 1)->shape, &scores));
    } else {
        assert_int_equal(table->n_sums, 4);
        assert_string_equal(table->sum_name[2], "box");
        assert_string_equal(table->sum_name[3], "cls");
    }
    for (int i = 0; i < table->n_entries; i++) // but for the last convolutions
        if (!strstr(table->entry[i].name, ".class.") && !strstr(table->entry[i].name, ".box."))
            assert_int_equal(table->entry[i].shape.dim[0] % 8, 0);
    sg_graph_destroy(g);
    sg_table_destroy(table);
}

static void test_shapes(void **state) {
    static const int64_t inputs[] = {32, 64, 160, 416};
    sg_mask_detector_options o = sg_mask_detector_defaults();

    (void)state;
    for (int i = 0; i < 4; i++)
        for (o.finest = 4; o.finest <= 8; o.finest += 4) {
            o.input = inputs[i];
            o.size = i % 2 ? SG_DETECTOR_SMALL : SG_DETECTOR_NANO;
            o.classes = 1 + i;
            check_shapes(SG_TRAIN, &o);
            check_shapes(SG_EVAL, &o);
        }
    o.finest = 4;
    o.input = 256;
    assert_int_equal(sg_mask_detector_anchors(&o).levels, 4);
    assert_int_equal(sg_mask_detector_anchors(&o).stride[0], 4);
    assert_int_equal(sg_mask_detector_anchors(&o).width[3], 8);
}

static void check_rejected(const sg_mask_detector_options *o, const char *word) {
    assert_int_equal(sg_mask_detector_check(o), SG_ERR_CONFIG);
    if (!strstr(sg_last_error(), word)) fail_msg("no %s in: %s", word, sg_last_error());
}

static void test_rejects(void **state) {
    sg_mask_detector_options ok = sg_mask_detector_defaults(), o;

    (void)state;
    CHECK_OK(sg_mask_detector_check(&ok));
    o = ok, o.classes = 0, check_rejected(&o, "0 classes");
    o = ok, o.input = 250, check_rejected(&o, "250");
    o = ok, o.input = 0, check_rejected(&o, "input 0");
    o = ok, o.finest = 16, check_rejected(&o, "16");
    o = ok, o.size = SG_DETECTOR_SIZES, check_rejected(&o, "size");
    o = ok, o.box_weight = NAN, check_rejected(&o, "nan");
    o = ok, o.class_weight = 0, check_rejected(&o, "weights");
    o = ok, o.focal_beta = 0.5f, check_rejected(&o, "0.5");
}

static void test_out_of_memory(void **state) {
    sg_mask_detector_options o = tiny_input(8);
    long before = sg_mem_live(), at = 1;
    sg_status st = SG_ERR_OOM;
    char *text = NULL;

    (void)state;
    /* each of the first allocations, then a sample of the thousands */
    for (; st != SG_OK; at += at < 60 ? 1 : 61) {
        sg_mem_fail_at(at);
        st = sg_mask_detector_summary(&o, &text, NULL, NULL);
        sg_mem_fail_at(0);
        if (st == SG_OK) break;
        assert_int_equal(st, SG_ERR_OOM);
        assert_int_equal(sg_mem_live(), before);
    }
    assert_true(at > 500);
    sg_free(text);
    assert_int_equal(sg_mem_live(), before);
}

/* --- one batch -------------------------------------------------------------------------------- */

typedef struct {
    uint8_t image[kPixels];
    float boxes[kBatch * SG_MAX_TRUTHS * 4];
    int32_t classes[kBatch * SG_MAX_TRUTHS], count[kBatch];
} batch;

static batch data;

static void draw_face(int n, float x, float y, float side, int32_t label) {
    static const uint8_t colour[3][3] = {{240, 180, 150}, {90, 160, 240}, {60, 220, 90}};
    float *box = data.boxes + (n * SG_MAX_TRUTHS + data.count[n]) * 4;

    data.classes[n * SG_MAX_TRUTHS + data.count[n]++] = label;
    box[0] = x;
    box[1] = y;
    box[2] = x + side;
    box[3] = y + side;
    for (int c = 0; c < 3; c++)
        for (int row = (int)y; row < (int)(y + side); row++)
            for (int col = (int)x; col < (int)(x + side); col++)
                data.image[((n * 3 + c) * kSide + row) * kSide + col] = colour[label][c];
}

/* Noise, and squares of three classes and all sizes, so that every level has some. */
static void draw_batch(void) {
    sg_random r = sg_random_init(11);

    memset(&data, 0, sizeof data);
    for (int i = 0; i < kPixels; i++) data.image[i] = (uint8_t)sg_random_below(&r, 120);
    draw_face(0, 4, 6, 9, 0);
    draw_face(0, 20, 8, 40, 1);
    draw_face(0, 6, 44, 7, 2);
    draw_face(1, 2, 2, 60, 0);
    draw_face(1, 30, 30, 20, 2);
}

/* A model's graph, program and state with random weights. */
typedef struct {
    sg_table *table;
    sg_graph *g;
    sg_program *p;
    sg_state *state;
    float *grads;
} model;

/* The predictions as outputs of a training graph too: sigmoid is done by hand. */
static void expose_predictions(sg_graph *g) {
    for (int i = 0; i < sg_graph_nodes(g); i++) {
        sg_node *node = sg_graph_node(g, i);

        if (strcmp(node->name, "predict.box_decode") == 0) sg_output(g, "boxes", &node->out[0]);
        if (strcmp(node->name, "predict.levels_concat") == 0) sg_output(g, "logits", &node->out[0]);
    }
}

static model new_model(const sg_mask_detector_options *o) {
    model m;

    CHECK_OK(sg_table_create(&m.table));
    CHECK_OK(sg_graph_create(SG_TRAIN, m.table, &m.g));
    CHECK_OK(sg_mask_detector_build(m.g, kBatch, o));
    expose_predictions(m.g);
    sg_table_freeze(m.table);
    CHECK_OK(sg_program_compile(m.g, &sg_backend_ref, NULL, &m.p));
    CHECK_OK(sg_state_create(m.table, 0, &m.state));
    sg_state_init(m.state, 5);
    m.grads = sg_calloc((size_t)m.table->n_grads, sizeof(float));
    assert_non_null(m.grads);
    return m;
}

static void free_model(model *m) {
    sg_free(m->grads);
    sg_state_destroy(m->state);
    sg_program_destroy(m->p);
    sg_graph_destroy(m->g);
    sg_table_destroy(m->table);
}

/* Output 0 is the logits, 1 the boxes. */
static void run_model(model *m, float *logits, float *boxes) {
    sg_bindings b;

    memset(&b, 0, sizeof b);
    b.base[SG_BUF_VALUES] = m->state->values;
    b.base[SG_BUF_GRADS] = m->grads;
    b.input[0] = data.image;
    b.input[1] = data.boxes;
    b.input[2] = data.classes;
    b.input[3] = data.count;
    b.output[0] = logits;
    b.output[1] = boxes;
    CHECK_OK(sg_program_run_once(m->p, &b));
}

static float *new_floats(int64_t count) {
    float *x = sg_calloc((size_t)count, sizeof(float));

    assert_non_null(x);
    return x;
}

static double largest(const float *x, int64_t count) {
    double most = 0.0;

    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(x[i])) return NAN;
        most = fmax(most, fabs((double)x[i]));
    }
    return most;
}

/* Every filter, bias and norm of the whole network hears from the loss. */
static void check_gradients(int64_t finest) {
    sg_mask_detector_options o = tiny_input(finest);
    sg_anchors anchors = sg_mask_detector_anchors(&o);
    int64_t A = sg_anchor_count(&anchors);
    float *logits = new_floats(kBatch * A * 3), *boxes = new_floats(kBatch * A * 4), *sums;
    model m = new_model(&o);

    draw_batch();
    run_model(&m, logits, boxes);
    for (int i = 0; i < m.table->n_entries; i++) {
        const sg_entry *e = &m.table->entry[i];

        if (!(largest(m.grads + e->offset, e->count) > 0.0))
            fail_msg("%s: largest gradient %g", e->name, largest(m.grads + e->offset, e->count));
    }
    sums = m.grads + m.table->n_values;
    assert_true(sums[SG_SUM_NORMALISER] >= 0.2f * 5.0f); /* five truths, the floor each at least */
    assert_true(sums[2] > 0.0f && sums[3] > 0.0f);
    assert_true(fabsf(sums[SG_SUM_LOSS] - sums[2] - sums[3]) <= 1e-4f * sums[SG_SUM_LOSS]);
    for (int64_t i = 0; i < kBatch * A * 3; i++) /* the prior: about one in a hundred */
        assert_true(logits[i] > -6.0f && logits[i] < -3.0f);
    free_model(&m);
    sg_free(logits);
    sg_free(boxes);
}

static void test_gradients(void **state) {
    (void)state;
    check_gradients(8);
    check_gradients(4);
}

/* --- inference is training's forward ---------------------------------------------------------- */

/* The statistics of this batch as running ones; the variance as training used it: not the unbiased
 * one that is recorded. */
static void take_statistics(model *m) {
    for (int i = 0; i < sg_graph_nodes(m->g); i++) {
        const sg_node *node = sg_graph_node(m->g, i);
        const sg_shape *x;
        double count;
        char name[160];
        int entry;

        if (node->op != &sg_op_batch_norm) continue;
        x = &node->in[0]->shape;
        count = (double)(x->dim[0] * x->dim[2] * x->dim[3]);
        snprintf(name, sizeof name, "%.*s.norm.mean", (int)(strlen(node->name) - 11), node->name);
        entry = sg_table_find(m->table, name);
        assert_true(entry >= 0);
        for (int64_t c = 0; c < m->table->entry[entry].count; c++) {
            int64_t mean = m->table->entry[entry].offset + c;
            int64_t var = m->table->entry[entry + 1].offset + c;

            m->state->values[mean] = m->grads[mean];
            m->state->values[var] = (float)((double)m->grads[var] * (count - 1.0) / count);
        }
    }
}

static void test_inference_is_training(void **state) {
    sg_mask_detector_options o = tiny_input(8);
    sg_anchors anchors = sg_mask_detector_anchors(&o);
    int64_t A = sg_anchor_count(&anchors);
    float *logits = new_floats(kBatch * A * 3), *boxes = new_floats(kBatch * A * 4);
    float *eval_boxes = new_floats(kBatch * A * 4), *scores = new_floats(kBatch * A * 3);
    model m = new_model(&o);
    sg_bindings b;
    sg_program *p;
    sg_graph *g;

    (void)state;
    draw_batch();
    for (int64_t i = 0; i < m.table->n_params; i++) /* so that predictions differ visibly */
        if (m.state->values[i] != 0.0f) m.state->values[i] *= 1.3f;
    run_model(&m, logits, boxes);
    take_statistics(&m);
    CHECK_OK(sg_graph_create(SG_EVAL, m.table, &g));
    CHECK_OK(sg_mask_detector_build(g, kBatch, &o));
    CHECK_OK(sg_program_compile(g, &sg_backend_ref, NULL, &p));
    memset(&b, 0, sizeof b);
    b.base[SG_BUF_VALUES] = m.state->values;
    b.input[0] = data.image;
    b.output[0] = eval_boxes;
    b.output[1] = scores;
    CHECK_OK(sg_program_run_once(p, &b));
    for (int64_t i = 0; i < kBatch * A * 3; i++)
        assert_true(fabs(1.0 / (1.0 + exp(-(double)logits[i])) - (double)scores[i]) <= 1e-5);
    for (int64_t i = 0; i < kBatch * A * 4; i++)
        assert_true(fabsf(boxes[i] - eval_boxes[i]) <= 2e-3f);
    sg_program_destroy(p);
    sg_graph_destroy(g);
    free_model(&m);
    sg_free(logits);
    sg_free(boxes);
    sg_free(eval_boxes);
    sg_free(scores);
}

/* --- it learns -------------------------------------------------------------------------------- */

static sg_status build(sg_graph *g, int64_t n, void *context) {
    return sg_mask_detector_build(g, n, context);
}

static void test_learns(void **state) {
    sg_mask_detector_options o = tiny_input(8);
    const void *inputs[] = {data.image, data.boxes, data.classes, data.count};
    sg_trainer_options t = sg_trainer_defaults();
    sg_step_report first, last;
    sg_trainer *trainer;

    (void)state;
    draw_batch();
    t.build = build;
    t.context = &o;
    t.batch = kBatch;
    t.shards = 1;
    t.threads = 1;
    t.optimizer.kind = SG_OPTIMIZER_ADAMW;
    CHECK_OK(sg_trainer_create(&t, &trainer));
    CHECK_OK(sg_trainer_step(trainer, 0, inputs, 0.001, &first));
    for (int i = 0; i < 50; i++) CHECK_OK(sg_trainer_step(trainer, 0, inputs, 0.001, &last));
    print_message("loss %g -> %g, box %g -> %g, cls %g -> %g, normaliser %g -> %g\n", first.loss,
                  last.loss, first.sum[2], last.sum[2], first.sum[3], last.sum[3], first.sum[0],
                  last.sum[0]);
    assert_true(last.loss < 0.6 * first.loss);
    assert_true(last.sum[2] < 0.6 * first.sum[2]);
    sg_trainer_destroy(trainer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size),          cmocka_unit_test(test_summary_counts),
        cmocka_unit_test(test_shapes),        cmocka_unit_test(test_rejects),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_learns),        cmocka_unit_test(test_inference_is_training),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
