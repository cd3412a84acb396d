/* Softmax over the last axis, cross-entropy, and their gradients; ops/softmax.c has the formulas.
 *
 * The mapping is rows.h's. Rows are read two or three times, the later times from the cache. The
 * losses of the rows are added by sg_cuda_add_parts. Where rows are bf16 the loss and its
 * probabilities, from which the gradient subtracts 1, are f32 still. */
#include "rows.h"

typedef struct {
    int64_t N, C;
} softmax_state;

/* max x and sum exp(x - max) of a row; a NaN shows in the sum. */
template <int Threads, typename T>
__device__ static inline void exp_sum(const T *x, int64_t C, float *greatest, float *sum) {
    float m = -INFINITY, s = 0.0f;

    for (int64_t c = threadIdx.x; c < C; c += Threads) m = fmaxf(m, to_float(x[c]));
    m = over_row<Threads>(m, row_max{});
    for (int64_t c = threadIdx.x; c < C; c += Threads) s += expf(to_float(x[c]) - m);
    *greatest = m;
    *sum = over_row<Threads>(s, row_add{});
}

/* --- softmax ---------------------------------------------------------------------------------- */

/* y may be x. */
template <int Threads, typename T>
__global__ void softmax_kernel(const T *x, T *y, int64_t N, int64_t C) {
    int64_t n = row_of_thread();
    float m, sum;

    if (n >= N) return;
    exp_sum<Threads>(x + n * C, C, &m, &sum);
    for (int64_t c = n * C + threadIdx.x; c < (n + 1) * C; c += Threads)
        y[c] = from_float<T>(expf(to_float(x[c]) - m) / sum);
}

/* dx may be dy. */
template <int Threads, typename T>
__global__ void softmax_dx_kernel(const T *y, const T *dy, T *dx, int64_t N, int64_t C) {
    int64_t n = row_of_thread(), end = (n + 1) * C;
    float dot = 0.0f;

    if (n >= N) return;
    for (int64_t c = n * C + threadIdx.x; c < end; c += Threads)
        dot += to_float(y[c]) * to_float(dy[c]);
    dot = over_row<Threads>(dot, row_add{});
    for (int64_t c = n * C + threadIdx.x; c < end; c += Threads)
        dx[c] = from_float<T>(to_float(y[c]) * (to_float(dy[c]) - dot));
}

/* --- cross_entropy ---------------------------------------------------------------------------- */

/* loss (N) is each row's. A label that no class has, which the reference refuses, makes it NaN.
 * p may be x: what the loss needs is read before. */
template <int Threads, typename T>
__global__ void cross_entropy_kernel(const T *x, const int32_t *label, float *loss, float *p,
                                     int64_t N, int64_t C) {
    int64_t n = row_of_thread();
    float m, sum;

    if (n >= N) return;
    exp_sum<Threads>(x + n * C, C, &m, &sum);
    for (int64_t c = threadIdx.x; c < C; c += Threads) {
        float v = to_float(x[n * C + c]) - m;

        if (c == label[n]) loss[n] = logf(sum) - v;
        p[n * C + c] = expf(v) / sum;
    }
    if (threadIdx.x > 0) return;
    if (label[n] < 0) loss[n] = 0.0f;
    if (label[n] >= C) loss[n] = NAN;
}

/* dx may be p. */
template <typename T>
__global__ void cross_entropy_dx_kernel(const float *p, const int32_t *label, const float *dloss,
                                        T *dx, int64_t count, int64_t C) {
    int64_t i = (int64_t)blockIdx.x * kThreads + threadIdx.x;
    int64_t n = i / C;

    if (i >= count) return;
    dx[i] = from_float<T>(label[n] < 0 ? 0.0f
                                       : dloss[0] * (p[i] - (i - n * C == label[n] ? 1.0f : 0.0f)));
}

/* --- launchers -------------------------------------------------------------------------------- */

static const softmax_state *state_of(const sg_args *a) {
    return static_cast<const softmax_state *>(a->state);
}

template <typename T> static const T *in_of(const sg_args *a, int i) {
    return static_cast<const T *>(a->in[i]);
}

template <typename T> static T *out_of(const sg_args *a, int o) {
    return static_cast<T *>(a->out[o]);
}

/* kernel<threads a row, T>(...) on all rows */
#define SG_LAUNCH_ROWS(kernel, T, a, ...)                                                          \
    do {                                                                                           \
        const softmax_state *s_ = state_of(a);                                                     \
        dim3 block_(kWarp, kWarps);                                                                \
                                                                                                   \
        if (s_->N * s_->C == 0) break;                                                             \
        if (s_->C <= kWarpRow)                                                                     \
            SG_LAUNCH((kernel<kWarp, T>), blocks_for(s_->N, kWarps), block_, 0,                    \
                      (cudaStream_t)(a)->queue, __VA_ARGS__, s_->N, s_->C);                        \
        else                                                                                       \
            SG_LAUNCH((kernel<kThreads, T>), (unsigned)s_->N, kThreads, 0,                         \
                      (cudaStream_t)(a)->queue, __VA_ARGS__, s_->N, s_->C);                        \
        SG_TRY(sg_cuda_launched(a));                                                               \
    } while (0)

