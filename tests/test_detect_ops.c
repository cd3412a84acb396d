/* The detector's ops against numbers worked out by hand, and what an assignment must hold. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "core/philox.h"
#include "graph/program.h"
#include "ops/detect.h"

enum { kMaxAnchors = 1400, kClasses = 3 };

#define CHECK_NEAR(a, b, tolerance)                                                                \
    do {                                                                                           \
        double a_ = (double)(a), b_ = (double)(b);                                                 \
        if (!(fabs(a_ - b_) <= (tolerance))) fail_msg("%s is %.9g, not %.9g", #a, a_, b_);         \
    } while (0)

/* Run `g` on the reference backend, outputs in the order of sg_output; frees the graph. */
static void run(sg_graph *g, const void *const inputs[], void *const outputs[]) {
    sg_bindings b;
    sg_program *p;

    if (sg_graph_status(g) != SG_OK) fail_msg("%s", sg_last_error());
    assert_int_equal(sg_program_compile(g, &sg_backend_ref, NULL, &p), SG_OK);
    memset(&b, 0, sizeof b);
    for (int i = 0; i < sg_graph_inputs(g); i++) b.input[i] = inputs[i];
    for (int i = 0; i < sg_graph_outputs(g); i++) b.output[i] = outputs[i];
    assert_int_equal(sg_program_run_once(p, &b), SG_OK);
    sg_program_destroy(p);
    sg_graph_destroy(g);
}

static sg_graph *new_graph(void) {
    sg_graph *g;

    assert_int_equal(sg_graph_create(SG_TRAIN, NULL, &g), SG_OK);
    return g;
}

/* --- levels and boxes ------------------------------------------------------------------------- */

static void test_levels(void **state) {
    /* two channels; a map of 1 x 2 and one of 1 x 1 */
    static const float fine[] = {1, 2, 10, 20}, coarse[] = {3, 30};
    static const float want[] = {1, 10, 2, 20, 3, 30};
    const void *inputs[] = {fine, coarse};
    float y[6], back_fine[4], back_coarse[2];
    void *outputs[] = {y, back_fine, back_coarse};
    sg_graph *g = new_graph();
    sg_value *map[2], *v;

    (void)state;
    map[0] = sg_input(g, "fine", SG_F32, sg_shape_4(1, 2, 1, 2));
    map[1] = sg_input(g, "coarse", SG_F32, sg_shape_4(1, 2, 1, 1));
    v = sg_levels_concat(g, map, 2);
    sg_output(g, "y", v);
    sg_output(g, "fine", sg_level_split(g, v, 0, 1, 2));
    sg_output(g, "coarse", sg_level_split(g, v, 2, 1, 1));
    run(g, inputs, outputs);
    assert_memory_equal(y, want, sizeof want);
    assert_memory_equal(back_fine, fine, sizeof fine);
    assert_memory_equal(back_coarse, coarse, sizeof coarse);
}

static void test_box_decode(void **state) {
    static const sg_anchors anchors = {2, {8, 16}, {1, 1}, {2, 1}};
    /* nothing said; moved by half a stride right and one down, twice as wide; clamped both ways */
    static const float raw[] = {0, 0, 0, 0, 0.5f, 1, 0.69314718f, 0, 0, 0, 100, -100};
    static const float dy[] = {1, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8};
    float box[12], dx[12];
    void *outputs[] = {box, dx};
    const void *inputs[] = {raw, dy};
    sg_graph *g = new_graph();
    sg_value *x, *d;

    (void)state;
    x = sg_input(g, "raw", SG_F32, sg_shape_3(1, 3, 4));
    d = sg_input(g, "dy", SG_F32, sg_shape_3(1, 3, 4));
    sg_output(g, "box", sg_box_decode(g, x, &anchors));
    sg_output(g, "dx", sg_box_decode_dx(g, x, d, &anchors));
    run(g, inputs, outputs);
    CHECK_NEAR(box[0], -4.0, 0.0); /* 16 wide on (4, 4) */
    CHECK_NEAR(box[3], 12.0, 0.0);
    CHECK_NEAR(box[4], 16.0 - 16.0, 1e-5); /* centre at (2 * 8, 1.5 * 8), 32 wide */
    CHECK_NEAR(box[5], 12.0 - 8.0, 1e-5);
    CHECK_NEAR(box[6], 16.0 + 16.0, 1e-5);
    CHECK_NEAR(box[7], 12.0 + 8.0, 1e-5);
    CHECK_NEAR(box[10] - box[8], 32.0 * exp(7.0), 0.01);
    CHECK_NEAR(box[11] - box[9], 32.0 * exp(-5.0), 1e-5);
    CHECK_NEAR(dx[0], 8.0 * 5.0, 0.0);
    CHECK_NEAR(dx[1], 8.0 * 10.0, 0.0);
    CHECK_NEAR(dx[2], 8.0 * 3.0, 0.0);
    CHECK_NEAR(dx[6], 16.0 * 3.0, 1e-5);
    CHECK_NEAR(dx[7], 8.0 * 6.0, 0.0);
    CHECK_NEAR(dx[8], 16.0 * 5.0, 0.0);
    CHECK_NEAR(dx[10], 0.0, 0.0);
    CHECK_NEAR(dx[11], 0.0, 0.0);
}

