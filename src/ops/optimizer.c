/* The update of a training step, on the flat buffers of graph/state.h.
 *
 *   grad_scale  s = 1 / max(normaliser, 1),  norm = s |grads|,  f = s min(1, clip / norm)
 *   sgd_step    g = f dw + wd w,  m = mu m + g,  w -= lr (nesterov ? g + mu m : m)      (PyTorch's)
 *   adamw_step  g = f dw,  m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,
 *               w -= lr (m / c1 / (sqrt(v / c2) + 1e-8) + wd w)     (Loshchilov and Hutter, 2019)
 *   stats_step  stat = (1 - k) stat + k sum / shards
 *   ema_step    ema = d ema + (1 - d) w
 *
 * wd counts for the first n_decay floats only; lr, wd, mu, b1, b2, c1, c2, k, d, clip and shards
 * stand in the step block. The normaliser is at least 1 so that a batch without any target cannot
 * blow up its gradient. All but grad_scale treat one element at a time: no order matters, and a
 * padding element, zero everywhere, stays zero. Where the step block says that the gradient is not
 * finite (SG_STEP_DIVERGED) they write what was there before. */
#include "ops/ops.h"

#include <math.h>
#include <string.h>

static int64_t count_of(const sg_args *a) { return sg_shape_count(&a->node->in[0]->shape); }

static sg_status expect_vector(const sg_node *node, int i, int64_t count) {
    SG_TRY(sg_op_expect(node, i, SG_F32, 1));
    if (node->in[i]->shape.dim[0] != count)
        return sg_op_fail(node, "input %d must have %lld elements", i, (long long)count);
    return SG_OK;
}

/* A step that has diverged: each output is the input that it would replace. */
static bool diverged(const sg_args *args) {
    const sg_node *node = args->node;
    const float *step = args->in[node->n_in - 1];

    if (step[SG_STEP_DIVERGED] == 0.0f) return false;
    for (int o = 0; o < node->n_out; o++)
        memmove(args->out[o], args->in[o], sg_value_bytes(&node->out[o]));
    return true;
}

/* --- grad_scale ------------------------------------------------------------------------------- */

static sg_status grad_scale_infer(sg_node *node) {
    SG_TRY(sg_op_expect(node, 0, SG_F32, -1));
    SG_TRY(expect_vector(node, 1, SG_MAX_SUMS));
    SG_TRY(expect_vector(node, 2, SG_STEP_SLOTS));
    sg_op_out(node, 0, SG_F32, sg_shape_1(2));
    sg_op_out(node, 1, SG_F32, sg_shape_0());
    return SG_OK;
}

/* Sum of squares: blocks of SG_NORM_BLOCK in order, blocks added in a binary tree whose left part
 * is the greatest power of two of blocks that leaves something to the right. */
static double sum_of_squares(const float *g, int64_t n) {
    int64_t left = SG_NORM_BLOCK;
    double sum = 0.0;

    if (n > SG_NORM_BLOCK) {
        while (2 * left < n) left *= 2;
        return sum_of_squares(g, left) + sum_of_squares(g + left, n - left);
    }
    for (int64_t i = 0; i < n; i++) sum += (double)g[i] * (double)g[i];
    return sum;
}

static sg_status grad_scale_ref(const sg_args *args) {
    const float *g = args->in[0], *sums = args->in[1], *step = args->in[2];
    float *factor = args->out[0], *norm_out = args->out[1];
    double normaliser = (double)sums[SG_SUM_NORMALISER];
    double scale = 1.0 / (normaliser < 1.0 ? 1.0 : normaliser); /* a NaN stays one */
    double norm = scale * sqrt(sum_of_squares(g, count_of(args)));
    double clip = (double)step[SG_STEP_CLIP];

    factor[0] = (float)scale;
    factor[1] = (float)(clip > 0.0 && norm > clip ? scale * (clip / norm) : scale);
    norm_out[0] = (float)norm;
    return SG_OK;
}

sg_value *sg_grad_scale(sg_graph *g, sg_value *grads, sg_value *sums, sg_value *step) {
    sg_value *in[] = {grads, sums, step};

    return sg_node_append(g, &sg_op_grad_scale, in, 3, 3, NULL);
}

const sg_op sg_op_grad_scale = {
    .name = "grad_scale",
    .infer = grad_scale_infer,
    .run = grad_scale_ref,
};

/* --- sgd_step, adamw_step --------------------------------------------------------------------- */

/* `n` buffers of one shape, of which all but the last are updated; factor; step block. */
static sg_status step_infer(sg_node *node, int n) {
    const sg_optimizer_attr *attr = node->attr;

    SG_TRY(sg_op_expect_same(node, n));
    SG_TRY(expect_vector(node, n, 2));
    SG_TRY(expect_vector(node, n + 1, SG_STEP_SLOTS));
    if (attr->n_decay < 0 || attr->n_decay > sg_shape_count(&node->in[0]->shape))
        return sg_op_fail(node, "decay of %lld elements", (long long)attr->n_decay);
    for (int o = 0; o < n - 1; o++) sg_op_out(node, o, SG_F32, node->in[o]->shape);
    return SG_OK;
}

static sg_status sgd_step_infer(sg_node *node) { return step_infer(node, 3); }

