/* Cases of ops/optimizer.c. In place on the flat buffers: test_op_rules.c. */
#include "op_cases.h"

#include <math.h>

static int grad_scale(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    sg_value *factor = sg_grad_scale(g, in[0], in[1], in[2]);

    (void)c;
    out[0] = factor;
    out[1] = factor ? &factor->node->out[1] : NULL;
    return 2;
}

/* p: n_decay, nesterov */
static int sgd(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    sg_value *w = sg_sgd_step(g, in[0], in[1], in[2], in[3], in[4], c->p[0], c->p[1] != 0);

    out[0] = w;
    out[1] = w ? &w->node->out[1] : NULL;
    return 2;
}

static int adamw(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    sg_value *w = sg_adamw_step(g, in[0], in[1], in[2], in[3], in[4], in[5], c->p[0]);

    for (int o = 0; o < 3; o++) out[o] = w ? &w->node->out[o] : NULL;
    return 3;
}

static int stats(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    (void)c;
    out[0] = sg_stats_step(g, in[0], in[1], in[2]);
    return 1;
}

static int ema(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    (void)c;
    out[0] = sg_ema_step(g, in[0], in[1], in[2]);
    return 1;
}

static const float kStep[SG_STEP_SLOTS] = {
    [SG_STEP_LR] = 0.1f,     [SG_STEP_WEIGHT_DECAY] = 0.1f, [SG_STEP_MOMENTUM] = 0.9f,
    [SG_STEP_BETA2] = 0.99f, [SG_STEP_BIAS1] = 0.5f,        [SG_STEP_BIAS2] = 0.25f,
    [SG_STEP_EMA] = 0.75f,   [SG_STEP_STAT] = 0.1f,         [SG_STEP_CLIP] = 1.0f,
    [SG_STEP_SHARDS] = 4.0f,
};
static const float kNoClip[SG_STEP_SLOTS] = {[SG_STEP_CLIP] = 0.0f};
static const float kLooseClip[SG_STEP_SLOTS] = {[SG_STEP_CLIP] = 100.0f};
/* What comes in is not finite, and nothing changes. */
static const float kDiverged[SG_STEP_SLOTS] = {
    [SG_STEP_LR] = 0.1f,     [SG_STEP_BIAS1] = 0.5f,    [SG_STEP_BIAS2] = 0.25f,
    [SG_STEP_SHARDS] = 4.0f, [SG_STEP_DIVERGED] = 1.0f,
};
static const float kBad[] = {NAN, INFINITY, 1, -2};
static const float kSums[SG_MAX_SUMS] = {2.0f, 77.0f}, kFewSums[SG_MAX_SUMS] = {0.25f, 77.0f};
static const float kGrads[] = {3, 4, 0};
static const float kClipped[] = {0.5f, 0.2f}, kUnclipped[] = {0.5f, 0.5f}, kFloor[] = {1.0f, 0.2f};
static const float kNorm[] = {2.5f}, kNormFloor[] = {5.0f};
static const float kFactor[] = {1000.0f, 0.5f};
/* The second element has no decay; the third is padding. */
static const float kW[] = {1, 2, 0}, kM[] = {0.5f, 0, 0}, kV[] = {0.25f, 0, 0}, kDw[] = {4, 8, 0};
static const float kSgdM[] = {2.55f, 4.0f, 0}, kSgdW[] = {0.745f, 1.6f, 0};
static const float kNesterovW[] = {0.5605f, 1.24f, 0};
static const float kAdamM[] = {0.65f, 0.4f, 0}, kAdamV[] = {0.2875f, 0.16f, 0};
static const float kAdamW[] = {0.86877436f, 1.9f, 0};
static const float k4W[] = {1, 2, 3, 0}, k4M[] = {0.5f, 0, -1, 0}, k4V[] = {0.25f, 0, 1, 0};
static const float kStat[] = {1, 2, 0}, kStatSum[] = {8, 4, 0}, kStatNew[] = {1.1f, 1.9f, 0};
static const float kEma[] = {1, 2, 0}, kEmaOf[] = {5, 2, 0}, kEmaNew[] = {2, 2, 0};

