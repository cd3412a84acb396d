/* Windows of tokens and their gradient: ops/windows.c. A row of the block is a token, its threads
 * go along the channels, and each thread along the window: neighbouring tokens read the same rows,
 * which the cache holds. Elements are copied as they are; sums of a gradient are f32. */
#include "channels.h"

typedef struct {
    int64_t M, T, C, K; /* M = N T */
} windows_state;

/* The token of its text that row m of the block is, and how many those are; -1: a bad length. */
__device__ static inline int64_t token_of(const int32_t *length, int64_t m, int64_t T,
                                          int64_t *tokens) {
    int64_t n = m / T;

    *tokens = length[n] >= 0 && length[n] <= T ? length[n] : -1;
    return m - n * T;
}

template <int V> __device__ static inline floats<V> all(float value) {
    floats<V> v;

    for (int k = 0; k < V; k++) v.v[k] = value;
    return v;
}

template <typename T, int V>
__global__ void windows_kernel(const T *x, const int32_t *length, T *y, windows_state s) {
    int64_t m = (int64_t)blockIdx.x * blockDim.y + threadIdx.y, h = (s.K - 1) / 2, tokens, t;

    if (m >= s.M) return;
    t = token_of(length, m, s.T, &tokens);
    for (int64_t c = threadIdx.x * V; c < s.C; c += blockDim.x * V)
        for (int64_t q = 0; q < s.K; q++) {
            int64_t u = t + q - h;
            floats<V> v = all<V>(tokens < 0 ? NAN : 0.0f);

            if (t < tokens && u >= 0 && u < tokens) v = load<V>(x + (m + q - h) * s.C + c);
            store(y + (m * s.K + q) * s.C + c, v);
        }
}

template <typename T, int V>
__global__ void windows_dx_kernel(const int32_t *length, const T *dy, T *dx, windows_state s) {
    int64_t m = (int64_t)blockIdx.x * blockDim.y + threadIdx.y, h = (s.K - 1) / 2, tokens, u;

    if (m >= s.M) return;
    u = token_of(length, m, s.T, &tokens);
    for (int64_t c = threadIdx.x * V; c < s.C; c += blockDim.x * V) {
        floats<V> sum = all<V>(tokens < 0 ? NAN : 0.0f);

        for (int64_t q = 0; q < s.K && u < tokens; q++) {
            int64_t t = u + h - q;

            if (t < 0 || t >= tokens) continue;
            floats<V> v = load<V>(dy + ((m + h - q) * s.K + q) * s.C + c);

            for (int k = 0; k < V; k++) sum.v[k] += v.v[k];
        }
        store(dx + m * s.C + c, sum);
    }
}

template <typename T, int V> static sg_status windows_as(const sg_args *a, bool backward) {
    const windows_state *s = static_cast<const windows_state *>(a->state);
    unsigned lanes = (unsigned)lanes_for(ceil_div(s->C, V), kThreads);
    dim3 block(lanes, kThreads / lanes);

    if (backward)
        SG_LAUNCH((windows_dx_kernel<T, V>), blocks_for(s->M, kThreads / lanes), block, 0,
                  (cudaStream_t)a->queue, static_cast<const int32_t *>(a->in[0]),
                  static_cast<const T *>(a->in[1]), static_cast<T *>(a->out[0]), *s);
    else
        SG_LAUNCH((windows_kernel<T, V>), blocks_for(s->M, kThreads / lanes), block, 0,
                  (cudaStream_t)a->queue, static_cast<const T *>(a->in[0]),
                  static_cast<const int32_t *>(a->in[1]), static_cast<T *>(a->out[0]), *s);
    return sg_cuda_launched(a);
}

template <typename T, bool Backward> static sg_status windows_run(const sg_args *a) {
    const windows_state *s = static_cast<const windows_state *>(a->state);
    const void *const pointers[] = {a->in[Backward ? 1 : 0], a->out[0]};

    if (s->M * s->C == 0) return SG_OK;
    return can_pack(s->C, pointers, 2) ? windows_as<T, kPack>(a, Backward)
                                       : windows_as<T, 1>(a, Backward);
}

/* In the layout in which tokens arrive. */
template <bool Backward>
static sg_status select_windows(const sg_node *node, const sg_layout have[], sg_kernel_plan *plan) {
    const sg_shape *x = Backward ? &node->out[0].shape : &node->in[0]->shape;
    sg_layout layout = sg_cuda_common_layout(node, have);
    windows_state s = {x->dim[0] * x->dim[1], x->dim[1], x->dim[2],
                       static_cast<const sg_windows_attr *>(node->attr)->kernel};

    sg_cuda_plan(plan, node,
                 sg_cuda_is_bf16(layout) ? windows_run<bf16, Backward>
                                         : windows_run<float, Backward>,
                 layout);
    return sg_cuda_plan_state(plan, &s, sizeof s);
}

extern "C" sg_status sg_cuda_select_windows(sg_cuda *, const sg_node *node, const sg_layout have[],
                                            sg_kernel_plan *plan) {
    return select_windows<false>(node, have, plan);
}

extern "C" sg_status sg_cuda_select_windows_dx(sg_cuda *, const sg_node *node,
                                               const sg_layout have[], sg_kernel_plan *plan) {
    return select_windows<true>(node, have, plan);
}
