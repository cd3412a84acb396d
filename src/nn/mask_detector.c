#include "nn/mask_detector.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "spotgrad.h"

enum {
    kStages = 4,    /* after the stem, of strides 4, 8, 16, 32 */
    kCoarsest = 32, /* pixels */
    kMaxInput = 4096,
    kNameBytes = 96
};

/* Channel counts are multiples of 8, the block of the CPU's layouts. Which sizes were tried and
 * what they cost stands in docs/detector.md. */
typedef struct {
    const char *name;
    int64_t stem, stage[kStages];         /* channels out */
    int depth[kStages];                   /* bottlenecks in the CSP block */
    int64_t neck[kStages], head[kStages]; /* by stride: 4 (thinner: a large map), 8, 16, 32 */
} recipe;

static const recipe kRecipes[SG_DETECTOR_SIZES] = {
    {"nano", 16, {32, 64, 128, 160}, {1, 2, 2, 1}, {32, 64, 64, 64}, {32, 64, 64, 64}},
    {"small", 32, {64, 128, 256, 320}, {1, 2, 2, 1}, {64, 128, 128, 128}, {64, 96, 96, 96}},
};

/* --- options ---------------------------------------------------------------------------------- */

sg_mask_detector_options sg_mask_detector_defaults(void) {
    sg_mask_detector_options o = {.classes = 3,
                                  .size = SG_DETECTOR_NANO,
                                  .input = 256,
                                  .finest = 8,
                                  .box_weight = 2.0f,
                                  .class_weight = 1.0f,
                                  .focal_beta = 1.0f};

    return o;
}

sg_status sg_mask_detector_check(const sg_mask_detector_options *o) {
    if (o->classes < 1 || o->classes > SG_DETECTOR_CLASSES)
        return sg_fail(SG_ERR_CONFIG, "mask detector: %lld classes; 1 to %d are possible",
                       (long long)o->classes, SG_DETECTOR_CLASSES);
    if (!sg_detector_size_name(o->size))
        return sg_fail(SG_ERR_CONFIG, "mask detector: there is no size number %d", (int)o->size);
    if (o->input < kCoarsest || o->input > kMaxInput || o->input % kCoarsest != 0)
        return sg_fail(SG_ERR_CONFIG, "mask detector: input %lld; a multiple of %d up to %d it is",
                       (long long)o->input, kCoarsest, kMaxInput);
    if (o->finest != 4 && o->finest != 8)
        return sg_fail(SG_ERR_CONFIG, "mask detector: finest stride %lld; 4 or 8 it is",
                       (long long)o->finest);
    if (!(o->box_weight > 0.0f) || !(o->class_weight > 0.0f) || !isfinite(o->box_weight) ||
        !isfinite(o->class_weight))
        return sg_fail(SG_ERR_CONFIG, "mask detector: loss weights %g and %g; they must be > 0",
                       (double)o->box_weight, (double)o->class_weight);
    if (!(o->focal_beta == 0.0f || (o->focal_beta >= 1.0f && isfinite(o->focal_beta))))
        return sg_fail(SG_ERR_CONFIG, "mask detector: focal beta %g; 0 or at least 1 it is",
                       (double)o->focal_beta);
    return SG_OK;
}

const char *sg_detector_size_name(sg_detector_size size) {
    return (int)size >= 0 && size < SG_DETECTOR_SIZES ? kRecipes[size].name : NULL;
}

sg_anchors sg_mask_detector_anchors(const sg_mask_detector_options *o) {
    sg_anchors anchors = {.levels = 0};

    for (int64_t stride = o->finest; stride <= kCoarsest; stride *= 2) {
        anchors.stride[anchors.levels] = stride;
        anchors.height[anchors.levels] = anchors.width[anchors.levels] = o->input / stride;
        anchors.levels++;
    }
    return anchors;
}

/* --- blocks ----------------------------------------------------------------------------------- */

typedef struct {
    int64_t channels, kernel, stride;
    sg_value *residual; /* added to the result; may be NULL */
} layer_options;

/* Convolution + norm + SiLU of that name. */
static SG_PRINTF(4, 5) sg_value *layer(sg_graph *g, sg_value *x, layer_options o, const char *fmt,
                                       ...) {
    char name[kNameBytes];
    va_list args;

    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    return sg_conv_norm_act(g, name, x, o.channels, o.kernel, o.stride, SG_ACT_SILU, o.residual);
}

