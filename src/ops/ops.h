/* What an op is, the attributes of each, and builders that only other ops need.
 *
 * An op file from top to bottom: formula and shapes; `infer`, the only place that rejects inputs;
 * the gradient rule, which appends ordinary nodes; the reference kernel, which is the definition;
 * the table entry. The public builders are declared in spotgrad.h. */
#ifndef SG_OPS_OPS_H
#define SG_OPS_OPS_H

#include "graph/backend.h"
#include "graph/graph.h"
#include "spotgrad.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sg_op {
    const char *name;
    size_t attr_size;
    /* Set the outputs (sg_op_out); reject what does not fit with sg_op_fail. */
    sg_status (*infer)(sg_node *node);
    /* Append the backward nodes. dy[o] is the gradient of output o, or NULL when none arrives.
     * NULL: a gradient that would have to pass this op is an error. */
    sg_status (*grad)(sg_graph *g, sg_node *node, sg_value *const dy[]);
    /* Append nodes that compute output 0 again, to the same bits, from what the backward pass keeps
     * anyway: for large values that are cheaper to compute twice than to keep. NULL: it is kept. */
    sg_value *(*again)(sg_graph *g, sg_node *node);
    /* The reference kernel; NULL for sources and views. */
    sg_kernel run;
    bool source;         /* has no inputs and is not run: input, param, constant, view_of */
    bool view;           /* output 0 is input 0's memory under another shape */
    bool stops_gradient; /* its outputs never need a gradient: stop_gradient, assigners */
    bool random;         /* depends on the step: never part of the prologue */
    /* 1 + the input that the REFERENCE kernel may overwrite with output o, 0: none. */
    int inplace[SG_MAX_OUT];
};

#define SG_OP(identifier, name) extern const sg_op sg_op_##name;
#include "ops/ops.def"
#undef SG_OP

#define SG_OP(identifier, name) SG_OP_##identifier,
typedef enum {
#include "ops/ops.def"
    SG_OP_COUNT
} sg_op_id;
#undef SG_OP

/* All ops in the order of ops.def. */
extern const sg_op *const sg_ops[SG_OP_COUNT];

/* Reject an input of `node`: SG_ERR_ARG, "NODE (op): TEXT; inputs (2, 3) (4, 5)". */
sg_status sg_op_fail(const sg_node *node, const char *fmt, ...) SG_PRINTF(2, 3);
/* Set output o (and n_out to at least o + 1). */
void sg_op_out(sg_node *node, int o, sg_dtype dtype, sg_shape shape);
/* For infer: input i is there, of that dtype and rank (-1: any). */
sg_status sg_op_expect(const sg_node *node, int i, sg_dtype dtype, int rank) SG_CHECKED;
/* For infer: input i is i32 (n), the lengths of n texts. */
sg_status sg_op_expect_lengths(const sg_node *node, int i, int64_t n) SG_CHECKED;
/* For kernels: each of n lengths is 0 .. T, or SG_ERR_DATA; NULL is fine. */
sg_status sg_op_check_lengths(const sg_args *args, const int32_t *length, int64_t n,
                              int64_t T) SG_CHECKED;
/* For infer: the first n inputs are there, f32 and of one shape. */
sg_status sg_op_expect_same(const sg_node *node, int n) SG_CHECKED;

/* --- attributes of the sources ---------------------------------------------------------------- */

typedef struct {
    sg_place place; /* input: its number; param: filled when compiled; view_of: bytes */
    int index;      /* param: the entry of the table */
} sg_source_attr;

typedef struct {
    void *data; /* owned by the node */
    size_t bytes;
} sg_constant_attr;

/* --- the step block: what varies from step to step (SG_BUF_STEP, SG_STEP_SLOTS floats) -------- */

typedef enum {
    SG_STEP_LR,           /* learning rate */
    SG_STEP_WEIGHT_DECAY, /* multiplied by the learning rate */
    SG_STEP_MOMENTUM,     /* SGD's momentum, AdamW's beta 1 */
    SG_STEP_BETA2,
    SG_STEP_BIAS1,   /* 1 - beta1^t, AdamW's bias corrections */
    SG_STEP_BIAS2,   /* 1 - beta2^t */
    SG_STEP_EMA,     /* decay of the moving average at this step */
    SG_STEP_STAT,    /* momentum of the running statistics: new = (1 - m) old + m batch */
    SG_STEP_CLIP,    /* largest global norm of the gradient; 0: no clipping */
    SG_STEP_SHARDS,  /* the number of shards whose statistics were added */
    SG_STEP_ROWS_LR, /* learning rate of tables of rows */
    /* Not 0 where a sum of gradients is not finite, set on a device: the ops of ops/optimizer.c
     * then leave what they would overwrite as it is. On CPUs the update is not reached. */
    SG_STEP_DIVERGED,
    /* Two slots that are no floats but, low word first, the 64 bits of sg_key_mix(seed, step), from
     * which an op that draws random numbers makes its keys. */
    SG_STEP_KEY,
    SG_STEP_SLOTS = 16
} sg_step_slot;

