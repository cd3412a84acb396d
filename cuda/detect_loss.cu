/* Quality focal loss on logits. A thread takes four elements 256 apart, so reads are coalesced; the
 * loss adds a block's 1024 terms in double, as a tree, and a second kernel the blocks. */
#include "channels.h"
#include "ops/detect.h"

enum { kEach = 4 };

typedef struct {
    int64_t count, parts;
    float beta;
} focal_state;

/* |d|^beta; the usual powers without pow. */
__device__ static inline float power(float d, float beta) {
    d = fabsf(d);
    if (beta == 0.0f) return 1.0f;
    if (beta == 1.0f) return d;
    if (beta == 2.0f) return d * d;
    return powf(d, beta);
}

typedef struct {
    float s, bce;
} logit;

/* One exp and one log, neither of which overflows. */
__device__ static inline logit logit_of(float z, float t) {
    float e = expf(-fabsf(z)); /* 0 .. 1 */
    logit l;

    l.s = (z >= 0.0f ? 1.0f : e) / (1.0f + e);
    l.bce = (z > 0.0f ? z : 0.0f) - z * t + log1pf(e);
    return l;
}

__device__ static inline int64_t first_of_thread() {
    return (int64_t)blockIdx.x * kThreads * kEach + threadIdx.y;
}

/* z, t (count) -> part (gridDim.x) */
__global__ void focal_kernel(const float *z, const float *t, float *part, focal_state s) {
    SG_SHARED(double, shared, kThreads);
    int64_t first = first_of_thread();
    double sum[1] = {0.0};

    for (int k = 0; k < kEach; k++) {
        int64_t i = first + k * kThreads;

        if (i < s.count) {
            logit l = logit_of(z[i], t[i]);

            sum[0] += (double)(power(l.s - t[i], s.beta) * l.bce);
        }
    }
    add_rows(shared, sum);
    if (threadIdx.y == 0) part[blockIdx.x] = (float)sum[0];
}

/* z, t (count) -> dz (count), which may be z. */
__global__ void focal_dx_kernel(const float *z, const float *t, const float *dloss, float *dz,
                                focal_state s) {
    int64_t first = first_of_thread();
    float scale = dloss[0];

    for (int k = 0; k < kEach; k++) {
        int64_t i = first + k * kThreads;

        if (i < s.count) {
            logit l = logit_of(z[i], t[i]);
            float d = l.s - t[i], slope = power(d, s.beta) * d;

            if (s.beta > 0.0f && d != 0.0f)
                slope +=
                    copysignf(s.beta * power(d, s.beta - 1.0f), d) * l.s * (1.0f - l.s) * l.bce;
            dz[i] = scale * slope;
        }
    }
}

static sg_status focal_run(const sg_args *a) {
    const focal_state *s = static_cast<const focal_state *>(a->state);
    float *part = static_cast<float *>(a->scratch);

    if (s->parts > 0) {
        SG_LAUNCH(focal_kernel, (unsigned)s->parts, dim3(1, kThreads), 0, (cudaStream_t)a->queue,
                  static_cast<const float *>(a->in[0]), static_cast<const float *>(a->in[1]), part,
                  *s);
        SG_TRY(sg_cuda_launched(a));
    }
    return sg_cuda_add_parts(a, part, s->parts, 1, 1, static_cast<float *>(a->out[0]), NULL);
}

static sg_status focal_dx_run(const sg_args *a) {
    const focal_state *s = static_cast<const focal_state *>(a->state);

    if (s->parts == 0) return SG_OK;
    SG_LAUNCH(focal_dx_kernel, (unsigned)s->parts, dim3(1, kThreads), 0, (cudaStream_t)a->queue,
              static_cast<const float *>(a->in[0]), static_cast<const float *>(a->in[1]),
              static_cast<const float *>(a->in[2]), static_cast<float *>(a->out[0]), *s);
    return sg_cuda_launched(a);
}

/* --- selection -------------------------------------------------------------------------------- */

static sg_status select_focal(const sg_node *node, sg_kernel run, sg_kernel_plan *plan) {
    focal_state s = {sg_shape_count(&node->in[0]->shape), 0,
                     static_cast<const sg_focal_attr *>(node->attr)->beta};

    s.parts = blocks_for(s.count, kThreads * kEach);
    sg_cuda_plan(plan, node, run, SG_CUDA_PLAIN);
    plan->scratch = (size_t)s.parts * sizeof(float);
    return sg_cuda_plan_state(plan, &s, sizeof s);
}

extern "C" sg_status sg_cuda_select_quality_focal_loss(sg_cuda *, const sg_node *node,
                                                       const sg_layout *, sg_kernel_plan *plan) {
    return select_focal(node, focal_run, plan);
}

extern "C" sg_status sg_cuda_select_quality_focal_loss_dx(sg_cuda *, const sg_node *node,
                                                          const sg_layout *, sg_kernel_plan *plan) {
    SG_TRY(select_focal(node, focal_dx_run, plan));
    plan->inplace[0] = 0;
    plan->scratch = 0;
    return SG_OK;
}
