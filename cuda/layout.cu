/* Conversions between the layouts: N C H W <-> N H W C, f32 <-> bf16, in any combination.
 *
 * Within a picture both orders are a matrix (C, HW) or (HW, C), so a change of order is a
 * transpose, by tiles of 32 x 32 in shared memory: reads and writes both go along memory. A row of
 * the tile is 33 long, so that the threads of a warp meet no bank twice. Of three colours such a
 * tile would be nearly empty: they have a kernel of their own, which also makes numbers of a
 * picture's bytes. */
#include <stdio.h>

#include "backend_cuda.h"
#include "launch.h"

enum { kTile = 32, kRows = 8, kThreads = 256, kEach = 8 };

typedef struct {
    int64_t N, rows, cols; /* N matrices (rows, cols) */
} transpose_state;

/* x (N, rows, cols) -> y (N, cols, rows). grid: tiles, `across` of them in a row of tiles;
 * pictures.
 */
template <typename From, typename To>
__global__ void transpose_kernel(const From *x, To *y, int64_t N, int64_t rows, int64_t cols,
                                 unsigned across) {
    SG_SHARED(float, tile, kTile *(kTile + 1));
    int64_t col = (int64_t)(blockIdx.x % across) * kTile;
    int64_t row = (int64_t)(blockIdx.x / across) * kTile;

    for (int64_t n = blockIdx.y; n < N; n += gridDim.y) {
        const From *from = x + n * rows * cols;
        To *to = y + n * rows * cols;

        for (int r = threadIdx.y; r < kTile; r += kRows) {
            if (row + r < rows && col + threadIdx.x < cols)
                tile[r * (kTile + 1) + threadIdx.x] =
                    to_float(from[(row + r) * cols + col + threadIdx.x]);
        }
        __syncthreads();
        for (int c = threadIdx.y; c < kTile; c += kRows) {
            if (col + c < cols && row + threadIdx.x < rows)
                to[(col + c) * rows + row + threadIdx.x] =
                    from_float<To>(tile[threadIdx.x * (kTile + 1) + c]);
        }
        __syncthreads();
    }
}

struct as_it_is {
    __device__ float operator()(float x) const { return x; }
};
struct scaled {
    float factor, shift;
    __device__ float operator()(float x) const { return factor * x + shift; }
};

/* The same of f(x) and few rows, a picture's colours: a thread a column, whose elements become
 * neighbours. grid: columns, pictures. */
template <typename From, typename To, typename F>
__global__ void thin_kernel(const From *x, To *y, int64_t N, int64_t rows, int64_t cols, F f) {
    int64_t col = (int64_t)blockIdx.x * kThreads + threadIdx.x;

    if (col >= cols) return;
    for (int64_t n = blockIdx.y; n < N; n += gridDim.y) {
        const From *from = x + n * rows * cols + col;
        To *to = y + (n * cols + col) * rows;
        From v[SG_CUDA_COLOURS] = {};

        for (int r = 0; r < SG_CUDA_COLOURS; r++)
            if (r < rows) v[r] = from[r * cols];
        for (int r = 0; r < SG_CUDA_COLOURS; r++)
            if (r < rows) to[r] = from_float<To>(f(to_float(v[r])));
    }
}

/* All loads are asked for before the first is waited for. What is not bf16 may come from outside,
 * where it is not aligned. */
template <typename From, typename To>
__global__ void cast_kernel(const From *x, To *y, int64_t count) {
    int64_t first = (int64_t)blockIdx.x * kThreads * kEach + threadIdx.x;
    From v[kEach] = {};

    for (int k = 0; k < kEach; k++)
        if (first + k * kThreads < count) v[k] = x[first + k * kThreads];
    for (int k = 0; k < kEach; k++)
        if (first + k * kThreads < count) y[first + k * kThreads] = from_float<To>(to_float(v[k]));
}

template <typename From, typename To, typename F>
static sg_status launch_thin(const sg_args *a, const transpose_state &s, F f) {
    SG_LAUNCH((thin_kernel<From, To, F>), dim3(blocks_for(s.cols, kThreads), grid_side(s.N)),
              kThreads, 0, (cudaStream_t)a->queue, static_cast<const From *>(a->in[0]),
              static_cast<To *>(a->out[0]), s.N, s.rows, s.cols, f);
    return sg_cuda_launched(a);
}