/* --- attributes and builders, by file --------------------------------------------------------- */

/* Builders of spotgrad.h are not repeated. Those that end in _dx, _dw, _db are the backward ops:
 * all their inputs are required and they have no gradient rule of their own. */

/* pointwise.c */

typedef struct {
    float factor, shift; /* x * factor + shift; scale: no shift */
} sg_affine_attr;        /* scale, to_float */

sg_value *sg_relu_dx(sg_graph *g, sg_value *y, sg_value *dy);    /* y: relu's output or its input */
sg_value *sg_silu_dx(sg_graph *g, sg_value *x, sg_value *dy);    /* x: silu's input */
sg_value *sg_gelu_dx(sg_graph *g, sg_value *x, sg_value *dy);    /* x: gelu's input */
sg_value *sg_sigmoid_dx(sg_graph *g, sg_value *y, sg_value *dy); /* y: sigmoid's output */

/* For reference kernels: act(x) and its derivative at x. */
double sg_act_value(sg_act act, double x);
double sg_act_slope(sg_act act, double x);
/* Whether the derivative depends on more than act(x). */
bool sg_act_slope_needs_x(sg_act act);

/* shape.c */

typedef struct {
    sg_shape shape; /* of the output */
} sg_shape_attr;    /* reshape, fill, global_avg_pool_dx, masked_mean_dx */

typedef struct {
    int64_t start, count; /* channels of axis 1 */
    int64_t total;        /* slice_dx: the channels of the output */
} sg_slice_attr;          /* slice, slice_dx */

/* Zero but for channels [start, start + dy's) of `total`. */
sg_value *sg_slice_dx(sg_graph *g, sg_value *dy, int64_t start, int64_t total);

/* reduce.c */

sg_value *sg_fill(sg_graph *g, sg_value *scalar, sg_shape shape); /* the scalar everywhere */

/* matmul.c */

typedef struct {
    bool transpose_a, transpose_b;
} sg_matmul_attr;

sg_value *sg_bias_db(sg_graph *g, sg_value *dy); /* (N, C, H, W) or (M, C) -> (C): the sum */

/* linear.c */

typedef struct {
    sg_act act;   /* linear: of the sum; linear_dx: whose slope at z is a factor */
    bool keep_z;  /* linear: the sum is a second output */
} sg_linear_attr; /* linear (x, w, b or NULL), linear_dx (dz, w, z or NULL) */

typedef struct {
    bool db;         /* a second output */
} sg_linear_dw_attr; /* linear_dw (dz, x) */

/* Outputs dx (.., K) = (dz W) act'(z); z (.., K) may be NULL: then dz W. */
sg_value *sg_linear_dx(sg_graph *g, sg_value *dz, sg_value *w, sg_value *z, sg_act act);
/* Outputs dw (O, K), db (O) if asked for. */
sg_value *sg_linear_dw(sg_graph *g, sg_value *dz, sg_value *x, bool db);

/* For kernels of these three: w is (O, K), and there are M rows. */
typedef struct {
    int64_t M, K, O;
} sg_linear_sizes;
sg_linear_sizes sg_linear_sizes_of(const sg_node *node);

/* conv2d.c */

typedef struct {
    sg_conv_options options;
    sg_shape shape; /* of the output of conv2d_dx and conv2d_dw; rank 0 in conv2d */
} sg_conv_attr;     /* conv2d (x, w, b or NULL), conv2d_dx (w, dy), conv2d_dw (x, dy) */

sg_value *sg_conv2d_dx(sg_graph *g, sg_value *w, sg_value *dy, sg_conv_options options,
                       sg_shape x_shape);
sg_value *sg_conv2d_dw(sg_graph *g, sg_value *x, sg_value *dy, sg_conv_options options,
                       sg_shape w_shape);

/* batch_norm.c */