template <typename T> static sg_status softmax_run(const sg_args *a) {
    SG_LAUNCH_ROWS(softmax_kernel, T, a, in_of<T>(a, 0), out_of<T>(a, 0));
    return SG_OK;
}

template <typename T> static sg_status softmax_dx_run(const sg_args *a) {
    SG_LAUNCH_ROWS(softmax_dx_kernel, T, a, in_of<T>(a, 0), in_of<T>(a, 1), out_of<T>(a, 0));
    return SG_OK;
}

template <typename T> static sg_status cross_entropy_run(const sg_args *a) {
    float *loss = static_cast<float *>(a->scratch);

    SG_LAUNCH_ROWS(cross_entropy_kernel, T, a, in_of<T>(a, 0), in_of<int32_t>(a, 1), loss,
                   out_of<float>(a, 1));
    return sg_cuda_add_parts(a, loss, state_of(a)->C > 0 ? state_of(a)->N : 0, 1, 1,
                             out_of<float>(a, 0), NULL);
}

template <typename T> static sg_status cross_entropy_dx_run(const sg_args *a) {
    const softmax_state *s = state_of(a);
    int64_t count = s->N * s->C;

    if (count == 0) return SG_OK;
    SG_LAUNCH((cross_entropy_dx_kernel<T>), blocks_for(count, kThreads), kThreads, 0,
              (cudaStream_t)a->queue, in_of<float>(a, 0), in_of<int32_t>(a, 1), in_of<float>(a, 2),
              out_of<T>(a, 0), count, s->C);
    return sg_cuda_launched(a);
}

/* --- selection -------------------------------------------------------------------------------- */

/* `inplace`: the input that the matrix, output `o`, may overwrite. */
static sg_status select_rows(const sg_node *node, sg_kernel run, sg_layout layout, int o,
                             int inplace, sg_kernel_plan *plan) {
    sg_cuda_dims d = sg_cuda_dims_of(node->in[0]);
    softmax_state s = {d.N, d.C};

    sg_cuda_plan(plan, node, run, layout);
    plan->inplace[o] = inplace;
    return sg_cuda_plan_state(plan, &s, sizeof s);
}

extern "C" sg_status sg_cuda_select_softmax(sg_cuda *, const sg_node *node, const sg_layout have[],
                                            sg_kernel_plan *plan) {
    sg_layout layout = sg_cuda_common_layout(node, have);

    return select_rows(node, sg_cuda_is_bf16(layout) ? softmax_run<bf16> : softmax_run<float>,
                       layout, 0, 0, plan);
}

extern "C" sg_status sg_cuda_select_softmax_dx(sg_cuda *, const sg_node *node,
                                               const sg_layout have[], sg_kernel_plan *plan) {
    sg_layout layout = sg_cuda_common_layout(node, have);

    return select_rows(node, sg_cuda_is_bf16(layout) ? softmax_dx_run<bf16> : softmax_dx_run<float>,
                       layout, 0, 1, plan);
}

extern "C" sg_status sg_cuda_select_cross_entropy(sg_cuda *, const sg_node *node,
                                                  const sg_layout have[], sg_kernel_plan *plan) {
    sg_layout layout = sg_cuda_common_layout(node, have);
    bool half = sg_cuda_is_bf16(layout);

    SG_TRY(select_rows(node, half ? cross_entropy_run<bf16> : cross_entropy_run<float>, layout, 1,
                       half ? -1 : 0, plan));
    plan->scratch = (size_t)node->in[0]->shape.dim[0] * sizeof(float);
    plan->out[1] = SG_CUDA_PLAIN;
    return SG_OK;
}

/* p is f32; dx goes to a product. */
extern "C" sg_status sg_cuda_select_cross_entropy_dx(sg_cuda *cuda, const sg_node *node,
                                                     const sg_layout *, sg_kernel_plan *plan) {
    sg_layout layout = sg_cuda_product_layout(cuda);
    bool half = sg_cuda_is_bf16(layout);

    SG_TRY(select_rows(node, half ? cross_entropy_dx_run<bf16> : cross_entropy_dx_run<float>,
                       layout, 0, half ? -1 : 0, plan));
    plan->in[0] = SG_CUDA_PLAIN;
    return SG_OK;
}
