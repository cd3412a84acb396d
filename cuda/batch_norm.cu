/* Batch norm of a training step, fused with activation and residual; and its folding into filters.
 *
 *   forward   z = gamma (x - mean) rstd + beta,  y = act(z) [+ residual]
 *   backward  dz = dy act'(z),  dbeta = sum dz,  dgamma = sum dz xh,
 *             dx = gamma rstd (dz - dbeta / M - xh dgamma / M),  xh = (x - mean) rstd
 *
 * All of it waits for memory, so a pass over a picture is what counts: two to read and one to write
 * forward, and backward, where z is computed again rather than kept, four to read and one to write.
 * Each direction is three kernels on the mapping of channels.h: sums of chunks, which a small
 * second kernel merges in double, then the elementwise rest, four pixels a thread in flight.
 *
 * Variance: a chunk's sums are taken of x - s, s the chunk's first element. As that one counts too,
 * (s - mean)^2 is at most the sum of squared deviations, and what the subtraction below loses is
 * bounded by the rounding of a chunk's sums, however far from zero x is. Chunks are merged by
 * their means, in two passes over the few partial sums. */
#include "activation.h"
#include "channels.h"

/* Pixels of a thread: under way at once; in a sum, and elsewhere, at least, as each thread begins
 * by reading what its channels need. */
enum { kEach = 4, kSumEach = 8, kApplyEach = 16, kMergeLanes = 8 };

typedef struct {
    sg_cuda_pixels sums, apply; /* of the two kinds of kernel */
    float eps;
    sg_act act;
} norm_state;

static const norm_state *state_of(const sg_args *a) {
    return static_cast<const norm_state *>(a->state);
}

static const float *channels_in(const sg_args *a, int i) {
    return static_cast<const float *>(a->in[i]);
}

static float *channels_out(const sg_args *a, int o) { return static_cast<float *>(a->out[o]); }

/* --- statistics ------------------------------------------------------------------------------- */

/* part (chunks, 2, C): each chunk's mean and sum of squared deviations from it */
template <typename T, int V, bool Inner>
__global__ void moments_kernel(const T *x, float *part, sg_cuda_pixels p) {
    SG_SHARED(float, shared, kThreads *V);
    int64_t c = first_channel<V>(), start = chunk_start(p), end = chunk_end(p), step = blockDim.y;
    floats<V> origin = {}, sum = {}, squares = {};

    if (c < p.C) {
        origin = load<V>(x + place<Inner>(p, start, c));
        for (int64_t m = start + threadIdx.y; m < end; m += kEach * step) {
            floats<V> v[kEach] = {};

            for (int e = 0; e < kEach; e++)
                if (m + e * step < end) v[e] = load<V>(x + place<Inner>(p, m + e * step, c));
            for (int e = 0; e < kEach; e++) {
                if (m + e * step >= end) continue;
                for (int k = 0; k < V; k++) {
                    float d = v[e].v[k] - origin.v[k];

                    sum.v[k] += d;
                    squares.v[k] += d * d;
                }
            }
        }
    }
    add_rows(shared, sum.v);
    add_rows(shared, squares.v);
    if (threadIdx.y > 0 || c >= p.C) return;
    part += 2 * blockIdx.y * p.C + c;
    for (int k = 0; k < V; k++) {
        float shift = sum.v[k] / (float)(end - start);
        float deviations = squares.v[k] - sum.v[k] * shift;

        part[k] = origin.v[k] + shift;
        part[p.C + k] = deviations < 0.0f ? 0.0f : deviations; /* a NaN stays one */
    }
}

/* A lane a channel. Without any pixel there are no chunks: mean and variance are 0. */
__global__ void merge_moments_kernel(const float *part, sg_cuda_pixels p, float eps, float *mean,
                                     float *rstd, float *var) {
    SG_SHARED(double, shared, kThreads);
    int64_t c = first_channel<1>();
    double M = (double)(p.M > 0 ? p.M : 1), sum[1] = {0.0}, deviations[1] = {0.0};

    for (int64_t i = threadIdx.y; i < p.chunks && c < p.C; i += blockDim.y) {
        int64_t rest = p.M - i * p.chunk;

        sum[0] += (double)(rest < p.chunk ? rest : p.chunk) * (double)part[2 * i * p.C + c];
    }
    add_rows(shared, sum);
    for (int64_t i = threadIdx.y; i < p.chunks && c < p.C; i += blockDim.y) {
        int64_t rest = p.M - i * p.chunk;
        double d = (double)part[2 * i * p.C + c] - sum[0] / M;

        deviations[0] +=
            (double)(rest < p.chunk ? rest : p.chunk) * d * d + (double)part[(2 * i + 1) * p.C + c];
    }
    add_rows(shared, deviations);
    if (threadIdx.y > 0 || c >= p.C) return;
    mean[c] = (float)(sum[0] / M);
    rstd[c] = (float)(1.0 / sqrt(deviations[0] / M + (double)eps));
    var[c] = (float)(p.M > 1 ? deviations[0] / (double)(p.M - 1) : deviations[0]);
}

