/* Rows of a table by number, and the table's gradient; ops/embedding.c has the formulas. An id that
 * the table has not gives a row of NaNs, so that the loss is NaN and the step is given up.
 *
 * The gradient sorts the positions by id, stably, by counting: the table's rows are the digits.
 *
 *   count     a block counts the ids of its chunk of positions             (chunks, V)
 *   offsets   of each id: how many are in the chunks before                (chunks, V), in place
 *   scan      of each id: how many positions have a smaller one (sort.h)   (V + 1)
 *   place     position -> its place: start of the id, before this chunk, before it in the chunk
 *   add       a warp a row of the table: adds its rows of dy, the row's lanes along the channels
 *
 * Counts are integers, so atomics do no harm. A row with over kMany positions is its block's: each
 * of the eight warps adds every eighth position, and the eight sums are added in order. */
#include <stdio.h>

#include "sort.h"

enum { kWarps = kThreads / kWarp, kMany = 64, kMaxChunks = 64, kAhead = 4 };

typedef struct {
    int64_t M, T, C, V;    /* M = N T */
    int64_t chunk, chunks; /* positions of a block */
} embedding_state;

/* --- embedding -------------------------------------------------------------------------------- */

/* A row of the block is a position, its threads go along the channels. */
template <typename T, int V>
__global__ void embedding_kernel(const int32_t *ids, const float *table, const float *position,
                                 T *y, embedding_state s) {
    int64_t m = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    int32_t id;

    if (m >= s.M) return;
    id = ids[m];
    for (int64_t c = threadIdx.x * V; c < s.C; c += blockDim.x * V) {
        floats<V> v = {};

        if (id >= 0 && id < s.V) v = load<V>(table + id * s.C + c);
        if (position) {
            floats<V> p = load<V>(position + m % s.T * s.C + c);

            for (int k = 0; k < V; k++) v.v[k] += p.v[k];
        }
        for (int k = 0; k < V && id >= s.V; k++) v.v[k] = NAN;
        store(y + m * s.C + c, v);
    }
}

template <typename T, int V> static sg_status embedding_as(const sg_args *a) {
    const embedding_state *s = static_cast<const embedding_state *>(a->state);
    unsigned lanes = (unsigned)lanes_for(ceil_div(s->C, V), kThreads);

    SG_LAUNCH((embedding_kernel<T, V>), blocks_for(s->M, kThreads / lanes),
              dim3(lanes, kThreads / lanes), 0, (cudaStream_t)a->queue,
              static_cast<const int32_t *>(a->in[0]), static_cast<const float *>(a->in[1]),
              static_cast<const float *>(a->in[2]), static_cast<T *>(a->out[0]), *s);
    return sg_cuda_launched(a);
}

template <typename T> static sg_status embedding_run(const sg_args *a) {
    const embedding_state *s = static_cast<const embedding_state *>(a->state);
    const void *const pointers[] = {a->in[1], a->in[2], a->out[0]};

    if (s->M * s->C == 0) return SG_OK;
    return can_pack(s->C, pointers, 3) ? embedding_as<T, kPack>(a) : embedding_as<T, 1>(a);
}

extern "C" sg_status sg_cuda_select_embedding(sg_cuda *cuda, const sg_node *node, const sg_layout *,
                                              sg_kernel_plan *plan) {
    const sg_shape *y = &node->out[0].shape;
    bool bf16_out = cuda->precision == SG_CUDA_BF16;
    embedding_state s = {y->dim[0] * y->dim[1],     y->dim[1], y->dim[2],
                         node->in[1]->shape.dim[0], 0,         0};

    sg_cuda_plan(plan, node, bf16_out ? embedding_run<bf16> : embedding_run<float>, SG_CUDA_PLAIN);
    if (bf16_out) plan->out[0] = SG_CUDA_PLAIN_BF16;
    return sg_cuda_plan_state(plan, &s, sizeof s);
}

/* --- embedding_dw: the order ------------------------------------------------------------------ */

/* The id of position i if the table has it, else -1. */
__device__ static inline int32_t id_at(const int32_t *ids, int64_t i, int64_t end, int64_t V) {
    return i < end && ids[i] >= 0 && ids[i] < V ? ids[i] : -1;
}

