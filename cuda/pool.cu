/* Pooling and its opposite, on the mapping of channels.h: a thread has V channels of one pixel.
 *
 * The gradient of max_pool2d is gathered: an element asks each window that covers it whether it is
 * the winner. To find a window's winner costs a look at all its elements, so it is done once a
 * window, by the forward kernel, which then notes the winner's number in the window; a second
 * kernel reads these numbers. Nothing is scattered, and an element adds its windows in their row
 * order.
 *
 * Neighbouring windows share their elements, which come from the cache: all these kernels wait for
 * memory. */
#include "channels.h"

enum { kEach = 4, kMaxKernel = 32767 };

/* Pixels and channels of one picture. */
typedef struct {
    int64_t C, H, W;
} picture;

/* x and y are the forward op's, also where a gradient is computed. */
typedef struct {
    sg_cuda_pixels over_x, over_y;
    picture x, y;
    int kernel, stride, pad;
    bool dx; /* the gradient is wanted, not y */
} pool_state;

typedef struct {
    sg_cuda_pixels over_x;
    picture x, y;
} upsample_state;

template <typename S> static const S *state_of(const sg_args *a) {
    return static_cast<const S *>(a->state);
}

static bool is_empty(const sg_cuda_pixels &p) { return p.chunks * p.tiles == 0; }

template <bool Inner>
__device__ static inline int64_t at(const picture &p, int64_t n, int64_t h, int64_t w, int64_t c) {
    return Inner ? ((n * p.H + h) * p.W + w) * p.C + c : ((n * p.C + c) * p.H + h) * p.W + w;
}

/* Picture, row and column of pixel m. */
typedef struct {
    int64_t n, h, w;
} pixel;

__device__ static inline pixel pixel_of(const picture &p, int64_t m) {
    int64_t row = m / p.W;

    return {row / p.H, row % p.H, m % p.W};
}

/* --- max_pool2d ------------------------------------------------------------------------------- */

/* A thread a window: its greatest element into y, or that one's number, row by row, into `where`.
 */
template <typename T, int V, bool Inner>
__global__ void max_pool2d_kernel(const T *x, T *y, uint32_t *where, pool_state s) {
    const sg_cuda_pixels &p = s.over_y;
    int64_t c = first_channel<V>(), end = chunk_end(p);

    if (c >= p.C) return;
    for (int64_t m = chunk_start(p) + threadIdx.y; m < end; m += blockDim.y) {
        pixel o = pixel_of(s.y, m);
        int64_t h0 = o.h * s.stride - s.pad, w0 = o.w * s.stride - s.pad;
        int i0 = h0 < 0 ? (int)-h0 : 0, j0 = w0 < 0 ? (int)-w0 : 0;
        pack<uint32_t, V> winner = {};
        floats<V> best = {};

        for (int i = i0; i < s.kernel && h0 + i < s.x.H; i++) {
            for (int j = j0; j < s.kernel && w0 + j < s.x.W; j++) {
                floats<V> v = load<V>(x + at<Inner>(s.x, o.n, h0 + i, w0 + j, c));

                for (int k = 0; k < V; k++) {
                    /* a NaN, unlike itself, is greater than any number */
                    bool wins = v.v[k] > best.v[k] || (v.v[k] != v.v[k] && best.v[k] == best.v[k]);

                    if ((i > i0 || j > j0) && !wins) continue;
                    best.v[k] = v.v[k];
                    winner.v[k] = (uint32_t)(i * s.kernel + j);
                }
            }
        }
        if (where)
            *reinterpret_cast<pack<uint32_t, V> *>(where + place<Inner>(p, m, c)) = winner;
        else
            store(y + place<Inner>(p, m, c), best);
    }
}

/* A thread an element of x. */
template <typename T, int V, bool Inner>
__global__ void max_pool2d_dx_kernel(const uint32_t *where, const T *dy, T *dx, pool_state s) {
    const sg_cuda_pixels &p = s.over_x;
    int64_t c = first_channel<V>(), end = chunk_end(p);

    if (c >= p.C) return;
    for (int64_t m = chunk_start(p) + threadIdx.y; m < end; m += blockDim.y) {
        pixel o = pixel_of(s.x, m);
        /* the last window that begins at or before h is (h + pad) / stride */
        int64_t h = o.h + s.pad, i_end = h / s.stride + 1, w = o.w + s.pad;
        int64_t j_end = w / s.stride + 1;
        int64_t i0 = h < s.kernel ? 0 : (h - s.kernel) / s.stride + 1;
        int64_t j0 = w < s.kernel ? 0 : (w - s.kernel) / s.stride + 1;
        floats<V> sum = {};

        for (int64_t i = i0; i < i_end && i < s.y.H; i++) {
            for (int64_t j = j0; j < j_end && j < s.y.W; j++) {
                int64_t from = at<Inner>(s.y, o.n, i, j, c);
                uint32_t me = (uint32_t)((h - i * s.stride) * s.kernel + w - j * s.stride);
                pack<uint32_t, V> winner =
                    *reinterpret_cast<const pack<uint32_t, V> *>(where + from);
                floats<V> d = load<V>(dy + from);

                for (int k = 0; k < V; k++)
                    if (winner.v[k] == me) sum.v[k] += d.v[k];
            }
        }
        store(dx + place<Inner>(p, m, c), sum);
    }
}

