/* The update of a training step, on the flat buffers of graph/state.h; ops/optimizer.c has the
 * formulas. What varies from step to step is read from the step block on the device, so that a
 * recorded step can be replayed.
 *
 * grad_scale adds squares in double: a block of threads SG_NORM_BLOCK of them, then one block these
 * sums, in the reference's tree. The other ops treat one element at a time, four a thread where
 * memory allows it. Where SG_STEP_DIVERGED is set they write what was there before. */
#include "channels.h"

static const float *floats_in(const sg_args *a, int i) {
    return static_cast<const float *>(a->in[i]);
}

static float *floats_out(const sg_args *a, int o) { return static_cast<float *>(a->out[o]); }

static int64_t count_of(const sg_args *a) { return sg_shape_count(&a->node->in[0]->shape); }

/* --- grad_scale ------------------------------------------------------------------------------- */

static int64_t parts_of(int64_t count) { return (count + SG_NORM_BLOCK - 1) / SG_NORM_BLOCK; }

__global__ void squares_kernel(const float *g, double *part, int64_t count) {
    SG_SHARED(double, shared, kThreads);
    int64_t start = (int64_t)blockIdx.x * SG_NORM_BLOCK;
    double sum[1] = {0.0};

    for (int k = threadIdx.y; k < SG_NORM_BLOCK; k += kThreads) {
        double x = start + k < count ? (double)g[start + k] : 0.0;

        sum[0] += x * x;
    }
    add_rows(shared, sum);
    if (threadIdx.y == 0) part[blockIdx.x] = sum[0];
}

/* One block. The tree's left part is the greatest power of two of parts that leaves something to
 * the right: neighbours are added, then neighbouring sums, and so on. */
__global__ void grad_scale_kernel(double *part, int64_t parts, const float *sums, const float *step,
                                  float *factor, float *norm_out) {
    for (int64_t width = 1; width < parts; width *= 2) {
        for (int64_t s = 2 * width * threadIdx.x; s + width < parts; s += 2 * width * kThreads)
            part[s] += part[s + width];
        __syncthreads();
    }
    if (threadIdx.x > 0) return;
    double normaliser = (double)sums[SG_SUM_NORMALISER];
    double scale = 1.0 / (normaliser < 1.0 ? 1.0 : normaliser); /* a NaN stays one */
    double norm = scale * sqrt(parts > 0 ? part[0] : 0.0);
    double clip = (double)step[SG_STEP_CLIP];

    factor[0] = (float)scale;
    factor[1] = (float)(clip > 0.0 && norm > clip ? scale * (clip / norm) : scale);
    norm_out[0] = (float)norm;
}

static sg_status grad_scale_run(const sg_args *a) {
    int64_t count = count_of(a), parts = parts_of(count);
    double *part = static_cast<double *>(a->scratch);

    if (parts > 0) {
        SG_LAUNCH(squares_kernel, (unsigned)parts, dim3(1, kThreads), 0, (cudaStream_t)a->queue,
                  floats_in(a, 0), part, count);
        SG_TRY(sg_cuda_launched(a));
    }
    SG_LAUNCH(grad_scale_kernel, 1, kThreads, 0, (cudaStream_t)a->queue, part, parts,
              floats_in(a, 1), floats_in(a, 2), floats_out(a, 0), floats_out(a, 1));
    return sg_cuda_launched(a);
}

/* --- the steps -------------------------------------------------------------------------------- */

/* Of one element: `old` is what the inputs hold, `fresh` becomes what the outputs get; the outputs
 * are the first inputs, updated. `block` is the step block. */
struct sgd_step {
    static const int kIn = 3, kOut = 2; /* w, m, dw */
    int64_t n_decay;
    bool nesterov;

    __device__ void operator()(int64_t i, const float *factor, const float *block, const float *old,
                               float *fresh) const {
        float wd = i < n_decay ? block[SG_STEP_WEIGHT_DECAY] : 0.0f, mu = block[SG_STEP_MOMENTUM];
        float grad = factor[1] * old[2] + wd * old[0];
        float moment = mu * old[1] + grad;

        fresh[0] = old[0] - block[SG_STEP_LR] * (nesterov ? grad + mu * moment : moment);
        fresh[1] = moment;
    }
};

struct adamw_step {
    static const int kIn = 4, kOut = 3; /* w, m, v, dw */
    int64_t n_decay;

    __device__ void operator()(int64_t i, const float *factor, const float *block, const float *old,
                               float *fresh) const {
        float beta1 = block[SG_STEP_MOMENTUM], beta2 = block[SG_STEP_BETA2];
        float wd = i < n_decay ? block[SG_STEP_WEIGHT_DECAY] : 0.0f, grad = factor[1] * old[3];
        float moment1 = beta1 * old[1] + (1.0f - beta1) * grad;
        float moment2 = beta2 * old[2] + (1.0f - beta2) * (grad * grad);
        float way =
            (moment1 / block[SG_STEP_BIAS1]) / (sqrtf(moment2 / block[SG_STEP_BIAS2]) + 1e-8f);

        fresh[0] = old[0] - block[SG_STEP_LR] * (way + wd * old[0]);
        fresh[1] = moment1;
        fresh[2] = moment2;
    }
};

