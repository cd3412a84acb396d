/* The update of a table of rows (SG_ENTRY_ROWS), of those rows that occur among the batch's ids.
 *
 *   s = 1 / max(normaliser, 1),   g_r = s sum over (j, f) with ids[j, f] = r of weights[j, f]
 * source[j]
 *
 *   SGD                    w_r -= lr g_r
 *   Adagrad                a_r += g_r^2,          w_r -= lr g_r / (sqrt(a_r) + eps), elementwise
 *   Adagrad, one a a row   a_r += mean_c g_rc^2,  w_r -= lr g_r / (sqrt(a_r) + eps)
 *
 * (Duchi, Hazan and Singer, Adaptive subgradient methods, JMLR 12, 2011; eps outside of the root as
 * in PyTorch.) table: (R, d); a: (R, d) or (R); ids: i32 (B, F), negative ones padding; weights:
 * (B, F) or left out, all 1; source: (B, d), the gradient of the bags. lr is SG_STEP_ROWS_LR; the
 * normaliser is grad_scale's. Clipping and the global norm leave tables of rows aside, as do weight
 * decay and averages: a row that does not occur is not touched.
 *
 * Each row's terms are added in the order of the batch, sample by sample: so the bits depend
 * neither on how rows are divided into parts nor on the number of shards, threads or workers, as
 * long as they agree on the source. Where the step has diverged all stays as it was. */
#include "ops/ops.h"

#include <math.h>
#include <string.h>

static sg_status expect_shape(const sg_node *node, int i, sg_dtype dtype, sg_shape shape) {
    char text[96];

    SG_TRY(sg_op_expect(node, i, dtype, shape.rank));
    if (sg_shape_equal(&node->in[i]->shape, &shape)) return SG_OK;
    return sg_op_fail(node, "input %d must be %s", i, sg_shape_text(&shape, text, sizeof text));
}

static sg_status rows_step_infer(sg_node *node) {
    const sg_rows_attr *attr = node->attr;
    const sg_shape *table, *ids;

    SG_TRY(sg_op_expect(node, SG_ROWS_TABLE, SG_F32, 2));
    SG_TRY(sg_op_expect(node, SG_ROWS_IDS, SG_I32, 2));
    table = &node->in[SG_ROWS_TABLE]->shape;
    ids = &node->in[SG_ROWS_IDS]->shape;
    SG_TRY(expect_shape(node, SG_ROWS_SOURCE, SG_F32, sg_shape_2(ids->dim[0], table->dim[1])));
    SG_TRY(expect_shape(node, SG_ROWS_SUMS, SG_F32, sg_shape_1(SG_MAX_SUMS)));
    SG_TRY(expect_shape(node, SG_ROWS_STEP, SG_F32, sg_shape_1(SG_STEP_SLOTS)));
    if (node->in[SG_ROWS_WEIGHTS]) SG_TRY(expect_shape(node, SG_ROWS_WEIGHTS, SG_F32, *ids));
    if (!node->in[SG_ROWS_SUM] != (attr->rule == SG_ROWS_SGD))
        return sg_op_fail(node, "the sums of squares are Adagrad's, and only its");
    if (attr->parts < 1 || (attr->parts & (attr->parts - 1)) != 0)
        return sg_op_fail(node, "%d parts are no power of two", attr->parts);
    if (table->dim[0] > INT32_MAX || sg_shape_count(ids) > INT32_MAX)
        return sg_op_fail(node, "rows and ids are numbered by 31 bits");
    sg_op_out(node, 0, SG_F32, *table);
    if (attr->rule == SG_ROWS_SGD) return SG_OK;
    SG_TRY(expect_shape(node, SG_ROWS_SUM, SG_F32,
                        attr->rule == SG_ROWS_ADAGRAD ? *table : sg_shape_1(table->dim[0])));
    sg_op_out(node, 1, SG_F32, node->in[SG_ROWS_SUM]->shape);
    return SG_OK;
}

static void copy_part(const sg_args *args, int o, int i) {
    const sg_rows_attr *attr = args->node->attr;
    int64_t R = args->node->in[SG_ROWS_TABLE]->shape.dim[0];
    int64_t width = R > 0 ? sg_shape_count(&args->node->out[o].shape) / R : 0;
    const float *from = args->in[i];
    float *to = args->out[o];

    for (int64_t r = 0; to != from && r < R; r++)
        if (sg_rows_part((int32_t)r, attr->parts) == args->info->shard)
            memcpy(to + r * width, from + r * width, (size_t)width * sizeof *to);
}

