/* The table of all ops, and what their `infer` functions share. */
#include "ops/ops.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { kTextBytes = 256, kShapesBytes = 512 };

#define SG_OP(identifier, name) &sg_op_##name,
const sg_op *const sg_ops[SG_OP_COUNT] = {
#include "ops/ops.def"
};
#undef SG_OP

/* " (2, 3) (4, 5) i32(7)": f32 is not named; an optional input left out is "-". */
static void inputs_text(const sg_node *node, char *text, size_t bytes) {
    size_t used = 0;

    text[0] = '\0';
    for (int i = 0; i < node->n_in && used + 1 < bytes; i++) {
        const sg_value *v = node->in[i];
        char shape[96];

        if (!v) {
            snprintf(text + used, bytes - used, " -");
        } else {
            snprintf(text + used, bytes - used, " %s%s",
                     v->dtype == SG_F32 ? "" : sg_dtype_name(v->dtype),
                     sg_shape_text(&v->shape, shape, sizeof shape));
        }
        used += strlen(text + used);
    }
}

sg_status sg_op_fail(const sg_node *node, const char *fmt, ...) {
    char text[kTextBytes], shapes[kShapesBytes];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    inputs_text(node, shapes, sizeof shapes);
    return sg_fail(SG_ERR_ARG, "%s (%s): %s; inputs%s", node->name ? node->name : "?",
                   node->op->name, text, shapes);
}

void sg_op_out(sg_node *node, int o, sg_dtype dtype, sg_shape shape) {
    node->out[o].dtype = dtype;
    node->out[o].shape = shape;
    if (node->n_out < o + 1) node->n_out = o + 1;
}

sg_status sg_op_expect(const sg_node *node, int i, sg_dtype dtype, int rank) {
    const sg_value *v = i < node->n_in ? node->in[i] : NULL;

    if (!v) return sg_op_fail(node, "input %d is missing", i);
    if (v->dtype != dtype)
        return sg_op_fail(node, "input %d is %s, needed is %s", i, sg_dtype_name(v->dtype),
                          sg_dtype_name(dtype));
    if (rank >= 0 && v->shape.rank != rank)
        return sg_op_fail(node, "input %d has %d dimensions, needed are %d", i, v->shape.rank,
                          rank);
    return SG_OK;
}

sg_status sg_op_expect_lengths(const sg_node *node, int i, int64_t n) {
    SG_TRY(sg_op_expect(node, i, SG_I32, 1));
    if (node->in[i]->shape.dim[0] != n) return sg_op_fail(node, "each text needs one length");
    return SG_OK;
}

sg_status sg_op_check_lengths(const sg_args *args, const int32_t *length, int64_t n, int64_t T) {
    for (int64_t i = 0; length && i < n; i++)
        if (length[i] < 0 || length[i] > T)
            return sg_fail(SG_ERR_DATA, "%s (%s): length %d of text %lld; it must be 0 to %lld",
                           args->node->name, args->node->op->name, length[i], (long long)i,
                           (long long)T);
    return SG_OK;
}

sg_status sg_op_expect_same(const sg_node *node, int n) {
    for (int i = 0; i < n; i++) {
        SG_TRY(sg_op_expect(node, i, SG_F32, -1));
        if (!sg_shape_equal(&node->in[i]->shape, &node->in[0]->shape))
            return sg_op_fail(node, "input %d must have the shape of input 0", i);
    }
    return SG_OK;
}
