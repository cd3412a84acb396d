/* Pictures as matrices (M, C): M = N H W pixels, C channels innermost. What kernels share that
 * treat each channel by itself (batch norm, bias, pooling): how a block lies on the matrix, and how
 * sums over pixels are taken.
 *
 * A block of 256 threads is `lanes` along the channels and 256 / lanes along the pixels. A lane
 * holds V neighbouring channels, read and written at once (four where C is a multiple of four).
 * lanes is the power of two that the channels need, at most 32: a warp then always touches whole
 * runs of memory, for 16 channels eight pixels at a time. Blocks divide the pixels into chunks; how
 * many depends on the shape alone, never on the device, and so does the order of every sum.
 *
 * PLAIN pictures take the same kernels with one lane, 256 pixels of a channel side by side; only
 * the place of an element differs. */
#ifndef SG_CUDA_CHANNELS_H
#define SG_CUDA_CHANNELS_H

#include "backend_cuda.h"
#include "launch.h"

enum { kThreads = 256, kMaxLanes = 32, kPack = 4, kGroup = 4, kResident = 3 };

/* --- V channels at once ----------------------------------------------------------------------- */

template <int V> struct floats {
    static const int n = V;
    float v[V];
};

template <typename T, int V> struct alignas(V * sizeof(T)) pack { T v[V]; };

/* p is aligned to V elements. */
template <int V, typename T> __device__ inline floats<V> load(const T *p) {
    pack<T, V> x = *reinterpret_cast<const pack<T, V> *>(p);
    floats<V> y;

    for (int k = 0; k < V; k++) y.v[k] = to_float(x.v[k]);
    return y;
}

template <int V, typename T> __device__ inline void store(T *p, floats<V> y) {
    pack<T, V> x;

    for (int k = 0; k < V; k++) x.v[k] = from_float<T>(y.v[k]);
    *reinterpret_cast<pack<T, V> *>(p) = x;
}

/* V numbers of a vector over channels, which may lie anywhere. */
template <int V> __device__ inline floats<V> load_channels(const float *p, int64_t c) {
    floats<V> y;

    for (int k = 0; k < V; k++) y.v[k] = p[c + k];
    return y;
}

/* Four channels at once: where all that is read or written so begins at a multiple of that. */
static inline bool can_pack(int64_t C, const void *const pointers[], int n) {
    bool can = C % kPack == 0;

    for (int i = 0; i < n; i++) can = can && (uintptr_t)pointers[i] % (kPack * sizeof(float)) == 0;
    return can;
}

/* --- a picture -------------------------------------------------------------------------------- */

/* How blocks lie on it. */
typedef struct {
    int64_t M, C, HW;
    int64_t chunk;  /* pixels of a block */
    int64_t chunks; /* grid.y */
    int64_t tiles;  /* grid.x: blocks that all channels take */
    int lanes;
    bool inner, packed; /* channels innermost; and V = kPack */
} sg_cuda_pixels;

/* Of `v`, a picture in that layout, or a matrix (M, C) or (N, T, C), M = N T: chunks of a multiple
 * of `each` pixels a thread, at most `most` of them. */
sg_cuda_pixels sg_cuda_pixels_of(const sg_value *v, sg_layout layout, int64_t each, int64_t most);
/* The `most` of a sum: as many blocks as fill a large device, and partial sums still few. */
int64_t sg_cuda_sum_chunks(const sg_value *v);

static inline dim3 grid_of(const sg_cuda_pixels &p) {
    return dim3((unsigned)p.tiles, (unsigned)p.chunks);
}

static inline dim3 block_of(const sg_cuda_pixels &p) {
    return dim3((unsigned)p.lanes, (unsigned)(kThreads / p.lanes));
}

/* The place of channel c of pixel m. */
template <bool Inner>
__device__ inline int64_t place(const sg_cuda_pixels &p, int64_t m, int64_t c) {
    return Inner ? m * p.C + c : (m / p.HW * p.C + c) * p.HW + m % p.HW;
}

/* The first channel of this thread; it may be C or more. */
template <int V> __device__ inline int64_t first_channel() {
    return ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * V;
}

__device__ inline int64_t chunk_start(const sg_cuda_pixels &p) { return blockIdx.y * p.chunk; }

