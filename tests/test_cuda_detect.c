/* The detector's ops on the CUDA backend, under the emulation of a GPU, beyond the cases of
 * test_cuda_ops: the assigner's choices in crowds and among equals, maps in bf16, and large ones.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend_cuda.h"
#include "core/mem.h"
#include "core/philox.h"
#include "emulation/emulation.h"
#include "graph/program.h"
#include "ops/detect.h"

/* Run `g`, inputs and outputs in the order of their making. */
static void run(sg_graph *g, const sg_backend *backend, const void *const inputs[],
                void *const outputs[]) {
    sg_bindings b = {.seconds = NULL};
    sg_program *p;

    if (sg_graph_status(g) != SG_OK) fail_msg("%s", sg_last_error());
    if (sg_program_compile(g, backend, NULL, &p) != SG_OK) fail_msg("%s", sg_last_error());
    for (int i = 0; i < sg_graph_inputs(g); i++) b.input[i] = inputs[i];
    for (int i = 0; i < sg_graph_outputs(g); i++) b.output[i] = outputs[i];
    if (sg_program_run_once(p, &b) != SG_OK) fail_msg("%s", sg_last_error());
    sg_program_destroy(p);
}

static sg_graph *new_graph(void) {
    sg_graph *g;

    assert_int_equal(sg_graph_create(SG_TRAIN, NULL, &g), SG_OK);
    return g;
}

/* --- the assigner against the reference ------------------------------------------------------- */

enum { kPictures = 2, kClasses = 3, kMost = 1344 };

typedef struct {
    float scores[kPictures * kMost * kClasses], targets[kPictures * kMost * 4];
    float weight[kPictures * kMost];
    int32_t owner[kPictures * kMost];
} answer;

/* Pictures of 64 or 256 pixels, levels of strides 8, 16, 32. */
static struct {
    sg_assign_attr o;
    int64_t A;
    float logits[kPictures * kMost * kClasses], boxes[kPictures * kMost * 4];
    float truths[kPictures][SG_MAX_TRUTHS][4];
    int32_t classes[kPictures][SG_MAX_TRUTHS], count[kPictures];
    answer want, got;
} s;

/* Fresh from the random weights, so that most anchors are alike: class probability 0.01, a square
 * of two strides on every centre. */
static void scene_init(int64_t side) {
    sg_anchors anchors = {.levels = 3};
    float *box = s.boxes;

    memset(&s, 0, sizeof s);
    for (int i = 0; i < 3; i++) {
        anchors.stride[i] = (int64_t)8 << i;
        anchors.height[i] = anchors.width[i] = side / anchors.stride[i];
    }
    s.A = sg_anchor_count(&anchors);
    s.o = sg_assign_defaults(&anchors);
    for (int n = 0; n < kPictures; n++)
        for (int i = 0; i < 3; i++)
            for (int64_t p = 0; p < anchors.height[i] * anchors.width[i]; p++, box += 4) {
                float stride = (float)anchors.stride[i];

                box[0] = ((float)(p % anchors.width[i]) - 0.5f) * stride;
                box[1] = ((float)(p / anchors.width[i]) - 0.5f) * stride;
                box[2] = box[0] + 2.0f * stride;
                box[3] = box[1] + 2.0f * stride;
            }
    for (int64_t i = 0; i < kPictures * s.A * kClasses; i++) s.logits[i] = -4.6f;
}

static void add_truth(int n, float x, float y, float w, float h, int32_t label) {
    const float box[4] = {x - 0.5f * w, y - 0.5f * h, x + 0.5f * w, y + 0.5f * h};

    memcpy(s.truths[n][s.count[n]], box, sizeof box);
    s.classes[n][s.count[n]++] = label;
}