// clang-format off
#define STEP      V(SG_STEP_SLOTS, .data = kStep)
#define DIVERGED  V(SG_STEP_SLOTS, .data = kDiverged)
#define FACTOR    V(2, .data = kFactor)
#define LARGE(n)                                                                                   \
    {"grad_scale: " #n, grad_scale, 3, {V(n), V(SG_MAX_SUMS, .data = kSums), STEP},                \
     .no_grad = true},                                                                             \
    {"sgd_step: " #n, sgd, 5, {V(n), V(n), V(n), FACTOR, STEP}, .p = {n / 3, 1}, .no_grad = true}, \
    {"adamw_step: " #n, adamw, 6, {V(n), V(n), V(n, .fill = OP_POSITIVE), V(n), FACTOR, STEP},     \
     .p = {n / 3}, .no_grad = true},                                                               \
    {"stats_step: " #n, stats, 3, {V(n), V(n), STEP}, .no_grad = true},                            \
    {"ema_step: " #n, ema, 3, {V(n), V(n), STEP}, .no_grad = true}

static const op_case cases[] = {
    {"grad_scale: clipped", grad_scale, 3,
     {V(3, .data = kGrads), V(SG_MAX_SUMS, .data = kSums), STEP}, .no_grad = true,
     .want = {kClipped, kNorm}},
    {"grad_scale: no clipping", grad_scale, 3,
     {V(3, .data = kGrads), V(SG_MAX_SUMS, .data = kSums), V(SG_STEP_SLOTS, .data = kNoClip)},
     .no_grad = true, .want = {kUnclipped, kNorm}},
    {"grad_scale: short enough", grad_scale, 3,
     {V(3, .data = kGrads), V(SG_MAX_SUMS, .data = kSums), V(SG_STEP_SLOTS, .data = kLooseClip)},
     .no_grad = true, .want = {kUnclipped, kNorm}},
    {"grad_scale: normaliser below 1", grad_scale, 3,
     {V(3, .data = kGrads), V(SG_MAX_SUMS, .data = kFewSums), STEP}, .no_grad = true,
     .want = {kFloor, kNormFloor}},
    {"sgd_step: by hand", sgd, 5,
     {V(3, .data = kW), V(3, .data = kM), V(3, .data = kDw), FACTOR, STEP}, .p = {1, 0},
     .no_grad = true, .want = {kSgdW, kSgdM}},
    {"sgd_step: nesterov by hand", sgd, 5,
     {V(3, .data = kW), V(3, .data = kM), V(3, .data = kDw), FACTOR, STEP}, .p = {1, 1},
     .no_grad = true, .want = {kNesterovW, kSgdM}},
    {"adamw_step: by hand", adamw, 6,
     {V(3, .data = kW), V(3, .data = kM), V(3, .data = kV), V(3, .data = kDw), FACTOR, STEP},
     .p = {1}, .no_grad = true, .want = {kAdamW, kAdamM, kAdamV}},
    {"stats_step: by hand", stats, 3, {V(3, .data = kStat), V(3, .data = kStatSum), STEP},
     .no_grad = true, .want = {kStatNew}},
    {"ema_step: by hand", ema, 3, {V(3, .data = kEma), V(3, .data = kEmaOf), STEP},
     .no_grad = true, .want = {kEmaNew}},
    {"sgd_step: diverged", sgd, 5,
     {V(4, .data = k4W), V(4, .data = k4M), V(4, .data = kBad), FACTOR, DIVERGED}, .p = {4, 1},
     .no_grad = true, .want = {k4W, k4M}},
    {"adamw_step: diverged", adamw, 6,
     {V(4, .data = k4W), V(4, .data = k4M), V(4, .data = k4V), V(4, .data = kBad), FACTOR, DIVERGED},
     .p = {4}, .no_grad = true, .want = {k4W, k4M, k4V}},
    {"stats_step: diverged", stats, 3, {V(4, .data = k4W), V(4, .data = kBad), DIVERGED},
     .no_grad = true, .want = {k4W}},
    {"ema_step: diverged", ema, 3, {V(4, .data = k4W), V(4, .data = kBad), DIVERGED},
     .no_grad = true, .want = {k4W}},
    LARGE(0),
    LARGE(1),
    LARGE(31),
    LARGE(12289),
    LARGE(16384),
};
// clang-format on

const op_suite op_suite_optimizer = {cases, OP_COUNT(cases)};
