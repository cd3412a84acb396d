/* Attention of texts to themselves, all heads of a layer, and its gradient.
 *
 *   attention      S_ij = q_i . k_j / sqrt(D)           i, j < length
 *                  lse_i = log sum_j exp(S_ij)
 *                  o_i = sum_j P_ij v_j,                P_ij = exp(S_ij - lse_i)
 *   attention_dx   dv_j = sum_i P_ij do_i
 *                  dS_ij = P_ij (do_i . v_j - do_i . o_i)
 *                  dq_i = sum_j dS_ij k_j / sqrt(D),    dk_j = sum_i dS_ij q_i / sqrt(D)
 *
 * for each text n and head h alone. qkv, dqkv: (N, T, 3 H D), of each token the queries of all
 * heads, then the keys, then the values, as one matrix product gives them; o, do: (N, T, H D); lse:
 * (N, H, T); length: i32 (N), 0 .. T, or left out: T. Rows from a text's length on take no part:
 * nobody attends to them, their o and lse are 0, and so are their gradients.
 *
 * The probabilities (N, H, T, T) are never kept: the gradient makes them again from S and lse, and
 * sum_j P_ij dP_ij is do_i . o_i (Dao et al., FlashAttention, 2022, algorithm 4). A length out of
 * range is bad data: an error on CPUs; on a device, which cannot stop, o of that text is NaN. */
#include "ops/ops.h"

#include <math.h>
#include <string.h>

typedef struct {
    int64_t N, T, H, D, C; /* C = H D */
} sizes;

static sizes sizes_of(const sg_node *node) {
    const sg_attention_attr *attr = node->attr;
    const sg_shape *qkv = &node->in[0]->shape;
    sizes s = {.N = qkv->dim[0], .T = qkv->dim[1], .H = attr->heads, .C = qkv->dim[2] / 3};

    s.D = s.C / s.H;
    return s;
}

static sg_status expect_qkv(const sg_node *node) {
    const sg_attention_attr *attr = node->attr;
    const sg_shape *qkv;

    SG_TRY(sg_op_expect(node, 0, SG_F32, 3));
    qkv = &node->in[0]->shape;
    if (attr->heads < 1) return sg_op_fail(node, "%lld heads", (long long)attr->heads);
    if (qkv->dim[2] < 1 || qkv->dim[2] % (3 * attr->heads) != 0)
        return sg_op_fail(node, "input 0 must be (N, T, 3 H D) with H = %lld heads",
                          (long long)attr->heads);
    if (!node->in[1]) return SG_OK;
    return sg_op_expect_lengths(node, 1, qkv->dim[0]);
}

