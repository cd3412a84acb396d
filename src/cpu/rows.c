/* The update of a table of rows, of one part of the rows:
 *
 *   collect   (row, position) of the ids of this part, in the order of the batch
 *   sort      by row, stably, digit by digit, so that equal rows stand together in that order
 *   update    row after row: its gradient, added in a block that the first cache holds where there
 *             is anything to add, then the rule
 *
 * A position says where the source row and the weight are found; rows further on are asked for
 * while one is updated. Memory is nearly all of it: without sorting (which gives the wrong sums) a
 * step is a few per cent shorter. */
#include <math.h>

#include "cpu/backend_cpu.h"
#include "cpu/bag.h"

enum {
    kAhead = 32,    /* rows, where no other thread has any */
    kAheadOwn = 16, /* else: they come into the first cache */
    kDigit = 11,    /* bits, at most */
    kRunBits = 2,   /* of SG_ROWS_RUN */
    kAtATime = 4,   /* ids that are collected; so many more than it holds a list has room for */
};
_Static_assert(SG_ROWS_RUN == 1 << kRunBits, "sg_rows_part, four at a time");

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
    bool alone; /* no other thread has rows */
} update;

static int64_t positions_of(const sg_node *node) {
    return sg_shape_count(&node->in[SG_ROWS_IDS]->shape);
}

/* --- collect, sort ---------------------------------------------------------------------------- */

/* The bytes of those 32-bit lanes that a mask has, put to the front. */
#define LANE(i) 4 * (i), 4 * (i) + 1, 4 * (i) + 2, 4 * (i) + 3
#define LANES(a, b, c, d)                                                                          \
    { LANE(a), LANE(b), LANE(c), LANE(d) }
static const uint8_t kFront[1 << kAtATime][16] = {
    LANES(0, 0, 0, 0), LANES(0, 0, 0, 0), LANES(1, 0, 0, 0), LANES(0, 1, 0, 0),
    LANES(2, 0, 0, 0), LANES(0, 2, 0, 0), LANES(1, 2, 0, 0), LANES(0, 1, 2, 0),
    LANES(3, 0, 0, 0), LANES(0, 3, 0, 0), LANES(1, 3, 0, 0), LANES(0, 1, 3, 0),
    LANES(2, 3, 0, 0), LANES(0, 2, 3, 0), LANES(1, 2, 3, 0), LANES(0, 1, 2, 3)};
#undef LANES
#undef LANE

/* Those of the four ids, which begin at position m, that are of this part: to[0 .. ], of which all
 * four may be written; how many they are. No branch: nothing foretells which are. */
SG_INLINE int collect_some(const sg_args *a, __m128i ids, int64_t m, occurrence *to) {
    const sg_rows_attr *attr = a->node->attr;
    __m128i R = _mm_set1_epi32((int32_t)a->node->in[SG_ROWS_TABLE]->shape.dim[0]);
    __m128i part = _mm_and_si128(_mm_srli_epi32(ids, kRunBits), _mm_set1_epi32(attr->parts - 1));
    __m128i mine = _mm_cmpeq_epi32(part, _mm_set1_epi32(a->info->shard));
    __m128i at = _mm_add_epi32(_mm_set1_epi32((int32_t)m), _mm_setr_epi32(0, 1, 2, 3)), front;
    int mask;

    mine = _mm_and_si128(mine, _mm_cmpgt_epi32(ids, _mm_set1_epi32(-1)));
    mine = _mm_and_si128(mine, _mm_cmpgt_epi32(R, ids));
    mask = _mm_movemask_ps(_mm_castsi128_ps(mine));
    front = _mm_loadu_si128((const __m128i *)kFront[mask]);
    ids = _mm_shuffle_epi8(ids, front);
    at = _mm_shuffle_epi8(at, front);
    _mm_storeu_si128((__m128i *)to, _mm_unpacklo_epi32(ids, at));
    _mm_storeu_si128((__m128i *)to + 1, _mm_unpackhi_epi32(ids, at));
    return __builtin_popcount((unsigned)mask);
}