/* --- losses ----------------------------------------------------------------------------------- */

static float focal(float z, float t, float beta, float *dz) {
    float loss, one = 1.0f;
    const void *inputs[] = {&z, &t, &one};
    void *outputs[] = {&loss, dz};
    sg_graph *g = new_graph();
    sg_value *zv = sg_input(g, "z", SG_F32, sg_shape_1(1));
    sg_value *tv = sg_input(g, "t", SG_F32, sg_shape_1(1));
    sg_value *dloss = sg_input(g, "dloss", SG_F32, sg_shape_0());

    sg_output(g, "loss", sg_quality_focal_loss(g, zv, tv, beta));
    sg_output(g, "dz", sg_quality_focal_loss_dx(g, zv, tv, dloss, beta));
    run(g, inputs, outputs);
    return loss;
}

static void test_quality_focal_loss(void **state) {
    float dz;

    (void)state;
    CHECK_NEAR(focal(0, 1, 0, &dz), log(2.0), 1e-6);
    CHECK_NEAR(dz, -0.5, 1e-7);
    CHECK_NEAR(focal(0, 1, 2, &dz), 0.25 * log(2.0), 1e-6);
    /* d^2 d + 2 |d| sign(d) s (1 - s) BCE at d = -1/2 */
    CHECK_NEAR(dz, -0.125 - 0.25 * log(2.0), 1e-6);
    /* s = t: nothing to learn, whatever the entropy */
    CHECK_NEAR(focal(0, 0.5f, 2, &dz), 0.0, 0.0);
    CHECK_NEAR(dz, 0.0, 0.0);
    CHECK_NEAR(focal(0, 0.5f, 1, &dz), 0.0, 0.0);
    CHECK_NEAR(dz, 0.0, 0.0);
    /* far out: neither overflow nor a lost gradient */
    CHECK_NEAR(focal(1000, 0, 2, &dz), 1000.0, 0.0);
    CHECK_NEAR(dz, 1.0, 0.0);
    CHECK_NEAR(focal(-1000, 1, 2, &dz), 1000.0, 0.0);
    CHECK_NEAR(dz, -1.0, 0.0);
    CHECK_NEAR(focal(-1000, 0, 2, &dz), 0.0, 0.0);
    CHECK_NEAR(dz, 0.0, 0.0);
}

typedef struct {
    float loss, alpha[2], dbox[8];
} ciou_result;

/* Two anchors of those weights. */
static ciou_result ciou(const float box[8], const float target[8], const float weight[2]) {
    static const float one = 1.0f;
    const void *inputs[] = {box, target, weight, &one};
    ciou_result r;
    void *outputs[] = {&r.loss, r.alpha, r.dbox};
    sg_graph *g = new_graph();
    sg_value *b = sg_input(g, "box", SG_F32, sg_shape_3(1, 2, 4));
    sg_value *t = sg_input(g, "target", SG_F32, sg_shape_3(1, 2, 4));
    sg_value *w = sg_input(g, "weight", SG_F32, sg_shape_2(1, 2));
    sg_value *d = sg_input(g, "dloss", SG_F32, sg_shape_0());
    sg_value *alpha = sg_ciou_alpha(g, b, t);

    sg_output(g, "loss", sg_ciou_loss(g, b, t, w, alpha));
    sg_output(g, "alpha", alpha);
    sg_output(g, "dbox", sg_ciou_loss_dx(g, b, t, w, alpha, d));
    run(g, inputs, outputs);
    return r;
}