__device__ static inline int64_t end_of_chunk(const embedding_state &s) {
    int64_t end = (blockIdx.x + 1) * s.chunk;

    return end < s.M ? end : s.M;
}

/* count (chunks, V) starts as zeros. */
__global__ void count_kernel(const int32_t *ids, int32_t *count, embedding_state s) {
    for (int64_t i = blockIdx.x * s.chunk + threadIdx.x; i < end_of_chunk(s); i += kThreads) {
        int32_t id = id_at(ids, i, s.M, s.V);

        if (id >= 0) atomicAdd(&count[blockIdx.x * s.V + id], 1);
    }
}

/* count becomes that of the chunks before, total (V) that of all. */
__global__ void offsets_kernel(int32_t *count, int32_t *total, embedding_state s) {
    int64_t v = (int64_t)blockIdx.x * kThreads + threadIdx.x;
    int32_t sum = 0;

    if (v >= s.V) return;
    for (int64_t b = 0; b < s.chunks; b++) {
        int32_t here = count[b * s.V + v];

        count[b * s.V + v] = sum;
        sum += here;
    }
    total[v] = sum;
}

/* order (M): the positions, by id and then as they come. 256 at a time; each looks how many of them
 * are its equals, and how many of those come before it. */
__global__ void place_kernel(const int32_t *ids, int32_t *count, const int32_t *start,
                             int32_t *order, embedding_state s) {
    SG_SHARED(int32_t, key, kThreads);
    int32_t *mine = count + blockIdx.x * s.V;

    for (int64_t first = blockIdx.x * s.chunk; first < end_of_chunk(s); first += kThreads) {
        int64_t i = first + threadIdx.x;
        int32_t id = id_at(ids, i, end_of_chunk(s), s.V), before = 0, equal = 0;

        key[threadIdx.x] = id;
        __syncthreads();
        for (unsigned j = 0; j < kThreads; j++) {
            equal += key[j] == id;
            before += key[j] == id && j < threadIdx.x;
        }
        if (id >= 0) order[start[id] + mine[id] + before] = (int32_t)i;
        __syncthreads(); /* all have read `mine` */
        if (id >= 0 && before == equal - 1) mine[id] += equal;
        __syncthreads();
    }
}

/* --- embedding_dw: the sums ------------------------------------------------------------------- */

/* sum += the rows of dy at order[from], order[from + step] .. before `end`, kAhead on the way. */
template <typename T, int V>
__device__ static inline void add_positions(const T *dy, const int32_t *order, int64_t from,
                                            int64_t end, int64_t step, int64_t C, int64_t c,
                                            floats<V> *sum) {
    for (int64_t i = from; i < end; i += kAhead * step) {
        floats<V> v[kAhead] = {};

        for (int e = 0; e < kAhead; e++)
            if (i + e * step < end) v[e] = load<V>(dy + order[i + e * step] * C + c);
        for (int e = 0; e < kAhead; e++)
            for (int k = 0; k < V; k++) sum->v[k] += v[e].v[k];
    }
}

/* The whole block adds the positions of row v. */
template <typename T, int V>
__device__ static inline void add_many(const T *dy, const int32_t *start, const int32_t *order,
                                       float *dw, int64_t v, int64_t C, float *shared) {
    int64_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;

    for (int64_t c = lane * V; c < (C + kWarp * V - 1) / (kWarp * V) * (kWarp * V);
         c += kWarp * V) {
        floats<V> sum = {};

        if (c < C)
            add_positions<T, V>(dy, order, start[v] + warp, start[v + 1], kWarps, C, c, &sum);
        __syncthreads(); /* the sums before these have been read */
        for (int k = 0; k < V; k++) shared[(warp * V + k) * kWarp + lane] = sum.v[k];
        __syncthreads();
        if (warp > 0 || c >= C) continue;
        for (int w = 1; w < kWarps; w++)
            for (int k = 0; k < V; k++) sum.v[k] += shared[(w * V + k) * kWarp + lane];
        store(dw + v * C + c, sum);
    }
}