template <typename T, int V, bool Inner> static sg_status max_pool2d_as(const sg_args *a) {
    const pool_state *s = state_of<pool_state>(a);
    T *y = s->dx ? NULL : static_cast<T *>(a->out[0]);
    uint32_t *where = static_cast<uint32_t *>(a->scratch); /* NULL but for the gradient */

    if (!is_empty(s->over_y)) {
        SG_LAUNCH((max_pool2d_kernel<T, V, Inner>), grid_of(s->over_y), block_of(s->over_y), 0,
                  (cudaStream_t)a->queue, static_cast<const T *>(a->in[0]), y, where, *s);
        SG_TRY(sg_cuda_launched(a));
    }
    if (!s->dx || is_empty(s->over_x)) return SG_OK;
    SG_LAUNCH((max_pool2d_dx_kernel<T, V, Inner>), grid_of(s->over_x), block_of(s->over_x), 0,
              (cudaStream_t)a->queue, where, static_cast<const T *>(a->in[1]),
              static_cast<T *>(a->out[0]), *s);
    return sg_cuda_launched(a);
}

template <typename T> static sg_status max_pool2d_run(const sg_args *a) {
    return SG_BY_CHANNELS(state_of<pool_state>(a)->over_x, T, max_pool2d_as, a);
}

/* As sg_cuda_pixels_of, but a picture of one pixel is not taken for one with channels innermost: x
 * and y, of different sizes, are in the same order. */
static sg_cuda_pixels pixels_of(const sg_value *v, sg_layout layout) {
    sg_cuda_pixels p = sg_cuda_pixels_of(v, layout, 1, INT64_MAX);

    p.inner = sg_cuda_is_nhwc(layout);
    return p;
}

static picture picture_of(const sg_value *v) {
    sg_cuda_dims d = sg_cuda_dims_of(v);

    return {d.C, d.H, d.W};
}

static sg_status select_max_pool2d(const sg_node *node, const sg_layout have[], const sg_value *y,
                                   sg_kernel_plan *plan) {
    const sg_pool_attr *attr = static_cast<const sg_pool_attr *>(node->attr);
    sg_layout layout = sg_cuda_common_layout(node, have);
    const sg_value *x = node->in[0];
    pool_state s = {pixels_of(x, layout), pixels_of(y, layout),
                    picture_of(x),        picture_of(y),
                    (int)attr->kernel,    (int)attr->stride,
                    (int)attr->pad,       node->op == &sg_op_max_pool2d_dx};

    if (attr->kernel > kMaxKernel || attr->stride > kMaxKernel)
        return sg_fail(SG_ERR_UNSUPPORTED,
                       "%s: a window of %lld pixels by steps of %lld; cuda's max_pool2d takes at "
                       "most %d",
                       node->name, (long long)attr->kernel, (long long)attr->stride, kMaxKernel);
    sg_cuda_plan(plan, node, sg_cuda_is_bf16(layout) ? max_pool2d_run<bf16> : max_pool2d_run<float>,
                 layout);
    if (s.dx) plan->scratch = (size_t)sg_shape_count(&y->shape) * sizeof(uint32_t);
    return sg_cuda_plan_state(plan, &s, sizeof s);
}

extern "C" sg_status sg_cuda_select_max_pool2d(sg_cuda *, const sg_node *node,
                                               const sg_layout have[], sg_kernel_plan *plan) {
    return select_max_pool2d(node, have, &node->out[0], plan);
}

extern "C" sg_status sg_cuda_select_max_pool2d_dx(sg_cuda *, const sg_node *node,
                                                  const sg_layout have[], sg_kernel_plan *plan) {
    return select_max_pool2d(node, have, node->in[1], plan);
}

/* --- global_avg_pool -------------------------------------------------------------------------- */

