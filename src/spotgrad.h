/* Spotgrad: build a model, train it on machines that may vanish, use it.
 *
 * Read this first. A model is a function that appends nodes to a graph:
 *
 *     static sg_status digits(sg_graph *g, int64_t n, void *context) {
 *         sg_value *x = sg_input(g, "image", SG_F32, sg_shape_4(n, 1, 28, 28));
 *
 *         x = sg_conv_norm_act(g, "conv1", x, 16, 3, 2, SG_ACT_SILU, NULL);
 *         x = sg_conv_norm_act(g, "conv2", x, 32, 3, 2, SG_ACT_SILU, NULL);
 *         x = sg_linear(g, "classify", sg_global_avg_pool(g, x), 10);
 *         sg_output(g, "logits", x);
 *         if (sg_graph_mode(g) == SG_TRAIN) {
 *             sg_value *label = sg_input(g, "label", SG_I32, sg_shape_1(n));
 *             sg_loss(g, sg_cross_entropy(g, x, label), NULL);
 *         }
 *         return sg_graph_status(g);
 *     }
 *
 * The same function builds the program of one shard of a training batch and, in SG_EVAL mode, the
 * program of inference. A trainer (train/trainer.h) runs shards side by side, adds their gradients
 * in a fixed order and updates the flat state. docs/architecture.md follows one step through the
 * files.
 *
 * Conventions. Builders return the new value, or NULL after a failure, and take NULL quietly; the
 * graph keeps the first error. Images are (N, C, H, W), row-major. The loss is a SUM over the
 * shard's samples: the gradient is divided once, in the update, by the named normaliser. */
#ifndef SPOTGRAD_H
#define SPOTGRAD_H

#include "core/status.h"
#include "core/tensor.h"
#include "graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SPOTGRAD_VERSION "0.1.0"

/* --- elementwise (ops/pointwise.c) ------------------------------------------------------------ */

typedef enum { SG_ACT_NONE, SG_ACT_RELU, SG_ACT_SILU, SG_ACT_GELU } sg_act; /* gelu: linear only */

sg_value *sg_add(sg_graph *g, sg_value *a, sg_value *b); /* same shape */
sg_value *sg_mul(sg_graph *g, sg_value *a, sg_value *b); /* same shape */
sg_value *sg_scale(sg_graph *g, sg_value *x, float factor);
sg_value *sg_relu(sg_graph *g, sg_value *x);
sg_value *sg_silu(sg_graph *g, sg_value *x); /* x * sigmoid(x) */
sg_value *sg_gelu(sg_graph *g, sg_value *x); /* the exact form, by erf */
sg_value *sg_sigmoid(sg_graph *g, sg_value *x);
/* The value of x, through which no gradient passes. */
sg_value *sg_stop_gradient(sg_graph *g, sg_value *x);
/* u8 -> f32, x * factor + shift. */
sg_value *sg_to_float(sg_graph *g, sg_value *x, float factor, float shift);

/* --- dropout (ops/dropout.c) ------------------------------------------------------------------ */

/* Each element is 0 with probability p (0 <= p < 1), else divided by 1 - p: a function of the run's
 * seed, the step, the shard and the node's name. In SG_EVAL mode x itself. */
sg_value *sg_dropout(sg_graph *g, sg_value *x, float p);

/* --- shapes (ops/shape.c) --------------------------------------------------------------------- */

sg_value *sg_reshape(sg_graph *g, sg_value *x, sg_shape shape); /* same count; no copy */
/* Along axis 1, the channels; 2 to SG_MAX_IN values equal in all other dimensions. */
sg_value *sg_concat(sg_graph *g, sg_value *const x[], int n);
/* Channels [start, start + count) of axis 1. */
sg_value *sg_slice(sg_graph *g, sg_value *x, int64_t start, int64_t count);

/* --- reductions (ops/reduce.c) ---------------------------------------------------------------- */

sg_value *sg_sum(sg_graph *g, sg_value *x); /* of all elements, a scalar */

/* --- matrices (ops/matmul.c, ops/linear.c) ---------------------------------------------------- */

/* (M, K) x (K, N) -> (M, N); a flag transposes that operand first. */
sg_value *sg_matmul(sg_graph *g, sg_value *a, sg_value *b, bool transpose_a, bool transpose_b);
/* b (C) added along the channels: axis 1 of (N, C, H, W), the last axis of (M, C) and (N, T, C). */
sg_value *sg_bias(sg_graph *g, sg_value *x, sg_value *b);
/* act(x W^T + b), one kernel where a library has it: x (M, K) or (N, T, K), w (O, K), b (O) or
 * NULL.
 */
sg_value *sg_linear_with(sg_graph *g, sg_value *x, sg_value *w, sg_value *b, sg_act act);

/* --- convolution and norms (ops/conv2d.c, ops/batch_norm.c, ops/layer_norm.c) ----------------- */

typedef struct {
    int64_t stride, pad, groups; /* both axes; groups >= 1 */
    sg_act act;                  /* applied to the sum; only where no gradient passes */
} sg_conv_options;

/* x (N, C, H, W), w (OC, C / groups, KH, KW), b (OC) or NULL
 * -> (N, OC, (H + 2 pad - KH) / stride + 1, ...). Cross-correlation, as everywhere in the field. */
sg_value *sg_conv2d(sg_graph *g, sg_value *x, sg_value *w, sg_value *b, sg_conv_options options);

/* y = act(gamma * (x - mean) * rstd + beta) [+ residual], mean and variance of the batch over
 * (N, H, W); fused. Outputs of the node: y, mean (C), rstd (C), var (C; unbiased, for the running
 * statistics). residual (as x) may be NULL. */