template <typename T, int V>
__global__ void add_kernel(const T *dy, const int32_t *start, const int32_t *order, float *dw,
                           embedding_state s) {
    SG_SHARED(float, shared, kThreads *V);
    int64_t first = (int64_t)blockIdx.x * kWarps, v = first + threadIdx.x / kWarp;

    if (v < s.V && start[v + 1] - start[v] <= kMany) {
        for (int64_t c = threadIdx.x % kWarp * V; c < s.C; c += kWarp * V) {
            floats<V> sum = {};

            add_positions<T, V>(dy, order, start[v], start[v + 1], 1, s.C, c, &sum);
            store(dw + v * s.C + c, sum);
        }
    }
    for (int64_t w = first; w < first + kWarps && w < s.V; w++)
        if (start[w + 1] - start[w] > kMany) add_many<T, V>(dy, start, order, dw, w, s.C, shared);
}

template <typename T, int V>
static sg_status add_as(const sg_args *a, const int32_t *start, const int32_t *order) {
    const embedding_state *s = static_cast<const embedding_state *>(a->state);

    SG_LAUNCH((add_kernel<T, V>), blocks_for(s->V, kWarps), kThreads, 0, (cudaStream_t)a->queue,
              static_cast<const T *>(a->in[1]), start, order, static_cast<float *>(a->out[0]), *s);
    return sg_cuda_launched(a);
}

template <typename T> static sg_status embedding_dw_run(const sg_args *a) {
    const embedding_state *s = static_cast<const embedding_state *>(a->state);
    const int32_t *ids = static_cast<const int32_t *>(a->in[0]);
    int32_t *count = static_cast<int32_t *>(a->scratch);
    int32_t *start = count + s->chunks * s->V, *order = start + s->V + 1;
    const void *const pointers[] = {a->in[1], a->out[0]};
    cudaStream_t stream = (cudaStream_t)a->queue;

    if (s->V * s->C == 0) return SG_OK;
    if (s->chunks > 0) {
        (void)cudaMemsetAsync(count, 0, (size_t)(s->chunks * s->V) * sizeof *count, stream);
        SG_LAUNCH(count_kernel, (unsigned)s->chunks, kThreads, 0, stream, ids, count, *s);
        SG_TRY(sg_cuda_launched(a));
    }
    SG_LAUNCH(offsets_kernel, blocks_for(s->V, kThreads), kThreads, 0, stream, count, start, *s);
    SG_TRY(sg_cuda_launched(a));
    SG_TRY(sg_cuda_scan(a, start, s->V));
    if (s->chunks > 0) {
        SG_LAUNCH(place_kernel, (unsigned)s->chunks, kThreads, 0, stream, ids, count, start, order,
                  *s);
        SG_TRY(sg_cuda_launched(a));
    }
    return can_pack(s->C, pointers, 2) ? add_as<T, kPack>(a, start, order)
                                       : add_as<T, 1>(a, start, order);
}

extern "C" sg_status sg_cuda_select_embedding_dw(sg_cuda *, const sg_node *node,
                                                 const sg_layout have[], sg_kernel_plan *plan) {
    const sg_shape *dy = &node->in[1]->shape;
    sg_layout layout = sg_cuda_common_layout(node, have);
    embedding_state s = {dy->dim[0] * dy->dim[1],   dy->dim[1], dy->dim[2],
                         node->out[0].shape.dim[0], 0,          0};
    sg_cuda_chunks c;

    if (s.M > INT32_MAX || s.V > INT32_MAX)
        return sg_fail(SG_ERR_UNSUPPORTED, "%s: cuda numbers positions and rows by 31 bits",
                       node->name);
    c = chunks_of(s.M, kThreads, kThreads, kMaxChunks);
    s.chunk = c.each;
    s.chunks = c.n;
    sg_cuda_plan(plan, node,
                 sg_cuda_is_bf16(layout) ? embedding_dw_run<bf16> : embedding_dw_run<float>,
                 layout);
    plan->out[0] = SG_CUDA_PLAIN;
    plan->scratch = (size_t)(s.chunks * s.V + s.V + 1 + s.M) * sizeof(int32_t);
    return sg_cuda_plan_state(plan, &s, sizeof s);
}
