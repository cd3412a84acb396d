/* What kernels share that take a matrix row by row (softmax, layer norm). A row of up to 1024 is a
 * warp's, eight rows a block: sums are then shuffles. A longer row is a block's, whose warps meet
 * in shared memory. A block is (32, 8) threads for the one, (256) for the other. */
#ifndef SG_CUDA_ROWS_H
#define SG_CUDA_ROWS_H

#include "channels.h"

enum { kWarpRow = 1024, kWarps = kThreads / kWarp };

struct row_add {
    __device__ float operator()(float p, float q) const { return p + q; }
};
struct row_max { /* the other where one is NaN */
    __device__ float operator()(float p, float q) const { return fmaxf(p, q); }
};

/* All threads of a row get f over what each gives: a warp's butterfly, then, where a row has
 * several warps, theirs in order. All threads of the block take part. */
template <int Threads, typename F> __device__ inline float over_row(float x, F f) {
    for (int step = kWarp / 2; step > 0; step /= 2) x = f(x, __shfl_xor_sync(0xffffffffu, x, step));
    if (Threads > kWarp) {
        SG_SHARED(float, warps, kWarps);

        __syncthreads(); /* the last ones have been read */
        if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = x;
        __syncthreads();
        x = warps[0];
        for (int w = 1; w < kWarps; w++) x = f(x, warps[w]);
    }
    return x;
}

/* This thread's row; N or more where there is none, and then it must take part in nothing but
 * barriers. With a row a warp the whole warp leaves. */
__device__ inline int64_t row_of_thread() { return (int64_t)blockIdx.x * blockDim.y + threadIdx.y; }

#endif
