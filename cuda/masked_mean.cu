/* The mean of the tokens of each text and its gradient: ops/masked_mean.c. A block is a text's 32
 * columns, or as many lanes as there are, and adds its tokens eight side by side: first each thread
 * its own, then the block as a tree. The mean, which is small, is f32 whatever the tokens are. */
#include "channels.h"

enum { kEach = 4 };

typedef struct {
    int64_t N, T, C;
} mean_state;

template <typename T>
__global__ void masked_mean_kernel(const T *x, const int32_t *length, float *y, mean_state s) {
    SG_SHARED(float, shared, kThreads);
    int64_t c = first_channel<1>();

    for (int64_t n = blockIdx.y; n < s.N; n += gridDim.y) {
        int64_t tokens = length[n];
        bool valid = tokens >= 0 && tokens <= s.T;
        const T *text = x + n * s.T * s.C;
        float sum[1] = {0.0f};

        for (int64_t t = threadIdx.y; valid && t < tokens && c < s.C; t += blockDim.y)
            sum[0] += to_float(text[t * s.C + c]);
        add_rows(shared, sum);
        if (threadIdx.y > 0 || c >= s.C) continue;
        y[n * s.C + c] = !valid ? NAN : tokens > 0 ? sum[0] / (float)tokens : 0.0f;
    }
}

/* Element i of dx (N, T, C). */
template <typename T>
__global__ void masked_mean_dx_kernel(const int32_t *length, const float *dy, T *dx, mean_state s) {
    int64_t first = (int64_t)blockIdx.x * kThreads * kEach + threadIdx.x, count = s.N * s.T * s.C;

    for (int e = 0; e < kEach; e++) {
        int64_t i = first + e * kThreads;
        int64_t row = i / s.C, n = row / s.T;
        float slope = 0.0f;

        if (i >= count) return;
        if (row - n * s.T < length[n]) slope = dy[n * s.C + i - row * s.C] / (float)length[n];
        dx[i] = from_float<T>(length[n] < 0 || length[n] > s.T ? NAN : slope);
    }
}

static const mean_state *state_of(const sg_args *a) {
    return static_cast<const mean_state *>(a->state);
}

template <typename T> static sg_status masked_mean_run(const sg_args *a) {
    const mean_state *s = state_of(a);
    unsigned lanes = (unsigned)lanes_for(s->C, kMaxLanes);

    if (s->N * s->C == 0) return SG_OK;
    SG_LAUNCH((masked_mean_kernel<T>), dim3(blocks_for(s->C, lanes), grid_side(s->N)),
              dim3(lanes, kThreads / lanes), 0, (cudaStream_t)a->queue,
              static_cast<const T *>(a->in[0]), static_cast<const int32_t *>(a->in[1]),
              static_cast<float *>(a->out[0]), *s);
    return sg_cuda_launched(a);
}

template <typename T> static sg_status masked_mean_dx_run(const sg_args *a) {
    const mean_state *s = state_of(a);
    int64_t count = s->N * s->T * s->C;

    if (count == 0) return SG_OK;
    SG_LAUNCH((masked_mean_dx_kernel<T>), blocks_for(count, kThreads * kEach), kThreads, 0,
              (cudaStream_t)a->queue, static_cast<const int32_t *>(a->in[0]),
              static_cast<const float *>(a->in[1]), static_cast<T *>(a->out[0]), *s);
    return sg_cuda_launched(a);
}

static sg_status select_mean(const sg_node *node, const sg_value *tokens, sg_kernel run,
                             sg_layout layout, sg_kernel_plan *plan) {
    const sg_shape *x = &tokens->shape;
    mean_state s = {x->dim[0], x->dim[1], x->dim[2]};

    sg_cuda_plan(plan, node, run, layout);
    return sg_cuda_plan_state(plan, &s, sizeof s);
}

extern "C" sg_status sg_cuda_select_masked_mean(sg_cuda *, const sg_node *node,
                                                const sg_layout have[], sg_kernel_plan *plan) {
    sg_layout layout = sg_cuda_common_layout(node, have);

    SG_TRY(select_mean(node, node->in[0],
                       sg_cuda_is_bf16(layout) ? masked_mean_run<bf16> : masked_mean_run<float>,
                       layout, plan));
    plan->out[0] = SG_CUDA_PLAIN;
    return SG_OK;
}

/* dx goes to a product. */
extern "C" sg_status sg_cuda_select_masked_mean_dx(sg_cuda *cuda, const sg_node *node,
                                                   const sg_layout *, sg_kernel_plan *plan) {
    sg_layout layout = sg_cuda_product_layout(cuda);

    SG_TRY(
        select_mean(node, &node->out[0],
                    sg_cuda_is_bf16(layout) ? masked_mean_dx_run<bf16> : masked_mean_dx_run<float>,
                    layout, plan));
    plan->in[1] = SG_CUDA_PLAIN;
    return SG_OK;
}
