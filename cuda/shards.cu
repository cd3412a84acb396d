/* The sum of the shards' gradients, in the order of train/trainer.h's tree, in one pass: a thread
 * adds the V numbers of an element in registers, so that each is read once and the sum written
 * once. That is V + 1 transfers an element where pairwise kernels would have 3 (V - 1). */
#include <float.h>

#include "backend_cuda.h"
#include "launch.h"

enum { kThreads = 256 };

/* By value: a kernel's parameters may be 4 KB. */
typedef struct {
    float *slot[SG_DEVICE_SHARDS];
} shard_slots;

/* ((0 + 1) + (2 + 3)) + ...: the sum of `Width` numbers from `First` on, those beyond n left out.
 */
template <int First, int Width> __device__ static inline float tree_sum(const float *x, int n) {
    if constexpr (Width == 1) {
        return x[First];
    } else {
        float left = tree_sum<First, Width / 2>(x, n);

        if (First + Width / 2 >= n) return left;
        return left + tree_sum<First + Width / 2, Width / 2>(x, n);
    }
}

/* Most: the power of two that n shards need, so that all of an element's loads are on the way at
 * once. */
template <int Most>
__global__ void add_shards_kernel(shard_slots grads, int n, int64_t floats, float *step) {
    int64_t i = (int64_t)blockIdx.x * kThreads + threadIdx.x;
    float x[Most], sum;

    if (i >= floats) return;
    for (int s = 0; s < Most; s++) x[s] = s < n ? grads.slot[s][i] : 0.0f;
    sum = tree_sum<0, Most>(x, n);
    grads.slot[0][i] = sum;
    if (fabsf(sum) <= FLT_MAX) return;
    /* the slot was 0; all who get here set the same bits */
    atomicOr(reinterpret_cast<unsigned *>(step + SG_STEP_DIVERGED), __float_as_uint(1.0f));
}

template <int Most>
static void launch(void *queue, const shard_slots &slots, int n, int64_t floats, float *step) {
    if constexpr (Most < SG_DEVICE_SHARDS) {
        if (n > Most) return launch<2 * Most>(queue, slots, n, floats, step);
    }
    SG_LAUNCH((add_shards_kernel<Most>), blocks_for(floats, kThreads), kThreads, 0,
              (cudaStream_t)queue, slots, n, floats, step);
}

extern "C" sg_status sg_cuda_add_shards(void *queue, float *const grads[], int n, int64_t floats,
                                        float *step) {
    shard_slots slots = {};

    if (n > SG_DEVICE_SHARDS)
        return sg_fail(SG_ERR_UNSUPPORTED, "cuda: %d shards; at most %d on one device", n,
                       (int)SG_DEVICE_SHARDS);
    for (int s = 0; s < n; s++) slots.slot[s] = grads[s];
    if (floats == 0) return SG_OK;
    launch<1>(queue, slots, n, floats, step);
    return sg_cuda_check(cudaGetLastError(), "adding the shards");
}
