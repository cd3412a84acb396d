/* Kernels with a fault each, and the same without it: what proves that the emulation, with the tool
 * named beside each, finds such faults in the kernels of cuda/. `planted NAME` runs the sound one,
 * `planted NAME fault` the other; tests/quality/emulation.sh expects the first to end with 0 and
 * the second to be stopped. All are of two warps a block. */
#include <stdio.h>
#include <stdlib.h>

#include "emulation/emulation.h"
#include "launch.h"

enum { kThreads = 64, kBlocks = 3, kCount = kThreads * kBlocks };

/* TSan: without the barrier a thread may read what its neighbour has not written yet. */
__global__ void missing_syncthreads(const float *x, float *y, bool fault) {
    SG_SHARED(float, shared, kThreads);
    unsigned i = blockIdx.x * kThreads + threadIdx.x;

    shared[threadIdx.x] = x[i];
    if (!fault) __syncthreads();
    y[i] = shared[(threadIdx.x + 1) % kThreads];
}

/* TSan: the second round writes what the first may still be reading. */
__global__ void missing_second_syncthreads(const float *x, float *y, bool fault) {
    SG_SHARED(float, shared, kThreads);
    unsigned i = blockIdx.x * kThreads + threadIdx.x;
    float sum = 0.0f;

    for (int round = 0; round < 2; round++) {
        shared[threadIdx.x] = x[i] + (float)round;
        __syncthreads();
        sum += shared[kThreads - 1 - threadIdx.x];
        if (!fault) __syncthreads();
    }
    y[i] = sum;
}

/* TSan: lanes of a warp exchange through shared memory; a shuffle orders nothing. */
__global__ void missing_syncwarp(const float *x, float *y, bool fault) {
    SG_SHARED(float, shared, kThreads);
    unsigned i = blockIdx.x * kThreads + threadIdx.x;

    shared[threadIdx.x] = x[i] + warp_sum(x[i]);
    if (!fault) __syncwarp();
    y[i] = shared[threadIdx.x ^ 1];
}

/* TSan: two blocks write one element. */
__global__ void race_between_blocks(const float *x, float *y, bool fault) {
    if (threadIdx.x == 0) y[fault ? 0 : blockIdx.x] = x[blockIdx.x];
}

/* TSan: a block reads what another writes in the same launch. */
__global__ void read_of_another_block(const float *x, float *y, bool fault) {
    unsigned i = blockIdx.x * kThreads + threadIdx.x;
    unsigned other = fault ? (i + kThreads) % kCount : i;

    y[i] = x[i];
    __syncthreads();
    if (y[other] < 0.0f) y[i] = 0.0f;
}

/* ASan */
__global__ void write_past_shared(const float *x, float *y, bool fault) {
    SG_SHARED(float, shared, kThreads);
    unsigned i = blockIdx.x * kThreads + threadIdx.x;
    float *at = shared; /* of an array UBSan knows the bounds, and would be first */

    at[threadIdx.x + (fault ? 1 : 0)] = x[i];
    __syncthreads();
    y[i] = shared[threadIdx.x];
}

/* ASan: the last block's tail is not guarded. */
__global__ void read_past_global(const float *x, float *y, int64_t count, bool fault) {
    int64_t i = (int64_t)blockIdx.x * kThreads + threadIdx.x;
    float value = i < count || fault ? x[i] : 0.0f;

    if (i < count) y[i] = value;
}

/* What fills memory: half of the array is never written, and a NaN comes of it. */
__global__ void uninitialised_shared(const float *x, float *y, bool fault) {
    SG_SHARED(float, shared, kThreads);
    unsigned i = blockIdx.x * kThreads + threadIdx.x;

    if (!fault || threadIdx.x < kWarp) shared[threadIdx.x] = x[i];
    __syncthreads();
    y[i] = shared[threadIdx.x];
}

/* Two kinds of garbage, for no integer is a NaN: half of the array is never written. */
__global__ void uninitialised_shared_integer(const float *x, float *y, bool fault) {
    SG_SHARED(int, shared, kThreads);
    unsigned i = blockIdx.x * kThreads + threadIdx.x;

    if (!fault || threadIdx.x < kWarp) shared[threadIdx.x] = (int)i;
    __syncthreads();
    y[i] = x[(unsigned)shared[threadIdx.x] % kCount];
}