/* The blocks of a picture add up its pixels: a chunk is a picture. */
template <typename T, int V, bool Inner>
__global__ void global_avg_pool_kernel(const T *x, float *y, int64_t N, sg_cuda_pixels p) {
    SG_SHARED(float, shared, kThreads *V);
    int64_t c = first_channel<V>();

    for (int64_t n = blockIdx.y; n < N; n += gridDim.y) {
        floats<V> sum = {};

        for (int64_t m = threadIdx.y; m < p.HW && c < p.C; m += blockDim.y) {
            floats<V> v = load<V>(x + place<Inner>(p, n * p.HW + m, c));

            for (int k = 0; k < V; k++) sum.v[k] += v.v[k];
        }
        add_rows(shared, sum.v);
        if (threadIdx.y > 0 || c >= p.C) continue;
        for (int k = 0; k < V; k++) y[n * p.C + c + k] = sum.v[k] / (float)p.HW;
    }
}

template <typename T, int V, bool Inner>
__global__ void global_avg_pool_dx_kernel(const float *dy, T *dx, sg_cuda_pixels p) {
    int64_t c = first_channel<V>(), end = chunk_end(p);
    float area = (float)p.HW;

    if (c >= p.C) return;
    for (int64_t m = chunk_start(p) + threadIdx.y; m < end; m += blockDim.y) {
        floats<V> d = load_channels<V>(dy, m / p.HW * p.C + c);

        for (int k = 0; k < V; k++) d.v[k] /= area;
        store(dx + place<Inner>(p, m, c), d);
    }
}

template <typename T, int V, bool Inner> static sg_status global_avg_pool_as(const sg_args *a) {
    const sg_cuda_pixels *p = state_of<sg_cuda_pixels>(a);
    int64_t N = p->M / p->HW; /* there are pixels: the op asks for them */

    if (is_empty(*p)) return SG_OK;
    SG_LAUNCH((global_avg_pool_kernel<T, V, Inner>), dim3((unsigned)p->tiles, grid_side(N)),
              block_of(*p), 0, (cudaStream_t)a->queue, static_cast<const T *>(a->in[0]),
              static_cast<float *>(a->out[0]), N, *p);
    return sg_cuda_launched(a);
}

template <typename T, int V, bool Inner> static sg_status global_avg_pool_dx_as(const sg_args *a) {
    const sg_cuda_pixels *p = state_of<sg_cuda_pixels>(a);

    if (is_empty(*p)) return SG_OK;
    SG_LAUNCH((global_avg_pool_dx_kernel<T, V, Inner>), grid_of(*p), block_of(*p), 0,
              (cudaStream_t)a->queue, static_cast<const float *>(a->in[0]),
              static_cast<T *>(a->out[0]), *p);
    return sg_cuda_launched(a);
}

template <typename T> static sg_status global_avg_pool_run(const sg_args *a) {
    return SG_BY_CHANNELS(*state_of<sg_cuda_pixels>(a), T, global_avg_pool_as, a);
}
template <typename T> static sg_status global_avg_pool_dx_run(const sg_args *a) {
    return SG_BY_CHANNELS(*state_of<sg_cuda_pixels>(a), T, global_avg_pool_dx_as, a);
}

extern "C" sg_status sg_cuda_select_global_avg_pool(sg_cuda *, const sg_node *node,
                                                    const sg_layout have[], sg_kernel_plan *plan) {
    sg_layout layout = sg_cuda_common_layout(node, have);
    sg_cuda_pixels p = sg_cuda_pixels_of(node->in[0], layout, 1, INT64_MAX);

    sg_cuda_plan(plan, node,
                 sg_cuda_is_bf16(layout) ? global_avg_pool_run<bf16> : global_avg_pool_run<float>,
                 layout);
    plan->out[0] = SG_CUDA_PLAIN; /* a mean stays f32 */
    return sg_cuda_plan_state(plan, &p, sizeof p);
}

/* No picture comes in: dx takes the layout in which the convolutions before it work. */
extern "C" sg_status sg_cuda_select_global_avg_pool_dx(sg_cuda *cuda, const sg_node *node,
                                                       const sg_layout *, sg_kernel_plan *plan) {
    bool half = cuda->precision == SG_CUDA_BF16;
    sg_layout layout = half ? SG_CUDA_NHWC_BF16 : SG_CUDA_NHWC;
    sg_cuda_pixels p = sg_cuda_pixels_of(&node->out[0], layout, kEach, INT64_MAX);

    sg_cuda_plan(plan, node, half ? global_avg_pool_dx_run<bf16> : global_avg_pool_dx_run<float>,
                 layout);
    plan->in[0] = SG_CUDA_PLAIN;
    return sg_cuda_plan_state(plan, &p, sizeof p);
}

