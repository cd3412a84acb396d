/* Forms of the ops of texts. The number of tokens varies as the batch does, so no form has it. A
 * text's tokens are those whose mask (N, T) is 1; the graph's own lengths say the same of texts
 * whose padding stands behind them. */
#include <float.h>
#include <math.h>
#include <stdint.h>

#include "onnx/forms.h"

static const char *cast(sg_onnx *m, const char *x, sg_onnx_type to) {
    return sg_onnx_node(m, "Cast", SG_ONNX_IN(x), SG_ONNX_WITH(sg_onnx_attr_int("to", to)));
}

static const char *unsqueeze(sg_onnx *m, const char *x, int64_t axis) {
    return SG_ONNX_OP(m, "Unsqueeze", x, SG_ONNX_INTS(m, axis));
}

static const char *transpose(sg_onnx *m, const char *x, const int64_t perm[4]) {
    return sg_onnx_node(m, "Transpose", SG_ONNX_IN(x),
                        SG_ONNX_WITH(sg_onnx_attr_ints("perm", 4, perm)));
}

void sg_form_softmax(sg_conversion *c, const sg_node *node) {
    sg_conversion_out(c, node, 0,
                      sg_onnx_node(sg_conversion_model(c), "Softmax",
                                   SG_ONNX_IN(sg_conversion_in(c, node, 0)),
                                   SG_ONNX_WITH(sg_onnx_attr_int("axis", -1))));
}

/* The residual stream is the node's output 3. */
void sg_form_layer_norm(sg_conversion *c, const sg_node *node) {
    const sg_norm_attr *a = node->attr;
    sg_onnx *m = sg_conversion_model(c);
    const char *s = sg_conversion_in(c, node, 0);

    if (node->n_in > 3 && node->in[3]) {
        s = SG_ONNX_OP(m, "Add", s, sg_conversion_in(c, node, 3));
        sg_conversion_out(c, node, 3, s);
    }
    sg_conversion_out(
        c, node, 0,
        sg_onnx_node(
            m, "LayerNormalization",
            SG_ONNX_IN(s, sg_conversion_in(c, node, 1), sg_conversion_in(c, node, 2)),
            SG_ONNX_WITH(sg_onnx_attr_int("axis", -1), sg_onnx_attr_float("epsilon", a->eps))));
}

/* --- tables ----------------------------------------------------------------------------------- */

/* Rows of the table, that of an id below 0 being any. */
static const char *rows_of(sg_onnx *m, const char *table, const char *ids) {
    const char *at = SG_ONNX_OP(m, "Max", ids, sg_onnx_int(m, 0));

    return SG_ONNX_OP(m, "Gather", table, at);
}

/* f32, 1 where an id is not padding. */
static const char *there(sg_onnx *m, const char *ids) {
    const char *is = SG_ONNX_OP(m, "GreaterOrEqual", ids, sg_onnx_int(m, 0));

    return cast(m, is, SG_ONNX_FLOAT);
}

/* The first T rows of the positions, T being that of the ids. */
static const char *first_rows(sg_onnx *m, const char *position, const char *ids) {
    const char *T =
        sg_onnx_node(m, "Shape", SG_ONNX_IN(ids), SG_ONNX_WITH(sg_onnx_attr_int("start", 1)));

    return SG_ONNX_OP(m, "Slice", position, SG_ONNX_INTS(m, 0), T, SG_ONNX_INTS(m, 0));
}

void sg_form_embedding(sg_conversion *c, const sg_node *node) {
    sg_onnx *m = sg_conversion_model(c);
    const char *ids = sg_conversion_in(c, node, 0), *table = sg_conversion_in(c, node, 1);
    const char *x = SG_ONNX_OP(m, "Mul", rows_of(m, table, ids), unsqueeze(m, there(m, ids), -1));

    if (node->n_in > 2 && node->in[2])
        x = SG_ONNX_OP(m, "Add", x, first_rows(m, sg_conversion_in(c, node, 2), ids));
    sg_conversion_out(c, node, 0, x);
}

/* weights (N, 1, F) times rows (N, F, d) */
void sg_form_embedding_bag(sg_conversion *c, const sg_node *node) {
    sg_onnx *m = sg_conversion_model(c);
    const char *ids = sg_conversion_in(c, node, 0), *table = sg_conversion_in(c, node, 1);
    const char *weights = there(m, ids), *sum;

    if (node->n_in > 2 && node->in[2])
        weights = SG_ONNX_OP(m, "Mul", weights, sg_conversion_in(c, node, 2));
    sum = SG_ONNX_OP(m, "MatMul", unsqueeze(m, weights, 1), rows_of(m, table, ids));
    sg_conversion_out(c, node, 0, SG_ONNX_OP(m, "Squeeze", sum, SG_ONNX_INTS(m, 1)));
}

/* --- tokens and their neighbours -------------------------------------------------------------- */