__device__ inline int64_t chunk_end(const sg_cuda_pixels &p) {
    int64_t end = (blockIdx.y + 1) * p.chunk;

    return end < p.M ? end : p.M;
}

/* --- the pixels of a thread ------------------------------------------------------------------- */

/* E of them. */
template <int E> struct pixels { int64_t first, step; };

/* Call f(pixels<E>) for as many of this thread's pixels as make whole groups, f(pixels<1>) for each
 * of the rest: nothing that f does to a group hangs on a condition, so the compiler can ask for all
 * that f loads before it waits for the first of it. That it does so takes registers: kernels of
 * this kind say that three blocks on a multiprocessor are enough (kResident); with fewer registers
 * loads were put off to where they are used (nvcc 13.0, sm_90). */
template <int E, typename F> __device__ inline void by_pixels(const sg_cuda_pixels &p, F f) {
    int64_t m = chunk_start(p) + threadIdx.y, end = chunk_end(p), step = blockDim.y;

    for (; m + (E - 1) * step < end; m += E * step) f(pixels<E>{m, step});
    for (; m < end; m += step) f(pixels<1>{m, step});
}

/* Channels c .. c + V - 1 of each. */
template <int V, bool Inner, typename T, int E>
__device__ inline floats<V * E> load_pixels(const T *x, const sg_cuda_pixels &p, pixels<E> at,
                                            int64_t c) {
    floats<V * E> y;

    for (int e = 0; e < E; e++) {
        floats<V> one = load<V>(x + place<Inner>(p, at.first + e * at.step, c));

        for (int k = 0; k < V; k++) y.v[e * V + k] = one.v[k];
    }
    return y;
}

template <int V, bool Inner, typename T, int E>
__device__ inline void store_pixels(T *y, const sg_cuda_pixels &p, pixels<E> at, int64_t c,
                                    const floats<V * E> &x) {
    for (int e = 0; e < E; e++) {
        floats<V> one;

        for (int k = 0; k < V; k++) one.v[k] = x.v[e * V + k];
        store(y + place<Inner>(p, at.first + e * at.step, c), one);
    }
}

/* All threads of a lane get its sum over the block's rows, added as a tree. `shared` has room for
 * kThreads * V. The whole block takes part. */
template <typename S, int V> __device__ inline void add_rows(S *shared, S (&x)[V]) {
    unsigned me = threadIdx.y * blockDim.x + threadIdx.x;

    __syncthreads(); /* the sum before this one has been read */
    for (int k = 0; k < V; k++) shared[k * kThreads + me] = x[k];
    for (unsigned step = blockDim.y / 2; step > 0; step /= 2) {
        __syncthreads();
        if (threadIdx.y >= step) continue;
        for (int k = 0; k < V; k++)
            shared[k * kThreads + me] += shared[k * kThreads + me + step * blockDim.x];
    }
    __syncthreads();
    for (int k = 0; k < V; k++) x[k] = shared[k * kThreads + threadIdx.x];
}

/* --- the second stage of a sum ---------------------------------------------------------------- */

/* part (chunks, columns) -> the sum of each column, in double: the first C into `out`, the others,
 * if there are any, into `more`. */
sg_status sg_cuda_add_parts(const sg_args *a, const float *part, int64_t chunks, int64_t columns,
                            int64_t C, float *out, float *more) SG_CHECKED;

/* bias.cu: db (C) = the sums of input 0 of `a` over its pixels, which lie as `p` says, with that
 * many bytes of a->scratch. */
sg_cuda_pixels sg_cuda_bias_db_pixels(const sg_value *dy, sg_layout layout);
size_t sg_cuda_bias_db_scratch(const sg_cuda_pixels &p);
sg_status sg_cuda_bias_db(const sg_args *a, const sg_cuda_pixels &p, sg_layout layout,
                          float *db) SG_CHECKED;

/* Call f<T, V, Inner>(a) for what `p` says. */
#define SG_BY_CHANNELS(p, T, f, a)                                                                 \
    ((p).packed ? f<T, kPack, true>(a) : (p).inner ? f<T, 1, true>(a) : f<T, 1, false>(a))

#endif