static void test_ciou(void **state) {
    /* IoU 1/7, rho^2 2, c^2 18, squares: v = 0; and a cross of 4 x 2 on 2 x 4: IoU 1/3, rho 0 */
    static const float box[] = {0, 0, 2, 2, 0, 1, 4, 3}, target[] = {1, 1, 3, 3, 1, 0, 3, 4};
    static const float first[] = {2, 0}, second[] = {0, 1};
    double turn = atan(2.0) - atan(0.5), v = 4.0 / pow(acos(-1.0), 2.0) * turn * turn;
    double alpha = v / (1.0 - 1.0 / 3.0 + v);
    ciou_result r;

    (void)state;
    r = ciou(box, target, first);
    CHECK_NEAR(r.loss, 2.0 * (1.0 - 1.0 / 7.0 + 2.0 / 18.0), 1e-6);
    CHECK_NEAR(r.alpha[0], 0.0, 0.0);
    /* xmax: d IoU = (1 * 7 - 1 * (2 - 1)) / 49, d rho^2 / c^2 = -1 / 18, c^2 stays */
    CHECK_NEAR(r.dbox[2], 2.0 * (-6.0 / 49.0 - 1.0 / 18.0), 1e-6);
    /* xmin: d IoU = (0 - 1 * -2) / 49, d rho^2 = -1, d c^2 = -6 */
    CHECK_NEAR(r.dbox[0], 2.0 * (-2.0 / 49.0 + (-1.0 * 18.0 + 2.0 * 6.0) / 324.0), 1e-6);
    for (int i = 4; i < 8; i++) CHECK_NEAR(r.dbox[i], 0.0, 0.0);
    r = ciou(box, target, second);
    CHECK_NEAR(r.alpha[1], alpha, 1e-6);
    CHECK_NEAR(r.loss, 2.0 / 3.0 + alpha * v, 1e-6);
    for (int i = 0; i < 4; i++) CHECK_NEAR(r.dbox[i], 0.0, 0.0);
}

static void test_ciou_edges(void **state) {
    /* the target itself; a box far away; no target at all */
    static const float same[] = {3, 4, 10, 20, 3, 4, 10, 20}, away[] = {0, 0, 1, 1, 0, 0, 1, 1};
    static const float far[] = {9, 0, 10, 1, 9, 0, 10, 1}, none[8] = {0};
    static const float one[] = {1, 0}, both[] = {1, 1};
    ciou_result r = ciou(same, same, one);

    (void)state;
    CHECK_NEAR(r.loss, 0.0, 1e-9);
    for (int i = 0; i < 8; i++) CHECK_NEAR(r.dbox[i], 0.0, 1e-9);
    r = ciou(away, far, one);
    CHECK_NEAR(r.loss, 1.0 + 81.0 / 101.0, 1e-6);
    assert_true(r.dbox[0] + r.dbox[2] < 0.0f); /* its centre is drawn to the right */
    r = ciou(away, none, one);
    CHECK_NEAR(r.alpha[0], 0.0, 0.0);
    r = ciou(none, none, both);
    assert_true(isfinite(r.loss) && isfinite(r.dbox[0]) && isfinite(r.dbox[3]));
}

/* --- assignment ------------------------------------------------------------------------------- */

/* One picture of 64 to 256 pixels, levels of strides 8, 16, 32. */
typedef struct {
    sg_assign_attr o;
    int64_t A;
    float logits[kMaxAnchors * kClasses], boxes[kMaxAnchors * 4];
    float truths[SG_MAX_TRUTHS * 4];
    int32_t classes[SG_MAX_TRUTHS], count;
    float scores[kMaxAnchors * kClasses], targets[kMaxAnchors * 4], weight[kMaxAnchors];
    int32_t owner[kMaxAnchors];
} scene;

static scene s; // 80 KB

/* Fresh from the random weights: class probability 0.01, a square of two strides on every centre.
 */
