/* Layer norm with the residual before it, and its gradient: ops/layer_norm.c has the formulas.
 *
 * All of it waits for memory. Rows of up to 1024 columns, a multiple of four, are held in a warp's
 * registers, so that memory is read once and written once: forward a warp takes one row, backward
 * the rows of a chunk one after the other, and keeps what they add to dgamma and dbeta in
 * registers too. A block's eight warps then add theirs as a tree, and sg_cuda_add_parts the blocks'
 * in double; how many blocks depends on the shape alone. All other rows are read again for each
 * pass, from the cache, and dgamma and dbeta are sums over chunks of a second kernel, on the
 * mapping of channels.h.
 *
 * Rows whose length is a multiple of four are moved in packs of four: a program's blocks are
 * aligned (sg_bindings), and then so is each row and each shard's part of an input. */
#include "rows.h"

enum { kRowsEach = 4, kMaxChunks = 512, kSumEach = 8 };

typedef struct {
    int64_t M, C;
    float eps;
    int64_t chunk, chunks; /* backward: rows of a block, blocks */
    sg_cuda_pixels sums;   /* backward, where rows are not held: of the columns' sums */
} norm_state;

static const norm_state *state_of(const sg_args *a) {
    return static_cast<const norm_state *>(a->state);
}

static const float *floats_in(const sg_args *a, int i) {
    return static_cast<const float *>(a->in[i]);
}

static float *floats_out(const sg_args *a, int o) { return static_cast<float *>(a->out[o]); }

/* --- forward ---------------------------------------------------------------------------------- */

template <typename T> struct norm_arguments {
    const T *x, *residual; /* may be NULL */
    const float *gamma, *beta;
    T *y, *s; /* s: NULL where there is no residual */
    float *mean, *rstd;
    int64_t M, C;
    float per, eps; /* 1 / C, 0 where there are no columns */
};

/* V columns of s, rounded as they are kept. */
template <int V, typename T>
__device__ static inline floats<V> sum_of(const norm_arguments<T> &a, int64_t at) {
    floats<V> v = load<V>(a.x + at), r;

    if (!a.residual) return v;
    r = load<V>(a.residual + at);
    for (int k = 0; k < V; k++) v.v[k] = to_float(from_float<T>(v.v[k] + r.v[k]));
    return v;
}

/* Sums of deviations from `centre` and of their squares -> mean and rstd, which thread 0 of the row
 * writes. */
template <typename T>
__device__ static inline void statistics(const norm_arguments<T> &a, int64_t m, float centre,
                                         float sum, float squares, float *mean, float *rstd) {
    float shift = sum * a.per, deviations = squares - sum * shift;

    *mean = centre + shift;
    if (deviations < 0.0f) deviations = 0.0f; /* a NaN stays one */
    *rstd = 1.0f / sqrtf(deviations * a.per + a.eps);
    if (threadIdx.x > 0) return;
    a.mean[m] = *mean;
    a.rstd[m] = *rstd;
}

template <int V, typename T>
__device__ static inline void put_y(const norm_arguments<T> &a, int64_t m, int64_t c, floats<V> v,
                                    float mean, float rstd) {
    floats<V> gamma = load<V>(a.gamma + c), beta = load<V>(a.beta + c);

    for (int k = 0; k < V; k++) v.v[k] = (v.v[k] - mean) * rstd * gamma.v[k] + beta.v[k];
    store(a.y + m * a.C + c, v);
}

/* A row a warp, in registers: up to Packs * 128 columns, a multiple of 4. y may be x, s residual.
 */
template <typename T, int Packs> __global__ void held_norm_kernel(norm_arguments<T> a) {
    int64_t m = row_of_thread();
    floats<kPack> v[Packs] = {};
    float sum = 0.0f, squares = 0.0f, centre, mean, rstd;

    if (m >= a.M) return;
    for (int p = 0; p < Packs; p++) {
        int64_t c = (p * kWarp + threadIdx.x) * kPack;

        if (c >= a.C) continue;
        v[p] = sum_of<kPack>(a, m * a.C + c);
        if (a.s) store(a.s + m * a.C + c, v[p]);
        for (int k = 0; k < kPack; k++) sum += v[p].v[k];
    }
    centre = warp_sum(sum) * a.per;
    sum = 0.0f;
    for (int p = 0; p < Packs; p++) {
        if ((p * kWarp + threadIdx.x) * kPack >= a.C) continue;
        for (int k = 0; k < kPack; k++) {
            float d = v[p].v[k] - centre;

            sum += d;
            squares += d * d;
        }
    }
    statistics(a, m, centre, warp_sum(sum), warp_sum(squares), &mean, &rstd);
    for (int p = 0; p < Packs; p++) {
        int64_t c = (p * kWarp + threadIdx.x) * kPack;

        if (c < a.C) put_y<kPack>(a, m, c, v[p], mean, rstd);
    }
}

