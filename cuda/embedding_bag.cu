/* Bags of rows of a table, and the update of the rows that occur; ops/embedding_bag.c and
 * ops/rows.c have the formulas. An id that the table has not makes its bag NaN, so that the loss is
 * NaN and the step is given up.
 *
 * What goes to a row of the table is a sum over the positions at which it occurs. The positions are
 * sorted by id (sort.cu), and every place of that order gets a warp, which leaves unless it stands
 * where a row begins; then it adds that row's source rows in order, the lanes along the columns,
 * and does to the row what the rule says. Rows that do not occur cost nothing. */
#include "sort.h"

enum { kWarps = kThreads / kWarp, kAhead = 4 };

typedef struct {
    int64_t N, F, d, M; /* M = N F */
    int64_t R;
} bag_state;

static bag_state state_of(const sg_value *ids, int64_t R, int64_t d) {
    bag_state s = {ids->shape.dim[0], ids->shape.dim[1], d, sg_shape_count(&ids->shape), R};

    return s;
}

/* --- embedding_bag ---------------------------------------------------------------------------- */

/* A row of the block is a bag, its threads go along the columns; kAhead rows are on the way. */
template <int V>
__global__ void embedding_bag_kernel(const int32_t *ids, const float *table, const float *weights,
                                     float *y, bag_state s) {
    int64_t n = (int64_t)blockIdx.x * blockDim.y + threadIdx.y, end = (n + 1) * s.F;

    if (n >= s.N) return;
    for (int64_t c = threadIdx.x * V; c < s.d; c += blockDim.x * V) {
        floats<V> sum = {};
        bool bad = false;

        for (int64_t m = n * s.F; m < end; m += kAhead) {
            floats<V> row[kAhead] = {};
            float weight[kAhead] = {};

            for (int e = 0; e < kAhead; e++) {
                int32_t id = m + e < end ? ids[m + e] : -1;

                bad = bad || id >= s.R;
                if (id < 0 || id >= s.R) continue;
                row[e] = load<V>(table + id * s.d + c);
                weight[e] = weights ? weights[m + e] : 1.0f;
            }
            for (int e = 0; e < kAhead; e++)
                for (int k = 0; k < V; k++) sum.v[k] += weight[e] * row[e].v[k];
        }
        for (int k = 0; k < V && bad; k++) sum.v[k] = NAN;
        store(y + n * s.d + c, sum);
    }
}

template <int V> static sg_status embedding_bag_as(const sg_args *a) {
    const bag_state *s = static_cast<const bag_state *>(a->state);
    unsigned lanes = (unsigned)lanes_for(ceil_div(s->d, V), kThreads);

    SG_LAUNCH((embedding_bag_kernel<V>), blocks_for(s->N, kThreads / lanes),
              dim3(lanes, kThreads / lanes), 0, (cudaStream_t)a->queue,
              static_cast<const int32_t *>(a->in[0]), static_cast<const float *>(a->in[1]),
              static_cast<const float *>(a->in[2]), static_cast<float *>(a->out[0]), *s);
    return sg_cuda_launched(a);
}

static sg_status embedding_bag_run(const sg_args *a) {
    const bag_state *s = static_cast<const bag_state *>(a->state);
    const void *const pointers[] = {a->in[1], a->out[0]};

    if (s->N * s->d == 0) return SG_OK;
    return can_pack(s->d, pointers, 2) ? embedding_bag_as<kPack>(a) : embedding_bag_as<1>(a);
}

extern "C" sg_status sg_cuda_select_embedding_bag(sg_cuda *, const sg_node *node, const sg_layout *,
                                                  sg_kernel_plan *plan) {
    bag_state s = state_of(node->in[0], node->in[1]->shape.dim[0], node->in[1]->shape.dim[1]);

    sg_cuda_plan(plan, node, embedding_bag_run, SG_CUDA_PLAIN);
    return sg_cuda_plan_state(plan, &s, sizeof s);
}

/* --- rows ------------------------------------------------------------------------------------- */

/* What a row gets its gradient from. */
typedef struct {
    const sg_cuda_place *place; /* (M), sorted */
    const float *source, *weights;
} occurrences;

