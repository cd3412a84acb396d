/* Cross-entropy with a distribution for a target, and its gradient; ops/soft_cross_entropy.c has
 * the formulas. All is f32: rows are short, and the loss is made of small differences.
 *
 * The mapping is rows.h's. The losses of the rows are added by sg_cuda_add_parts. */
#include "rows.h"

typedef struct {
    int64_t N, C;
} target_state;

/* loss (N) is each row's; p may be x: an element is read and written by one thread. */
template <int Threads>
__global__ void soft_cross_entropy_kernel(const float *x, const float *t, float *loss, float *p,
                                          int64_t N, int64_t C) {
    int64_t n = row_of_thread(), end = (n + 1) * C;
    float m = -INFINITY, sum = 0.0f, own = 0.0f, log_sum;

    if (n >= N) return;
    for (int64_t c = n * C + threadIdx.x; c < end; c += Threads)
        if (t[c] >= 0.0f) m = fmaxf(m, x[c]);
    m = over_row<Threads>(m, row_max{});
    for (int64_t c = n * C + threadIdx.x; c < end; c += Threads)
        if (t[c] >= 0.0f) sum += expf(x[c] - m);
    sum = over_row<Threads>(sum, row_add{});
    log_sum = logf(sum);
    for (int64_t c = n * C + threadIdx.x; c < end; c += Threads) {
        float v = x[c] - m;

        if (t[c] > 0.0f) own += t[c] * (log_sum - v);
        p[c] = t[c] >= 0.0f ? expf(v) / sum : 0.0f;
    }
    own = over_row<Threads>(own, row_add{});
    if (threadIdx.x == 0) loss[n] = own;
}

/* dx may be p. */
template <int Threads>
__global__ void soft_cross_entropy_dx_kernel(const float *p, const float *t, const float *dloss,
                                             float *dx, int64_t N, int64_t C) {
    int64_t n = row_of_thread(), end = (n + 1) * C;
    float w = 0.0f;

    if (n >= N) return;
    for (int64_t c = n * C + threadIdx.x; c < end; c += Threads)
        if (t[c] > 0.0f) w += t[c];
    w = over_row<Threads>(w, row_add{});
    for (int64_t c = n * C + threadIdx.x; c < end; c += Threads)
        dx[c] = t[c] >= 0.0f ? dloss[0] * (w * p[c] - t[c]) : 0.0f;
}

/* --- launchers -------------------------------------------------------------------------------- */

/* kernel<threads a row>(...) on all rows */
#define SG_LAUNCH_ROWS(kernel, a, ...)                                                             \
    do {                                                                                           \
        const target_state *s_ = static_cast<const target_state *>((a)->state);                    \
        dim3 block_(kWarp, kWarps);                                                                \
                                                                                                   \
        if (s_->N * s_->C == 0) break;                                                             \
        if (s_->C <= kWarpRow)                                                                     \
            SG_LAUNCH((kernel<kWarp>), blocks_for(s_->N, kWarps), block_, 0,                       \
                      (cudaStream_t)(a)->queue, __VA_ARGS__, s_->N, s_->C);                        \
        else                                                                                       \
            SG_LAUNCH((kernel<kThreads>), (unsigned)s_->N, kThreads, 0, (cudaStream_t)(a)->queue,  \
                      __VA_ARGS__, s_->N, s_->C);                                                  \
        SG_TRY(sg_cuda_launched(a));                                                               \
    } while (0)

static const float *in_of(const sg_args *a, int i) { return static_cast<const float *>(a->in[i]); }
static float *out_of(const sg_args *a, int o) { return static_cast<float *>(a->out[o]); }

static sg_status soft_cross_entropy_run(const sg_args *a) {
    const target_state *s = static_cast<const target_state *>(a->state);
    float *loss = static_cast<float *>(a->scratch);

    SG_LAUNCH_ROWS(soft_cross_entropy_kernel, a, in_of(a, 0), in_of(a, 1), loss, out_of(a, 1));
    return sg_cuda_add_parts(a, loss, s->C > 0 ? s->N : 0, 1, 1, out_of(a, 0), NULL);
}

static sg_status soft_cross_entropy_dx_run(const sg_args *a) {
    SG_LAUNCH_ROWS(soft_cross_entropy_dx_kernel, a, in_of(a, 0), in_of(a, 1), in_of(a, 2),
                   out_of(a, 0));
    return SG_OK;
}

/* --- selection -------------------------------------------------------------------------------- */

static sg_status select_rows(const sg_node *node, sg_kernel run, int o, sg_kernel_plan *plan) {
    sg_cuda_dims d = sg_cuda_dims_of(node->in[0]);
    target_state s = {d.N, d.C};

    sg_cuda_plan(plan, node, run, SG_CUDA_PLAIN);
    plan->inplace[o] = 0;
    return sg_cuda_plan_state(plan, &s, sizeof s);
}

extern "C" sg_status sg_cuda_select_soft_cross_entropy(sg_cuda *, const sg_node *node,
                                                       const sg_layout *, sg_kernel_plan *plan) {
    SG_TRY(select_rows(node, soft_cross_entropy_run, 1, plan));
    plan->scratch = (size_t)node->in[0]->shape.dim[0] * sizeof(float);
    return SG_OK;
}

extern "C" sg_status sg_cuda_select_soft_cross_entropy_dx(sg_cuda *, const sg_node *node,
                                                          const sg_layout *, sg_kernel_plan *plan) {
    return select_rows(node, soft_cross_entropy_dx_run, 0, plan);
}
