/* Operators that move elements: shapes, gathering and scattering. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "onnx/run_inside.h"

static void copy(sg_onnx_run_tensor *to, const sg_onnx_run_tensor *from) {
    memcpy(to->v, from->v, (size_t)from->count * sizeof *to->v);
}

/* --- shapes ----------------------------------------------------------------------------------- */

static sg_status op_shape(sg_onnx_run_call *c) {
    int64_t start = sg_onnx_run_int(c, "start", 0);
    int n;

    SG_TRY(sg_onnx_run_need(c, 1));
    if (start < 0 || start > c->in[0]->rank)
        return sg_onnx_run_fail(c, "starts at %lld", (long long)start);
    n = c->in[0]->rank - (int)start;
    SG_TRY(sg_onnx_run_make(c, 0, SG_ONNX_INT64, 1, &(int64_t){n}));
    for (int i = 0; i < n; i++) c->out[0].v[i] = (double)c->in[0]->dim[i + start];
    return SG_OK;
}

/* 0 keeps a dimension, -1 is what is left over. */
static sg_status op_reshape(sg_onnx_run_call *c) {
    int64_t dim[SG_ONNX_RANK];
    double known = 1.0; /* of a damaged model more than whole numbers hold */
    int rank, open = -1;

    SG_TRY(sg_onnx_run_need(c, 2));
    if (c->in[1]->count > SG_ONNX_RANK) return sg_onnx_run_fail(c, "too many dimensions");
    rank = (int)c->in[1]->count;
    for (int i = 0; i < rank; i++) {
        dim[i] = (int64_t)c->in[1]->v[i];
        if (i < c->in[0]->rank && dim[i] == 0) dim[i] = c->in[0]->dim[i];
        if (dim[i] < 0)
            open = i;
        else
            known *= (double)dim[i];
    }
    if (open >= 0) dim[open] = known > 0.0 ? (int64_t)((double)c->in[0]->count / known) : 0;
    SG_TRY(sg_onnx_run_make(c, 0, c->in[0]->type, rank, dim));
    if (c->out[0].count != c->in[0]->count)
        return sg_onnx_run_fail(c, "%lld elements become %lld", (long long)c->in[0]->count,
                                (long long)c->out[0].count);
    copy(&c->out[0], c->in[0]);
    return SG_OK;
}

/* Input 1 lists axes, each once, of the output for Unsqueeze, of the input for Squeeze. */
static sg_status marked(const sg_onnx_run_call *c, int rank, bool mark[SG_ONNX_RANK]) {
    SG_TRY(sg_onnx_run_need(c, 2));
    if (rank > SG_ONNX_RANK) return sg_onnx_run_fail(c, "too many dimensions");
    for (int64_t i = 0; i < c->in[1]->count; i++) {
        int axis;

        SG_TRY(sg_onnx_run_axis(c, (int64_t)c->in[1]->v[i], rank, &axis));
        if (mark[axis]) return sg_onnx_run_fail(c, "axis %d is named twice", axis);
        mark[axis] = true;
    }
    return SG_OK;
}

static sg_status op_unsqueeze(sg_onnx_run_call *c) {
    bool mark[SG_ONNX_RANK] = {false};
    int64_t dim[SG_ONNX_RANK];
    int rank, k = 0;

    SG_TRY(sg_onnx_run_need(c, 2));
    rank = c->in[0]->rank + (int)c->in[1]->count;
    SG_TRY(marked(c, rank, mark));
    for (int i = 0; i < rank; i++) dim[i] = mark[i] ? 1 : c->in[0]->dim[k++];
    SG_TRY(sg_onnx_run_make(c, 0, c->in[0]->type, rank, dim));
    copy(&c->out[0], c->in[0]);
    return SG_OK;
}