static sg_graph *assign_graph(void) {
    sg_graph *g = new_graph();
    sg_value *in[5] = {
        sg_input(g, "logits", SG_F32, sg_shape_3(kPictures, s.A, kClasses)),
        sg_input(g, "boxes", SG_F32, sg_shape_3(kPictures, s.A, 4)),
        sg_input(g, "truths", SG_F32, sg_shape_3(kPictures, SG_MAX_TRUTHS, 4)),
        sg_input(g, "classes", SG_I32, sg_shape_2(kPictures, SG_MAX_TRUTHS)),
        sg_input(g, "count", SG_I32, sg_shape_1(kPictures)),
    };
    sg_value *v = sg_detect_assign(g, in[0], in[1], in[2], in[3], in[4], &s.o);

    if (!v) fail_msg("%s", sg_last_error());
    for (int o = 0; o < 4; o++) {
        char name[16];

        snprintf(name, sizeof name, "out%d", o);
        sg_output(g, name, &v->node->out[o]);
    }
    return g;
}

/* The same owners, so the same targets; scores as near as two ways to round. */
static void check_same(const char *what) {
    for (int64_t i = 0; i < kPictures * s.A; i++) {
        if (s.got.owner[i] != s.want.owner[i])
            fail_msg("%s: anchor %lld is truth %d's, not %d's", what, (long long)i, s.got.owner[i],
                     s.want.owner[i]);
        if (!(fabsf(s.got.weight[i] - s.want.weight[i]) <= 1e-6f))
            fail_msg("%s: anchor %lld weighs %g, not %g", what, (long long)i,
                     (double)s.got.weight[i], (double)s.want.weight[i]);
    }
    for (int64_t i = 0; i < kPictures * s.A * kClasses; i++)
        assert_true(fabsf(s.got.scores[i] - s.want.scores[i]) <= 1e-6f);
    assert_memory_equal(s.got.targets, s.want.targets,
                        (size_t)(kPictures * s.A * 4) * sizeof(float));
}

/* Reference and CUDA choose the same, in whatever order threads run
 * and whatever memory holds before. Returns the owned anchors. */
static int check_scene(const char *what) {
    const void *inputs[] = {s.logits, s.boxes, s.truths, s.classes, s.count};
    void *want[] = {s.want.scores, s.want.targets, s.want.weight, s.want.owner};
    void *got[] = {s.got.scores, s.got.targets, s.got.weight, s.got.owner};
    uint64_t seed = sg_emulation_seed();
    sg_graph *g = assign_graph();
    int owned = 0;

    run(g, &sg_backend_ref, inputs, want);
    for (uint64_t order = 0; order < 2; order++) {
        sg_emulation_set_seed(seed + order);
        sg_emulation_garbage(&s.got, sizeof s.got);
        run(g, &sg_backend_cuda, inputs, got);
        check_same(what);
    }
    sg_emulation_set_seed(seed);
    sg_graph_destroy(g);
    for (int64_t i = 0; i < kPictures * s.A; i++) owned += s.want.owner[i] >= 0;
    return owned;
}

static void test_assign_random(void **state) {
    (void)state;
    for (uint64_t key = 0; key < 6; key++) {
        sg_random r = sg_random_init(key);

        scene_init(256);
        s.o.candidates = key % 2 ? 5 : SG_ASSIGN_CLAIMS;
        for (int64_t i = 0; i < kPictures * s.A * kClasses; i++)
            s.logits[i] = sg_random_range(&r, -8, 4);
        for (int64_t i = 0; i < kPictures * s.A * 4; i++) s.boxes[i] += sg_random_range(&r, -3, 3);
        for (int n = 0; n < kPictures; n++)
            for (int j = 1 + (int)sg_random_below(&r, SG_MAX_TRUTHS); j > 0; j--)
                add_truth(n, sg_random_range(&r, 0, 256), sg_random_range(&r, 0, 256),
                          sg_random_range(&r, 3, 70), sg_random_range(&r, 3, 70),
                          (int32_t)sg_random_below(&r, kClasses));
        assert_true(check_scene("random") > 0);
    }
}