/* Columns c .. c + V - 1 of the sum over the places from .. end - 1. */
template <int V>
__device__ static inline floats<V> add_places(const occurrences &o, int64_t from, int64_t end,
                                              const bag_state &s, int64_t c) {
    floats<V> sum = {};

    for (int64_t i = from; i < end; i += kAhead) {
        floats<V> row[kAhead] = {};
        float weight[kAhead] = {};

        for (int e = 0; e < kAhead; e++) {
            if (i + e >= end) continue;
            int32_t position = o.place[i + e].position;

            row[e] = load<V>(o.source + position / s.F * s.d + c);
            weight[e] = o.weights ? o.weights[position] : 1.0f;
        }
        for (int e = 0; e < kAhead; e++)
            for (int k = 0; k < V; k++) sum.v[k] += weight[e] * row[e].v[k];
    }
    return sum;
}

/* The gradient itself, for embedding_bag_dw. */
struct store_row {
    float *dw;

    template <int V>
    __device__ void operator()(const occurrences &o, int64_t from, int64_t end, const bag_state &s,
                               int64_t row) const {
        for (int64_t c = threadIdx.x % kWarp * V; c < s.d; c += kWarp * V)
            store(dw + row * s.d + c, add_places<V>(o, from, end, s, c));
    }
};

struct update_row {
    float *table, *sum;
    const float *sums, *step;
    sg_rows_rule rule;

    /* The row's mean square gradient, by all lanes. */
    template <int V>
    __device__ float mean_square(const occurrences &o, int64_t from, int64_t end,
                                 const bag_state &s, float scale) const {
        float squares = 0.0f;

        for (int64_t c = threadIdx.x % kWarp * V; c < s.d; c += kWarp * V) {
            floats<V> g = add_places<V>(o, from, end, s, c);

            for (int k = 0; k < V; k++) squares += scale * g.v[k] * (scale * g.v[k]);
        }
        return warp_sum(squares) / (float)s.d;
    }

    template <int V>
    __device__ void operator()(const occurrences &o, int64_t from, int64_t end, const bag_state &s,
                               int64_t row) const {
        float normaliser = sums[SG_SUM_NORMALISER], lr = step[SG_STEP_ROWS_LR], of_row = 0.0f;
        float scale = 1.0f / (normaliser < 1.0f ? 1.0f : normaliser); /* a NaN stays one */

        if (step[SG_STEP_DIVERGED] != 0.0f) return;
        if (rule == SG_ROWS_ADAGRAD_ROW) {
            float more = mean_square<V>(o, from, end, s, scale);

            of_row = sum[row] + more;
            __syncwarp(); /* all lanes have read it */
            if (threadIdx.x % kWarp == 0) sum[row] = of_row;
        }
        for (int64_t c = threadIdx.x % kWarp * V; c < s.d; c += kWarp * V) {
            floats<V> g = add_places<V>(o, from, end, s, c), w = load<V>(table + row * s.d + c), a;

            for (int k = 0; k < V; k++) a.v[k] = of_row;
            if (rule == SG_ROWS_ADAGRAD) a = load<V>(sum + row * s.d + c);
            for (int k = 0; k < V; k++) {
                float way = scale * g.v[k];

                if (rule == SG_ROWS_ADAGRAD) a.v[k] += way * way;
                if (rule != SG_ROWS_SGD) way /= sqrtf(a.v[k]) + SG_ROWS_EPS;
                w.v[k] -= lr * way;
            }
            if (rule == SG_ROWS_ADAGRAD) store(sum + row * s.d + c, a);
            store(table + row * s.d + c, w);
        }
    }
};

template <typename F, int V> __global__ void rows_kernel(F f, occurrences o, bag_state s) {
    int64_t i = (int64_t)blockIdx.x * kWarps + threadIdx.x / kWarp, end = i + 1;
    int32_t row;

    if (i >= s.M) return;
    row = o.place[i].id;
    if (row >= s.R || (i > 0 && o.place[i - 1].id == row)) return; /* the whole warp */
    while (end < s.M && o.place[end].id == row) end++;
    f.template operator()<V>(o, i, end, s, row);
}

