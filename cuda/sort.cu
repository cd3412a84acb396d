/* The positions of a batch by their ids, digit by digit of eight bits from the lowest: each pass is
 * stable, so after the last equal ids stand in the order of the batch.
 *
 *   pair    id, position                                                   (M)
 *   count   a block counts the digits of its chunk of positions            (256, chunks)
 *   scan    of each digit and chunk: how many come before                  (256 chunks + 1)
 *   place   pair -> its place: start of the digit and chunk, before it in the chunk
 *
 * Counts are integers, so atomics do no harm. */
#include "sort.h"

enum { kDigit = 8, kDigits = 1 << kDigit, kMaxChunks = 64, kScan = 1024 };

typedef struct {
    int64_t M, chunk, chunks; /* positions of a block */
} sort_state;

/* As many as there are threads: one scans them, one looks for its equals. */
static_assert((int)kDigits == (int)kThreads, "a thread a digit");

static sort_state state_of(int64_t M) {
    sg_cuda_chunks c = chunks_of(M, kThreads, kThreads, kMaxChunks);

    return {M, c.each, c.n};
}

__device__ static inline int64_t end_of_chunk(const sort_state &s) {
    int64_t end = (blockIdx.x + 1) * s.chunk;

    return end < s.M ? end : s.M;
}

__global__ void pair_kernel(const int32_t *ids, sg_cuda_place *pair, int64_t M, int32_t R) {
    int64_t i = (int64_t)blockIdx.x * kThreads + threadIdx.x;

    if (i < M) pair[i] = {ids[i] >= 0 && ids[i] < R ? ids[i] : R, (int32_t)i};
}

__global__ void count_digits_kernel(const sg_cuda_place *pair, int32_t *count, int shift,
                                    sort_state s) {
    SG_SHARED(int32_t, digit, kDigits);

    digit[threadIdx.x] = 0;
    __syncthreads();
    for (int64_t i = blockIdx.x * s.chunk + threadIdx.x; i < end_of_chunk(s); i += kThreads)
        atomicAdd(&digit[pair[i].id >> shift & (kDigits - 1)], 1);
    __syncthreads();
    count[threadIdx.x * s.chunks + blockIdx.x] = digit[threadIdx.x];
}

/* One block, a run of numbers a thread. */
__global__ void scan_kernel(int32_t *start, int64_t n) {
    SG_SHARED(int32_t, warps, kScan / kWarp);
    int64_t each = (n + kScan - 1) / kScan, first = threadIdx.x * each;
    int32_t lane = threadIdx.x % kWarp, sum = 0, before;

    for (int64_t v = first; v < first + each && v < n; v++) sum += start[v];
    before = sum;
    for (int step = 1; step < kWarp; step *= 2) {
        int32_t other = __shfl_up_sync(0xffffffffu, before, step);

        if (lane >= step) before += other;
    }
    if (lane == kWarp - 1) warps[threadIdx.x / kWarp] = before;
    __syncthreads();
    before -= sum;
    for (unsigned w = 0; w < threadIdx.x / kWarp; w++) before += warps[w];
    for (int64_t v = first; v < first + each && v < n; v++) {
        int32_t here = start[v];

        start[v] = before;
        before += here;
    }
    if (threadIdx.x == kScan - 1) start[n] = before;
}

/* 256 at a time; each looks how many of them are its equals, and how many of those come before it.
 */
__global__ void place_digits_kernel(const sg_cuda_place *from, const int32_t *count,
                                    sg_cuda_place *to, int shift, sort_state s) {
    SG_SHARED(int32_t, key, kThreads);
    SG_SHARED(int32_t, start, kDigits);

    start[threadIdx.x] = count[threadIdx.x * s.chunks + blockIdx.x];
    for (int64_t first = blockIdx.x * s.chunk; first < end_of_chunk(s); first += kThreads) {
        int64_t i = first + threadIdx.x;
        bool is_there = i < end_of_chunk(s);
        sg_cuda_place pair = is_there ? from[i] : sg_cuda_place{0, 0};
        int32_t digit = is_there ? pair.id >> shift & (kDigits - 1) : -1, before = 0, equal = 0;

        key[threadIdx.x] = digit;
        __syncthreads();
        for (unsigned j = 0; j < kThreads; j++) {
            equal += key[j] == digit;
            before += key[j] == digit && j < threadIdx.x;
        }
        if (is_there) to[start[digit] + before] = pair;
        __syncthreads(); /* all have read `start` */
        if (is_there && before == equal - 1) start[digit] += equal;
        __syncthreads();
    }
}

sg_status sg_cuda_scan(const sg_args *a, int32_t *start, int64_t n) {
    SG_LAUNCH(scan_kernel, 1, kScan, 0, (cudaStream_t)a->queue, start, n);
    return sg_cuda_launched(a);
}

size_t sg_cuda_sort_bytes(int64_t M) {
    return (size_t)(2 * M) * sizeof(sg_cuda_place) +
           (size_t)(kDigits * state_of(M).chunks + 1) * sizeof(int32_t);
}

sg_status sg_cuda_sort_ids(const sg_args *a, const int32_t *ids, int64_t M, int64_t R,
                           void *scratch, const sg_cuda_place **sorted) {
    sort_state s = state_of(M);
    sg_cuda_place *from = static_cast<sg_cuda_place *>(scratch), *to = from + M;
    int32_t *count = reinterpret_cast<int32_t *>(to + M);
    cudaStream_t stream = (cudaStream_t)a->queue;

    *sorted = from;
    if (M == 0) return SG_OK;
    SG_LAUNCH(pair_kernel, blocks_for(M, kThreads), kThreads, 0, stream, ids, from, M, (int32_t)R);
    SG_TRY(sg_cuda_launched(a));
    for (int shift = 0; shift < 32 && R >> shift > 0; shift += kDigit) {
        sg_cuda_place *next = to;

        SG_LAUNCH(count_digits_kernel, (unsigned)s.chunks, kThreads, 0, stream, from, count, shift,
                  s);
        SG_TRY(sg_cuda_launched(a));
        SG_TRY(sg_cuda_scan(a, count, kDigits * s.chunks));
        SG_LAUNCH(place_digits_kernel, (unsigned)s.chunks, kThreads, 0, stream, from, count, next,
                  shift, s);
        SG_TRY(sg_cuda_launched(a));
        to = from;
        from = next;
    }
    *sorted = from;
    return SG_OK;
}
