/* One element at a time, eight a thread. What a layout calls its order does not matter here: inputs
 * and output have the same. Arithmetic is in f32, whatever the elements are stored as. bf16, which
 * only values inside a program are, is aligned and moved by fours. */
#include "activation.h"
#include "channels.h"
#include "epilogue.h"

enum { kEach = 8 };

typedef struct {
    int64_t count;
    sg_affine_attr affine;
} pointwise_state;

/* y = f(p, q) for elements i .. i + V - 1, those 256 V further, ... of a block's 2048. Reads are
 * coalesced; a unary function leaves q, which is p, unused. */
template <typename T, typename In, int V, typename F>
__global__ void pointwise_kernel(const In *p, const In *q, T *y, int64_t count, F f) {
    int64_t first = ((int64_t)blockIdx.x * kThreads * (kEach / V) + threadIdx.x) * V;

    for (int k = 0; k < kEach / V; k++) {
        int64_t i = first + (int64_t)k * kThreads * V;

        if (i + V <= count) {
            floats<V> u = load<V>(p + i), v = load<V>(q + i);

            for (int e = 0; e < V; e++) u.v[e] = f(u.v[e], v.v[e]);
            store(y + i, u);
        } else {
            for (; i < count; i++) y[i] = from_float<T>(f(to_float(p[i]), to_float(q[i])));
        }
    }
}

template <typename T> struct width_of { static const int V = 1; };
template <> struct width_of<bf16> { static const int V = kPack; };

/* out 0 = f(p, q) */
template <typename T, typename In, typename F>
static sg_status launch_on(const sg_args *a, const void *p, const void *q, int64_t count, F f) {
    if (count == 0) return SG_OK; /* a grid of no blocks is an error */
    SG_LAUNCH((pointwise_kernel<T, In, width_of<T>::V, F>), blocks_for(count, kThreads * kEach),
              kThreads, 0, (cudaStream_t)a->queue, static_cast<const In *>(p),
              static_cast<const In *>(q), static_cast<T *>(a->out[0]), count, f);
    return sg_cuda_launched(a);
}

template <typename T, typename In, typename F> static sg_status launch(const sg_args *a, F f) {
    int64_t count = static_cast<const pointwise_state *>(a->state)->count;

    return launch_on<T, In>(a, a->in[0], a->in[a->node->n_in > 1], count, f);
}

/* --- the functions ---------------------------------------------------------------------------- */

struct add_f {
    __device__ float operator()(float p, float q) const { return p + q; }
};
struct mul_f {
    __device__ float operator()(float p, float q) const { return p * q; }
};
struct affine_f {
    float factor, shift;
    __device__ float operator()(float p, float) const { return factor * p + shift; }
};
struct relu_f {
    __device__ float operator()(float p, float) const { return p < 0.0f ? 0.0f : p; }
};
struct relu_dx_f { /* y, dy */
    __device__ float operator()(float y, float dy) const { return y > 0.0f ? dy : 0.0f; }
};
struct silu_f {
    __device__ float operator()(float p, float) const { return act_value(SG_ACT_SILU, p); }
};
template <sg_act Act> struct slope_f { /* x, dy */
    __device__ float operator()(float x, float dy) const { return dy * act_slope(Act, x); }
};
typedef slope_f<SG_ACT_SILU> silu_dx_f;
typedef slope_f<SG_ACT_GELU> gelu_dx_f;
struct gelu_f {
    __device__ float operator()(float p, float) const { return act_value(SG_ACT_GELU, p); }
};
struct sigmoid_f {
    __device__ float operator()(float p, float) const { return sigmoid(p); }
};
struct sigmoid_dx_f { /* y, dy */
    __device__ float operator()(float y, float dy) const { return dy * y * (1.0f - y); }
};

/* --- selection -------------------------------------------------------------------------------- */

/* `inplace`: the input that the output may overwrite, or -1. */
static sg_status select_in(const sg_node *node, sg_kernel run, sg_layout layout, int inplace,
                           sg_kernel_plan *plan) {
    pointwise_state s = {sg_cuda_dims_of(&node->out[0]).count, {1.0f, 0.0f}};

    if (node->op->attr_size == sizeof s.affine)
        s.affine = *static_cast<const sg_affine_attr *>(node->attr);
    sg_cuda_plan(plan, node, run, layout);
    plan->inplace[0] = inplace;
    return sg_cuda_plan_state(plan, &s, sizeof s);
}