static void scene_init(int64_t side) {
    sg_anchors anchors = {.levels = 3};
    float *box = s.boxes;

    memset(&s, 0, sizeof s);
    for (int i = 0; i < 3; i++) {
        int64_t stride = (int64_t)8 << i, cells = side / stride;

        anchors.stride[i] = stride;
        anchors.height[i] = anchors.width[i] = cells;
        for (int64_t p = 0; p < cells * cells; p++, box += 4) {
            box[0] = ((float)(p % cells) - 0.5f) * (float)stride;
            box[1] = ((float)(p / cells) - 0.5f) * (float)stride;
            box[2] = box[0] + 2.0f * (float)stride;
            box[3] = box[1] + 2.0f * (float)stride;
        }
    }
    s.A = sg_anchor_count(&anchors);
    s.o = sg_assign_defaults(&anchors);
    for (int64_t i = 0; i < s.A * kClasses; i++) s.logits[i] = -4.6f;
}

static void add_truth(float x, float y, float w, float h, int32_t label) {
    float *t = s.truths + 4 * s.count;

    t[0] = x - 0.5f * w;
    t[1] = y - 0.5f * h;
    t[2] = x + 0.5f * w;
    t[3] = y + 0.5f * h;
    s.classes[s.count++] = label;
}

static void assign(void) {
    const void *inputs[] = {s.logits, s.boxes, s.truths, s.classes, &s.count};
    void *outputs[] = {s.scores, s.targets, s.weight, s.owner};
    sg_graph *g = new_graph();
    sg_value *logits = sg_input(g, "logits", SG_F32, sg_shape_3(1, s.A, kClasses));
    sg_value *boxes = sg_input(g, "boxes", SG_F32, sg_shape_3(1, s.A, 4));
    sg_value *truths = sg_input(g, "truths", SG_F32, sg_shape_3(1, SG_MAX_TRUTHS, 4));
    sg_value *classes = sg_input(g, "classes", SG_I32, sg_shape_2(1, SG_MAX_TRUTHS));
    sg_value *count = sg_input(g, "count", SG_I32, sg_shape_1(1));
    sg_value *v = sg_detect_assign(g, logits, boxes, truths, classes, count, &s.o);

    if (!v) fail_msg("%s", sg_last_error());
    sg_output(g, "scores", v);
    sg_output(g, "targets", &v->node->out[1]);
    sg_output(g, "weight", &v->node->out[2]);
    sg_output(g, "owner", &v->node->out[3]);
    run(g, inputs, outputs);
}

/* Anchors of truth j; *best: the one with the greatest target. */
static int owned_by(int32_t j, int64_t *best) {
    int n = 0;

    *best = -1;
    for (int64_t a = 0; a < s.A; a++) {
        if (s.owner[a] != j) continue;
        if (*best < 0 || s.weight[a] > s.weight[*best]) *best = a;
        n++;
    }
    return n;
}

static int64_t stride_of(int64_t anchor) {
    int64_t n = 0;

    for (int i = 0; i < 3; i++) {
        n += s.o.anchors.height[i] * s.o.anchors.width[i];
        if (anchor < n) return s.o.anchors.stride[i];
    }
    return -1;
}

/* What holds of every assignment. */
static void check_outputs(void) {
    for (int64_t a = 0; a < s.A; a++) {
        int32_t j = s.owner[a];

        assert_true(j >= -1 && j < s.count);
        if (j < 0) CHECK_NEAR(s.weight[a], 0.0, 0.0);
        for (int k = 0; k < kClasses; k++)
            CHECK_NEAR(s.scores[a * kClasses + k], j >= 0 && k == s.classes[j] ? s.weight[a] : 0.0f,
                       0.0);
        for (int k = 0; k < 4; k++)
            CHECK_NEAR(s.targets[4 * a + k], j >= 0 ? s.truths[4 * j + k] : 0.0f, 0.0);
        assert_true(s.weight[a] >= 0.0f && s.weight[a] <= 1.0f);
    }
}

/* Faces of a few pixels, also such that hold no anchor's centre, from the first step. */
static void test_assign_tiny(void **state) {
    (void)state;
    for (int side = 3; side <= 12; side++)
        for (int at = 0; at < 8; at++) {
            int64_t best;

            scene_init(64);
            add_truth(24.0f + (float)at, 32.0f, (float)side, (float)side, 2);
            assign();
            check_outputs();
            assert_int_equal(owned_by(0, &best), s.o.candidates);
            assert_int_equal(stride_of(best), 8);
            assert_true(s.weight[best] >= s.o.floor);
            /* no farther than the neighbouring cell */
            assert_true(fabsf(s.boxes[4 * best] + 8.0f - (24.0f + (float)at)) <= 4.0f);
        }
}