static double dot(const float *a, const float *b, int64_t n) {
    double sum = 0.0;

    for (int64_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

/* --- attention -------------------------------------------------------------------------------- */

static sg_status attention_infer(sg_node *node) {
    sizes s;

    SG_TRY(expect_qkv(node));
    s = sizes_of(node);
    sg_op_out(node, 0, SG_F32, sg_shape_3(s.N, s.T, s.C));
    sg_op_out(node, 1, SG_F32, sg_shape_3(s.N, s.H, s.T));
    return SG_OK;
}

static sg_status attention_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    const sg_attention_attr *attr = node->attr;

    if (dy[1])
        return sg_fail(SG_ERR_UNSUPPORTED, "%s (attention): no gradient passes its lse",
                       node->name);
    if (!sg_wants_grad(node->in[0])) return SG_OK;
    return sg_accumulate(g, node->in[0],
                         sg_attention_dx(g, node->in[0], node->in[1], &node->out[0], &node->out[1],
                                         dy[0], attr->heads));
}

/* S_ij, with rows of 3 C */
static double score(const sizes *s, const float *q, const float *k, int64_t i, int64_t j) {
    return dot(q + i * 3 * s->C, k + j * 3 * s->C, s->D) / sqrt((double)s->D);
}

static double score_max(const sizes *s, const float *q, const float *k, int64_t i, int64_t length) {
    double m = -INFINITY;

    for (int64_t j = 0; j < length; j++) m = fmax(m, score(s, q, k, i, j));
    return m;
}

static double score_exp_sum(const sizes *s, const float *q, const float *k, int64_t i,
                            int64_t length, double m) {
    double sum = 0.0;

    for (int64_t j = 0; j < length; j++) sum += exp(score(s, q, k, i, j) - m);
    return sum;
}

/* Of one text and head: q, k, v have rows of 3 C, o of C. */
static void attend(const sizes *s, const float *q, int64_t length, float *o, float *lse) {
    const float *k = q + s->C, *v = k + s->C;

    for (int64_t i = 0; i < length; i++) {
        double m = score_max(s, q, k, i, length);
        double sum = score_exp_sum(s, q, k, i, length, m);

        lse[i] = (float)(m + log(sum));
        for (int64_t d = 0; d < s->D; d++) o[i * s->C + d] = 0.0f;
        for (int64_t j = 0; j < length; j++) {
            double p = exp(score(s, q, k, i, j) - m) / sum;

            for (int64_t d = 0; d < s->D; d++)
                o[i * s->C + d] += (float)(p * (double)v[j * 3 * s->C + d]);
        }
    }
}

static sg_status attention_ref(const sg_args *args) {
    sizes s = sizes_of(args->node);
    const int32_t *lengths = args->in[1];
    float *o = args->out[0], *lse = args->out[1];

    SG_TRY(sg_op_check_lengths(args, lengths, s.N, s.T));
    memset(o, 0, (size_t)(s.N * s.T * s.C) * sizeof *o);
    memset(lse, 0, (size_t)(s.N * s.H * s.T) * sizeof *lse);
    for (int64_t n = 0; n < s.N; n++) {
        int64_t length = lengths ? lengths[n] : s.T;

        for (int64_t h = 0; h < s.H; h++)
            attend(&s, (const float *)args->in[0] + n * s.T * 3 * s.C + h * s.D, length,
                   o + n * s.T * s.C + h * s.D, lse + (n * s.H + h) * s.T);
    }
    return SG_OK;
}

sg_value *sg_attention(sg_graph *g, sg_value *qkv, sg_value *length, int64_t heads) {
    sg_value *in[] = {qkv, length};
    sg_attention_attr attr = {heads};

    return sg_node_append(g, &sg_op_attention, in, 2, 1, &attr);
}

const sg_op sg_op_attention = {
    .name = "attention",
    .attr_size = sizeof(sg_attention_attr),
    .infer = attention_infer,
    .grad = attention_grad,
    .run = attention_ref,
};

/* --- attention_dx ----------------------------------------------------------------------------- */

static sg_status attention_dx_infer(sg_node *node) {
    sg_shape o, lse;
    sizes s;

    SG_TRY(expect_qkv(node));
    for (int i = 2; i < 5; i++) SG_TRY(sg_op_expect(node, i, SG_F32, 3));
    s = sizes_of(node);
    o = sg_shape_3(s.N, s.T, s.C);
    lse = sg_shape_3(s.N, s.H, s.T);
    if (!sg_shape_equal(&node->in[2]->shape, &o) || !sg_shape_equal(&node->in[3]->shape, &lse) ||
        !sg_shape_equal(&node->in[4]->shape, &o))
        return sg_op_fail(node, "o, lse and do must be (N, T, C), (N, H, T) and (N, T, C)");
    sg_op_out(node, 0, SG_F32, node->in[0]->shape);
    return SG_OK;
}

/* Of one text and head; dq, dk, dv start as zeros. */
static void attend_dx(const sizes *s, const float *q, const float *o, const float *lse,
                      const float *dy, int64_t length, float *dq) {
    const float *k = q + s->C, *v = k + s->C;
    float *dk = dq + s->C, *dv = dk + s->C;
    double scale = 1.0 / sqrt((double)s->D);

    for (int64_t i = 0; i < length; i++) {
        const float *doi = dy + i * s->C;
        double delta = dot(doi, o + i * s->C, s->D);

        for (int64_t j = 0; j < length; j++) {
            int64_t qi = i * 3 * s->C, kj = j * 3 * s->C;
            double p = exp(score(s, q, k, i, j) - (double)lse[i]);
            double ds = scale * p * (dot(doi, v + kj, s->D) - delta);

            for (int64_t d = 0; d < s->D; d++) {
                dv[kj + d] += (float)(p * (double)doi[d]);
                dq[qi + d] += (float)(ds * (double)k[kj + d]);
                dk[kj + d] += (float)(ds * (double)q[qi + d]);
            }
        }
    }
}

static sg_status attention_dx_ref(const sg_args *args) {
    sizes s = sizes_of(args->node);
    const int32_t *lengths = args->in[1];
    float *dqkv = args->out[0];

    SG_TRY(sg_op_check_lengths(args, lengths, s.N, s.T));
    memset(dqkv, 0, (size_t)(s.N * s.T * 3 * s.C) * sizeof *dqkv);
    for (int64_t n = 0; n < s.N; n++) {
        int64_t length = lengths ? lengths[n] : s.T, qkv = n * s.T * 3 * s.C, o = n * s.T * s.C;

        for (int64_t h = 0; h < s.H; h++)
            attend_dx(&s, (const float *)args->in[0] + qkv + h * s.D,
                      (const float *)args->in[2] + o + h * s.D,
                      (const float *)args->in[3] + (n * s.H + h) * s.T,
                      (const float *)args->in[4] + o + h * s.D, length, dqkv + qkv + h * s.D);
    }
    return SG_OK;
}

sg_value *sg_attention_dx(sg_graph *g, sg_value *qkv, sg_value *length, sg_value *o, sg_value *lse,
                          sg_value *dy, int64_t heads) {
    sg_value *in[] = {qkv, length, o, lse, dy};
    sg_attention_attr attr = {heads};

    return sg_node_append(g, &sg_op_attention_dx, in, 5, 0, &attr);
}

const sg_op sg_op_attention_dx = {
    .name = "attention_dx",
    .attr_size = sizeof(sg_attention_attr),
    .infer = attention_dx_infer,
    .run = attention_dx_ref,
};