static int64_t collect(const sg_args *a, occurrence *list) {
    int64_t M = positions_of(a->node), n = 0, m = 0;
    const int32_t *ids = a->in[SG_ROWS_IDS];
    int32_t last[kAtATime] = {-1, -1, -1, -1};

    for (; m + kAtATime <= M; m += kAtATime)
        n += collect_some(a, _mm_loadu_si128((const __m128i *)(ids + m)), m, list + n);
    for (int64_t k = m; k < M; k++) last[k - m] = ids[k];
    return n + collect_some(a, _mm_loadu_si128((const __m128i *)last), m, list + n);
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

/* A row's gradient, once multiplied by the weight and by update's scale. */
typedef struct {
    const float *x; /* (d) */
    float weight;
} gradient;

/* `some` columns from c on. */
SG_INLINE vec gradient_at(const update *u, gradient g, int64_t c, int some) {
    vec x = vec_mul(vec_set1(g.weight), bag_load_some(g.x + c, some));

    return vec_mul(vec_set1(u->scale), x);
}

static gradient source_of(const update *u, occurrence o) {
    gradient g = {u->source + o.position / (uint32_t)u->F * u->d,
                  u->weights ? u->weights[o.position] : 1.0f};

    return g;
}

/* Of the row that has the n occurrences at `list`: the source itself, where it has one. */
static gradient gradient_of(const update *u, const occurrence *list, int64_t n) {
    gradient sum = {u->gradient, 1.0f};
    bag_rows rows;

    if (n == 1) return source_of(u, list[0]);
    rows.n = 0;
    for (int64_t c = 0; c < u->d; c += kBlock) vec_store(u->gradient + c, vec_zero());
    for (int64_t i = 0; i < n; i++) {
        gradient g = source_of(u, list[i]);

        bag_put(&rows, g.x, g.weight, u->gradient, u->d);
    }
    bag_add(&rows, u->gradient, u->d);
    return sum;
}

SG_INLINE void sgd_at(const update *u, float *w, gradient of, int64_t c, int some) {
    vec g = gradient_at(u, of, c, some);

    bag_store_some(w + c, some, vec_fnma(vec_set1(u->lr), g, bag_load_some(w + c, some)));
}

static void step_sgd(const update *u, int64_t row, gradient of) {
    float *w = u->table + row * u->d;
    int64_t c = 0;

    for (; c + kBlock <= u->d; c += kBlock) sgd_at(u, w, of, c, kBlock);
    if (c < u->d) sgd_at(u, w, of, c, (int)(u->d - c));
}

SG_INLINE void adagrad_at(const update *u, float *w, float *a, gradient of, int64_t c, int some) {
    vec g = gradient_at(u, of, c, some);
    vec sum = vec_fma(g, g, bag_load_some(a + c, some));
    vec way = vec_div(g, vec_add(vec_sqrt(sum), vec_set1(SG_ROWS_EPS)));

    bag_store_some(a + c, some, sum);
    bag_store_some(w + c, some, vec_fnma(vec_set1(u->lr), way, bag_load_some(w + c, some)));
}

static void step_adagrad(const update *u, int64_t row, gradient of) {
    float *w = u->table + row * u->d, *a = u->sum + row * u->d;
    int64_t c = 0;

    for (; c + kBlock <= u->d; c += kBlock) adagrad_at(u, w, a, of, c, kBlock);
    if (c < u->d) adagrad_at(u, w, a, of, c, (int)(u->d - c));
}

/* One number a row: then the step is SGD's with a factor of the row's own. */
static void step_adagrad_row(const update *u, int64_t row, gradient of) {
    dvec squares = dvec_zero();
    update once = *u;

    for (int64_t c = 0; c < u->d; c += kBlock) {
        int some = u->d - c < kBlock ? (int)(u->d - c) : kBlock;
        dvec g = dvec_of(gradient_at(u, of, c, some));

        squares.lo = hvec_fma(g.lo, g.lo, squares.lo);
        squares.hi = hvec_fma(g.hi, g.hi, squares.hi);
    }
    u->sum[row] += (float)(dvec_total(squares) / (double)u->d);
    once.scale = u->scale / (sqrtf(u->sum[row]) + SG_ROWS_EPS);
    step_sgd(&once, row, of);
}

/* Inline: gcc takes a function that does nothing but ask for one that does nothing. */
SG_INLINE void ask_for(const update *u, int64_t row) {
    bool sums = u->rule == SG_ROWS_ADAGRAD;

    if (u->alone) {
        bag_prefetch(u->table + row * u->d, u->d);
        if (sums) bag_prefetch(u->sum + row * u->d, u->d);
    } else {
        bag_prefetch_own(u->table + row * u->d, u->d);
        if (sums) bag_prefetch_own(u->sum + row * u->d, u->d);
    }
    if (u->rule == SG_ROWS_ADAGRAD_ROW) bag_prefetch(u->sum + row, 1);
}

static void update_row(const update *u, int64_t row, gradient g) {
    if (u->rule == SG_ROWS_SGD)
        step_sgd(u, row, g);
    else if (u->rule == SG_ROWS_ADAGRAD)
        step_adagrad(u, row, g);
    else
        step_adagrad_row(u, row, g);
}

static void update_rows(const update *u, const occurrence *list, int64_t n) {
    int64_t asked = 0, ahead = u->alone ? kAhead : kAheadOwn, times;

    for (int64_t i = 0; i < n; i += times) {
        int64_t until = i + ahead < n ? i + ahead : n;

        for (; asked < until; asked++) ask_for(u, list[asked].row);
        for (times = 1; i + times < n && list[i + times].row == list[i].row;) times++;
        update_row(u, list[i].row, gradient_of(u, list + i, times));
    }
}

static sg_status rows_step_run(const sg_args *a) {
    const sg_rows_attr *attr = a->node->attr;
    const sg_shape *table = &a->node->in[SG_ROWS_TABLE]->shape;
    const float *step = a->in[SG_ROWS_STEP];
    float normaliser = ((const float *)a->in[SG_ROWS_SUMS])[SG_SUM_NORMALISER];
    occurrence *list = a->scratch, *other = list + positions_of(a->node) + kAtATime;
    update u = {.F = a->node->in[SG_ROWS_IDS]->shape.dim[1],
                .d = table->dim[1],
                .source = a->in[SG_ROWS_SOURCE],
                .weights = a->in[SG_ROWS_WEIGHTS],
                .scale = 1.0f / (normaliser < 1.0f ? 1.0f : normaliser), /* a NaN stays one */
                .lr = step[SG_STEP_ROWS_LR],
                .table = a->out[0],
                .sum = a->out[1],
                .gradient = (float *)(other + positions_of(a->node) + kAtATime),
                .rule = attr->rule,
                .alone = attr->parts == 1};
    int64_t n;

    sg_rows_copy(a);
    if (step[SG_STEP_DIVERGED] != 0.0f || u.d == 0) return SG_OK;
    n = collect(a, list);
    update_rows(&u, sort_by_row(list, other, n, table->dim[0]), n);
    return SG_OK;
}

sg_status sg_cpu_select_rows_step(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                                  sg_kernel_plan *plan) {
    size_t list = (size_t)(positions_of(node) + kAtATime) * sizeof(occurrence);

    (void)cpu;
    (void)have;
    sg_cpu_plan(plan, node, rows_step_run, SG_LAYOUT_PLAIN);
    plan->inplace[0] = SG_ROWS_TABLE;
    plan->inplace[1] = node->in[SG_ROWS_SUM] ? SG_ROWS_SUM : -1;
    plan->scratch =
        2 * list + (size_t)bag_width(node->in[SG_ROWS_TABLE]->shape.dim[1]) * sizeof(float);
    return SG_OK;
}