#define POINTWISE(name, inplace)                                                                   \
    template <typename T> static sg_status name##_run(const sg_args *a) {                          \
        return launch<T, T>(a, name##_f{});                                                        \
    }                                                                                              \
    extern "C" sg_status sg_cuda_select_##name(sg_cuda *, const sg_node *node,                     \
                                               const sg_layout have[], sg_kernel_plan *plan) {     \
        sg_layout layout = sg_cuda_common_layout(node, have);                                      \
                                                                                                   \
        return select_in(node, sg_cuda_is_bf16(layout) ? name##_run<bf16> : name##_run<float>,     \
                         layout, inplace, plan);                                                   \
    }

POINTWISE(add, 0)
POINTWISE(mul, 0)
POINTWISE(relu, 0)
POINTWISE(relu_dx, 1)
POINTWISE(silu, 0)
POINTWISE(silu_dx, 1)
POINTWISE(gelu, 0)
POINTWISE(gelu_dx, 1)
POINTWISE(sigmoid, 0)
POINTWISE(sigmoid_dx, 1)

template <typename T, typename In> static sg_status affine_run(const sg_args *a) {
    const sg_affine_attr *affine = &static_cast<const pointwise_state *>(a->state)->affine;

    return launch<T, In>(a, affine_f{affine->factor, affine->shift});
}

extern "C" sg_status sg_cuda_select_scale(sg_cuda *, const sg_node *node, const sg_layout have[],
                                          sg_kernel_plan *plan) {
    sg_layout layout = sg_cuda_common_layout(node, have);

    return select_in(node,
                     sg_cuda_is_bf16(layout) ? affine_run<bf16, bf16> : affine_run<float, float>,
                     layout, 0, plan);
}

template <sg_layout To> static sg_status colours_run(const sg_args *a) {
    const sg_affine_attr *affine = &static_cast<const pointwise_state *>(a->state)->affine;

    return sg_cuda_colours(a, To, affine->factor, affine->shift);
}

/* u8, PLAIN, -> f32, PLAIN; but the pictures of a batch become what the first convolution reads. */
extern "C" sg_status sg_cuda_select_to_float(sg_cuda *cuda, const sg_node *node, const sg_layout *,
                                             sg_kernel_plan *plan) {
    const sg_value *y = &node->out[0];

    if (!sg_cuda_is_picture(y) || y->shape.dim[1] > SG_CUDA_COLOURS)
        return select_in(node, affine_run<float, uint8_t>, SG_CUDA_PLAIN, -1, plan);
    if (cuda->precision == SG_CUDA_BF16)
        return select_in(node, colours_run<SG_CUDA_NHWC_BF16>, SG_CUDA_NHWC_BF16, -1, plan);
    return select_in(node, colours_run<SG_CUDA_NHWC>, SG_CUDA_NHWC, -1, plan);
}

/* --- after a product -------------------------------------------------------------------------- */

template <typename T> static sg_status slope(const sg_args *a, const void *z, sg_act act) {
    int64_t count = sg_shape_count(&a->node->out[0].shape);
    const void *dx = a->out[0];

    switch (act) {
    case SG_ACT_RELU:
        return launch_on<T, T>(a, z, dx, count, slope_f<SG_ACT_RELU>{});
    case SG_ACT_SILU:
        return launch_on<T, T>(a, z, dx, count, slope_f<SG_ACT_SILU>{});
    case SG_ACT_GELU:
        return launch_on<T, T>(a, z, dx, count, slope_f<SG_ACT_GELU>{});
    default: /* of no activation it is 1 */
        return SG_OK;
    }
}

extern "C" sg_status sg_cuda_slope(const sg_args *a, sg_layout layout, const void *z, sg_act act) {
    return sg_cuda_is_bf16(layout) ? slope<bf16>(a, z, act) : slope<float>(a, z, act);
}