sg_value *sg_batch_norm(sg_graph *g, sg_value *x, sg_value *gamma, sg_value *beta,
                        sg_value *residual, float eps, sg_act act);

/* y = gamma * (s - mean) * rstd + beta, s = x [+ residual], mean and variance over the last axis of
 * (M, C) or (N, T, C). Outputs of the node: y, mean (M), rstd (M), and where there is a residual
 * (else NULL) s: the residual stream of a block that normalises first. */
sg_value *sg_layer_norm(sg_graph *g, sg_value *x, sg_value *gamma, sg_value *beta,
                        sg_value *residual, float eps);

/* For inference: the norm folded into the filters. Outputs: w' (as w), b' (OC). */
sg_value *sg_norm_fold(sg_graph *g, sg_value *w, sg_value *gamma, sg_value *beta, sg_value *mean,
                       sg_value *var, float eps);

/* --- pooling (ops/pool.c) --------------------------------------------------------------------- */

sg_value *sg_max_pool2d(sg_graph *g, sg_value *x, int64_t kernel, int64_t stride, int64_t pad);
sg_value *sg_global_avg_pool(sg_graph *g, sg_value *x); /* (N, C, H, W) -> (N, C) */
sg_value *sg_upsample2x(sg_graph *g, sg_value *x); /* nearest: (N, C, H, W) -> (N, C, 2H, 2W) */

/* x (N, T, C), length i32 (N), 0 .. T -> (N, C): the mean of the first `length` tokens of each
 * text; of none it is 0. (ops/masked_mean.c) */
sg_value *sg_masked_mean(sg_graph *g, sg_value *x, sg_value *length);
/* x (N, T, C), length i32 (N), kernel odd -> (N, T, kernel C): of each token those around it,
 * itself in the middle, zeros where the text has none; zeros for tokens from `length` on. A linear
 * layer over it is a convolution along the text. (ops/windows.c) */
sg_value *sg_windows(sg_graph *g, sg_value *x, sg_value *length, int64_t kernel);

/* --- classification (ops/softmax.c) ----------------------------------------------------------- */

sg_value *sg_softmax(sg_graph *g, sg_value *x); /* over the last axis of (N, C) */
/* logits (N, C), label i32 (N) -> scalar: sum over n of -log softmax(logits_n)[label_n]. A label
 * below 0 is left out. */
sg_value *sg_cross_entropy(sg_graph *g, sg_value *logits, sg_value *label);
/* logits, target f32 (N, C) -> scalar: sum over n and c of -target_nc log softmax(logits_n)_c, the
 * softmax over the classes with target_nc >= 0 alone. (ops/soft_cross_entropy.c) */
sg_value *sg_soft_cross_entropy(sg_graph *g, sg_value *logits, sg_value *target);

/* --- texts (ops/embedding.c, ops/attention.c) ------------------------------------------------- */

/* ids i32 (N, T), table (V, C), position (T, C) or NULL -> (N, T, C): table[ids[n, t]] +
 * position[t]. An id below 0 is padding: zeros for the table's row. */
sg_value *sg_embedding(sg_graph *g, sg_value *ids, sg_value *table, sg_value *position);
/* ids i32 (N, F), weights (N, F) or NULL (all 1), table (R, d) -> (N, d): the sum over f of
 * weights[n, f] table[ids[n, f]]. An id below 0 is padding. A table of the kind SG_ENTRY_ROWS is
 * updated row by row; then ids and weights are inputs of the graph, and the table is used once.
 * (ops/embedding_bag.c) */
sg_value *sg_embedding_bag(sg_graph *g, sg_value *ids, sg_value *weights, sg_value *table);
/* qkv (N, T, 3 C), of each token its queries, keys and values, C / heads a head; length i32 (N) or
 * NULL -> (N, T, C): softmax(q k^T / sqrt(C / heads)) v over the first `length` tokens of a text;
 * zero for the others. */
sg_value *sg_attention(sg_graph *g, sg_value *qkv, sg_value *length, int64_t heads);

/* --- layers (nn/layers.c) --------------------------------------------------------------------- */

/* Convolution without bias + batch norm + activation [+ residual]; in SG_EVAL mode one convolution
 * with the running statistics folded in. Pads to keep H / stride. Parameters NAME.conv.weight,
 * NAME.norm.weight, NAME.norm.bias, statistics NAME.norm.mean, NAME.norm.var. */
sg_value *sg_conv_norm_act(sg_graph *g, const char *name, sg_value *x, int64_t channels,
                           int64_t kernel, int64_t stride, sg_act act, sg_value *residual);
/* Convolution with bias, no norm: NAME.weight, NAME.bias, bias drawn as the constant `bias`. */
sg_value *sg_conv(sg_graph *g, const char *name, sg_value *x, int64_t channels, int64_t kernel,
                  int64_t stride, float bias);
/* x W^T + b, x (M, C) or (N, T, C): NAME.weight (out, C), NAME.bias. */
sg_value *sg_linear(sg_graph *g, const char *name, sg_value *x, int64_t out);
/* The same under an activation. */
sg_value *sg_linear_act(sg_graph *g, const char *name, sg_value *x, int64_t out, sg_act act);

/* Layer norm over the last axis of x [+ residual]: NAME.weight, NAME.bias, eps 1e-5. residual may
 * be NULL; *sum, where asked for, is x + residual (x where there is none). */
sg_value *sg_norm(sg_graph *g, const char *name, sg_value *x, sg_value *residual, sg_value **sum);

/* Register the loss of a training graph: appends the gradients, records the sum "loss" and the
 * normaliser. `normaliser` is a scalar summed over the global batch that divides the gradient (a
 * detector's target scores), or NULL: the number of samples. */
void sg_loss(sg_graph *g, sg_value *loss, sg_value *normaliser);

#ifdef __cplusplus
}
#endif
#endif