/* --- y ---------------------------------------------------------------------------------------- */

/* The numbers of V channels. */
template <int V> struct norm_channels {
    floats<V> mean, rstd, scale, shift; /* z = (x - mean) scale + shift */
};

template <int V>
__device__ static inline norm_channels<V> channels_of(const float *gamma, const float *beta,
                                                      const float *mean, const float *rstd,
                                                      int64_t c) {
    norm_channels<V> n = {load_channels<V>(mean, c), load_channels<V>(rstd, c),
                          load_channels<V>(gamma, c), load_channels<V>(beta, c)};

    for (int k = 0; k < V; k++) n.scale.v[k] *= n.rstd.v[k];
    return n;
}

/* y may be x or the residual: all that a thread reads it reads before it writes there. */
template <typename T, int V, bool Inner>
__global__ void apply_kernel(const T *x, const float *gamma, const float *beta, const float *mean,
                             const float *rstd, const T *residual, T *y, sg_cuda_pixels p,
                             sg_act act) {
    int64_t c = first_channel<V>(), end = chunk_end(p), step = blockDim.y;
    norm_channels<V> n;

    if (c >= p.C) return;
    n = channels_of<V>(gamma, beta, mean, rstd, c);
    for (int64_t m = chunk_start(p) + threadIdx.y; m < end; m += kEach * step) {
        floats<V> v[kEach] = {}, r[kEach] = {};

        for (int e = 0; e < kEach; e++) {
            if (m + e * step >= end) continue;
            v[e] = load<V>(x + place<Inner>(p, m + e * step, c));
            if (residual) r[e] = load<V>(residual + place<Inner>(p, m + e * step, c));
        }
        for (int e = 0; e < kEach; e++) {
            if (m + e * step >= end) continue;
            for (int k = 0; k < V; k++) {
                float z = (v[e].v[k] - n.mean.v[k]) * n.scale.v[k] + n.shift.v[k];

                v[e].v[k] = act_value(act, z) + r[e].v[k];
            }
            store(y + place<Inner>(p, m + e * step, c), v[e]);
        }
    }
}

/* y of in[0 .. 2], the statistics and perhaps a residual */
template <typename T, int V, bool Inner>
static sg_status apply(const sg_args *a, const float *mean, const float *rstd,
                       const void *residual) {
    const norm_state *s = state_of(a);

    if (s->apply.chunks * s->apply.tiles == 0) return SG_OK;
    SG_LAUNCH((apply_kernel<T, V, Inner>), grid_of(s->apply), block_of(s->apply), 0,
              (cudaStream_t)a->queue, static_cast<const T *>(a->in[0]), channels_in(a, 1),
              channels_in(a, 2), mean, rstd, static_cast<const T *>(residual),
              static_cast<T *>(a->out[0]), s->apply, s->act);
    return sg_cuda_launched(a);
}

/* in: x, gamma, beta, residual or NULL; out: y, mean, rstd, var */
template <typename T, int V, bool Inner> static sg_status norm_as(const sg_args *a) {
    const norm_state *s = state_of(a);
    const sg_cuda_pixels *p = &s->sums;
    float *part = static_cast<float *>(a->scratch);

    if (p->C == 0) return SG_OK;
    if (p->chunks > 0) {
        SG_LAUNCH((moments_kernel<T, V, Inner>), grid_of(*p), block_of(*p), 0,
                  (cudaStream_t)a->queue, static_cast<const T *>(a->in[0]), part, *p);
        SG_TRY(sg_cuda_launched(a));
    }
    SG_LAUNCH(merge_moments_kernel, blocks_for(p->C, kMergeLanes),
              dim3(kMergeLanes, kThreads / kMergeLanes), 0, (cudaStream_t)a->queue, part, *p,
              s->eps, channels_out(a, 1), channels_out(a, 2), channels_out(a, 3));
    SG_TRY(sg_cuda_launched(a));
    return apply<T, V, Inner>(a, channels_out(a, 1), channels_out(a, 2), a->in[3]);
}

/* in: x, gamma, beta, mean, rstd, residual or NULL; out: y, to the bits of norm_as */
template <typename T, int V, bool Inner> static sg_status again_as(const sg_args *a) {
    return apply<T, V, Inner>(a, channels_in(a, 3), channels_in(a, 4), a->in[5]);
}

/* --- backward --------------------------------------------------------------------------------- */