static sg_status op_squeeze(sg_onnx_run_call *c) {
    bool mark[SG_ONNX_RANK] = {false};
    int64_t dim[SG_ONNX_RANK];
    int rank = 0;

    SG_TRY(sg_onnx_run_need(c, 2));
    SG_TRY(marked(c, c->in[0]->rank, mark));
    for (int i = 0; i < c->in[0]->rank; i++) {
        if (mark[i] && c->in[0]->dim[i] != 1) return sg_onnx_run_fail(c, "axis %d is not 1", i);
        if (!mark[i]) dim[rank++] = c->in[0]->dim[i];
    }
    SG_TRY(sg_onnx_run_make(c, 0, c->in[0]->type, rank, dim));
    copy(&c->out[0], c->in[0]);
    return SG_OK;
}

static sg_status op_transpose(sg_onnx_run_call *c) {
    int64_t dim[SG_ONNX_RANK], from[SG_ONNX_RANK], index[SG_ONNX_RANK] = {0};
    bool taken[SG_ONNX_RANK] = {false};
    const sg_onnx_run_tensor *x;
    const int64_t *perm;
    int n;

    SG_TRY(sg_onnx_run_need(c, 1));
    x = c->in[0];
    perm = sg_onnx_run_ints(c, "perm", &n);
    if (n != x->rank) return sg_onnx_run_fail(c, "perm is not of rank %d", x->rank);
    for (int i = 0; i < n; i++) {
        if (perm[i] < 0 || perm[i] >= n || taken[perm[i]])
            return sg_onnx_run_fail(c, "perm does not name each axis once");
        taken[perm[i]] = true;
        dim[i] = x->dim[perm[i]];
    }
    SG_TRY(sg_onnx_run_make(c, 0, x->type, n, dim));
    for (int64_t i = 0; i < x->count; i++, sg_onnx_run_next(n, dim, index)) {
        for (int k = 0; k < n; k++) from[perm[k]] = index[k];
        c->out[0].v[i] = x->v[sg_onnx_run_at(x, n, from)];
    }
    return SG_OK;
}

static sg_status op_concat(sg_onnx_run_call *c) {
    int64_t dim[SG_ONNX_RANK], at = 0, before, after;
    int axis;

    SG_TRY(sg_onnx_run_need(c, c->n_in > 0 ? c->n_in : 1));
    SG_TRY(sg_onnx_run_axis(c, sg_onnx_run_int(c, "axis", 0), c->in[0]->rank, &axis));
    memcpy(dim, c->in[0]->dim, sizeof dim);
    for (int i = 1; i < c->n_in; i++) {
        for (int k = 0; k < c->in[0]->rank; k++)
            if (c->in[i]->rank != c->in[0]->rank || (k != axis && c->in[i]->dim[k] != dim[k]))
                return sg_onnx_run_fail(c, "input %d has another shape", i);
        dim[axis] += c->in[i]->dim[axis];
    }
    SG_TRY(sg_onnx_run_make(c, 0, c->in[0]->type, c->in[0]->rank, dim));
    before = sg_onnx_run_count(&c->out[0], 0, axis);
    after = sg_onnx_run_count(&c->out[0], axis + 1, c->out[0].rank);
    for (int i = 0; i < c->n_in; i++) {
        int64_t row = c->in[i]->dim[axis] * after;

        for (int64_t b = 0; b < before; b++)
            memcpy(c->out[0].v + b * dim[axis] * after + at, c->in[i]->v + b * row,
                   (size_t)row * sizeof(double));
        at += row;
    }
    return SG_OK;
}

/* starts, ends, axes are lists; steps are 1. */
static sg_status op_slice(sg_onnx_run_call *c) {
    int64_t dim[SG_ONNX_RANK], start[SG_ONNX_RANK] = {0}, index[SG_ONNX_RANK] = {0};
    const sg_onnx_run_tensor *x;

    SG_TRY(sg_onnx_run_need(c, 4));
    if (c->n_in > 4 && c->in[4]) return sg_onnx_run_fail(c, "steps are not known");
    if (c->in[1]->count != c->in[3]->count || c->in[2]->count != c->in[3]->count)
        return sg_onnx_run_fail(c, "as many starts and ends as axes");
    x = c->in[0];
    memcpy(dim, x->dim, sizeof dim);
    for (int64_t i = 0; i < c->in[3]->count; i++) {
        double from = c->in[1]->v[i], to = c->in[2]->v[i], n;
        int axis;

        SG_TRY(sg_onnx_run_axis(c, (int64_t)c->in[3]->v[i], x->rank, &axis));
        n = (double)x->dim[axis];
        from = fmin(fmax(from < 0 ? from + n : from, 0.0), n);
        to = fmin(fmax(to < 0 ? to + n : to, 0.0), n);
        start[axis] = (int64_t)from;
        dim[axis] = to > from ? (int64_t)(to - from) : 0;
    }
    SG_TRY(sg_onnx_run_make(c, 0, x->type, x->rank, dim));
    for (int64_t i = 0; i < c->out[0].count; i++, sg_onnx_run_next(x->rank, dim, index)) {
        int64_t at = 0;

        for (int k = 0; k < x->rank; k++) at = at * x->dim[k] + start[k] + index[k];
        c->out[0].v[i] = x->v[at];
    }
    return SG_OK;
}

