/* Maps of several levels to one list of anchors, and back.
 *
 * A list (N, A, C) holds a level's pictures as N H W C does, so from there both ops copy runs of
 * memory, a thread an element: there is nothing to compute and, with the 3 or 4 channels of the
 * heads, little to move. All levels go in one launch. From N C H W a warp of a head of 4 channels
 * reads 8 neighbours in each of 4 planes, which are whole sectors. */
#include "detect_cuda.h"

enum { kThreads = 256 };

typedef struct {
    int64_t N, A, C;
    int levels;
    int64_t start[SG_MAX_LEVELS + 1]; /* anchors; the last: A. level_split: those of one level */
} level_state;

template <typename T> struct level_maps {
    const T *map[SG_MAX_LEVELS]; /* (N, H W, C) or (N, C, H W) */
};

static dim3 grid_of(int64_t elements, int64_t N) {
    return dim3(blocks_for(elements, kThreads), grid_side(N));
}

/* y (N, A, C). grid: elements of a picture, pictures. */
template <typename T, bool kNhwc>
__global__ void concat_kernel(level_maps<T> maps, float *y, level_state s) {
    int64_t i = (int64_t)blockIdx.x * kThreads + threadIdx.x, at, size;
    int level = 0;

    if (i >= s.A * s.C) return;
    while (i >= s.start[level + 1] * s.C) level++;
    at = i - s.start[level] * s.C;
    size = (s.start[level + 1] - s.start[level]) * s.C;
    if (!kNhwc) at = at % s.C * (size / s.C) + at / s.C;
    for (int64_t n = blockIdx.y; n < s.N; n += gridDim.y)
        y[n * s.A * s.C + i] = to_float(maps.map[level][n * size + at]);
}

/* x (N, A, C) -> y (N, H W, C). grid: elements of a map, pictures. */
template <typename T> __global__ void split_kernel(const float *x, T *y, level_state s) {
    int64_t i = (int64_t)blockIdx.x * kThreads + threadIdx.x;
    int64_t size = (s.start[1] - s.start[0]) * s.C;

    if (i >= size) return;
    for (int64_t n = blockIdx.y; n < s.N; n += gridDim.y)
        y[n * size + i] = from_float<T>(x[(n * s.A + s.start[0]) * s.C + i]);
}

template <typename T, bool kNhwc> static sg_status concat_run(const sg_args *a) {
    const level_state *s = static_cast<const level_state *>(a->state);
    level_maps<T> maps = {};

    if (s->N * s->A * s->C == 0) return SG_OK;
    for (int i = 0; i < s->levels; i++) maps.map[i] = static_cast<const T *>(a->in[i]);
    SG_LAUNCH((concat_kernel<T, kNhwc>), grid_of(s->A * s->C, s->N), kThreads, 0,
              (cudaStream_t)a->queue, maps, static_cast<float *>(a->out[0]), *s);
    return sg_cuda_launched(a);
}

template <typename T> static sg_status split_run(const sg_args *a) {
    const level_state *s = static_cast<const level_state *>(a->state);
    int64_t size = (s->start[1] - s->start[0]) * s->C;

    if (s->N * size == 0) return SG_OK;
    SG_LAUNCH((split_kernel<T>), grid_of(size, s->N), kThreads, 0, (cudaStream_t)a->queue,
              static_cast<const float *>(a->in[0]), static_cast<T *>(a->out[0]), *s);
    return sg_cuda_launched(a);
}

/* --- selection -------------------------------------------------------------------------------- */

extern "C" sg_status sg_cuda_select_levels_concat(sg_cuda *, const sg_node *node,
                                                  const sg_layout have[], sg_kernel_plan *plan) {
    static const sg_kernel kernels[2][2] = {{concat_run<float, false>, concat_run<bf16, false>},
                                            {concat_run<float, true>, concat_run<bf16, true>}};
    sg_layout layout = sg_cuda_common_layout(node, have);
    const sg_shape *shape = &node->out[0].shape;
    level_state s = {shape->dim[0], shape->dim[1], shape->dim[2], node->n_in, {0}};

    for (int i = 0; i < node->n_in; i++)
        s.start[i + 1] = s.start[i] + sg_cuda_dims_of(node->in[i]).HW;
    sg_cuda_plan(plan, node, kernels[sg_cuda_is_nhwc(layout)][sg_cuda_is_bf16(layout)], layout);
    plan->out[0] = SG_CUDA_PLAIN; /* the losses read f32 */
    return sg_cuda_plan_state(plan, &s, sizeof s);
}

/* The gradient of a head, for its convolution: in the convolution's own layout. */
extern "C" sg_status sg_cuda_select_level_split(sg_cuda *cuda, const sg_node *node,
                                                const sg_layout *, sg_kernel_plan *plan) {
    const sg_level_attr *attr = static_cast<const sg_level_attr *>(node->attr);
    const sg_shape *shape = &node->in[0]->shape;
    level_state s = {shape->dim[0], shape->dim[1], shape->dim[2], 1, {attr->start}};

    s.start[1] = attr->start + attr->height * attr->width;
    if (cuda->precision == SG_CUDA_BF16)
        sg_cuda_plan(plan, node, split_run<bf16>, SG_CUDA_NHWC_BF16);
    else
        sg_cuda_plan(plan, node, split_run<float>, SG_CUDA_NHWC);
    plan->in[0] = SG_CUDA_PLAIN;
    return sg_cuda_plan_state(plan, &s, sizeof s);
}
