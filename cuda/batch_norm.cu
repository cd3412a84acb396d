/* Batch norm of a training step, fused with activation and residual; and its folding into filters.
 *
 *   forward   z = gamma (x - mean) rstd + beta,  y = act(z) [+ residual]
 *   backward  dz = dy act'(z),  dbeta = sum dz,  dgamma = sum dz xh,
 *             dx = gamma rstd (dz - dbeta / M - xh dgamma / M),  xh = (x - mean) rstd
 *
 * All of it waits for memory, so a pass over a picture is what counts: two to read and one to write
 * forward, and backward, where z is computed again rather than kept, four to read and one to write.
 * Each direction is three kernels on the mapping of channels.h: sums of chunks, which a small
 * second kernel merges in double, then the elementwise rest; a thread asks for four pixels before
 * it waits for the first.
 *
 * Variance: a chunk's sums are taken of x - s, s the chunk's first element. As that one counts too,
 * (s - mean)^2 is at most the sum of squared deviations, and what the subtraction below loses is
 * bounded by the rounding of a chunk's sums, however far from zero x is. Chunks are merged by
 * their means in the same way, in double. */
#include "activation.h"
#include "channels.h"

/* Pixels of a thread, at least, as it begins by reading what its channels need: in a sum and
 * elsewhere, both whole groups. Channels of a block that merges. */
enum { kSumEach = 2 * kGroup, kApplyEach = 4 * kGroup, kMergeLanes = 2 };

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

/* part (chunks, 3, C): each chunk's first elements, its mean less these, and the sum of squared
 * deviations from it */
template <typename T, int V, bool Inner>
__global__ void __launch_bounds__(kThreads, kResident)
    moments_kernel(const T *x, float *part, sg_cuda_pixels p) {
    SG_SHARED(float, shared, kThreads * 2 * V);
    int64_t c = first_channel<V>(), start = chunk_start(p), end = chunk_end(p);
    floats<V> origin = {};
    floats<2 *V> sums = {}; /* of x - origin, and of its square */

    if (c < p.C) {
        origin = load<V>(x + place<Inner>(p, start, c));
        by_pixels<2 * kGroup>(p, [&](auto at) {
            auto v = load_pixels<V, Inner>(x, p, at, c);

            for (int i = 0; i < v.n; i++) {
                float d = v.v[i] - origin.v[i % V];

                sums.v[i % V] += d;
                sums.v[V + i % V] += d * d;
            }
        });
    }
    add_rows(shared, sums.v);
    if (threadIdx.y > 0 || c >= p.C) return;
    part += 3 * blockIdx.y * p.C + c;
    for (int k = 0; k < V; k++) {
        float shift = sums.v[k] / (float)(end - start);
        float deviations = sums.v[V + k] - sums.v[k] * shift;

        part[k] = origin.v[k];
        part[p.C + k] = shift;
        part[2 * p.C + k] = deviations < 0.0f ? 0.0f : deviations; /* a NaN stays one */
    }
}

/* A lane a channel. Without any pixel there are no chunks: mean and variance are 0. Sums are taken
 * of the chunks' means less the first element, as within a chunk. */