static void test_assign_level(void **state) {
    static const float side[] = {10, 20, 36, 70, 250};
    static const int64_t stride[] = {8, 8, 16, 32, 32};
    int64_t best;

    (void)state;
    for (int i = 0; i < 5; i++) {
        scene_init(256);
        add_truth(131, 126, side[i], side[i], 0);
        assign();
        check_outputs();
        assert_true(owned_by(0, &best) > 0);
        assert_int_equal(stride_of(best), stride[i]);
    }
}

/* A perfect box of a confident anchor is asked for all, a worse one for less. */
static void test_assign_learned(void **state) {
    int64_t best, a = 3 * 8 + 3; // centre (28, 28)

    (void)state;
    scene_init(64);
    add_truth(30, 30, 14, 10, 1);
    memcpy(s.boxes + 4 * a, s.truths, 4 * sizeof(float));
    s.logits[a * kClasses + 1] = 2.0f;
    assign();
    check_outputs();
    owned_by(0, &best);
    assert_int_equal(best, a);
    CHECK_NEAR(s.weight[a], 1.0, 1e-6);
    for (int64_t i = 0; i < s.A; i++)
        if (i != a) assert_true(s.weight[i] < 0.1f);
}

/* More claims than room: nobody goes away with nothing. */
static void test_assign_crowd(void **state) {
    int64_t best;

    (void)state;
    scene_init(256);
    for (int i = 0; i < 40; i++) add_truth(100, 100, 9, 9, i % kClasses); // all on one place
    for (int i = 0; i < 88; i++)
        add_truth((float)(8 + 10 * (i % 11)), (float)(150 + 9 * (i / 11)), 7, 8, i % kClasses);
    assign();
    check_outputs();
    for (int j = 0; j < s.count; j++) {
        assert_true(owned_by(j, &best) >= 1);
        assert_true(s.weight[best] >= s.o.floor * 0.999f);
    }
    /* 84 anchors for 128 truths: each anchor has one owner, 84 truths one anchor */
    scene_init(64);
    for (int i = 0; i < SG_MAX_TRUTHS; i++) add_truth(20, 20, 9, 9, 0);
    assign();
    check_outputs();
    for (int j = 0; j < SG_MAX_TRUTHS; j++) assert_int_equal(owned_by(j, &best), j < 84 ? 1 : 0);
}

/* Ties: the lower anchor, the lower truth. */
static void test_assign_ties(void **state) {
    int64_t best;

    (void)state;
    scene_init(64);
    s.o.candidates = 1;
    add_truth(32, 32, 8, 8, 0); // on the corner of four cells
    assign();
    assert_int_equal(owned_by(0, &best), 1);
    assert_int_equal(best, 3 * 8 + 3);
    scene_init(64);
    s.o.candidates = 1;
    add_truth(28, 28, 8, 8, 0);
    add_truth(28, 28, 8, 8, 0);
    assign();
    owned_by(0, &best);
    assert_int_equal(best, 3 * 8 + 3);
    assert_int_equal(owned_by(1, &best), 1);
}

/* Padding, boxes without area and unknown classes are nobody's; numbers that are none do no harm.
 */
static void test_assign_odd(void **state) {
    int64_t best;

    (void)state;
    scene_init(64);
    add_truth(20, 20, 0, 10, 0);
    add_truth(20, 20, 10, 10, kClasses);
    add_truth(20, 20, 10, 10, -1);
    add_truth(20, 20, NAN, 10, 0);
    add_truth(20, 20, 10, 10, 0);
    s.count--; // the last one is padding
    assign();
    check_outputs();
    for (int64_t a = 0; a < s.A; a++) assert_int_equal(s.owner[a], -1);
    s.count++;
    for (int64_t i = 0; i < s.A * kClasses; i++) s.logits[i] = i % 2 ? NAN : -INFINITY;
    for (int64_t i = 0; i < s.A * 4; i++) s.boxes[i] = NAN;
    assign();
    check_outputs();
    assert_int_equal(owned_by(4, &best), s.o.candidates);
    s.count = 1000; // more than there are rows
    assign();
    assert_int_equal(owned_by(4, &best), s.o.candidates);
    s.count = -1;
    assign();
    for (int64_t a = 0; a < s.A; a++) assert_int_equal(s.owner[a], -1);
}