/* Nearly all truths come away with nothing and have to be given something. */
static void test_assign_crowds(void **state) {
    (void)state;
    scene_init(256);
    for (int i = 0; i < 40; i++) add_truth(0, 100, 100, 9, 9, i % kClasses);
    for (int i = 0; i < 88; i++)
        add_truth(0, (float)(8 + 10 * (i % 11)), (float)(150 + 9 * (i / 11)), 7, 8, i % kClasses);
    for (int i = 0; i < SG_MAX_TRUTHS; i++)
        add_truth(1, 128, 128, (float)(3 + i), (float)(90 - i / 2), i % kClasses);
    assert_true(check_scene("crowd") >= 2 * SG_MAX_TRUTHS);
    /* 84 anchors for 128 truths: some that nobody can spare */
    scene_init(64);
    for (int i = 0; i < SG_MAX_TRUTHS; i++) {
        add_truth(0, 20, 20, 9, 9, 0);
        add_truth(1, (float)(i % 8) * 8 + 4, (float)(i / 16) * 8 + 4, 8, 8, i % kClasses);
    }
    assert_int_equal(check_scene("more truths than anchors"), 2 * 84);
}

/* Fits that are the same number: about a corner of four cells, mirrored and turned; where no score
 * or no overlap is asked for; where all are 0. */
static void test_assign_ties(void **state) {
    static const float powers[4][3] = {{0.5f, 6, 0.1f}, {0, 6, 0.1f}, {0, 1, 1}, {0.5f, 6, 0}};

    (void)state;
    for (int i = 0; i < 4; i++)
        for (int candidates = 1; candidates <= SG_ASSIGN_CLAIMS; candidates += 5) {
            scene_init(64);
            s.o.class_power = powers[i][0];
            s.o.overlap_power = powers[i][1];
            s.o.prior = powers[i][2];
            s.o.candidates = candidates;
            for (int k = 0; k < 3; k++) add_truth(0, 32, 32, 8, 8, k % 2);
            for (int k = 0; k < 6; k++)
                add_truth(1, 32.0f + (float)(k % 3) * 0.3f, 32.0f + (float)(k % 2) * 0.3f, 11.7f,
                          11.7f, 0);
            assert_true(check_scene("ties") > 0);
        }
}

static void test_assign_odd(void **state) {
    (void)state;
    scene_init(64);
    add_truth(0, 20, 20, 0, 10, 0);
    add_truth(0, 20, 20, 10, 10, kClasses);
    add_truth(0, 20, 20, 10, 10, -1);
    add_truth(0, 20, 20, NAN, 10, 0);
    add_truth(0, 20, 20, INFINITY, 10, 0);
    add_truth(0, -500, -500, 10, 10, 0); /* far out: no candidates, but it gets an anchor */
    add_truth(0, 1e30f, 20, 1e25f, 10, 0);
    assert_true(check_scene("odd truths") > 0);
    s.count[0] = -1;
    assert_int_equal(check_scene("nothing"), 0);
    s.count[0] = 1000; /* more than there are rows */
    for (int64_t i = 0; i < kPictures * s.A * kClasses; i++) s.logits[i] = i % 2 ? NAN : -INFINITY;
    for (int64_t i = 0; i < kPictures * s.A * 4; i++) s.boxes[i] = NAN;
    assert_true(check_scene("no numbers") > 0);
}

/* --- maps in bf16 ----------------------------------------------------------------------------- */

static sg_status open_bf16(const sg_backend_options *options, void **context) {
    SG_TRY(sg_backend_cuda.open(options, context));
    ((sg_cuda *)*context)->precision = SG_CUDA_BF16;
    return SG_OK;
}

static sg_layout told_layout;