/* A row of any length, read three times, each element always by the same thread. */
template <typename T, int Threads, int V> __global__ void norm_kernel(norm_arguments<T> a) {
    int64_t m = row_of_thread(), row = m * a.C;
    float sum = 0.0f, squares = 0.0f, centre, mean, rstd;
    const T *s = a.s ? a.s : a.x;

    if (m >= a.M) return;
    for (int64_t c = threadIdx.x * V; c < a.C; c += Threads * V) {
        floats<V> v = sum_of<V>(a, row + c);

        if (a.s) store(a.s + row + c, v);
        for (int k = 0; k < V; k++) sum += v.v[k];
    }
    centre = over_row<Threads>(sum, row_add{}) * a.per;
    sum = 0.0f;
    for (int64_t c = threadIdx.x * V; c < a.C; c += Threads * V) {
        floats<V> v = load<V>(s + row + c);

        for (int k = 0; k < V; k++) {
            float d = v.v[k] - centre;

            sum += d;
            squares += d * d;
        }
    }
    sum = over_row<Threads>(sum, row_add{});
    squares = over_row<Threads>(squares, row_add{});
    statistics(a, m, centre, sum, squares, &mean, &rstd);
    for (int64_t c = threadIdx.x * V; c < a.C; c += Threads * V)
        put_y<V>(a, m, c, load<V>(s + row + c), mean, rstd);
}

/* --- backward --------------------------------------------------------------------------------- */

template <typename T> struct dx_arguments {
    const T *s;
    const float *gamma, *mean, *rstd;
    const T *dy, *ds; /* ds may be NULL */
    T *dx;
    float *part; /* (chunks, 2 C): sums of dy xh and of dy */
    int64_t M, C, chunk;
};

/* dx of V columns from g = gamma dy, xh and the row's two sums, divided by C. */
template <int V, typename T>
__device__ static inline void put_dx(const dx_arguments<T> &a, int64_t at, floats<V> g,
                                     floats<V> xh, float rstd, float sum, float dot) {
    floats<V> ds = {};

    if (a.ds) ds = load<V>(a.ds + at);
    for (int k = 0; k < V; k++) g.v[k] = rstd * (g.v[k] - sum - xh.v[k] * dot) + ds.v[k];
    store(a.dx + at, g);
}

/* A chunk of rows a block, a warp every eighth of them. dx may be dy or ds. */
template <typename T, int Packs> __global__ void held_dx_kernel(dx_arguments<T> a) {
    SG_SHARED(float, shared, kThreads *kPack);
    int64_t start = blockIdx.x * a.chunk, end = start + a.chunk < a.M ? start + a.chunk : a.M;
    floats<kPack> dgamma[Packs] = {}, dbeta[Packs] = {};

    for (int64_t m = start + threadIdx.y; m < end; m += kWarps) {
        float mean = a.mean[m], rstd = a.rstd[m], sum = 0.0f, dot = 0.0f;
        floats<kPack> xh[Packs] = {}, g[Packs] = {};

        for (int p = 0; p < Packs; p++) {
            int64_t c = (p * kWarp + threadIdx.x) * kPack;
            floats<kPack> gamma;

            if (c >= a.C) continue;
            gamma = load<kPack>(a.gamma + c);
            xh[p] = load<kPack>(a.s + m * a.C + c);
            g[p] = load<kPack>(a.dy + m * a.C + c);
            for (int k = 0; k < kPack; k++) {
                xh[p].v[k] = (xh[p].v[k] - mean) * rstd;
                dgamma[p].v[k] += g[p].v[k] * xh[p].v[k];
                dbeta[p].v[k] += g[p].v[k];
                g[p].v[k] *= gamma.v[k];
                sum += g[p].v[k];
                dot += g[p].v[k] * xh[p].v[k];
            }
        }
        sum = warp_sum(sum) / (float)a.C;
        dot = warp_sum(dot) / (float)a.C;
        for (int p = 0; p < Packs; p++) {
            int64_t c = (p * kWarp + threadIdx.x) * kPack;

            if (c < a.C) put_dx<kPack>(a, m * a.C + c, g[p], xh[p], rstd, sum, dot);
        }
    }
    for (int p = 0; p < Packs; p++) {
        int64_t c = (p * kWarp + threadIdx.x) * kPack;
        float *part = a.part + 2 * blockIdx.x * a.C + c;

        add_rows(shared, dgamma[p].v);
        add_rows(shared, dbeta[p].v);
        if (threadIdx.y > 0 || c >= a.C) continue;
        for (int k = 0; k < kPack; k++) {
            part[k] = dgamma[p].v[k];
            part[a.C + k] = dbeta[p].v[k];
        }
    }
}