/* Two branches of half the channels, one of them through `depth` residual bottlenecks. */
static sg_value *csp(sg_graph *g, const char *name, sg_value *x, int64_t channels, int depth) {
    layer_options half = {.channels = channels / 2, .kernel = 1, .stride = 1};
    layer_options join = {.channels = channels, .kernel = 1, .stride = 1};
    sg_value *left = layer(g, x, half, "%s.left", name);
    sg_value *right = layer(g, x, half, "%s.right", name);

    for (int i = 1; i <= depth; i++) {
        layer_options three = {
            .channels = channels / 2, .kernel = 3, .stride = 1, .residual = left};
        sg_value *y = layer(g, left, half, "%s.block%d.reduce", name, i);

        left = layer(g, y, three, "%s.block%d.conv", name, i);
    }
    return layer(g, sg_concat(g, (sg_value *[]){left, right}, 2), join, "%s.join", name);
}

/* stage[i] of stride 4 << i */
static void backbone(sg_graph *g, const recipe *r, sg_value *x, sg_value *stage[kStages]) {
    char name[kNameBytes];

    x = layer(g, x, (layer_options){.channels = r->stem, .kernel = 3, .stride = 2},
              "backbone.stem");
    for (int i = 0; i < kStages; i++) {
        layer_options down = {.channels = r->stage[i], .kernel = 3, .stride = 2};

        snprintf(name, sizeof name, "backbone.stage%d", i + 1);
        x = layer(g, x, down, "%s.down", name);
        x = csp(g, name, x, r->stage[i], r->depth[i]);
        stage[i] = x;
    }
}

/* In place: from the stages to the levels' features, of stages `first` to the last. */
static void neck(sg_graph *g, const recipe *r, sg_value *x[kStages], int first) {
    char name[kNameBytes];

    for (int i = kStages - 1; i >= first; i--) {
        layer_options to = {.channels = r->neck[i], .kernel = 1, .stride = 1};
        sg_value *above = i + 1 < kStages ? x[i + 1] : NULL;

        if (above && r->neck[i + 1] != r->neck[i])
            above = layer(g, above, to, "neck.%d.reduce", 4 << i);
        if (above) to.residual = above = sg_upsample2x(g, above);
        x[i] = layer(g, x[i], to, "neck.%d.lateral", 4 << i);
        snprintf(name, sizeof name, "neck.%d.top_down", 4 << i);
        if (above) x[i] = csp(g, name, x[i], r->neck[i], 1);
    }
    for (int i = first + 1; i < kStages; i++) {
        layer_options down = {.channels = r->neck[i], .kernel = 3, .stride = 2, .residual = x[i]};

        x[i] = layer(g, x[i - 1], down, "neck.%d.down", 4 << i);
        snprintf(name, sizeof name, "neck.%d.bottom_up", 4 << i);
        x[i] = csp(g, name, x[i], r->neck[i], 1);
    }
}

/* The last 1x1 of a branch. Small filters: at first every anchor says the bias. */
static sg_value *predict(sg_graph *g, sg_value *x, const char *name, int64_t channels, float bias) {
    sg_init filter = {SG_INIT_KAIMING, 0.1f}, constant = {SG_INIT_CONSTANT, bias};
    char weight_name[kNameBytes + 8], bias_name[kNameBytes + 8];
    sg_value *w, *b;

    if (!x) return NULL;
    snprintf(weight_name, sizeof weight_name, "%s.weight", name);
    snprintf(bias_name, sizeof bias_name, "%s.bias", name);
    sg_scope(g, "%s", name);
    w = sg_param(g, weight_name, SG_ENTRY_DECAY, sg_shape_4(channels, x->shape.dim[1], 1, 1),
                 filter);
    b = sg_param(g, bias_name, SG_ENTRY_NO_DECAY, sg_shape_1(channels), constant);
    x = sg_conv2d(g, x, w, b, (sg_conv_options){.stride = 1, .groups = 1});
    sg_scope_end(g);
    return x;
}

/* branch()'s last, "class" */
int sg_mask_detector_class_axis(const char *parameter) {
    const char *kind = strncmp(parameter, "head.", 5) == 0 ? strchr(parameter + 5, '.') : NULL;

    return kind && (strcmp(kind, ".class.weight") == 0 || strcmp(kind, ".class.bias") == 0) ? 0
                                                                                            : -1;
}