/* `f` for every row that occurs among the ids. */
template <typename F>
static sg_status rows_run(const sg_args *a, F f, const int32_t *ids, const float *source,
                          const float *weights, bool packed) {
    const bag_state *s = static_cast<const bag_state *>(a->state);
    unsigned blocks = blocks_for(s->M, kWarps);
    cudaStream_t stream = (cudaStream_t)a->queue;
    occurrences o = {NULL, source, weights};

    if (s->M * s->d == 0) return SG_OK;
    SG_TRY(sg_cuda_sort_ids(a, ids, s->M, s->R, a->scratch, &o.place));
    if (packed)
        SG_LAUNCH((rows_kernel<F, kPack>), blocks, kThreads, 0, stream, f, o, *s);
    else
        SG_LAUNCH((rows_kernel<F, 1>), blocks, kThreads, 0, stream, f, o, *s);
    return sg_cuda_launched(a);
}

static sg_status plan_rows(sg_kernel_plan *plan, const sg_node *node, sg_kernel run, bag_state s) {
    if (s.M > INT32_MAX || s.R > INT32_MAX)
        return sg_fail(SG_ERR_UNSUPPORTED, "%s: cuda numbers positions and rows by 31 bits",
                       node->name);
    sg_cuda_plan(plan, node, run, SG_CUDA_PLAIN);
    plan->scratch = sg_cuda_sort_bytes(s.M);
    return sg_cuda_plan_state(plan, &s, sizeof s);
}

/* --- embedding_bag_dw, rows_step -------------------------------------------------------------- */

static sg_status embedding_bag_dw_run(const sg_args *a) {
    const void *const pointers[] = {a->in[1], a->out[0]};
    store_row f = {static_cast<float *>(a->out[0])};

    (void)cudaMemsetAsync(f.dw, 0, sg_value_bytes(&a->node->out[0]), (cudaStream_t)a->queue);
    return rows_run(a, f, static_cast<const int32_t *>(a->in[0]),
                    static_cast<const float *>(a->in[1]), static_cast<const float *>(a->in[2]),
                    can_pack(a->node->out[0].shape.dim[1], pointers, 2));
}

extern "C" sg_status sg_cuda_select_embedding_bag_dw(sg_cuda *, const sg_node *node,
                                                     const sg_layout *, sg_kernel_plan *plan) {
    return plan_rows(plan, node, embedding_bag_dw_run,
                     state_of(node->in[0], node->out[0].shape.dim[0], node->out[0].shape.dim[1]));
}

/* An output that is not its input begins as its copy. */
static void copy_input(const sg_args *a, int o, int i) {
    if (a->out[o] != a->in[i])
        (void)cudaMemcpyAsync(a->out[o], a->in[i], sg_value_bytes(&a->node->out[o]),
                              cudaMemcpyDeviceToDevice, (cudaStream_t)a->queue);
}

static sg_status rows_step_run(const sg_args *a) {
    const sg_rows_attr *attr = static_cast<const sg_rows_attr *>(a->node->attr);
    bool element = attr->rule == SG_ROWS_ADAGRAD;
    const void *const pointers[] = {a->out[0], a->in[SG_ROWS_SOURCE], element ? a->out[1] : NULL};
    update_row f = {static_cast<float *>(a->out[0]), static_cast<float *>(a->out[1]),
                    static_cast<const float *>(a->in[SG_ROWS_SUMS]),
                    static_cast<const float *>(a->in[SG_ROWS_STEP]), attr->rule};

    copy_input(a, 0, SG_ROWS_TABLE);
    if (a->node->n_out > 1) copy_input(a, 1, SG_ROWS_SUM);
    return rows_run(a, f, static_cast<const int32_t *>(a->in[SG_ROWS_IDS]),
                    static_cast<const float *>(a->in[SG_ROWS_SOURCE]),
                    static_cast<const float *>(a->in[SG_ROWS_WEIGHTS]),
                    can_pack(a->node->out[0].shape.dim[1], pointers, 3));
}

extern "C" sg_status sg_cuda_select_rows_step(sg_cuda *, const sg_node *node, const sg_layout *,
                                              sg_kernel_plan *plan) {
    const sg_rows_attr *attr = static_cast<const sg_rows_attr *>(node->attr);
    const sg_shape *table = &node->in[SG_ROWS_TABLE]->shape;

    if (attr->parts != 1)
        return sg_fail(SG_ERR_UNSUPPORTED, "%s: cuda updates all rows at once", node->name);
    plan->inplace[0] = SG_ROWS_TABLE;
    plan->inplace[1] = node->in[SG_ROWS_SUM] ? SG_ROWS_SUM : -1;
    return plan_rows(plan, node, rows_step_run,
                     state_of(node->in[SG_ROWS_IDS], table->dim[0], table->dim[1]));
}
