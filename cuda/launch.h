/* What a kernel file includes instead of the CUDA runtime: the same sources are compiled by nvcc,
 * and by the host's compiler for the tests' emulation (tests/emulation/cuda_model.h), which gives
 * every CUDA name that is used here a meaning on a CPU.
 *
 * What that asks of a kernel:
 *   - launches go through SG_LAUNCH, shared memory comes from SG_SHARED or SG_SHARED_DYNAMIC;
 *   - __syncthreads, __syncwarp and the __shfl/__any/__all/__ballot _sync family only; no
 *     cooperative groups, wgmma, TMA, clusters or grid-wide sync, and no inline PTX but where a
 * twin in C++ stands beside it;
 *   - no floating-point atomics anywhere: every sum has a fixed order. */
#ifndef SG_CUDA_LAUNCH_H
#define SG_CUDA_LAUNCH_H

#include <stdint.h>

#ifdef SG_EMULATED
#include "emulation/cuda_model.h"
#else
#include <cuda_bf16.h>
#include <cuda_runtime.h>

/* Put `kernel` on `stream`; a template is given in parentheses: SG_LAUNCH((add<float>), ...). The
 * launcher returns sg_cuda_launched() afterwards. */
#define SG_LAUNCH(kernel, grid, block, shared, stream, ...)                                        \
    (kernel)<<<(grid), (block), (shared), (stream)>>>(__VA_ARGS__)
/* An array of `count` (a constant) elements shared by the block. */
#define SG_SHARED(type, name, count) __shared__ type name[count]
/* The block's `shared` bytes of the launch. */
#define SG_SHARED_DYNAMIC(type, name)                                                              \
    extern __shared__ __align__(16) unsigned char sg_dynamic_shared[];                             \
    type *name = reinterpret_cast<type *>(sg_dynamic_shared)
#endif

enum { kWarp = 32, kAllLanes = -1 };

/* bfloat16: the upper half of a float. Our own two conversions, so that a CPU rounds the same. */
struct bf16 {
    uint16_t bits;
};

__host__ __device__ inline float to_float(float x) { return x; }
__host__ __device__ inline float to_float(uint8_t x) { return (float)x; }

__host__ __device__ inline float to_float(bf16 x) {
    union {
        uint32_t bits;
        float value;
    } u;

    u.bits = (uint32_t)x.bits << 16;
    return u.value;
}

template <typename T> __host__ __device__ inline T from_float(float x);

template <> __host__ __device__ inline float from_float<float>(float x) { return x; }

/* To the nearest, ties to even; a NaN stays one. On a GPU by its own instruction. */
template <> __host__ __device__ inline bf16 from_float<bf16>(float x) {
#ifdef __CUDA_ARCH__
    return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};
#else
    union {
        float value;
        uint32_t bits;
    } u;
    bf16 y;

    u.value = x;
    if ((u.bits & 0x7fffffffu) > 0x7f800000u)
        y.bits = (uint16_t)((u.bits >> 16) | 0x40u);
    else
        y.bits = (uint16_t)((u.bits + 0x7fffu + ((u.bits >> 16) & 1u)) >> 16);
    return y;
#endif
}

/* All lanes get the sum, in the same order for every lane count of 32 (a butterfly). The whole warp
 * takes part. */
__device__ inline float warp_sum(float x) {
    for (int step = kWarp / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

__device__ inline float warp_max(float x) {
    for (int step = kWarp / 2; step > 0; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

/* --- sizes of a launch ------------------------------------------------------------------------ */

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static inline unsigned blocks_for(int64_t count, int64_t each) {
    return (unsigned)ceil_div(count, each);
}

/* Of a grid's y and z: the others are taken by steps of gridDim. */
static inline unsigned grid_side(int64_t blocks) {
    return (unsigned)(blocks < 65535 ? blocks : 65535);
}

/* The least power of two that is not below `n`, at most `most`, itself a power of two. */
static inline int lanes_for(int64_t n, int most) {
    int lanes = 1;

    while (lanes < most && lanes < n) lanes *= 2;
    return lanes;
}

typedef struct {
    int64_t each, n; /* things of a chunk, chunks; 0, 0 for no things */
} sg_cuda_chunks;

/* `count` things in at most `most` chunks of a multiple of `unit` each, of `least` if most allows.
 */
static inline sg_cuda_chunks chunks_of(int64_t count, int64_t unit, int64_t least, int64_t most) {
    int64_t wanted = ceil_div(count, least), each;

    if (wanted > most) wanted = most;
    if (wanted <= 0) return {0, 0};
    each = ceil_div(ceil_div(count, wanted), unit) * unit;
    return {each, ceil_div(count, each)};
}

#endif
