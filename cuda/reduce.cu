/* The sum of all elements, and its gradient. A sum is taken in at most 1024 chunks, whose number
 * depends on the count alone: a block adds one, each thread in f32 and the block as a tree, and a
 * second kernel adds the chunks in double. The order of elements is the layout's. */
#include "channels.h"

enum { kEach = 16, kMaxParts = 1024 };

typedef struct {
    int64_t count, chunk, parts; /* elements, of a block, blocks */
} reduce_state;

template <typename T>
__global__ void sum_kernel(const T *x, float *part, int64_t count, int64_t chunk) {
    SG_SHARED(float, shared, kThreads);
    int64_t start = blockIdx.x * chunk, end = start + chunk < count ? start + chunk : count;
    float sum[1] = {0.0f};

    for (int64_t i = start + threadIdx.y; i < end; i += kThreads) sum[0] += to_float(x[i]);
    add_rows(shared, sum);
    if (threadIdx.y == 0) part[blockIdx.x] = sum[0];
}

template <typename T> static sg_status sum_run(const sg_args *a) {
    const reduce_state *s = static_cast<const reduce_state *>(a->state);
    float *part = static_cast<float *>(a->scratch);

    if (s->parts > 0) {
        SG_LAUNCH((sum_kernel<T>), (unsigned)s->parts, dim3(1, kThreads), 0, (cudaStream_t)a->queue,
                  static_cast<const T *>(a->in[0]), part, s->count, s->chunk);
        SG_TRY(sg_cuda_launched(a));
    }
    return sg_cuda_add_parts(a, part, s->parts, 1, 1, static_cast<float *>(a->out[0]), NULL);
}

extern "C" sg_status sg_cuda_select_sum(sg_cuda *, const sg_node *node, const sg_layout have[],
                                        sg_kernel_plan *plan) {
    sg_layout layout = sg_cuda_common_layout(node, have);
    reduce_state s = {sg_shape_count(&node->in[0]->shape), 0, 0};

    s.parts = blocks_for(s.count, kThreads * kEach);
    if (s.parts > kMaxParts) s.parts = kMaxParts;
    if (s.parts > 0) s.chunk = (s.count + s.parts - 1) / s.parts;
    sg_cuda_plan(plan, node, sg_cuda_is_bf16(layout) ? sum_run<bf16> : sum_run<float>, layout);
    plan->scratch = (size_t)s.parts * sizeof(float);
    return sg_cuda_plan_state(plan, &s, sizeof s);
}

__global__ void fill_kernel(const float *x, float *y, int64_t count) {
    int64_t first = (int64_t)blockIdx.x * kThreads * kEach + threadIdx.x;
    float value = x[0];

    for (int k = 0; k < kEach; k++)
        if (first + k * kThreads < count) y[first + k * kThreads] = value;
}

static sg_status fill_run(const sg_args *a) {
    const reduce_state *s = static_cast<const reduce_state *>(a->state);

    if (s->count == 0) return SG_OK;
    SG_LAUNCH(fill_kernel, blocks_for(s->count, kThreads * kEach), kThreads, 0,
              (cudaStream_t)a->queue, static_cast<const float *>(a->in[0]),
              static_cast<float *>(a->out[0]), s->count);
    return sg_cuda_launched(a);
}

extern "C" sg_status sg_cuda_select_fill(sg_cuda *, const sg_node *node, const sg_layout *,
                                         sg_kernel_plan *plan) {
    reduce_state s = {sg_shape_count(&node->out[0].shape), 0, 0};

    sg_cuda_plan(plan, node, fill_run, SG_CUDA_PLAIN);
    return sg_cuda_plan_state(plan, &s, sizeof s);
}