/* Queries, keys or values of all heads: (N, T, C) of the last axis -> (N, H, T, D). */
static const char *heads_of(sg_onnx *m, const char *qkv, int part, int64_t C, int64_t H) {
    const char *x = SG_ONNX_OP(m, "Slice", qkv, SG_ONNX_INTS(m, part * C),
                               SG_ONNX_INTS(m, (part + 1) * C), SG_ONNX_INTS(m, 2));

    x = SG_ONNX_OP(m, "Reshape", x, SG_ONNX_INTS(m, 0, 0, H, C / H));
    return transpose(m, x, (const int64_t[]){0, 2, 1, 3});
}

/* The greatest negative number for keys that are none: of a text without tokens it leaves numbers,
 * where minus infinity would leave none. */
static const char *without_padding(sg_onnx *m, const char *scores, const char *mask) {
    const char *is = cast(m, unsqueeze(m, unsqueeze(m, mask, 1), 1), SG_ONNX_BOOL);

    return SG_ONNX_OP(m, "Where", is, scores, sg_onnx_float(m, -FLT_MAX));
}

void sg_form_attention(sg_conversion *c, const sg_node *node) {
    const sg_attention_attr *a = node->attr;
    int64_t C = node->in[0]->shape.dim[2] / 3, H = a->heads;
    sg_onnx *m = sg_conversion_model(c);
    const char *qkv = sg_conversion_in(c, node, 0);
    const char *q = heads_of(m, qkv, 0, C, H), *k = heads_of(m, qkv, 1, C, H);
    const char *v = heads_of(m, qkv, 2, C, H), *s, *y;

    s = SG_ONNX_OP(m, "MatMul", q, transpose(m, k, (const int64_t[]){0, 1, 3, 2}));
    s = SG_ONNX_OP(m, "Mul", s, sg_onnx_float(m, 1.0f / sqrtf((float)(C / H))));
    if (node->in[1]) s = without_padding(m, s, sg_conversion_in(c, node, 1));
    s = sg_onnx_node(m, "Softmax", SG_ONNX_IN(s), SG_ONNX_WITH(sg_onnx_attr_int("axis", -1)));
    y = transpose(m, SG_ONNX_OP(m, "MatMul", s, v), (const int64_t[]){0, 2, 1, 3});
    y = SG_ONNX_OP(m, "Reshape", y, SG_ONNX_INTS(m, 0, 0, C));
    if (node->in[1]) y = SG_ONNX_OP(m, "Mul", y, unsqueeze(m, sg_conversion_in(c, node, 1), -1));
    sg_conversion_out(c, node, 0, y);
}

static const char *sum_over(sg_onnx *m, const char *x, int64_t axis) {
    return sg_onnx_node(m, "ReduceSum", SG_ONNX_IN(x, SG_ONNX_INTS(m, axis)),
                        SG_ONNX_WITH(sg_onnx_attr_int("keepdims", 0)));
}

/* What lies beyond a text may be anything, also no number: it is left out, not multiplied by 0. */
void sg_form_masked_mean(sg_conversion *c, const sg_node *node) {
    sg_onnx *m = sg_conversion_model(c);
    const char *mask = sg_conversion_in(c, node, 1), *wide = unsqueeze(m, mask, -1);
    const char *x = SG_ONNX_OP(m, "Where", cast(m, wide, SG_ONNX_BOOL),
                               sg_conversion_in(c, node, 0), sg_onnx_float(m, 0.0f));
    const char *n = SG_ONNX_OP(m, "Max", sum_over(m, wide, 1), sg_onnx_float(m, 1.0f));

    sg_conversion_out(c, node, 0, SG_ONNX_OP(m, "Div", sum_over(m, x, 1), n));
}

/* Zeros around the tokens, then K shifted copies one beside the other. */
void sg_form_windows(sg_conversion *c, const sg_node *node) {
    const int64_t K = ((const sg_windows_attr *)node->attr)->kernel, h = (K - 1) / 2;
    sg_onnx *m = sg_conversion_model(c);
    const char *mask = unsqueeze(m, sg_conversion_in(c, node, 1), -1);
    const char *x = SG_ONNX_OP(m, "Mul", sg_conversion_in(c, node, 0), mask);
    const char *shifted[256]; /* the encoder has at most 255 */

    x = SG_ONNX_OP(m, "Pad", x, SG_ONNX_INTS(m, 0, h, 0, 0, h, 0));
    if (K >= (int64_t)(sizeof shifted / sizeof shifted[0])) {
        sg_onnx_fail(m, sg_fail(SG_ERR_UNSUPPORTED, "export: %s: windows of %lld tokens",
                                node->name, (long long)K));
        return;
    }
    for (int64_t q = 0; q < K; q++)
        shifted[q] =
            SG_ONNX_OP(m, "Slice", x, SG_ONNX_INTS(m, q),
                       SG_ONNX_INTS(m, q + 1 < K ? q + 1 - K : INT64_MAX), SG_ONNX_INTS(m, 1));
    shifted[K] = SG_ONNX_END;
    x = sg_onnx_node(m, "Concat", shifted, SG_ONNX_WITH(sg_onnx_attr_int("axis", 2)));
    sg_conversion_out(c, node, 0, SG_ONNX_OP(m, "Mul", x, mask));
}