/* --- upsample2x ------------------------------------------------------------------------------- */

/* A thread a pixel of x, which is four of y. */
template <typename T, int V, bool Inner>
__global__ void upsample2x_kernel(const T *x, T *y, upsample_state s) {
    const sg_cuda_pixels &p = s.over_x;
    int64_t c = first_channel<V>(), end = chunk_end(p);

    if (c >= p.C) return;
    for (int64_t m = chunk_start(p) + threadIdx.y; m < end; m += blockDim.y) {
        pixel o = pixel_of(s.x, m);
        floats<V> v = load<V>(x + place<Inner>(p, m, c));

        for (int i = 0; i < 4; i++)
            store(y + at<Inner>(s.y, o.n, 2 * o.h + i / 2, 2 * o.w + i % 2, c), v);
    }
}

template <typename T, int V, bool Inner>
__global__ void upsample2x_dx_kernel(const T *dy, T *dx, upsample_state s) {
    const sg_cuda_pixels &p = s.over_x;
    int64_t c = first_channel<V>(), end = chunk_end(p);

    if (c >= p.C) return;
    for (int64_t m = chunk_start(p) + threadIdx.y; m < end; m += blockDim.y) {
        pixel o = pixel_of(s.x, m);
        floats<V> v[4], sum;

        for (int i = 0; i < 4; i++)
            v[i] = load<V>(dy + at<Inner>(s.y, o.n, 2 * o.h + i / 2, 2 * o.w + i % 2, c));
        for (int k = 0; k < V; k++) sum.v[k] = (v[0].v[k] + v[1].v[k]) + (v[2].v[k] + v[3].v[k]);
        store(dx + place<Inner>(p, m, c), sum);
    }
}

template <typename T, int V, bool Inner> static sg_status upsample2x_as(const sg_args *a) {
    const upsample_state *s = state_of<upsample_state>(a);

    if (is_empty(s->over_x)) return SG_OK;
    SG_LAUNCH((upsample2x_kernel<T, V, Inner>), grid_of(s->over_x), block_of(s->over_x), 0,
              (cudaStream_t)a->queue, static_cast<const T *>(a->in[0]), static_cast<T *>(a->out[0]),
              *s);
    return sg_cuda_launched(a);
}

template <typename T, int V, bool Inner> static sg_status upsample2x_dx_as(const sg_args *a) {
    const upsample_state *s = state_of<upsample_state>(a);

    if (is_empty(s->over_x)) return SG_OK;
    SG_LAUNCH((upsample2x_dx_kernel<T, V, Inner>), grid_of(s->over_x), block_of(s->over_x), 0,
              (cudaStream_t)a->queue, static_cast<const T *>(a->in[0]), static_cast<T *>(a->out[0]),
              *s);
    return sg_cuda_launched(a);
}

template <typename T> static sg_status upsample2x_run(const sg_args *a) {
    return SG_BY_CHANNELS(state_of<upsample_state>(a)->over_x, T, upsample2x_as, a);
}
template <typename T> static sg_status upsample2x_dx_run(const sg_args *a) {
    return SG_BY_CHANNELS(state_of<upsample_state>(a)->over_x, T, upsample2x_dx_as, a);
}

static sg_status select_upsample2x(const sg_node *node, sg_layout layout, const sg_value *x,
                                   const sg_value *y, sg_kernel run, sg_kernel_plan *plan) {
    upsample_state s = {pixels_of(x, layout), picture_of(x), picture_of(y)};

    sg_cuda_plan(plan, node, run, layout);
    return sg_cuda_plan_state(plan, &s, sizeof s);
}

extern "C" sg_status sg_cuda_select_upsample2x(sg_cuda *, const sg_node *node,
                                               const sg_layout have[], sg_kernel_plan *plan) {
    sg_layout layout = sg_cuda_common_layout(node, have);

    return select_upsample2x(node, layout, node->in[0], &node->out[0],
                             sg_cuda_is_bf16(layout) ? upsample2x_run<bf16> : upsample2x_run<float>,
                             plan);
}

extern "C" sg_status sg_cuda_select_upsample2x_dx(sg_cuda *, const sg_node *node,
                                                  const sg_layout have[], sg_kernel_plan *plan) {
    sg_layout layout = sg_cuda_common_layout(node, have);

    return select_upsample2x(
        node, layout, &node->out[0], node->in[0],
        sg_cuda_is_bf16(layout) ? upsample2x_dx_run<bf16> : upsample2x_dx_run<float>, plan);
}