typedef struct {
    float eps;
    sg_act act; /* norm_fold, layer_norm: none */
} sg_norm_attr; /* batch_norm, batch_norm_again, batch_norm_dx, norm_fold, layer_norm */

/* y of a batch_norm, from its statistics; the residual may be NULL. */
sg_value *sg_batch_norm_again(sg_graph *g, sg_value *x, sg_value *gamma, sg_value *beta,
                              sg_value *mean, sg_value *rstd, sg_value *residual, float eps,
                              sg_act act);
/* Outputs dx (as x), dgamma (C), dbeta (C). The residual's gradient is dy itself. */
sg_value *sg_batch_norm_dx(sg_graph *g, sg_value *x, sg_value *gamma, sg_value *beta,
                           sg_value *mean, sg_value *rstd, sg_value *dy, float eps, sg_act act);

/* pool.c */

typedef struct {
    int64_t kernel, stride, pad; /* both axes */
} sg_pool_attr;                  /* max_pool2d, max_pool2d_dx */

/* dy goes to the FIRST greatest element of each window, row by row; NaN is the greatest. */
sg_value *sg_max_pool2d_dx(sg_graph *g, sg_value *x, sg_value *dy, int64_t kernel, int64_t stride,
                           int64_t pad);
sg_value *sg_global_avg_pool_dx(sg_graph *g, sg_value *dy, sg_shape x_shape);
sg_value *sg_upsample2x_dx(sg_graph *g, sg_value *dy); /* (N, C, 2H, 2W) -> (N, C, H, W) */

/* softmax.c. The node of cross_entropy has a second output, the probabilities (N, C). */

sg_value *sg_softmax_dx(sg_graph *g, sg_value *y, sg_value *dy); /* y: softmax's output */
/* p (N, C), label (N), dloss scalar -> (N, C) */
sg_value *sg_cross_entropy_dx(sg_graph *g, sg_value *p, sg_value *label, sg_value *dloss);

/* soft_cross_entropy.c. The node of soft_cross_entropy has a second output, the probabilities. */

/* p, target (N, C), dloss scalar -> (N, C) */
sg_value *sg_soft_cross_entropy_dx(sg_graph *g, sg_value *p, sg_value *target, sg_value *dloss);

/* layer_norm.c */

/* s, mean, rstd: layer_norm's; dy: of y; ds: of s from elsewhere, or NULL. Outputs dx (as s),
 * dgamma (C), dbeta (C). dx is the residual's gradient too. */
sg_value *sg_layer_norm_dx(sg_graph *g, sg_value *s, sg_value *gamma, sg_value *mean,
                           sg_value *rstd, sg_value *dy, sg_value *ds);

/* masked_mean.c */

sg_value *sg_masked_mean_dx(sg_graph *g, sg_value *length, sg_value *dy, int64_t T);

/* windows.c */

typedef struct {
    int64_t kernel; /* tokens of a window: K */
} sg_windows_attr;  /* windows, windows_dx */

/* length i32 (N), dy (N, T, K C) -> (N, T, C) */
sg_value *sg_windows_dx(sg_graph *g, sg_value *length, sg_value *dy, int64_t kernel);

/* dropout.c */

typedef struct {
    float p;       /* the share that is dropped */
    uint64_t name; /* sg_key_name of the op that the mask is for: its gradient has the same */
} sg_dropout_attr;

/* SG_STEP_KEY of the step block, i32 (2). */
sg_value *sg_step_key(sg_graph *g);
sg_value *sg_dropout_keyed(sg_graph *g, sg_value *x, sg_value *key, float p, uint64_t name);

/* For kernels. The mask's key, from the words of SG_STEP_KEY and what does not change from step to
 * step; a word of Philox below the threshold drops its element, the others are scaled. */
uint64_t sg_dropout_place(const sg_dropout_attr *attr, int32_t shard);
uint64_t sg_dropout_key(const int32_t step_key[2], uint64_t place);
uint32_t sg_dropout_threshold(const sg_dropout_attr *attr);
float sg_dropout_scale(const sg_dropout_attr *attr);

/* embedding.c */

typedef struct {
    int64_t rows;    /* of the table: V */
} sg_embedding_attr; /* embedding_dw, embedding_bag_dw */

/* ids i32 (N, T), dy (N, T, C) -> (rows, C) */
sg_value *sg_embedding_dw(sg_graph *g, sg_value *ids, sg_value *dy, int64_t rows);

/* embedding_bag.c */