/* A row of any length, read twice. dx may be dy or ds: the columns' sums have been taken. */
template <typename T, int Threads, int V> __global__ void dx_kernel(dx_arguments<T> a) {
    int64_t m = row_of_thread(), row = m * a.C;
    float mean, rstd, sum = 0.0f, dot = 0.0f;

    if (m >= a.M) return;
    mean = a.mean[m];
    rstd = a.rstd[m];
    for (int64_t c = threadIdx.x * V; c < a.C; c += Threads * V) {
        floats<V> gamma = load<V>(a.gamma + c), s = load<V>(a.s + row + c);
        floats<V> dy = load<V>(a.dy + row + c);

        for (int k = 0; k < V; k++) {
            float g = gamma.v[k] * dy.v[k];

            sum += g;
            dot += g * (s.v[k] - mean) * rstd;
        }
    }
    sum = over_row<Threads>(sum, row_add{}) / (float)a.C;
    dot = over_row<Threads>(dot, row_add{}) / (float)a.C;
    for (int64_t c = threadIdx.x * V; c < a.C; c += Threads * V) {
        floats<V> gamma = load<V>(a.gamma + c), xh = load<V>(a.s + row + c);
        floats<V> g = load<V>(a.dy + row + c);

        for (int k = 0; k < V; k++) {
            g.v[k] *= gamma.v[k];
            xh.v[k] = (xh.v[k] - mean) * rstd;
        }
        put_dx<V>(a, row + c, g, xh, rstd, sum, dot);
    }
}

/* part (chunks, 2 C), a chunk of rows and a few columns a block */
template <typename T> __global__ void columns_kernel(dx_arguments<T> a, sg_cuda_pixels p) {
    SG_SHARED(float, shared, kThreads);
    int64_t c = first_channel<1>(), end = chunk_end(p);
    float dot[1] = {0.0f}, sum[1] = {0.0f};

    for (int64_t m = chunk_start(p) + threadIdx.y; m < end && c < p.C; m += blockDim.y) {
        float dy = to_float(a.dy[m * p.C + c]);

        dot[0] += dy * ((to_float(a.s[m * p.C + c]) - a.mean[m]) * a.rstd[m]);
        sum[0] += dy;
    }
    add_rows(shared, dot);
    add_rows(shared, sum);
    if (threadIdx.y > 0 || c >= p.C) return;
    a.part[2 * blockIdx.y * p.C + c] = dot[0];
    a.part[(2 * blockIdx.y + 1) * p.C + c] = sum[0];
}

/* --- launchers -------------------------------------------------------------------------------- */

static bool is_held(const norm_state *s) { return s->C % kPack == 0 && s->C <= kWarpRow; }

/* kernel<T, packs a lane> for C columns */
#define SG_LAUNCH_HELD(kernel, T, C, grid, queue, arguments)                                       \
    do {                                                                                           \
        dim3 block_(kWarp, kWarps);                                                                \
                                                                                                   \
        if ((C) <= kWarpRow / 8)                                                                   \
            SG_LAUNCH((kernel<T, 1>), grid, block_, 0, queue, arguments);                          \
        else if ((C) <= kWarpRow / 4)                                                              \
            SG_LAUNCH((kernel<T, 2>), grid, block_, 0, queue, arguments);                          \
        else if ((C) <= kWarpRow / 2)                                                              \
            SG_LAUNCH((kernel<T, 4>), grid, block_, 0, queue, arguments);                          \
        else                                                                                       \
            SG_LAUNCH((kernel<T, 8>), grid, block_, 0, queue, arguments);                          \
    } while (0)

/* kernel<T, threads a row, columns at once> for M rows of C, which are not held */
#define SG_LAUNCH_READ(kernel, T, M, C, queue, arguments)                                          \
    do {                                                                                           \
        if ((C) <= kWarpRow)                                                                       \
            SG_LAUNCH((kernel<T, kWarp, 1>), blocks_for(M, kWarps), dim3(kWarp, kWarps), 0, queue, \
                      arguments);                                                                  \
        else if ((C) % kPack == 0)                                                                 \
            SG_LAUNCH((kernel<T, kThreads, kPack>), (unsigned)(M), kThreads, 0, queue, arguments); \
        else                                                                                       \
            SG_LAUNCH((kernel<T, kThreads, 1>), (unsigned)(M), kThreads, 0, queue, arguments);     \
    } while (0)

/* in: x, gamma, beta, residual or NULL; out: y, mean, rstd, and s where there is a residual. Rows
 * without columns have statistics too. */