static sg_value *branch(sg_graph *g, const recipe *r, sg_value *x, int stage, const char *kind,
                        int64_t channels, float bias) {
    layer_options three = {.channels = r->head[stage], .kernel = 3, .stride = 1};
    char name[kNameBytes];

    for (int i = 1; i <= 2; i++) x = layer(g, x, three, "head.%d.%s%d", 4 << stage, kind, i);
    snprintf(name, sizeof name, "head.%d.%s", 4 << stage, kind);
    return predict(g, x, name, channels, bias);
}

/* --- the whole -------------------------------------------------------------------------------- */

typedef struct {
    sg_value *logits; /* (n, A, classes) */
    sg_value *boxes;  /* (n, A, 4) */
} prediction;

static prediction forward(sg_graph *g, const sg_mask_detector_options *o, sg_value *image) {
    const recipe *r = &kRecipes[o->size];
    sg_anchors anchors = sg_mask_detector_anchors(o);
    int first = kStages - anchors.levels;
    sg_value *x[kStages], *classes[kStages], *boxes[kStages];
    float prior = -logf(99.0f); // sigmoid: 0.01 (Lin et al., "Focal loss", 2017)
    prediction p;

    backbone(g, r, sg_to_float(g, image, 1.0f / 255.0f, 0.0f), x);
    neck(g, r, x, first);
    for (int i = first; i < kStages; i++) {
        classes[i] = branch(g, r, x[i], i, "class", o->classes, prior);
        boxes[i] = branch(g, r, x[i], i, "box", 4, 0.0f);
    }
    sg_scope(g, "predict");
    p.logits = sg_levels_concat(g, classes + first, anchors.levels);
    p.boxes = sg_box_decode(g, sg_levels_concat(g, boxes + first, anchors.levels), &anchors);
    sg_scope_end(g);
    return p;
}

static void loss(sg_graph *g, const sg_mask_detector_options *o, prediction p,
                 sg_value *const truth[3]) {
    sg_anchors anchors = sg_mask_detector_anchors(o);
    sg_assign_attr assign = sg_assign_defaults(&anchors);
    sg_value *scores, *target, *weight, *alpha, *box, *cls, *whole, *normaliser;

    sg_scope(g, "loss");
    scores = sg_detect_assign(g, sg_stop_gradient(g, p.logits), sg_stop_gradient(g, p.boxes),
                              truth[0], truth[1], truth[2], &assign);
    target = scores ? &scores->node->out[1] : NULL;
    weight = scores ? &scores->node->out[2] : NULL;
    alpha = sg_ciou_alpha(g, p.boxes, target);
    box = sg_scale(g, sg_ciou_loss(g, p.boxes, target, weight, alpha), o->box_weight);
    cls = sg_scale(g, sg_quality_focal_loss(g, p.logits, scores, o->focal_beta), o->class_weight);
    whole = sg_add(g, box, cls);
    normaliser = sg_sum(g, weight);
    sg_scope_end(g);
    sg_loss(g, whole, normaliser);
    sg_sum_into(g, "box", box);
    sg_sum_into(g, "cls", cls);
}

sg_status sg_mask_detector_build(sg_graph *g, int64_t n, const sg_mask_detector_options *o) {
    sg_value *image, *truth[3];
    prediction p;

    SG_TRY(sg_mask_detector_check(o));
    if (n < 1) return sg_fail(SG_ERR_ARG, "mask detector: built for %lld pictures", (long long)n);
    image = sg_input(g, "image", SG_U8, sg_shape_4(n, 3, o->input, o->input));
    if (sg_graph_mode(g) == SG_TRAIN) {
        truth[0] = sg_input(g, "boxes", SG_F32, sg_shape_3(n, SG_MAX_TRUTHS, 4));
        truth[1] = sg_input(g, "classes", SG_I32, sg_shape_2(n, SG_MAX_TRUTHS));
        truth[2] = sg_input(g, "count", SG_I32, sg_shape_1(n));
        loss(g, o, forward(g, o, image), truth);
    } else {
        p = forward(g, o, image);
        sg_output(g, "boxes", p.boxes);
        sg_output(g, "scores", sg_sigmoid(g, p.logits));
    }
    return sg_graph_status(g);
}