/* ids i32 (N, F), weights (N, F) or NULL, dy (N, d) -> (rows, d), dense */
sg_value *sg_embedding_bag_dw(sg_graph *g, sg_value *ids, sg_value *weights, sg_value *dy,
                              int64_t rows);

/* attention.c. The node of attention has a second output, lse (N, H, T). */

typedef struct {
    int64_t heads;
} sg_attention_attr; /* attention, attention_dx */

/* The gradient of qkv; o, lse: attention's outputs; dy: of o. length may be NULL. */
sg_value *sg_attention_dx(sg_graph *g, sg_value *qkv, sg_value *length, sg_value *o, sg_value *lse,
                          sg_value *dy, int64_t heads);

/* optimizer.c: the nodes of update programs, on views of the flat buffers (sg_view_of). `step` is
 * the step block (SG_STEP_SLOTS). They work in place where sg_sink puts an output on the view that
 * it updates; all keep padding zero. */

typedef struct {
    int64_t n_decay; /* the first n_decay floats are subject to weight decay */
    bool nesterov;   /* sgd_step */
} sg_optimizer_attr; /* sgd_step, adamw_step */

enum { SG_NORM_BLOCK = 4096 }; /* floats whose squares grad_scale adds before its tree */

/* grads (n_params), sums (SG_MAX_SUMS), step -> factor (2): [0] = 1 / max(normaliser, 1), [1] =
 * [0] * min(1, clip / norm), by which each raw gradient is multiplied; and the second output of the
 * node, a scalar: norm, the global norm of the gradient times [0], before clipping. */
sg_value *sg_grad_scale(sg_graph *g, sg_value *grads, sg_value *sums, sg_value *step);
/* w, m, dw (n); factor (2) -> w', m'. */
sg_value *sg_sgd_step(sg_graph *g, sg_value *w, sg_value *m, sg_value *dw, sg_value *factor,
                      sg_value *step, int64_t n_decay, bool nesterov);
/* w, m, v, dw (n); factor (2) -> w', m', v'. */
sg_value *sg_adamw_step(sg_graph *g, sg_value *w, sg_value *m, sg_value *v, sg_value *dw,
                        sg_value *factor, sg_value *step, int64_t n_decay);
/* stats, sums (n): the statistics and what the shards' batch statistics add up to -> stats' */
sg_value *sg_stats_step(sg_graph *g, sg_value *stats, sg_value *sums, sg_value *step);
/* ema, w (n) -> ema' */
sg_value *sg_ema_step(sg_graph *g, sg_value *ema, sg_value *w, sg_value *step);

/* rows.c: the update of a table of rows, of the kind of optimizer.c's. */

typedef struct {
    sg_rows_rule rule;
    int parts; /* a power of two: the rows are divided into so many (sg_rows_part), and a run treats
                  those of part info.shard alone */
} sg_rows_attr;

/* What a table of rows is updated with; the gradient is graph.h's sg_rows_use. */
typedef struct {
    sg_value *table;   /* (R, d) */
    sg_value *sum;     /* as the rule says, NULL for SGD */
    sg_value *ids;     /* i32 (B, F), of the whole batch */
    sg_value *weights; /* (B, F) or NULL */
    sg_value *source;  /* (B, d) */
    sg_value *sums;    /* (SG_MAX_SUMS): the normaliser is among them */
    sg_value *step;    /* the step block */
} sg_rows_inputs;

/* -> table', and as the second output of the node sum'. */
sg_value *sg_rows_step(sg_graph *g, const sg_rows_inputs *in, sg_rows_attr attr);

/* The node's inputs in order; its sizes. For kernels. */
enum {
    SG_ROWS_TABLE,
    SG_ROWS_IDS,
    SG_ROWS_SOURCE,
    SG_ROWS_SUMS,
    SG_ROWS_STEP,
    SG_ROWS_SUM,
    SG_ROWS_WEIGHTS,
    SG_ROWS_INPUTS
};
/* Neighbouring rows are in one part, so that parts share few cache lines. */
enum { SG_ROWS_RUN = 4 };
static inline int32_t sg_rows_part(int32_t row, int parts) {
    return row / SG_ROWS_RUN & (parts - 1);
}
/* Where outputs are not the inputs: copies these, the rows of the part alone. */
void sg_rows_copy(const sg_args *args);
/* Added to the root by which Adagrad divides; PyTorch's. */
#define SG_ROWS_EPS 1e-10f

#ifdef __cplusplus
}
#endif
#endif