template <typename T> static sg_status norm_run(const sg_args *a) {
    const norm_state *s = state_of(a);
    cudaStream_t queue = (cudaStream_t)a->queue;
    norm_arguments<T> n = {static_cast<const T *>(a->in[0]),
                           static_cast<const T *>(a->in[3]),
                           floats_in(a, 1),
                           floats_in(a, 2),
                           static_cast<T *>(a->out[0]),
                           static_cast<T *>(a->in[3] ? a->out[3] : NULL),
                           floats_out(a, 1),
                           floats_out(a, 2),
                           s->M,
                           s->C,
                           s->C > 0 ? 1.0f / (float)s->C : 0.0f,
                           s->eps};

    if (s->M == 0) return SG_OK;
    if (is_held(s))
        SG_LAUNCH_HELD(held_norm_kernel, T, s->C, blocks_for(s->M, kWarps), queue, n);
    else
        SG_LAUNCH_READ(norm_kernel, T, s->M, s->C, queue, n);
    return sg_cuda_launched(a);
}

/* dx and the parts of dgamma and dbeta of rows that are not held */
template <typename T> static sg_status read_dx(const sg_args *a, const dx_arguments<T> &d) {
    const norm_state *s = state_of(a);
    cudaStream_t queue = (cudaStream_t)a->queue;

    SG_LAUNCH((columns_kernel<T>), grid_of(s->sums), block_of(s->sums), 0, queue, d, s->sums);
    SG_TRY(sg_cuda_launched(a));
    SG_LAUNCH_READ(dx_kernel, T, s->M, s->C, queue, d);
    return sg_cuda_launched(a);
}

/* in: s, gamma, mean, rstd, dy, ds or NULL; out: dx, dgamma, dbeta */
template <typename T> static sg_status dx_run(const sg_args *a) {
    const norm_state *s = state_of(a);
    float *part = static_cast<float *>(a->scratch);
    dx_arguments<T> d = {static_cast<const T *>(a->in[0]),
                         floats_in(a, 1),
                         floats_in(a, 2),
                         floats_in(a, 3),
                         static_cast<const T *>(a->in[4]),
                         static_cast<const T *>(a->in[5]),
                         static_cast<T *>(a->out[0]),
                         part,
                         s->M,
                         s->C,
                         s->chunk};

    if (s->M * s->C > 0) {
        if (is_held(s)) {
            SG_LAUNCH_HELD(held_dx_kernel, T, s->C, (unsigned)s->chunks, (cudaStream_t)a->queue, d);
            SG_TRY(sg_cuda_launched(a));
        } else {
            SG_TRY(read_dx(a, d));
        }
    }
    return sg_cuda_add_parts(a, part, s->chunks, 2 * s->C, s->C, floats_out(a, 1),
                             floats_out(a, 2));
}

/* --- selection -------------------------------------------------------------------------------- */

static norm_state state_for(const sg_value *x, float eps) {
    const sg_shape *shape = &x->shape;
    norm_state s = {1, shape->dim[shape->rank - 1], eps, 0, 0, {}};

    for (int d = 0; d + 1 < shape->rank; d++) s.M *= shape->dim[d];
    return s;
}

extern "C" sg_status sg_cuda_select_layer_norm(sg_cuda *, const sg_node *node,
                                               const sg_layout have[], sg_kernel_plan *plan) {
    sg_layout layout = sg_cuda_common_layout(node, have);
    norm_state s = state_for(node->in[0], static_cast<const sg_norm_attr *>(node->attr)->eps);

    sg_cuda_plan(plan, node, sg_cuda_is_bf16(layout) ? norm_run<bf16> : norm_run<float>, layout);
    plan->inplace[0] = 0;
    if (node->in[3]) plan->inplace[3] = 3;
    return sg_cuda_plan_state(plan, &s, sizeof s);
}

extern "C" sg_status sg_cuda_select_layer_norm_dx(sg_cuda *, const sg_node *node,
                                                  const sg_layout have[], sg_kernel_plan *plan) {
    sg_layout layout = sg_cuda_common_layout(node, have);
    const sg_value *x = node->in[0];
    norm_state s = state_for(x, 0.0f);

    if (is_held(&s)) {
        sg_cuda_chunks c = chunks_of(s.M, 1, kWarps * kRowsEach, kMaxChunks);

        s.chunk = c.each;
        s.chunks = c.n;
    } else {
        s.sums = sg_cuda_pixels_of(x, SG_CUDA_PLAIN, kSumEach, sg_cuda_sum_chunks(x));
        s.chunks = s.sums.chunks;
    }
    sg_cuda_plan(plan, node, sg_cuda_is_bf16(layout) ? dx_run<bf16> : dx_run<float>, layout);
    plan->inplace[0] = node->in[5] ? 5 : 4;
    plan->scratch = (size_t)(2 * s.chunks * s.C) * sizeof(float);
    return sg_cuda_plan_state(plan, &s, sizeof s);
}