void sg_rows_copy(const sg_args *args) {
    copy_part(args, 0, SG_ROWS_TABLE);
    if (args->node->n_out > 1) copy_part(args, 1, SG_ROWS_SUM);
}

/* --- the reference ---------------------------------------------------------------------------- */

/* Element c of s g_r. Every position is looked at: the definition, not the way to do it. */
static float gradient(const sg_args *args, int64_t r, int64_t c) {
    const sg_shape *s = &args->node->in[SG_ROWS_IDS]->shape;
    int64_t d = args->node->in[SG_ROWS_TABLE]->shape.dim[1];
    const int32_t *ids = args->in[SG_ROWS_IDS];
    const float *source = args->in[SG_ROWS_SOURCE], *weights = args->in[SG_ROWS_WEIGHTS];
    float normaliser = ((const float *)args->in[SG_ROWS_SUMS])[SG_SUM_NORMALISER], sum = 0.0f;

    for (int64_t m = 0; m < s->dim[0] * s->dim[1]; m++)
        if (ids[m] == r) sum += (weights ? weights[m] : 1.0f) * source[m / s->dim[1] * d + c];
    return sum * (1.0f / (normaliser < 1.0f ? 1.0f : normaliser)); /* a NaN stays one */
}

static void update_row(const sg_args *args, int64_t r) {
    const sg_rows_attr *attr = args->node->attr;
    int64_t d = args->node->in[SG_ROWS_TABLE]->shape.dim[1];
    float lr = ((const float *)args->in[SG_ROWS_STEP])[SG_STEP_ROWS_LR];
    float *w = (float *)args->out[0] + r * d, *a = args->out[1];
    double squares = 0.0;

    if (attr->rule == SG_ROWS_ADAGRAD_ROW && d > 0) {
        for (int64_t c = 0; c < d; c++) {
            double g = (double)gradient(args, r, c);

            squares += g * g;
        }
        a[r] += (float)(squares / (double)d);
    }
    for (int64_t c = 0; c < d; c++) {
        float g = gradient(args, r, c);

        if (attr->rule == SG_ROWS_ADAGRAD) a[r * d + c] += g * g;
        if (attr->rule == SG_ROWS_ADAGRAD) g /= sqrtf(a[r * d + c]) + SG_ROWS_EPS;
        if (attr->rule == SG_ROWS_ADAGRAD_ROW) g /= sqrtf(a[r]) + SG_ROWS_EPS;
        w[c] -= lr * g;
    }
}

static sg_status rows_step_ref(const sg_args *args) {
    const sg_rows_attr *attr = args->node->attr;
    int64_t R = args->node->in[SG_ROWS_TABLE]->shape.dim[0];
    int64_t M = sg_shape_count(&args->node->in[SG_ROWS_IDS]->shape);
    const int32_t *ids = args->in[SG_ROWS_IDS];
    const float *step = args->in[SG_ROWS_STEP];

    sg_rows_copy(args);
    for (int64_t m = 0; step[SG_STEP_DIVERGED] == 0.0f && m < M; m++) {
        bool mine = ids[m] >= 0 && ids[m] < R && /* the latter has failed before */
                    sg_rows_part(ids[m], attr->parts) == args->info->shard;

        for (int64_t k = 0; mine && k < m; k++) mine = ids[k] != ids[m]; /* its first */
        if (mine) update_row(args, ids[m]);
    }
    return SG_OK;
}

sg_value *sg_rows_step(sg_graph *g, const sg_rows_inputs *in, sg_rows_attr attr) {
    sg_value *inputs[SG_ROWS_INPUTS] = {
        [SG_ROWS_TABLE] = in->table,    [SG_ROWS_IDS] = in->ids,   [SG_ROWS_SOURCE] = in->source,
        [SG_ROWS_SUMS] = in->sums,      [SG_ROWS_STEP] = in->step, [SG_ROWS_SUM] = in->sum,
        [SG_ROWS_WEIGHTS] = in->weights};

    return sg_node_append(g, &sg_op_rows_step, inputs, SG_ROWS_INPUTS, SG_ROWS_SUM, &attr);
}

const sg_op sg_op_rows_step = {
    .name = "rows_step",
    .attr_size = sizeof(sg_rows_attr),
    .infer = rows_step_infer,
    .run = rows_step_ref,
    .inplace = {1 + SG_ROWS_TABLE, 1 + SG_ROWS_SUM},
};