template <typename From, typename To> static sg_status transpose_run(const sg_args *a) {
    const transpose_state *s = static_cast<const transpose_state *>(a->state);
    unsigned across = blocks_for(s->cols, kTile);
    dim3 grid(across * blocks_for(s->rows, kTile), grid_side(s->N));

    if (s->N * s->rows * s->cols == 0) return SG_OK;
    if (s->rows <= SG_CUDA_COLOURS) return launch_thin<From, To>(a, *s, as_it_is{});
    SG_LAUNCH((transpose_kernel<From, To>), grid, dim3(kTile, kRows), 0, (cudaStream_t)a->queue,
              static_cast<const From *>(a->in[0]), static_cast<To *>(a->out[0]), s->N, s->rows,
              s->cols, across);
    return sg_cuda_launched(a);
}

template <typename From, typename To> static sg_status cast_run(const sg_args *a) {
    const transpose_state *s = static_cast<const transpose_state *>(a->state);
    int64_t count = s->N * s->rows * s->cols;

    if (count == 0) return SG_OK;
    SG_LAUNCH((cast_kernel<From, To>), blocks_for(count, kThreads * kEach), kThreads, 0,
              (cudaStream_t)a->queue, static_cast<const From *>(a->in[0]),
              static_cast<To *>(a->out[0]), count);
    return sg_cuda_launched(a);
}

extern "C" sg_status sg_cuda_colours(const sg_args *a, sg_layout to, float factor, float shift) {
    sg_cuda_dims d = sg_cuda_dims_of(&a->node->out[0]);
    transpose_state s = {d.N, d.C, d.HW};
    scaled f = {factor, shift};

    if (d.count == 0) return SG_OK;
    return sg_cuda_is_bf16(to) ? launch_thin<uint8_t, bf16>(a, s, f)
                               : launch_thin<uint8_t, float>(a, s, f);
}

/* Elements that are not f32 are only ever copied; so are f32 where nothing changes. */
static sg_status copy_run(const sg_args *a) {
    const size_t *bytes = static_cast<const size_t *>(a->state);

    if (*bytes == 0) return SG_OK;
    (void)cudaMemcpyAsync(a->out[0], a->in[0], *bytes, cudaMemcpyDeviceToDevice,
                          (cudaStream_t)a->queue);
    return sg_cuda_launched(a);
}

static sg_kernel choose(bool transpose, bool from_bf16, bool to_bf16) {
    static const sg_kernel kernels[2][2][2] = {
        {{cast_run<float, float>, cast_run<float, bf16>},
         {cast_run<bf16, float>, cast_run<bf16, bf16>}},
        {{transpose_run<float, float>, transpose_run<float, bf16>},
         {transpose_run<bf16, float>, transpose_run<bf16, bf16>}}};

    return kernels[transpose][from_bf16][to_bf16];
}

extern "C" sg_status sg_cuda_convert(void *context, const sg_value *v, sg_layout from, sg_layout to,
                                     sg_kernel_plan *plan) {
    sg_cuda_dims d = sg_cuda_dims_of(v);
    /* a single row or column, a 1x1 filter's, lies in both orders the same */
    bool transpose = sg_cuda_is_nhwc(from) != sg_cuda_is_nhwc(to) && d.C > 1 && d.HW > 1;
    transpose_state s = {d.N, d.C, d.HW};

    plan->in[0] = from;
    plan->out[0] = to;
    snprintf(plan->label, sizeof plan->label, "cuda");
    if (from == to) {
        size_t bytes = sg_backend_cuda.bytes(context, v, from);

        plan->run = copy_run;
        return sg_cuda_plan_state(plan, &bytes, sizeof bytes);
    }
    if (sg_cuda_is_nhwc(from)) s = {d.N, d.HW, d.C};
    plan->run = choose(transpose, sg_cuda_is_bf16(from), sg_cuda_is_bf16(to));
    return sg_cuda_plan_state(plan, &s, sizeof s);
}
