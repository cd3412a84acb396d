/* The bias and its gradient, of pictures and of matrices (M, C) and (N, T, C), on the mapping of
 * channels.h. Both wait for memory: bias reads and writes once, and bias_db adds chunks of pixels
 * that sg_cuda_add_parts then merges. */
#include "channels.h"

enum { kSumEach = 2 * kGroup };

static const sg_cuda_pixels *pixels_of(const sg_args *a) {
    return static_cast<const sg_cuda_pixels *>(a->state);
}

/* y may be x. */
template <typename T, int V, bool Inner>
__global__ void __launch_bounds__(kThreads, kResident)
    bias_kernel(const T *x, const float *b, T *y, sg_cuda_pixels p) {
    int64_t c = first_channel<V>();
    floats<V> shift;

    if (c >= p.C) return;
    shift = load_channels<V>(b, c);
    by_pixels<kGroup>(p, [&](auto at) {
        auto v = load_pixels<V, Inner>(x, p, at, c);

        for (int i = 0; i < v.n; i++) v.v[i] += shift.v[i % V];
        store_pixels<V, Inner>(y, p, at, c, v);
    });
}

/* part (chunks, C) */
template <typename T, int V, bool Inner>
__global__ void __launch_bounds__(kThreads, kResident)
    bias_db_kernel(const T *dy, float *part, sg_cuda_pixels p) {
    SG_SHARED(float, shared, kThreads *V);
    int64_t c = first_channel<V>();
    floats<V> sum = {};

    if (c < p.C)
        by_pixels<2 * kGroup>(p, [&](auto at) {
            auto d = load_pixels<V, Inner>(dy, p, at, c);

            for (int i = 0; i < d.n; i++) sum.v[i % V] += d.v[i];
        });
    add_rows(shared, sum.v);
    if (threadIdx.y > 0 || c >= p.C) return;
    for (int k = 0; k < V; k++) part[blockIdx.y * p.C + c + k] = sum.v[k];
}

template <typename T, int V, bool Inner> static sg_status bias_as(const sg_args *a) {
    const sg_cuda_pixels *p = pixels_of(a);

    if (p->chunks * p->tiles == 0) return SG_OK;
    SG_LAUNCH((bias_kernel<T, V, Inner>), grid_of(*p), block_of(*p), 0, (cudaStream_t)a->queue,
              static_cast<const T *>(a->in[0]), static_cast<const float *>(a->in[1]),
              static_cast<T *>(a->out[0]), *p);
    return sg_cuda_launched(a);
}

typedef struct {
    const sg_args *a;
    const sg_cuda_pixels *p;
    float *db;
} bias_db_call;

template <typename T, int V, bool Inner> static sg_status bias_db_as(const bias_db_call *call) {
    const sg_cuda_pixels *p = call->p;
    const sg_args *a = call->a;
    float *part = static_cast<float *>(a->scratch);

    if (p->chunks * p->tiles > 0) {
        SG_LAUNCH((bias_db_kernel<T, V, Inner>), grid_of(*p), block_of(*p), 0,
                  (cudaStream_t)a->queue, static_cast<const T *>(a->in[0]), part, *p);
        SG_TRY(sg_cuda_launched(a));
    }
    return sg_cuda_add_parts(a, part, p->chunks, p->C, p->C, call->db, NULL);
}

template <typename T> static sg_status bias_run(const sg_args *a) {
    return SG_BY_CHANNELS(*pixels_of(a), T, bias_as, a);
}

sg_cuda_pixels sg_cuda_bias_db_pixels(const sg_value *dy, sg_layout layout) {
    return sg_cuda_pixels_of(dy, layout, kSumEach, sg_cuda_sum_chunks(dy));
}

size_t sg_cuda_bias_db_scratch(const sg_cuda_pixels &p) {
    return (size_t)(p.chunks * p.C) * sizeof(float);
}

sg_status sg_cuda_bias_db(const sg_args *a, const sg_cuda_pixels &p, sg_layout layout, float *db) {
    bias_db_call call = {a, &p, db};

    return sg_cuda_is_bf16(layout) ? SG_BY_CHANNELS(p, bf16, bias_db_as, &call)
                                   : SG_BY_CHANNELS(p, float, bias_db_as, &call);
}

template <sg_layout Layout> static sg_status bias_db_run(const sg_args *a) {
    return sg_cuda_bias_db(a, *pixels_of(a), Layout, static_cast<float *>(a->out[0]));
}

extern "C" sg_status sg_cuda_select_bias(sg_cuda *, const sg_node *node, const sg_layout have[],
                                         sg_kernel_plan *plan) {
    sg_layout layout = sg_cuda_common_layout(node, have);
    sg_cuda_pixels p = sg_cuda_pixels_of(node->in[0], layout, kGroup, INT64_MAX);

    sg_cuda_plan(plan, node, sg_cuda_is_bf16(layout) ? bias_run<bf16> : bias_run<float>, layout);
    plan->inplace[0] = 0;
    return sg_cuda_plan_state(plan, &p, sizeof p);
}

extern "C" sg_status sg_cuda_select_bias_db(sg_cuda *, const sg_node *node, const sg_layout have[],
                                            sg_kernel_plan *plan) {
    sg_layout layout = sg_cuda_common_layout(node, have);
    sg_cuda_pixels p = sg_cuda_bias_db_pixels(node->in[0], layout);

    sg_cuda_plan(plan, node,
                 sg_cuda_is_bf16(layout) ? bias_db_run<SG_CUDA_PLAIN_BF16>
                                         : bias_db_run<SG_CUDA_PLAIN>,
                 layout);
    plan->scratch = sg_cuda_bias_db_scratch(p);
    return sg_cuda_plan_state(plan, &p, sizeof p);
}