__global__ void merge_moments_kernel(const float *part, sg_cuda_pixels p, float eps, float *mean,
                                     float *rstd, float *var) {
    SG_SHARED(double, shared, kThreads * 2);
    int64_t c = first_channel<1>(), step = blockDim.y;
    double M = (double)(p.M > 0 ? p.M : 1), sums[2] = {0.0, 0.0};
    double origin = c < p.C && p.chunks > 0 ? (double)part[c] : 0.0, shift, deviations;

    for (int64_t i = threadIdx.y; i < p.chunks && c < p.C; i += kGroup * step) {
        float origins[kGroup] = {}, shifts[kGroup] = {}, inside[kGroup] = {};

        for (int e = 0; e < kGroup; e++) {
            const float *own = part + 3 * (i + e * step) * p.C + c;

            if (i + e * step >= p.chunks) continue;
            origins[e] = own[0];
            shifts[e] = own[p.C];
            inside[e] = own[2 * p.C];
        }
        for (int e = 0; e < kGroup; e++) {
            int64_t rest = p.M - (i + e * step) * p.chunk;
            double n = (double)(rest < 0 ? 0 : rest < p.chunk ? rest : p.chunk);
            double d = (double)origins[e] - origin + (double)shifts[e];

            sums[0] += n * d;
            sums[1] += n * d * d + (double)inside[e];
        }
    }
    add_rows(shared, sums);
    if (threadIdx.y > 0 || c >= p.C) return;
    shift = sums[0] / M;
    deviations = sums[1] - sums[0] * shift;
    if (deviations < 0.0) deviations = 0.0; /* a NaN stays one */
    mean[c] = (float)(origin + shift);
    rstd[c] = (float)(1.0 / sqrt(deviations / M + (double)eps));
    var[c] = (float)(p.M > 1 ? deviations / (double)(p.M - 1) : deviations);
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
template <typename T, int V, bool Inner, sg_act Act>
__global__ void __launch_bounds__(kThreads, kResident)
    apply_kernel(const T *x, const float *gamma, const float *beta, const float *mean,
                 const float *rstd, const T *residual, T *y, sg_cuda_pixels p) {
    int64_t c = first_channel<V>();
    norm_channels<V> n;

    if (c >= p.C) return;
    n = channels_of<V>(gamma, beta, mean, rstd, c);
    by_pixels<kGroup>(p, [&](auto at) {
        decltype(load_pixels<V, Inner>(x, p, at, c)) r = {}, v;

        if (residual) r = load_pixels<V, Inner>(residual, p, at, c);
        v = load_pixels<V, Inner>(x, p, at, c);
        for (int i = 0; i < v.n; i++) {
            float z = (v.v[i] - n.mean.v[i % V]) * n.scale.v[i % V] + n.shift.v[i % V];

            v.v[i] = act_value(Act, z) + r.v[i];
        }
        store_pixels<V, Inner>(y, p, at, c, v);
    });
}

template <typename T, int V, bool Inner, sg_act Act>
static sg_status launch_apply(const sg_args *a, const float *mean, const float *rstd,
                              const void *residual) {
    const sg_cuda_pixels *p = &state_of(a)->apply;

    SG_LAUNCH((apply_kernel<T, V, Inner, Act>), grid_of(*p), block_of(*p), 0,
              (cudaStream_t)a->queue, static_cast<const T *>(a->in[0]), channels_in(a, 1),
              channels_in(a, 2), mean, rstd, static_cast<const T *>(residual),
              static_cast<T *>(a->out[0]), *p);
    return sg_cuda_launched(a);
}

/* y of in[0 .. 2], the statistics and perhaps a residual */
template <typename T, int V, bool Inner>
static sg_status apply(const sg_args *a, const float *mean, const float *rstd,
                       const void *residual) {
    const norm_state *s = state_of(a);

    if (s->apply.chunks * s->apply.tiles == 0) return SG_OK;
    return SG_BY_ACT(s->act, launch_apply, T, V, Inner, a, mean, rstd, residual);
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

/* dz of dy, where channel k of x is `centred` above its mean */
template <int V, sg_act Act>
__device__ static inline float slope(const norm_channels<V> &n, int k, float centred, float dy) {
    return dy * act_slope(Act, centred * n.scale.v[k] + n.shift.v[k]);
}

/* part (chunks, 2, C): sums of dz xh and of dz */
template <typename T, int V, bool Inner, sg_act Act>
__global__ void __launch_bounds__(kThreads, kResident)
    slopes_kernel(const T *x, const float *gamma, const float *beta, const float *mean,
                  const float *rstd, const T *dy, float *part, sg_cuda_pixels p) {
    SG_SHARED(float, shared, kThreads * 2 * V);
    int64_t c = first_channel<V>();
    floats<2 *V> sums = {};

    if (c < p.C) {
        norm_channels<V> n = channels_of<V>(gamma, beta, mean, rstd, c);

        by_pixels<kGroup>(p, [&](auto at) {
            auto v = load_pixels<V, Inner>(x, p, at, c), d = load_pixels<V, Inner>(dy, p, at, c);

            for (int i = 0; i < v.n; i++) {
                float centred = v.v[i] - n.mean.v[i % V];
                float dz = slope<V, Act>(n, i % V, centred, d.v[i]);

                sums.v[i % V] += dz * centred;
                sums.v[V + i % V] += dz;
            }
        });
        for (int k = 0; k < V; k++) sums.v[k] *= n.rstd.v[k];
    }
    add_rows(shared, sums.v);
    if (threadIdx.y > 0 || c >= p.C) return;
    part += 2 * blockIdx.y * p.C + c;
    for (int k = 0; k < V; k++) {
        part[k] = sums.v[k];
        part[p.C + k] = sums.v[V + k];
    }
}

/* dx may be dy. */
template <typename T, int V, bool Inner, sg_act Act>
__global__ void __launch_bounds__(kThreads, kResident)
    dx_kernel(const T *x, const float *gamma, const float *beta, const float *mean,
              const float *rstd, const float *dgamma, const float *dbeta, const T *dy, T *dx,
              sg_cuda_pixels p) {
    int64_t c = first_channel<V>();
    float per = 1.0f / (float)p.M;
    floats<V> sum, dot; /* gamma rstd dbeta / M, gamma rstd^2 dgamma / M */
    norm_channels<V> n;

    if (c >= p.C) return;
    n = channels_of<V>(gamma, beta, mean, rstd, c);
    dot = load_channels<V>(dgamma, c);
    sum = load_channels<V>(dbeta, c);
    for (int k = 0; k < V; k++) {
        sum.v[k] *= n.scale.v[k] * per;
        dot.v[k] *= n.scale.v[k] * per * n.rstd.v[k];
    }
    by_pixels<kGroup>(p, [&](auto at) {
        auto v = load_pixels<V, Inner>(x, p, at, c), d = load_pixels<V, Inner>(dy, p, at, c);

        for (int i = 0; i < v.n; i++) {
            float centred = v.v[i] - n.mean.v[i % V];
            float dz = slope<V, Act>(n, i % V, centred, d.v[i]);

            d.v[i] = n.scale.v[i % V] * dz - (sum.v[i % V] + centred * dot.v[i % V]);
        }
        store_pixels<V, Inner>(dx, p, at, c, d);
    });
}

/* in: x, gamma, beta, mean, rstd, dy; out: dx, dgamma, dbeta */
template <typename T, int V, bool Inner, sg_act Act> static sg_status launch_dx(const sg_args *a) {
    const norm_state *s = state_of(a);
    const sg_cuda_pixels *p = &s->sums;
    const T *x = static_cast<const T *>(a->in[0]), *dy = static_cast<const T *>(a->in[5]);
    const float *gamma = channels_in(a, 1), *beta = channels_in(a, 2), *mean = channels_in(a, 3);
    const float *rstd = channels_in(a, 4);
    float *dgamma = channels_out(a, 1), *dbeta = channels_out(a, 2);
    float *part = static_cast<float *>(a->scratch);

    if (p->chunks * p->tiles > 0) {
        SG_LAUNCH((slopes_kernel<T, V, Inner, Act>), grid_of(*p), block_of(*p), 0,
                  (cudaStream_t)a->queue, x, gamma, beta, mean, rstd, dy, part, *p);
        SG_TRY(sg_cuda_launched(a));
    }
    SG_TRY(sg_cuda_add_parts(a, part, p->chunks, 2 * p->C, p->C, dgamma, dbeta));
    if (s->apply.chunks * s->apply.tiles == 0) return SG_OK;
    SG_LAUNCH((dx_kernel<T, V, Inner, Act>), grid_of(s->apply), block_of(s->apply), 0,
              (cudaStream_t)a->queue, x, gamma, beta, mean, rstd, dgamma, dbeta, dy,
              static_cast<T *>(a->out[0]), s->apply);
    return sg_cuda_launched(a);
}

template <typename T, int V, bool Inner> static sg_status dx_as(const sg_args *a) {
    return SG_BY_ACT(state_of(a)->act, launch_dx, T, V, Inner, a);
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
    if (node->n_out > 1) plan->scratch = (size_t)(3 * s.sums.chunks * s.sums.C) * sizeof(float);
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
