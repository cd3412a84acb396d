/* What a head says about a box, as a box. A thread an anchor: its four numbers are one load of 16
 * bytes, and its cell follows from its number by one division. */
#include "detect_cuda.h"

enum { kThreads = 256 };

typedef struct {
    int64_t N;
    device_anchors anchors;
} decode_state;

__device__ static inline int level_of(const device_anchors &anchors, int a) {
    int level = 0;

    while (a >= anchors.start[level + 1]) level++;
    return level;
}

/* Written so that NaN goes on: a diverged run must show. */
__device__ static inline float clamp_size(float x) {
    return x < SG_RAW_SIZE_MIN ? SG_RAW_SIZE_MIN : x > SG_RAW_SIZE_MAX ? SG_RAW_SIZE_MAX : x;
}

/* raw, box (N, A, 4); they may be the same. grid: anchors, pictures. */
__global__ void decode_kernel(const float4 *raw, float4 *box, decode_state s) {
    int a = (int)(blockIdx.x * kThreads + threadIdx.x), A = s.anchors.start[s.anchors.levels];
    int level, row, col;
    float stride, unit;

    if (a >= A) return;
    level = level_of(s.anchors, a);
    row = (a - s.anchors.start[level]) / s.anchors.width[level];
    col = (a - s.anchors.start[level]) % s.anchors.width[level];
    stride = (float)s.anchors.stride[level];
    unit = SG_BOX_UNIT * stride;
    for (int64_t n = blockIdx.y; n < s.N; n += gridDim.y) {
        float4 r = raw[n * A + a], b;
        float x = ((float)col + 0.5f + r.x) * stride, w = expf(clamp_size(r.z)) * unit;
        float y = ((float)row + 0.5f + r.y) * stride, h = expf(clamp_size(r.w)) * unit;

        b.x = x - 0.5f * w;
        b.y = y - 0.5f * h;
        b.z = x + 0.5f * w;
        b.w = y + 0.5f * h;
        box[n * A + a] = b;
    }
}

__device__ static inline float size_gradient(float raw, float unit, float dmin, float dmax) {
    if (raw < SG_RAW_SIZE_MIN || raw > SG_RAW_SIZE_MAX) return 0.0f;
    if (dmin == 0.0f && dmax == 0.0f) return 0.0f; /* most anchors: no exp */
    return 0.5f * expf(raw) * unit * (dmax - dmin);
}

/* raw, dy, dx (N, A, 4); dx may be dy. */
__global__ void decode_dx_kernel(const float4 *raw, const float4 *dy, float4 *dx, decode_state s) {
    int a = (int)(blockIdx.x * kThreads + threadIdx.x), A = s.anchors.start[s.anchors.levels];
    float stride, unit;

    if (a >= A) return;
    stride = (float)s.anchors.stride[level_of(s.anchors, a)];
    unit = SG_BOX_UNIT * stride;
    for (int64_t n = blockIdx.y; n < s.N; n += gridDim.y) {
        float4 r = raw[n * A + a], d = dy[n * A + a], g;

        g.x = stride * (d.x + d.z);
        g.y = stride * (d.y + d.w);
        g.z = size_gradient(r.z, unit, d.x, d.z);
        g.w = size_gradient(r.w, unit, d.y, d.w);
        dx[n * A + a] = g;
    }
}

static dim3 grid_of(const decode_state *s) {
    return dim3(blocks_for(s->anchors.start[s->anchors.levels], kThreads), grid_side(s->N));
}

static sg_status box_decode_run(const sg_args *a) {
    const decode_state *s = static_cast<const decode_state *>(a->state);

    if (s->N == 0) return SG_OK;
    SG_LAUNCH(decode_kernel, grid_of(s), kThreads, 0, (cudaStream_t)a->queue,
              static_cast<const float4 *>(a->in[0]), static_cast<float4 *>(a->out[0]), *s);
    return sg_cuda_launched(a);
}

static sg_status box_decode_dx_run(const sg_args *a) {
    const decode_state *s = static_cast<const decode_state *>(a->state);

    if (s->N == 0) return SG_OK;
    SG_LAUNCH(decode_dx_kernel, grid_of(s), kThreads, 0, (cudaStream_t)a->queue,
              static_cast<const float4 *>(a->in[0]), static_cast<const float4 *>(a->in[1]),
              static_cast<float4 *>(a->out[0]), *s);
    return sg_cuda_launched(a);
}

/* --- selection -------------------------------------------------------------------------------- */

static sg_status select_in(const sg_node *node, sg_kernel run, int inplace, sg_kernel_plan *plan) {
    decode_state s;

    SG_TRY(device_anchors_of(node, static_cast<const sg_anchors *>(node->attr), &s.anchors));
    s.N = node->out[0].shape.dim[0];
    sg_cuda_plan(plan, node, run, SG_CUDA_PLAIN);
    plan->inplace[0] = inplace;
    return sg_cuda_plan_state(plan, &s, sizeof s);
}

extern "C" sg_status sg_cuda_select_box_decode(sg_cuda *, const sg_node *node, const sg_layout *,
                                               sg_kernel_plan *plan) {
    return select_in(node, box_decode_run, 0, plan);
}

extern "C" sg_status sg_cuda_select_box_decode_dx(sg_cuda *, const sg_node *node, const sg_layout *,
                                                  sg_kernel_plan *plan) {
    return select_in(node, box_decode_dx_run, 1, plan);
}