/* part (chunks, 2, C): sums of dz xh and of dz */
template <typename T, int V, bool Inner>
__global__ void slopes_kernel(const T *x, const float *gamma, const float *beta, const float *mean,
                              const float *rstd, const T *dy, float *part, sg_cuda_pixels p,
                              sg_act act) {
    SG_SHARED(float, shared, kThreads *V);
    int64_t c = first_channel<V>(), end = chunk_end(p), step = blockDim.y;
    floats<V> dot = {}, sum = {};

    if (c < p.C) {
        norm_channels<V> n = channels_of<V>(gamma, beta, mean, rstd, c);

        for (int64_t m = chunk_start(p) + threadIdx.y; m < end; m += kEach * step) {
            floats<V> v[kEach] = {}, d[kEach] = {};

            for (int e = 0; e < kEach; e++) {
                if (m + e * step >= end) continue;
                v[e] = load<V>(x + place<Inner>(p, m + e * step, c));
                d[e] = load<V>(dy + place<Inner>(p, m + e * step, c));
            }
            for (int e = 0; e < kEach; e++) {
                if (m + e * step >= end) continue;
                for (int k = 0; k < V; k++) {
                    float centred = v[e].v[k] - n.mean.v[k];
                    float dz = d[e].v[k] * act_slope(act, centred * n.scale.v[k] + n.shift.v[k]);

                    dot.v[k] += dz * (centred * n.rstd.v[k]);
                    sum.v[k] += dz;
                }
            }
        }
    }
    add_rows(shared, dot.v);
    add_rows(shared, sum.v);
    if (threadIdx.y > 0 || c >= p.C) return;
    part += 2 * blockIdx.y * p.C + c;
    for (int k = 0; k < V; k++) {
        part[k] = dot.v[k];
        part[p.C + k] = sum.v[k];
    }
}

/* dx may be dy. */
template <typename T, int V, bool Inner>
__global__ void dx_kernel(const T *x, const float *gamma, const float *beta, const float *mean,
                          const float *rstd, const float *dgamma, const float *dbeta, const T *dy,
                          T *dx, sg_cuda_pixels p, sg_act act) {
    int64_t c = first_channel<V>(), end = chunk_end(p), step = blockDim.y;
    float per = 1.0f / (float)p.M;
    floats<V> dot, sum;
    norm_channels<V> n;

    if (c >= p.C) return;
    n = channels_of<V>(gamma, beta, mean, rstd, c);
    dot = load_channels<V>(dgamma, c);
    sum = load_channels<V>(dbeta, c);
    for (int64_t m = chunk_start(p) + threadIdx.y; m < end; m += kEach * step) {
        floats<V> v[kEach] = {}, d[kEach] = {};

        for (int e = 0; e < kEach; e++) {
            if (m + e * step >= end) continue;
            v[e] = load<V>(x + place<Inner>(p, m + e * step, c));
            d[e] = load<V>(dy + place<Inner>(p, m + e * step, c));
        }
        for (int e = 0; e < kEach; e++) {
            if (m + e * step >= end) continue;
            for (int k = 0; k < V; k++) {
                float centred = v[e].v[k] - n.mean.v[k], xh = centred * n.rstd.v[k];
                float dz = d[e].v[k] * act_slope(act, centred * n.scale.v[k] + n.shift.v[k]);

                d[e].v[k] = n.scale.v[k] * (dz - (sum.v[k] + xh * dot.v[k]) * per);
            }
            store(dx + place<Inner>(p, m + e * step, c), d[e]);
        }
    }
}

/* in: x, gamma, beta, mean, rstd, dy; out: dx, dgamma, dbeta */
template <typename T, int V, bool Inner> static sg_status dx_as(const sg_args *a) {
    const norm_state *s = state_of(a);
    const sg_cuda_pixels *p = &s->sums;
    const T *x = static_cast<const T *>(a->in[0]), *dy = static_cast<const T *>(a->in[5]);
    const float *gamma = channels_in(a, 1), *beta = channels_in(a, 2), *mean = channels_in(a, 3);
    const float *rstd = channels_in(a, 4);
    float *dgamma = channels_out(a, 1), *dbeta = channels_out(a, 2);
    float *part = static_cast<float *>(a->scratch);

    if (p->chunks * p->tiles > 0) {
        SG_LAUNCH((slopes_kernel<T, V, Inner>), grid_of(*p), block_of(*p), 0,
                  (cudaStream_t)a->queue, x, gamma, beta, mean, rstd, dy, part, *p, s->act);
        SG_TRY(sg_cuda_launched(a));
    }
    SG_TRY(sg_cuda_add_parts(a, part, p->chunks, 2 * p->C, p->C, dgamma, dbeta));
    if (s->apply.chunks * s->apply.tiles == 0) return SG_OK;
    SG_LAUNCH((dx_kernel<T, V, Inner>), grid_of(s->apply), block_of(s->apply), 0,
              (cudaStream_t)a->queue, x, gamma, beta, mean, rstd, dgamma, dbeta, dy,
              static_cast<T *>(a->out[0]), s->apply, s->act);
    return sg_cuda_launched(a);
}