static sg_status select_told(void *context, const sg_node *node, const sg_layout have[],
                             sg_kernel_plan *plan) {
    sg_layout told[SG_MAX_IN];

    (void)have;
    for (int i = 0; i < SG_MAX_IN; i++)
        told[i] = i < node->n_in && sg_cuda_is_picture(node->in[i]) ? told_layout : SG_CUDA_PLAIN;
    SG_TRY(sg_backend_cuda.select(context, node, told, plan));
    if (node->op == &sg_op_levels_concat) assert_int_equal(plan->in[0], told_layout);
    if (node->op == &sg_op_level_split) assert_int_equal(plan->out[0], SG_CUDA_NHWC_BF16);
    return SG_OK;
}

static void test_levels_bf16(void **state) {
    enum { kN = 2, kC = 5, kA = 12 + 2 };
    static const sg_layout layouts[] = {SG_CUDA_PLAIN_BF16, SG_CUDA_NHWC_BF16};
    sg_backend backend = sg_backend_cuda;
    float fine[kN * kC * 12], coarse[kN * kC * 2], y[kN * kA * kC], back[kN * kC * 12];
    const void *inputs[] = {fine, coarse};
    void *outputs[] = {y, back};
    sg_random r = sg_random_init(5);

    (void)state;
    backend.open = open_bf16;
    backend.select = select_told;
    for (int i = 0; i < kN * kC * 12; i++) fine[i] = sg_random_range(&r, -4, 4);
    for (int i = 0; i < kN * kC * 2; i++) coarse[i] = sg_random_range(&r, -4, 4);
    for (int l = 0; l < 2; l++) {
        sg_graph *g = new_graph();
        sg_value *map[2], *v;

        told_layout = layouts[l];
        map[0] = sg_input(g, "fine", SG_F32, sg_shape_4(kN, kC, 3, 4));
        map[1] = sg_input(g, "coarse", SG_F32, sg_shape_4(kN, kC, 1, 2));
        v = sg_levels_concat(g, map, 2);
        sg_output(g, "y", v);
        sg_output(g, "back", sg_level_split(g, v, 0, 3, 4));
        run(g, &backend, inputs, outputs);
        for (int n = 0; n < kN; n++)
            for (int a = 0; a < kA; a++)
                for (int c = 0; c < kC; c++) {
                    float x =
                        a < 12 ? fine[(n * kC + c) * 12 + a] : coarse[(n * kC + c) * 2 + a - 12];

                    assert_true(fabsf(y[(n * kA + a) * kC + c] - x) <= 0.004f * fabsf(x));
                    if (a < 12)
                        assert_true(back[(n * kC + c) * 12 + a] == y[(n * kA + a) * kC + c]);
                }
        sg_graph_destroy(g);
    }
}

/* Of more rows of tiles than a grid may have in its second direction, in another order. */
static void test_large_map(void **state) {
    enum { kC = 5, kHW = 32 * 65535 + 1 };
    float *x = sg_malloc(sizeof(float) * kC * kHW), *y = sg_malloc(sizeof(float) * kC * kHW);
    sg_args a = {.in = {x}, .out = {y}};
    sg_kernel_plan plan = {.run = NULL};
    sg_graph *g = new_graph();
    sg_value *v = sg_input(g, "x", SG_F32, sg_shape_4(1, kC, 1, kHW));

    (void)state;
    assert_true(x && y);
    for (int i = 0; i < kC * kHW; i++) x[i] = (float)i;
    assert_int_equal(sg_backend_cuda.convert(NULL, v, SG_CUDA_NHWC, SG_CUDA_PLAIN, &plan), SG_OK);
    a.node = v->node;
    a.state = plan.state;
    if (plan.run(&a) != SG_OK) fail_msg("%s", sg_last_error());
    for (int i = 0; i < kC * kHW; i++) assert_true(y[i % kC * kHW + i / kC] == x[i]);
    plan.release(plan.state);
    sg_graph_destroy(g);
    sg_free(x);
    sg_free(y);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_assign_random), cmocka_unit_test(test_assign_crowds),
        cmocka_unit_test(test_assign_ties),   cmocka_unit_test(test_assign_odd),
        cmocka_unit_test(test_levels_bf16),   cmocka_unit_test(test_large_map),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