/* Zeros before and behind, as many as the list says of each axis, at least 0. */
static sg_status op_pad(sg_onnx_run_call *c) {
    int64_t dim[SG_ONNX_RANK], index[SG_ONNX_RANK] = {0};
    const sg_onnx_run_tensor *x;

    SG_TRY(sg_onnx_run_need(c, 2));
    x = c->in[0];
    if (c->in[1]->count != 2 * x->rank || !sg_onnx_run_is(c, "mode", "constant", "constant") ||
        (c->n_in > 2 && c->in[2]))
        return sg_onnx_run_fail(c, "is known with zeros on both sides alone");
    for (int k = 0; k < x->rank; k++) {
        if (c->in[1]->v[k] < 0.0 || c->in[1]->v[k + x->rank] < 0.0)
            return sg_onnx_run_fail(c, "takes away");
        dim[k] = x->dim[k] + (int64_t)(c->in[1]->v[k] + c->in[1]->v[k + x->rank]);
    }
    SG_TRY(sg_onnx_run_make(c, 0, x->type, x->rank, dim));
    for (int64_t i = 0; i < x->count; i++, sg_onnx_run_next(x->rank, x->dim, index)) {
        int64_t at = 0;

        for (int k = 0; k < x->rank; k++) at = at * dim[k] + (int64_t)c->in[1]->v[k] + index[k];
        c->out[0].v[at] = x->v[i];
    }
    return SG_OK;
}

static sg_status op_expand(sg_onnx_run_call *c) {
    int64_t dim[SG_ONNX_RANK], index[SG_ONNX_RANK] = {0};
    sg_onnx_run_tensor shape = {.rank = 0};
    int rank;

    SG_TRY(sg_onnx_run_need(c, 2));
    if (c->in[1]->count > SG_ONNX_RANK) return sg_onnx_run_fail(c, "too many dimensions");
    shape.rank = (int)c->in[1]->count;
    for (int i = 0; i < shape.rank; i++) shape.dim[i] = (int64_t)c->in[1]->v[i];
    if (!sg_onnx_run_broadcast(c->in[0], &shape, &rank, dim))
        return sg_onnx_run_fail(c, "shapes that do not broadcast");
    SG_TRY(sg_onnx_run_make(c, 0, c->in[0]->type, rank, dim));
    for (int64_t i = 0; i < c->out[0].count; i++, sg_onnx_run_next(rank, dim, index))
        c->out[0].v[i] = c->in[0]->v[sg_onnx_run_at(c->in[0], rank, index)];
    return SG_OK;
}

/* Zeros of that shape. */
static sg_status op_constant_of_shape(sg_onnx_run_call *c) {
    int64_t dim[SG_ONNX_RANK];

    SG_TRY(sg_onnx_run_need(c, 1));
    if (c->in[0]->count > SG_ONNX_RANK || c->node->n_attribute > 0)
        return sg_onnx_run_fail(c, "is known for zeros alone");
    for (int64_t i = 0; i < c->in[0]->count; i++) dim[i] = (int64_t)c->in[0]->v[i];
    return sg_onnx_run_make(c, 0, SG_ONNX_FLOAT, (int)c->in[0]->count, dim);
}