/* Two kinds of garbage, in global memory. */
__global__ void uninitialised_global_integer(const float *x, float *y, int *scratch, bool fault) {
    unsigned i = blockIdx.x * kThreads + threadIdx.x;

    if (!fault || threadIdx.x < kWarp) scratch[i] = (int)i;
    __syncthreads();
    y[i] = x[(unsigned)scratch[i] % kCount];
}

/* The emulation itself: part of the block never comes. */
__global__ void divergent_barrier(const float *x, float *y, bool fault) {
    unsigned i = blockIdx.x * kThreads + threadIdx.x;

    y[i] = x[i];
    if (fault && threadIdx.x >= kWarp) return;
    __syncthreads();
}

/* The emulation itself: all come, to two barriers. */
__global__ void barriers_apart(const float *x, float *y, bool fault) {
    unsigned i = blockIdx.x * kThreads + threadIdx.x;

    y[i] = x[i];
    if (fault && threadIdx.x < kWarp)
        __syncthreads();
    else
        __syncthreads();
}

/* The emulation itself: lane 31 of the mask never comes. */
__global__ void shuffle_without_lane(const float *x, float *y, bool fault) {
    unsigned i = blockIdx.x * kThreads + threadIdx.x;

    y[i] = x[i];
    if (fault && threadIdx.x % kWarp == kWarp - 1) return;
    y[i] = __shfl_xor_sync(0xffffffffu, x[i], 1);
}

/* Launch `kernel` if `name` is its name. */
#define PLANTED(kernel, ...)                                                                       \
    do {                                                                                           \
        if (strcmp(name, #kernel) != 0) break;                                                     \
        SG_LAUNCH(kernel, kBlocks, kThreads, 0, nullptr, __VA_ARGS__);                             \
        status = 0;                                                                                \
    } while (0)

/* 64: there is no such kernel. 1: an element of y is not a number that the kernels give. */
static int run(const char *name, bool fault, float y[kCount]) {
    float *x = new float[kCount - 1], *all = new float[kCount];
    int status = 64, *scratch;

    if (cudaMalloc((void **)&scratch, kCount * sizeof *scratch) != cudaSuccess) return 71;
    for (int i = 0; i < kCount; i++) all[i] = (float)i;
    for (int i = 0; i < kCount - 1; i++) x[i] = (float)i;
    for (int i = 0; i < kCount; i++) y[i] = 0.0f;
    PLANTED(missing_syncthreads, all, y, fault);
    PLANTED(missing_second_syncthreads, all, y, fault);
    PLANTED(missing_syncwarp, all, y, fault);
    PLANTED(race_between_blocks, all, y, fault);
    PLANTED(read_of_another_block, all, y, fault);
    PLANTED(write_past_shared, all, y, fault);
    PLANTED(uninitialised_shared, all, y, fault);
    PLANTED(uninitialised_shared_integer, all, y, fault);
    PLANTED(uninitialised_global_integer, all, y, scratch, fault);
    PLANTED(divergent_barrier, all, y, fault);
    PLANTED(barriers_apart, all, y, fault);
    PLANTED(shuffle_without_lane, all, y, fault);
    PLANTED(read_past_global, x, y, kCount - 1, fault);
    for (int i = 0; i < kCount; i++) status = y[i] == y[i] ? status : 1;
    if (status == 1) fprintf(stderr, "planted: %s: a NaN\n", name);
    (void)cudaFree(scratch);
    delete[] all;
    delete[] x;
    return status;
}

/* Twice, in two orders of the threads and on two kinds of garbage. */
int main(int argc, char **argv) {
    float *y = new float[kCount], *again = new float[kCount];
    bool fault = argc > 2 && strcmp(argv[2], "fault") == 0;
    int status = argc < 2 ? 64 : run(argv[1], fault, y);

    sg_emulation_set_seed(sg_emulation_seed() + 1);
    if (status == 0) status = run(argv[1], fault, again);
    if (status == 0 && memcmp(y, again, kCount * sizeof *y) != 0) {
        fprintf(stderr, "planted: %s: other results on other garbage\n", argv[1]);
        status = 1;
    }
    delete[] again;
    delete[] y;
    return status;
}
