/* The sum of the shards' gradients, in the order of train/trainer.h's tree, in one pass: a thread
 * adds the V numbers of an element in registers, so that each is read once and the sum written
 * once. That is V + 1 transfers an element where pairwise kernels would have 3 (V - 1). */
#include "backend_cuda.h"
#include "launch.h"

enum { kThreads = 256, kMaxShards = 64 };

/* By value: a kernel's parameters may be 4 KB. */
typedef struct {
    float *slot[kMaxShards];
} shard_slots;

/* ((0 + 1) + (2 + 3)) + ...: a sum of `width` shards from `first` on, those beyond n left out. */
__device__ static float tree_sum(const shard_slots &grads, int n, int64_t i) {
    float level[8] = {}; /* one a level of the tree: 2^7 >= kMaxShards */
    int height = 0;

    for (int s = 0; s < n; s++) {
        float sum = grads.slot[s][i];
        int l = 0;

        /* a binary counter: shard s completes as many pairs as s has trailing ones */
        for (int bits = s; bits & 1; bits >>= 1) sum = level[l++] + sum;
        level[l] = sum;
        if (l > height) height = l;
    }
    /* what is left when n is no power of two, from the right: each joins the larger one before it
     */
    float sum = 0.0f;
    bool any = false;

    for (int l = 0; l <= height; l++) {
        if (!(n >> l & 1)) continue;
        sum = any ? level[l] + sum : level[l];
        any = true;
    }
    return sum;
}

__global__ void add_shards_kernel(shard_slots grads, int n, int64_t floats, float *step) {
    int64_t i = (int64_t)blockIdx.x * kThreads + threadIdx.x;

    if (i >= floats) return;
    float sum = tree_sum(grads, n, i);

    grads.slot[0][i] = sum;
    /* all who get here write the same */
    if (!(fabsf(sum) <= 3.402823466e38f)) step[SG_STEP_DIVERGED] = 1.0f;
}

extern "C" sg_status sg_cuda_add_shards(void *queue, float *const grads[], int n, int64_t floats,
                                        float *step) {
    shard_slots slots = {};

    if (n > kMaxShards)
        return sg_fail(SG_ERR_UNSUPPORTED, "cuda: %d shards; at most %d on one device", n,
                       (int)kMaxShards);
    for (int s = 0; s < n; s++) slots.slot[s] = grads[s];
    if (floats == 0) return SG_OK;
    SG_LAUNCH(add_shards_kernel, blocks_for(floats, kThreads), kThreads, 0, (cudaStream_t)queue,
              slots, n, floats, step);
    return sg_cuda_check(cudaGetLastError(), "adding the shards");
}