static sg_status op_range(sg_onnx_run_call *c) {
    double n;
    int64_t whole;

    SG_TRY(sg_onnx_run_need(c, 3));
    n = ceil((c->in[1]->v[0] - c->in[0]->v[0]) / c->in[2]->v[0]);
    whole = n >= 1.0 ? (int64_t)fmin(n, 1e9) : 0; /* NaN is none */
    SG_TRY(sg_onnx_run_make(c, 0, c->in[0]->type, 1, &whole));
    for (int64_t i = 0; i < c->out[0].count; i++)
        c->out[0].v[i] = c->in[0]->v[0] + (double)i * c->in[2]->v[0];
    return SG_OK;
}

/* --- by number -------------------------------------------------------------------------------- */

/* Number `at` of n, counted from the end where it is negative. */
static sg_status number(const sg_onnx_run_call *c, double at, int64_t n, int64_t *out) {
    double whole = at < 0.0 ? at + (double)n : at;

    if (!(whole >= 0.0 && whole < (double)n))
        return sg_onnx_run_fail(c, "number %g of %lld", at, (long long)n);
    *out = (int64_t)whole;
    return SG_OK;
}

static sg_status op_gather(sg_onnx_run_call *c) {
    const sg_onnx_run_tensor *x, *ids;
    int64_t dim[2 * SG_ONNX_RANK], before, after;
    int axis, rank = 0;

    SG_TRY(sg_onnx_run_need(c, 2));
    x = c->in[0];
    ids = c->in[1];
    SG_TRY(sg_onnx_run_axis(c, sg_onnx_run_int(c, "axis", 0), x->rank, &axis));
    for (int i = 0; i < axis; i++) dim[rank++] = x->dim[i];
    for (int i = 0; i < ids->rank; i++) dim[rank++] = ids->dim[i];
    for (int i = axis + 1; i < x->rank; i++) dim[rank++] = x->dim[i];
    SG_TRY(sg_onnx_run_make(c, 0, x->type, rank, dim));
    before = sg_onnx_run_count(x, 0, axis);
    after = sg_onnx_run_count(x, axis + 1, x->rank);
    for (int64_t b = 0; b < before; b++)
        for (int64_t i = 0; i < ids->count; i++) {
            int64_t at = 0;

            SG_TRY(number(c, ids->v[i], x->dim[axis], &at));
            memcpy(c->out[0].v + (b * ids->count + i) * after,
                   x->v + (b * x->dim[axis] + at) * after, (size_t)after * sizeof(double));
        }
    return SG_OK;
}

/* The axis of GatherElements and ScatterElements, whose numbers have the rank of x and fit into it
 * along all others. */
static sg_status elements_axis(sg_onnx_run_call *c, int inputs, int *axis) {
    const sg_onnx_run_tensor *x, *ids;

    SG_TRY(sg_onnx_run_need(c, inputs));
    x = c->in[0];
    ids = c->in[1];
    SG_TRY(sg_onnx_run_axis(c, sg_onnx_run_int(c, "axis", 0), x->rank, axis));
    if (ids->rank != x->rank) return sg_onnx_run_fail(c, "numbers of another rank");
    for (int k = 0; k < x->rank; k++)
        if (k != *axis && ids->dim[k] > x->dim[k])
            return sg_onnx_run_fail(c, "more numbers than rows");
    return SG_OK;
}

/* Which element of x number i of the second input, at `index` there, names. */
static sg_status element(const sg_onnx_run_call *c, int axis, const int64_t *index, int64_t i,
                         int64_t *at) {
    const sg_onnx_run_tensor *x = c->in[0];
    int64_t named = 0;

    SG_TRY(number(c, c->in[1]->v[i], x->dim[axis], &named));
    *at = 0;
    for (int k = 0; k < x->rank; k++) *at = *at * x->dim[k] + (k == axis ? named : index[k]);
    return SG_OK;
}

static sg_status op_gather_elements(sg_onnx_run_call *c) {
    int64_t index[SG_ONNX_RANK] = {0}, at;
    const sg_onnx_run_tensor *ids;
    int axis;

    SG_TRY(elements_axis(c, 2, &axis));
    ids = c->in[1];
    SG_TRY(sg_onnx_run_make(c, 0, c->in[0]->type, ids->rank, ids->dim));
    for (int64_t i = 0; i < ids->count; i++, sg_onnx_run_next(ids->rank, ids->dim, index)) {
        SG_TRY(element(c, axis, index, i, &at));
        c->out[0].v[i] = c->in[0]->v[at];
    }
    return SG_OK;
}