static sg_status sgd_step_ref(const sg_args *args) {
    const sg_optimizer_attr *attr = args->node->attr;
    const float *w = args->in[0], *m = args->in[1], *dw = args->in[2];
    const float *factor = args->in[3], *step = args->in[4];
    float *w_out = args->out[0], *m_out = args->out[1];
    float lr = step[SG_STEP_LR], mu = step[SG_STEP_MOMENTUM];
    int64_t n = count_of(args);

    if (diverged(args)) return SG_OK;
    for (int64_t i = 0; i < n; i++) {
        float wd = i < attr->n_decay ? step[SG_STEP_WEIGHT_DECAY] : 0.0f;
        float grad = factor[1] * dw[i] + wd * w[i];
        float moment = mu * m[i] + grad;

        w_out[i] = w[i] - lr * (attr->nesterov ? grad + mu * moment : moment);
        m_out[i] = moment;
    }
    return SG_OK;
}

static sg_status adamw_step_infer(sg_node *node) { return step_infer(node, 4); }

static sg_status adamw_step_ref(const sg_args *args) {
    const sg_optimizer_attr *attr = args->node->attr;
    const float *w = args->in[0], *m = args->in[1], *v = args->in[2], *dw = args->in[3];
    const float *factor = args->in[4], *step = args->in[5];
    float *w_out = args->out[0], *m_out = args->out[1], *v_out = args->out[2];
    float lr = step[SG_STEP_LR], beta1 = step[SG_STEP_MOMENTUM], beta2 = step[SG_STEP_BETA2];
    int64_t n = count_of(args);

    if (diverged(args)) return SG_OK;
    for (int64_t i = 0; i < n; i++) {
        float wd = i < attr->n_decay ? step[SG_STEP_WEIGHT_DECAY] : 0.0f;
        float grad = factor[1] * dw[i];
        float moment1 = beta1 * m[i] + (1.0f - beta1) * grad;
        float moment2 = beta2 * v[i] + (1.0f - beta2) * (grad * grad);
        float way =
            (moment1 / step[SG_STEP_BIAS1]) / (sqrtf(moment2 / step[SG_STEP_BIAS2]) + 1e-8f);

        w_out[i] = w[i] - lr * (way + wd * w[i]);
        m_out[i] = moment1;
        v_out[i] = moment2;
    }
    return SG_OK;
}

sg_value *sg_sgd_step(sg_graph *g, sg_value *w, sg_value *m, sg_value *dw, sg_value *factor,
                      sg_value *step, int64_t n_decay, bool nesterov) {
    sg_value *in[] = {w, m, dw, factor, step};
    sg_optimizer_attr attr = {n_decay, nesterov};

    return sg_node_append(g, &sg_op_sgd_step, in, 5, 5, &attr);
}

sg_value *sg_adamw_step(sg_graph *g, sg_value *w, sg_value *m, sg_value *v, sg_value *dw,
                        sg_value *factor, sg_value *step, int64_t n_decay) {
    sg_value *in[] = {w, m, v, dw, factor, step};
    sg_optimizer_attr attr = {n_decay, false};

    return sg_node_append(g, &sg_op_adamw_step, in, 6, 6, &attr);
}

const sg_op sg_op_sgd_step = {
    .name = "sgd_step",
    .attr_size = sizeof(sg_optimizer_attr),
    .infer = sgd_step_infer,
    .run = sgd_step_ref,
    .inplace = {1, 2},
};
const sg_op sg_op_adamw_step = {
    .name = "adamw_step",
    .attr_size = sizeof(sg_optimizer_attr),
    .infer = adamw_step_infer,
    .run = adamw_step_ref,
    .inplace = {1, 2, 3},
};

/* --- stats_step, ema_step --------------------------------------------------------------------- */

static sg_status blend_infer(sg_node *node) {
    SG_TRY(sg_op_expect_same(node, 2));
    SG_TRY(expect_vector(node, 2, SG_STEP_SLOTS));
    sg_op_out(node, 0, SG_F32, node->in[0]->shape);
    return SG_OK;
}

static sg_status stats_step_ref(const sg_args *args) {
    const float *stat = args->in[0], *sum = args->in[1], *step = args->in[2];
    float *out = args->out[0];
    float k = step[SG_STEP_STAT], shards = step[SG_STEP_SHARDS];
    int64_t n = count_of(args);

    if (diverged(args)) return SG_OK;
    for (int64_t i = 0; i < n; i++) out[i] = (1.0f - k) * stat[i] + k * (sum[i] / shards);
    return SG_OK;
}

static sg_status ema_step_ref(const sg_args *args) {
    const float *ema = args->in[0], *w = args->in[1], *step = args->in[2];
    float *out = args->out[0];
    float d = step[SG_STEP_EMA];
    int64_t n = count_of(args);

    if (diverged(args)) return SG_OK;
    for (int64_t i = 0; i < n; i++) out[i] = d * ema[i] + (1.0f - d) * w[i];
    return SG_OK;
}

sg_value *sg_stats_step(sg_graph *g, sg_value *stats, sg_value *sums, sg_value *step) {
    sg_value *in[] = {stats, sums, step};

    return sg_node_append(g, &sg_op_stats_step, in, 3, 3, NULL);
}

sg_value *sg_ema_step(sg_graph *g, sg_value *ema, sg_value *w, sg_value *step) {
    sg_value *in[] = {ema, w, step};

    return sg_node_append(g, &sg_op_ema_step, in, 3, 3, NULL);
}

const sg_op sg_op_stats_step = {
    .name = "stats_step",
    .infer = blend_infer,
    .run = stats_step_ref,
    .inplace = {1},
};
const sg_op sg_op_ema_step = {
    .name = "ema_step",
    .infer = blend_infer,
    .run = ema_step_ref,
    .inplace = {1},
};
