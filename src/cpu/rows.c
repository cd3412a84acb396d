/* The update of a table of rows, of one part of the rows:
 *
 *   collect   (row, position) of the ids of this part, in the order of the batch
 *   sort      by row, stably, digit by digit, so that equal rows stand together in that order
 *   update    row after row: its gradient into a block that the first cache holds, then the rule
 *
 * A position is kept where its source row and weight are found; rows further on are asked for while
 * one is updated. */
#include <math.h>
#include <string.h>

#include "cpu/backend_cpu.h"
#include "cpu/bag.h"

enum { kAhead = 8, kDigit = 11 }; /* bits of a digit, at most */

typedef struct {
    uint32_t row, position;
} occurrence;

/* What does not change from row to row. */
typedef struct {
    int64_t F, d;
    const float *source, *weights; /* weights may be NULL */
    float scale, lr;
    float *table, *sum; /* sum may be NULL */
    float *gradient;    /* (bag_width(d)) */
    sg_rows_rule rule;
} update;

static int64_t positions_of(const sg_node *node) {
    return sg_shape_count(&node->in[SG_ROWS_IDS]->shape);
}

/* --- collect, sort ---------------------------------------------------------------------------- */

static int64_t collect(const sg_args *a, occurrence *list) {
    const sg_rows_attr *attr = a->node->attr;
    int64_t M = positions_of(a->node), R = a->node->in[SG_ROWS_TABLE]->shape.dim[0], n = 0;
    const int32_t *ids = a->in[SG_ROWS_IDS];

    for (int64_t m = 0; m < M; m++) { /* no branch: nothing foretells which are of this part */
        list[n] = (occurrence){(uint32_t)ids[m], (uint32_t)m};
        n += (ids[m] >= 0) & (ids[m] < R) & (sg_rows_part(ids[m], attr->parts) == a->info->shard);
    }
    return n;
}

/* The sorted list: `list` or `other`. */
static const occurrence *sort_by_row(occurrence *list, occurrence *other, int64_t n, int64_t R) {
    int bits = 1, digits, width;

    while (bits < 31 && (int64_t)1 << bits < R) bits++;
    digits = (bits + kDigit - 1) / kDigit;
    width = (bits + digits - 1) / digits;
    for (int shift = 0; shift < bits; shift += width) {
        uint32_t start[(1 << kDigit) + 1] = {0}, mask = (1u << width) - 1;
        occurrence *sorted = other;

        for (int64_t i = 0; i < n; i++) start[(list[i].row >> shift & mask) + 1]++;
        for (uint32_t k = 0; k < mask; k++) start[k + 1] += start[k];
        for (int64_t i = 0; i < n; i++) sorted[start[list[i].row >> shift & mask]++] = list[i];
        other = list;
        list = sorted;
    }
    return list;
}

/* --- update ----------------------------------------------------------------------------------- */

/* The row's gradient, from its occurrences list[0 .. ]; how many they are. */
static int64_t add_occurrences(const update *u, const occurrence *list, int64_t n) {
    bag_rows rows = {.n = 0};
    int64_t i = 0;

    for (int64_t c = 0; c < u->d; c += kBlock) vec_store(u->gradient + c, vec_zero());
    for (; i < n && list[i].row == list[0].row; i++) {
        uint32_t position = list[i].position;

        bag_put(&rows, u->source + position / (uint32_t)u->F * u->d,
                u->weights ? u->weights[position] : 1.0f, u->gradient, u->d);
    }
    bag_add(&rows, u->gradient, u->d);
    return i;
}

static void step_sgd(const update *u, int64_t row) {
    float *w = u->table + row * u->d;
    vec scale = vec_set1(u->scale), lr = vec_set1(u->lr);

    for (int64_t c = 0; c < u->d; c += kBlock) {
        int some = u->d - c < kBlock ? (int)(u->d - c) : kBlock;
        vec g = vec_mul(scale, vec_load(u->gradient + c));

        bag_store_some(w + c, some, vec_fnma(lr, g, vec_load_some(w + c, some)));
    }
}