/* --- norm_fold -------------------------------------------------------------------------------- */

typedef struct {
    int64_t OC, filter; /* filter: the elements of one */
    float eps;
} fold_state;

/* A block a filter. As the reference: the factor in double, each product rounded once. w_out may
 * be w. */
__global__ void fold_kernel(const float *w, const float *gamma, const float *beta,
                            const float *mean, const float *var, float *w_out, float *b_out,
                            int64_t filter, float eps) {
    int64_t o = blockIdx.x;
    double r = (double)gamma[o] / sqrt((double)var[o] + (double)eps);

    for (int64_t i = threadIdx.x; i < filter; i += kThreads)
        w_out[o * filter + i] = (float)(r * (double)w[o * filter + i]);
    if (threadIdx.x == 0) b_out[o] = (float)((double)beta[o] - r * (double)mean[o]);
}

static sg_status fold_run(const sg_args *a) {
    const fold_state *s = static_cast<const fold_state *>(a->state);

    if (s->OC == 0) return SG_OK;
    SG_LAUNCH(fold_kernel, (unsigned)s->OC, kThreads, 0, (cudaStream_t)a->queue, channels_in(a, 0),
              channels_in(a, 1), channels_in(a, 2), channels_in(a, 3), channels_in(a, 4),
              channels_out(a, 0), channels_out(a, 1), s->filter, s->eps);
    return sg_cuda_launched(a);
}

/* --- selection -------------------------------------------------------------------------------- */

template <typename T> static sg_status norm_run(const sg_args *a) {
    return SG_BY_CHANNELS(state_of(a)->sums, T, norm_as, a);
}
template <typename T> static sg_status again_run(const sg_args *a) {
    return SG_BY_CHANNELS(state_of(a)->sums, T, again_as, a);
}
template <typename T> static sg_status dx_run(const sg_args *a) {
    return SG_BY_CHANNELS(state_of(a)->sums, T, dx_as, a);
}

/* `inplace`: the input that the picture may overwrite. */
static sg_status select_norm(const sg_node *node, sg_layout layout, sg_kernel run, int inplace,
                             sg_kernel_plan *plan) {
    const sg_norm_attr *attr = static_cast<const sg_norm_attr *>(node->attr);
    const sg_value *x = node->in[0];
    norm_state s = {sg_cuda_pixels_of(x, layout, kSumEach, sg_cuda_sum_chunks(x)),
                    sg_cuda_pixels_of(x, layout, kApplyEach, INT64_MAX), attr->eps, attr->act};

    sg_cuda_plan(plan, node, run, layout);
    plan->inplace[0] = inplace;
    if (node->n_out > 1) plan->scratch = (size_t)(2 * s.sums.chunks * s.sums.C) * sizeof(float);
    return sg_cuda_plan_state(plan, &s, sizeof s);
}

extern "C" sg_status sg_cuda_select_batch_norm(sg_cuda *, const sg_node *node,
                                               const sg_layout have[], sg_kernel_plan *plan) {
    sg_layout layout = sg_cuda_common_layout(node, have);

    return select_norm(node, layout, sg_cuda_is_bf16(layout) ? norm_run<bf16> : norm_run<float>,
                       node->in[3] ? 3 : 0, plan);
}

extern "C" sg_status sg_cuda_select_batch_norm_again(sg_cuda *, const sg_node *node,
                                                     const sg_layout have[], sg_kernel_plan *plan) {
    sg_layout layout = sg_cuda_common_layout(node, have);

    return select_norm(node, layout, sg_cuda_is_bf16(layout) ? again_run<bf16> : again_run<float>,
                       node->in[5] ? 5 : 0, plan);
}

extern "C" sg_status sg_cuda_select_batch_norm_dx(sg_cuda *, const sg_node *node,
                                                  const sg_layout have[], sg_kernel_plan *plan) {
    sg_layout layout = sg_cuda_common_layout(node, have);

    return select_norm(node, layout, sg_cuda_is_bf16(layout) ? dx_run<bf16> : dx_run<float>, 5,
                       plan);
}

/* Parameters stay PLAIN: whoever wants filters in another order converts the folded ones. */
extern "C" sg_status sg_cuda_select_norm_fold(sg_cuda *, const sg_node *node, const sg_layout *,
                                              sg_kernel_plan *plan) {
    const sg_norm_attr *attr = static_cast<const sg_norm_attr *>(node->attr);
    sg_cuda_dims d = sg_cuda_dims_of(node->in[0]);
    fold_state s = {d.N, d.C * d.HW, attr->eps};

    sg_cuda_plan(plan, node, fold_run, SG_CUDA_PLAIN);
    plan->inplace[0] = 0;
    return sg_cuda_plan_state(plan, &s, sizeof s);
}