static float uniform(sg_random *r, float lo, float hi) { return sg_random_range(r, lo, hi); }

/* Random scenes, random predictions: the invariants, and the target of each truth's best anchor. */
static void test_assign_random(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        sg_random r = sg_random_init(seed);
        int n = 1 + (int)sg_random_below(&r, SG_MAX_TRUTHS);
        int64_t best;

        scene_init(256);
        for (int64_t i = 0; i < s.A * kClasses; i++) s.logits[i] = uniform(&r, -8, 4);
        for (int64_t i = 0; i < s.A * 4; i++) s.boxes[i] += uniform(&r, -3, 3);
        for (int j = 0; j < n; j++)
            add_truth(uniform(&r, 0, 256), uniform(&r, 0, 256), uniform(&r, 3, 40),
                      uniform(&r, 3, 40), (int32_t)sg_random_below(&r, kClasses));
        assign();
        check_outputs();
        for (int j = 0; j < n; j++) {
            assert_in_range(owned_by(j, &best), 1, s.o.candidates);
            assert_true(s.weight[best] >= s.o.floor * 0.999f);
        }
    }
}

/* --- errors ----------------------------------------------------------------------------------- */

static void test_rejects(void **state) {
    static const sg_anchors anchors = {1, {8}, {2}, {2}};
    sg_assign_attr o = sg_assign_defaults(&anchors);
    sg_graph *g;
    sg_value *x, *map[2];

    (void)state;
    g = new_graph();
    map[0] = sg_input(g, "a", SG_F32, sg_shape_4(1, 2, 4, 4));
    map[1] = sg_input(g, "b", SG_F32, sg_shape_4(1, 3, 2, 2));
    assert_null(sg_levels_concat(g, map, 2));
    assert_int_equal(sg_graph_status(g), SG_ERR_ARG);
    sg_graph_destroy(g);

    g = new_graph();
    x = sg_input(g, "x", SG_F32, sg_shape_3(1, 5, 4)); // 4 anchors are wanted
    assert_null(sg_box_decode(g, x, &anchors));
    sg_graph_destroy(g);

    g = new_graph();
    x = sg_input(g, "x", SG_F32, sg_shape_3(1, 4, 3));
    assert_null(sg_quality_focal_loss(g, x, x, 0.5f));
    assert_non_null(strstr(sg_last_error(), "beta is 0.5"));
    sg_graph_destroy(g);

    g = new_graph();
    x = sg_input(g, "x", SG_F32, sg_shape_3(1, 4, 4));
    o.candidates = 0;
    assert_null(sg_detect_assign(g, x, x, sg_input(g, "t", SG_F32, sg_shape_3(1, 3, 4)),
                                 sg_input(g, "c", SG_I32, sg_shape_2(1, 3)),
                                 sg_input(g, "n", SG_I32, sg_shape_1(1)), &o));
    assert_int_equal(sg_graph_status(g), SG_ERR_ARG);
    sg_graph_destroy(g);
}

/* A gradient that would have to pass a target is an error, not a silent stop. */
static void test_targets_refuse_gradients(void **state) {
    sg_graph *g = new_graph();
    sg_value *x = sg_input(g, "x", SG_F32, sg_shape_2(2, 3));
    sg_value *t = sg_input(g, "t", SG_F32, sg_shape_2(2, 3));

    (void)state;
    sg_require_grad(x);
    sg_require_grad(t);
    assert_int_equal(sg_gradients(g, sg_quality_focal_loss(g, x, t, 2.0f)), SG_ERR_UNSUPPORTED);
    sg_graph_destroy(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_box_decode),
        cmocka_unit_test(test_quality_focal_loss),
        cmocka_unit_test(test_ciou),
        cmocka_unit_test(test_ciou_edges),
        cmocka_unit_test(test_assign_tiny),
        cmocka_unit_test(test_assign_level),
        cmocka_unit_test(test_assign_learned),
        cmocka_unit_test(test_assign_crowd),
        cmocka_unit_test(test_assign_ties),
        cmocka_unit_test(test_assign_odd),
        cmocka_unit_test(test_assign_random),
        cmocka_unit_test(test_rejects),
        cmocka_unit_test(test_targets_refuse_gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