static void step_adagrad(const update *u, int64_t row) {
    float *w = u->table + row * u->d, *a = u->sum + row * u->d;
    vec scale = vec_set1(u->scale), lr = vec_set1(u->lr), eps = vec_set1(SG_ROWS_EPS);

    for (int64_t c = 0; c < u->d; c += kBlock) {
        int some = u->d - c < kBlock ? (int)(u->d - c) : kBlock;
        vec g = vec_mul(scale, vec_load(u->gradient + c));
        vec sum = vec_fma(g, g, vec_load_some(a + c, some));
        vec way = vec_div(g, vec_add(vec_sqrt(sum), eps));

        bag_store_some(a + c, some, sum);
        bag_store_some(w + c, some, vec_fnma(lr, way, vec_load_some(w + c, some)));
    }
}

/* One number a row: then the step is SGD's with a factor of the row's own. */
static void step_adagrad_row(const update *u, int64_t row) {
    dvec squares = dvec_zero();
    update once = *u;

    for (int64_t c = 0; c < u->d; c += kBlock) {
        dvec g = dvec_of(vec_mul(vec_set1(u->scale), vec_load(u->gradient + c)));

        squares.lo = hvec_fma(g.lo, g.lo, squares.lo);
        squares.hi = hvec_fma(g.hi, g.hi, squares.hi);
    }
    u->sum[row] += (float)(dvec_total(squares) / (double)u->d);
    once.scale = u->scale / (sqrtf(u->sum[row]) + SG_ROWS_EPS);
    step_sgd(&once, row);
}

/* Inline: gcc takes a function that does nothing but ask for one that does nothing. */
SG_INLINE void ask_for(const update *u, int64_t row) {
    bag_prefetch(u->table + row * u->d, u->d);
    if (u->rule == SG_ROWS_ADAGRAD) bag_prefetch(u->sum + row * u->d, u->d);
    if (u->rule == SG_ROWS_ADAGRAD_ROW) bag_prefetch(u->sum + row, 1);
}

static void update_rows(const update *u, const occurrence *list, int64_t n) {
    for (int64_t i = 0, asked = 0; i < n;) {
        int64_t row = list[i].row, until = i + kAhead < n ? i + kAhead : n;

        for (; asked < until; asked++) ask_for(u, list[asked].row);
        i += add_occurrences(u, list + i, n - i);
        if (u->rule == SG_ROWS_SGD)
            step_sgd(u, row);
        else if (u->rule == SG_ROWS_ADAGRAD)
            step_adagrad(u, row);
        else
            step_adagrad_row(u, row);
    }
}

static sg_status rows_step_run(const sg_args *a) {
    const sg_rows_attr *attr = a->node->attr;
    const sg_shape *table = &a->node->in[SG_ROWS_TABLE]->shape;
    const float *step = a->in[SG_ROWS_STEP];
    float normaliser = ((const float *)a->in[SG_ROWS_SUMS])[SG_SUM_NORMALISER];
    occurrence *list = a->scratch, *other = list + positions_of(a->node) + 1;
    update u = {.F = a->node->in[SG_ROWS_IDS]->shape.dim[1],
                .d = table->dim[1],
                .source = a->in[SG_ROWS_SOURCE],
                .weights = a->in[SG_ROWS_WEIGHTS],
                .scale = 1.0f / (normaliser < 1.0f ? 1.0f : normaliser), /* a NaN stays one */
                .lr = step[SG_STEP_ROWS_LR],
                .table = a->out[0],
                .sum = a->out[1],
                .gradient = (float *)(other + positions_of(a->node) + 1),
                .rule = attr->rule};
    int64_t n;

    sg_rows_copy(a);
    if (step[SG_STEP_DIVERGED] != 0.0f || u.d == 0) return SG_OK;
    n = collect(a, list);
    update_rows(&u, sort_by_row(list, other, n, table->dim[0]), n);
    return SG_OK;
}

sg_status sg_cpu_select_rows_step(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                                  sg_kernel_plan *plan) {
    size_t list = (size_t)(positions_of(node) + 1) * sizeof(occurrence);

    (void)cpu;
    (void)have;
    sg_cpu_plan(plan, node, rows_step_run, SG_LAYOUT_PLAIN);
    plan->inplace[0] = SG_ROWS_TABLE;
    plan->inplace[1] = node->in[SG_ROWS_SUM] ? SG_ROWS_SUM : -1;
    plan->scratch =
        2 * list + (size_t)bag_width(node->in[SG_ROWS_TABLE]->shape.dim[1]) * sizeof(float);
    return SG_OK;
}