struct stats_step {
    static const int kIn = 2, kOut = 1; /* the statistic, the shards' sum */

    __device__ void operator()(int64_t, const float *, const float *block, const float *old,
                               float *fresh) const {
        float k = block[SG_STEP_STAT];

        fresh[0] = (1.0f - k) * old[0] + k * (old[1] / block[SG_STEP_SHARDS]);
    }
};

struct ema_step {
    static const int kIn = 2, kOut = 1; /* the average, w */

    __device__ void operator()(int64_t, const float *, const float *block, const float *old,
                               float *fresh) const {
        float d = block[SG_STEP_EMA];

        fresh[0] = d * old[0] + (1.0f - d) * old[1];
    }
};

template <typename F> struct step_buffers {
    const float *in[F::kIn];
    float *out[F::kOut]; /* out[k] may be in[k] */
};

/* A thread V elements. `factor` may be NULL where F has no use for it. */
template <typename F, int V>
__global__ void step_kernel(F f, step_buffers<F> b, const float *factor, const float *block,
                            int64_t count) {
    int64_t i = ((int64_t)blockIdx.x * kThreads + threadIdx.x) * V;
    bool diverged = block[SG_STEP_DIVERGED] != 0.0f;
    floats<V> in[F::kIn], out[F::kOut];

    if (i >= count) return;
    for (int k = 0; k < F::kIn; k++) in[k] = load<V>(b.in[k] + i);
    for (int e = 0; e < V; e++) {
        float old[F::kIn], fresh[F::kOut];

        for (int k = 0; k < F::kIn; k++) old[k] = in[k].v[e];
        f(i + e, factor, block, old, fresh);
        for (int k = 0; k < F::kOut; k++) out[k].v[e] = diverged ? old[k] : fresh[k];
    }
    for (int k = 0; k < F::kOut; k++) store(b.out[k] + i, out[k]);
}

template <typename F, int V>
static sg_status launch(const sg_args *a, F f, const step_buffers<F> &b, const float *factor,
                        const float *block, int64_t count) {
    if (count == 0) return SG_OK;
    SG_LAUNCH((step_kernel<F, V>), blocks_for(count, (int64_t)kThreads * V), kThreads, 0,
              (cudaStream_t)a->queue, f, b, factor, block, count);
    return sg_cuda_launched(a);
}

/* in: F::kIn buffers, perhaps the factor, the step block. Bits do not depend on V. */
template <typename F> static sg_status step_run(const sg_args *a, F f) {
    int64_t count = count_of(a);
    bool whole = count % kPack == 0, scaled = a->node->n_in == F::kIn + 2;
    const float *block = floats_in(a, a->node->n_in - 1);
    const float *factor = scaled ? floats_in(a, F::kIn) : NULL;
    step_buffers<F> b;

    for (int k = 0; k < F::kIn; k++) {
        b.in[k] = floats_in(a, k);
        whole = whole && (uintptr_t)b.in[k] % (kPack * sizeof(float)) == 0;
    }
    for (int k = 0; k < F::kOut; k++) {
        b.out[k] = floats_out(a, k);
        whole = whole && (uintptr_t)b.out[k] % (kPack * sizeof(float)) == 0;
    }
    return whole ? launch<F, kPack>(a, f, b, factor, block, count)
                 : launch<F, 1>(a, f, b, factor, block, count);
}

static const sg_optimizer_attr *attr_of(const sg_args *a) {
    return static_cast<const sg_optimizer_attr *>(a->node->attr);
}

static sg_status sgd_step_run(const sg_args *a) {
    return step_run(a, sgd_step{attr_of(a)->n_decay, attr_of(a)->nesterov});
}
static sg_status adamw_step_run(const sg_args *a) {
    return step_run(a, adamw_step{attr_of(a)->n_decay});
}
static sg_status stats_step_run(const sg_args *a) { return step_run(a, stats_step{}); }
static sg_status ema_step_run(const sg_args *a) { return step_run(a, ema_step{}); }

/* --- selection -------------------------------------------------------------------------------- */

/* The flat buffers are PLAIN. Outputs 0 .. updated - 1 may overwrite the inputs of the same number.
 */
#define SELECT(name, updated)                                                                      \
    extern "C" sg_status sg_cuda_select_##name(sg_cuda *, const sg_node *node, const sg_layout *,  \
                                               sg_kernel_plan *plan) {                             \
        sg_cuda_plan(plan, node, name##_run, SG_CUDA_PLAIN);                                       \
        for (int o = 0; o < (updated); o++) plan->inplace[o] = o;                                  \
        return SG_OK;                                                                              \
    }

SELECT(sgd_step, 2)
SELECT(adamw_step, 3)
SELECT(stats_step, 1)
SELECT(ema_step, 1)

extern "C" sg_status sg_cuda_select_grad_scale(sg_cuda *, const sg_node *node, const sg_layout *,
                                               sg_kernel_plan *plan) {
    sg_cuda_plan(plan, node, grad_scale_run, SG_CUDA_PLAIN);
    plan->scratch = (size_t)parts_of(sg_shape_count(&node->in[0]->shape)) * sizeof(double);
    return SG_OK;
}