/* Along one axis; of an element that is named twice the last counts. */
static sg_status op_scatter_elements(sg_onnx_run_call *c) {
    int64_t index[SG_ONNX_RANK] = {0}, at;
    const sg_onnx_run_tensor *x, *ids;
    int axis;

    SG_TRY(elements_axis(c, 3, &axis));
    x = c->in[0];
    ids = c->in[1];
    if (c->in[2]->count != ids->count || !sg_onnx_run_is(c, "reduction", "none", "none"))
        return sg_onnx_run_fail(c, "as many values as numbers, which replace");
    SG_TRY(sg_onnx_run_make(c, 0, x->type, x->rank, x->dim));
    copy(&c->out[0], x);
    for (int64_t i = 0; i < ids->count; i++, sg_onnx_run_next(ids->rank, ids->dim, index)) {
        SG_TRY(element(c, axis, index, i, &at));
        c->out[0].v[at] = c->in[2]->v[i];
    }
    return SG_OK;
}

/* Which element the whole index number i of (n, rank) names. */
static sg_status place(const sg_onnx_run_call *c, const sg_onnx_run_tensor *x,
                       const sg_onnx_run_tensor *ids, int64_t i, int64_t *out) {
    int64_t at = 0;

    for (int k = 0; k < x->rank; k++) {
        int64_t one = 0;

        SG_TRY(number(c, ids->v[i * x->rank + k], x->dim[k], &one));
        at = at * x->dim[k] + one;
    }
    *out = at;
    return SG_OK;
}

static sg_status check_places(const sg_onnx_run_call *c, int n) {
    SG_TRY(sg_onnx_run_need(c, n));
    if (c->in[1]->rank != 2 || c->in[1]->dim[1] != c->in[0]->rank)
        return sg_onnx_run_fail(c, "is known for whole indices alone");
    return SG_OK;
}

static sg_status op_gather_nd(sg_onnx_run_call *c) {
    SG_TRY(check_places(c, 2));
    SG_TRY(sg_onnx_run_make(c, 0, c->in[0]->type, 1, &c->in[1]->dim[0]));
    for (int64_t i = 0; i < c->in[1]->dim[0]; i++) {
        int64_t at = 0;

        SG_TRY(place(c, c->in[0], c->in[1], i, &at));
        c->out[0].v[i] = c->in[0]->v[at];
    }
    return SG_OK;
}

static sg_status op_scatter_nd(sg_onnx_run_call *c) {
    SG_TRY(check_places(c, 3));
    if (c->in[2]->count != c->in[1]->dim[0]) return sg_onnx_run_fail(c, "as many values as places");
    SG_TRY(sg_onnx_run_make(c, 0, c->in[0]->type, c->in[0]->rank, c->in[0]->dim));
    copy(&c->out[0], c->in[0]);
    for (int64_t i = 0; i < c->in[1]->dim[0]; i++) {
        int64_t at = 0;

        SG_TRY(place(c, c->in[0], c->in[1], i, &at));
        c->out[0].v[at] = c->in[2]->v[i];
    }
    return SG_OK;
}

const sg_onnx_run_entry sg_onnx_run_shapes[] = {
    {"Shape", op_shape},
    {"Reshape", op_reshape},
    {"Unsqueeze", op_unsqueeze},
    {"Squeeze", op_squeeze},
    {"Transpose", op_transpose},
    {"Concat", op_concat},
    {"Slice", op_slice},
    {"Pad", op_pad},
    {"Expand", op_expand},
    {"ConstantOfShape", op_constant_of_shape},
    {"Range", op_range},
    {"Gather", op_gather},
    {"GatherElements", op_gather_elements},
    {"ScatterElements", op_scatter_elements},
    {"GatherND", op_gather_nd},
    {"ScatterND", op_scatter_nd},
    {NULL, NULL},
};
