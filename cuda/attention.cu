/* Attention and its gradient, fused: scores and probabilities never leave a block. The formulas are
 * in ops/attention.c; tiles, the running maximum and the two passes of the gradient are those of
 * Dao et al., FlashAttention (2022) and FlashAttention-2 (2023). All arithmetic is f32.
 *
 *   attention_kernel   a block has Rows queries, goes over the keys Cols at a time -> o, lse
 *   dq_kernel          the same once more -> dq, and delta_i = do_i . o_i
 *   dkv_kernel         a block has Rows keys, goes over the queries Cols at a time -> dk, dv
 *
 * Each sum is one thread's, in the order of the tiles: no atomics, and the order depends on nothing
 * but the shape. Tiles of queries and keys that begin beyond a text's length are left out.
 *
 * 128 threads are 8 by 16: of a tile of scores a thread has Rows / 8 neighbouring rows, and every
 * sixteenth column; of a result (Rows, D) the same rows and every sixteenth channel. Tiles lie
 * transposed in shared memory, (channels, rows + 4): a thread reads its rows with one or two
 * instructions, which the 16 threads of a row share, and the columns of 16 threads are side by
 * side. D is filled up to 32, 64 or 128 with zeros. Tiles are as large as 48 KiB allow. */
#include <math.h>
#include <stdio.h>

#include "backend_cuda.h"
#include "launch.h"

enum { kThreads = 128, kAcross = 16, kDown = kThreads / kAcross, kPad = 4, kPack = 4, kWide = 128 };

static const float kLog2e = 1.44269504f, kLn2 = 0.693147181f;

typedef struct {
    int64_t N, T, H, D, C;
    float scale; /* 1 / sqrt(D) */
    bool packed; /* rows of a head begin at whole packs; set at the launch */
} attention_state;

/* Of thread (ty, tx). */
template <int DP, int Rows, int Cols> struct share {
    enum { rows = Rows / kDown, cols = Cols / kAcross, channels = DP / kAcross };
};

/* N floats that are read at once, from where they are aligned. */
template <int N> struct alignas(N * 4 < 16 ? N * 4 : 16) run { float v[N]; };

template <int N> __device__ static inline run<N> load_run(const float *p) {
    return *reinterpret_cast<const run<N> *>(p);
}

template <typename T> struct alignas(kPack * sizeof(T)) pack { T v[kPack]; };

__device__ static inline float *floats_of(float4 *shared) {
    return reinterpret_cast<float *>(shared);
}

/* Add over, or take the greatest of, the 16 threads of a row. */
__device__ static inline float row_sum(float x) {
    for (int step = kAcross / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

__device__ static inline float row_max(float x) {
    for (int step = kAcross / 2; step > 0; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

/* The text, head and tile of a block. */
typedef struct {
    int64_t n, h;
    int first;  /* row of the tile */
    int length; /* of the text; 0 where it is bad data */
    bool bad;
} place;

template <int Rows>
__device__ static inline place place_of_block(const int32_t *length, const attention_state &s) {
    int64_t tiles = (s.T + Rows - 1) / Rows, head = blockIdx.x / tiles;
    place p = {head / s.H, head % s.H, (int)(blockIdx.x % tiles) * Rows, (int)s.T, false};

    if (length) p.length = length[p.n];
    p.bad = p.length < 0 || p.length > s.T;
    if (p.bad) p.length = 0;
    return p;
}

/* --- tiles ------------------------------------------------------------------------------------ */

/* to (DP, Size + kPad) = x^T, x (rows, D) with rows `stride` apart; zeros beyond them. */
template <int DP, int Size, typename T>
__device__ static inline void load_transposed(float *to, const T *x, int64_t stride, int rows,
                                              const attention_state &s) {
    const int ld = Size + kPad, D = (int)s.D;

    if (s.packed) {
        for (int i = threadIdx.x; i < Size * DP / kPack; i += kThreads) {
            int row = i / (DP / kPack), d = i % (DP / kPack) * kPack;
            pack<T> v = {};

            if (row < rows && d < D) v = *reinterpret_cast<const pack<T> *>(x + row * stride + d);
            for (int k = 0; k < kPack; k++) to[(d + k) * ld + row] = to_float(v.v[k]);
        }
        return;
    }
    for (int i = threadIdx.x; i < Size * DP; i += kThreads) {
        int row = i / DP, d = i % DP;

        to[d * ld + row] = row < rows && d < D ? to_float(x[row * stride + d]) : 0.0f;
    }
}

/* to (Size, DP) = x; zeros beyond it. */
template <int DP, int Size, typename T>
__device__ static inline void load_rows(float *to, const T *x, int64_t stride, int rows,
                                        const attention_state &s) {
    for (int i = threadIdx.x; i < Size * DP; i += kThreads) {
        int row = i / DP, d = i % DP;

        to[i] = row < rows && d < s.D ? to_float(x[row * stride + d]) : 0.0f;
    }
}

/* y[r][c] = sum_d a[d][row] b[d][col] */
template <int DP, int Rows, int Cols>
__device__ static inline void products(const float *a, const float *b,
                                       float (&y)[Rows / kDown][Cols / kAcross]) {
    typedef share<DP, Rows, Cols> mine;
    const int tx = threadIdx.x % kAcross, row = threadIdx.x / kAcross * mine::rows;

    for (int r = 0; r < mine::rows; r++)
        for (int c = 0; c < mine::cols; c++) y[r][c] = 0.0f;
    for (int d = 0; d < DP; d++) {
        run<mine::rows> x = load_run<mine::rows>(a + d * (Rows + kPad) + row);

        for (int c = 0; c < mine::cols; c++) {
            float z = b[d * (Cols + kPad) + tx + c * kAcross];

            for (int r = 0; r < mine::rows; r++) y[r][c] += x.v[r] * z;
        }
    }
}

/* y[r][e] += sum_j w[j][row] b[channel][j], both with the tile's columns j innermost or outermost
 * as they were made; four of them at a time. */
template <int DP, int Rows, int Cols>
__device__ static inline void add_weighted(const float *w, const float *b,
                                           float (&y)[Rows / kDown][DP / kAcross]) {
    typedef share<DP, Rows, Cols> mine;
    const int tx = threadIdx.x % kAcross, row = threadIdx.x / kAcross * mine::rows;

    for (int j = 0; j < Cols; j += kPack) {
        run<mine::rows> x[kPack];

        for (int k = 0; k < kPack; k++)
            x[k] = load_run<mine::rows>(w + (j + k) * (Rows + kPad) + row);
        for (int e = 0; e < mine::channels; e++) {
            run<kPack> z = load_run<kPack>(b + (tx + e * kAcross) * (Cols + kPad) + j);

            for (int k = 0; k < kPack; k++)
                for (int r = 0; r < mine::rows; r++) y[r][e] += x[k].v[r] * z.v[k];
        }
    }
}

/* w[col][row] = y[r][c] */
template <int DP, int Rows, int Cols>
__device__ static inline void keep(float *w, const float (&y)[Rows / kDown][Cols / kAcross]) {
    typedef share<DP, Rows, Cols> mine;
    const int tx = threadIdx.x % kAcross, row = threadIdx.x / kAcross * mine::rows;

    for (int c = 0; c < mine::cols; c++) {
        run<mine::rows> x;

        for (int r = 0; r < mine::rows; r++) x.v[r] = y[r][c];
        *reinterpret_cast<run<mine::rows> *>(w + (tx + c * kAcross) * (Rows + kPad) + row) = x;
    }
}

/* Rows first .. of a text's y (T, D), `stride` apart: values, and what stands beyond the length. */
template <int DP, int Rows, typename T>
__device__ static inline void write_rows(T *y, int64_t stride, const place &p,
                                         const attention_state &s,
                                         const float (&x)[Rows / kDown][DP / kAcross]) {
    const int tx = threadIdx.x % kAcross, row = threadIdx.x / kAcross * (Rows / kDown);

    for (int r = 0; r < Rows / kDown; r++) {
        int64_t t = p.first + row + r;

        for (int e = 0; e < DP / kAcross && t < s.T; e++)
            if (tx + e * kAcross < s.D)
                y[t * stride + tx + e * kAcross] = from_float<T>(t < p.length ? x[r][e]
                                                                 : p.bad      ? NAN
                                                                              : 0.0f);
    }
}

/* --- attention -------------------------------------------------------------------------------- */

template <typename T, int DP, int Rows, int Cols>
__global__ void __launch_bounds__(kThreads)
    attention_kernel(const T *qkv, const int32_t *length, T *o, float *lse, attention_state s) {
    typedef share<DP, Rows, Cols> mine;
    SG_SHARED(float4, q4, DP * (Rows + kPad) / 4);
    SG_SHARED(float4, kv4, DP * (Cols + kPad) / 4); /* K^T, then V */
    SG_SHARED(float4, p4, Cols * (Rows + kPad) / 4);
    float *q_tile = floats_of(q4), *kv_tile = floats_of(kv4), *p_tile = floats_of(p4);
    const int tx = threadIdx.x % kAcross, row = threadIdx.x / kAcross * mine::rows;
    place p = place_of_block<Rows>(length, s);
    const T *q = qkv + p.n * s.T * 3 * s.C + p.h * s.D, *k = q + s.C, *v = k + s.C;
    float score[mine::rows][mine::cols], y[mine::rows][mine::channels] = {};
    float greatest[mine::rows], sum[mine::rows];

    for (int r = 0; r < mine::rows; r++) {
        greatest[r] = -INFINITY;
        sum[r] = 0.0f;
    }
    if (p.first < p.length)
        load_transposed<DP, Rows>(q_tile, q + p.first * 3 * s.C, 3 * s.C, p.length - p.first, s);
    for (int j = 0; p.first < p.length && j < p.length; j += Cols) {
        __syncthreads(); /* the tile before has been used */
        load_transposed<DP, Cols>(kv_tile, k + j * 3 * s.C, 3 * s.C, p.length - j, s);
        __syncthreads();
        products<DP, Rows, Cols>(q_tile, kv_tile, score);
        for (int r = 0; r < mine::rows; r++) {
            float m = greatest[r], before;

            for (int c = 0; c < mine::cols; c++) {
                bool has = j + tx + c * kAcross < p.length;

                score[r][c] = has ? score[r][c] * (s.scale * kLog2e) : -INFINITY;
                m = fmaxf(m, score[r][c]);
            }
            m = row_max(m);
            before = exp2f(greatest[r] - m); /* 0 with the first tile */
            greatest[r] = m;
            sum[r] *= before;
            for (int c = 0; c < mine::cols; c++) {
                score[r][c] = exp2f(score[r][c] - m);
                sum[r] += score[r][c];
            }
            for (int e = 0; e < mine::channels; e++) y[r][e] *= before;
        }
        keep<DP, Rows, Cols>(p_tile, score);
        __syncthreads(); /* all have read K^T, and written P */
        load_rows<DP, Cols>(kv_tile, v + j * 3 * s.C, 3 * s.C, p.length - j, s);
        __syncthreads();
        for (int c = 0; c < Cols; c++) {
            run<mine::rows> x = load_run<mine::rows>(p_tile + c * (Rows + kPad) + row);

            for (int e = 0; e < mine::channels; e++) {
                float z = kv_tile[c * DP + tx + e * kAcross];

                for (int r = 0; r < mine::rows; r++) y[r][e] += x.v[r] * z;
            }
        }
    }
    for (int r = 0; r < mine::rows; r++) {
        int64_t t = p.first + row + r;
        float all = row_sum(sum[r]), inverse = 1.0f / all;

        for (int e = 0; e < mine::channels; e++) y[r][e] *= inverse;
        if (tx == 0 && t < s.T)
            lse[(p.n * s.H + p.h) * s.T + t] = t < p.length ? kLn2 * (greatest[r] + log2f(all))
                                               : p.bad      ? NAN
                                                            : 0.0f;
    }
    write_rows<DP, Rows>(o + p.n * s.T * s.C + p.h * s.D, s.C, p, s, y);
}

/* --- attention_dx ----------------------------------------------------------------------------- */

/* p[r][c] = P, ds[r][c] = dS from scores and dP; lse and delta are those of the query. */
__device__ static inline void differentiate(float *p, float *ds, bool has, float lse, float delta,
                                            float scale) {
    *p = has ? exp2f(*p * (scale * kLog2e) - lse * kLog2e) : 0.0f;
    *ds = has ? *p * (*ds - delta) * scale : 0.0f;
}

template <typename T> struct gradient_inputs {
    const T *qkv;
    const int32_t *length; /* or NULL */
    const T *o;
    const float *lse;
    const T *dy;
};

template <typename T, int DP, int Rows, int Cols>
__global__ void __launch_bounds__(kThreads)
    dq_kernel(gradient_inputs<T> in, T *dqkv, float *delta, attention_state s) {
    typedef share<DP, Rows, Cols> mine;
    SG_SHARED(float4, q4, DP * (Rows + kPad) / 4);
    SG_SHARED(float4, dy4, DP * (Rows + kPad) / 4);
    SG_SHARED(float4, k4, DP * (Cols + kPad) / 4);
    SG_SHARED(float4, v4, DP * (Cols + kPad) / 4);
    SG_SHARED(float4, ds4, Cols * (Rows + kPad) / 4);
    float *q_tile = floats_of(q4), *dy_tile = floats_of(dy4), *k_tile = floats_of(k4),
          *v_tile = floats_of(v4);
    float *ds_tile = floats_of(ds4);
    const int tx = threadIdx.x % kAcross, row = threadIdx.x / kAcross * mine::rows;
    place p = place_of_block<Rows>(in.length, s);
    const T *q = in.qkv + p.n * s.T * 3 * s.C + p.h * s.D, *k = q + s.C, *v = k + s.C;
    const T *o = in.o + p.n * s.T * s.C + p.h * s.D, *dy = in.dy + p.n * s.T * s.C + p.h * s.D;
    int64_t head = (p.n * s.H + p.h) * s.T;
    float prob[mine::rows][mine::cols], ds[mine::rows][mine::cols];
    float dq[mine::rows][mine::channels] = {}, lse[mine::rows], dot[mine::rows];

    for (int r = 0; r < mine::rows; r++) {
        int64_t t = p.first + row + r;

        lse[r] = dot[r] = 0.0f;
        for (int e = 0; e < mine::channels && t < p.length; e++) {
            int d = tx + e * kAcross;

            if (d < s.D) dot[r] += to_float(dy[t * s.C + d]) * to_float(o[t * s.C + d]);
        }
        dot[r] = row_sum(dot[r]);
        if (t < p.length) lse[r] = in.lse[head + t];
        if (t < p.length && tx == 0) delta[head + t] = dot[r];
    }
    if (p.first < p.length) {
        load_transposed<DP, Rows>(q_tile, q + p.first * 3 * s.C, 3 * s.C, p.length - p.first, s);
        load_transposed<DP, Rows>(dy_tile, dy + p.first * s.C, s.C, p.length - p.first, s);
    }
    for (int j = 0; p.first < p.length && j < p.length; j += Cols) {
        __syncthreads(); /* the tiles before have been used */
        load_transposed<DP, Cols>(k_tile, k + j * 3 * s.C, 3 * s.C, p.length - j, s);
        load_transposed<DP, Cols>(v_tile, v + j * 3 * s.C, 3 * s.C, p.length - j, s);
        __syncthreads();
        products<DP, Rows, Cols>(q_tile, k_tile, prob);
        products<DP, Rows, Cols>(dy_tile, v_tile, ds);
        for (int r = 0; r < mine::rows; r++)
            for (int c = 0; c < mine::cols; c++)
                differentiate(&prob[r][c], &ds[r][c],
                              j + tx + c * kAcross < p.length && p.first + row + r < p.length,
                              lse[r], dot[r], s.scale);
        keep<DP, Rows, Cols>(ds_tile, ds);
        __syncthreads();
        add_weighted<DP, Rows, Cols>(ds_tile, k_tile, dq);
    }
    write_rows<DP, Rows>(dqkv + p.n * s.T * 3 * s.C + p.h * s.D, 3 * s.C, p, s, dq);
}

template <typename T, int DP, int Rows, int Cols>
__global__ void __launch_bounds__(kThreads)
    dkv_kernel(gradient_inputs<T> in, T *dqkv, const float *delta, attention_state s) {
    typedef share<DP, Rows, Cols> mine;
    SG_SHARED(float4, k4, DP * (Rows + kPad) / 4);
    SG_SHARED(float4, v4, DP * (Rows + kPad) / 4);
    SG_SHARED(float4, q4, DP * (Cols + kPad) / 4);
    SG_SHARED(float4, dy4, DP * (Cols + kPad) / 4);
    SG_SHARED(float4, p4, Cols * (Rows + kPad) / 4);
    SG_SHARED(float4, ds4, Cols * (Rows + kPad) / 4);
    float *k_tile = floats_of(k4), *v_tile = floats_of(v4), *q_tile = floats_of(q4),
          *dy_tile = floats_of(dy4);
    float *p_tile = floats_of(p4), *ds_tile = floats_of(ds4);
    const int tx = threadIdx.x % kAcross, row = threadIdx.x / kAcross * mine::rows;
    place p = place_of_block<Rows>(in.length, s);
    const T *q = in.qkv + p.n * s.T * 3 * s.C + p.h * s.D, *k = q + s.C, *v = k + s.C;
    const T *dy = in.dy + p.n * s.T * s.C + p.h * s.D;
    T *dk_out = dqkv + p.n * s.T * 3 * s.C + s.C + p.h * s.D;
    int64_t head = (p.n * s.H + p.h) * s.T;
    float prob[mine::rows][mine::cols], ds[mine::rows][mine::cols];
    float dk[mine::rows][mine::channels] = {}, dv[mine::rows][mine::channels] = {};

    if (p.first < p.length) {
        load_transposed<DP, Rows>(k_tile, k + p.first * 3 * s.C, 3 * s.C, p.length - p.first, s);
        load_transposed<DP, Rows>(v_tile, v + p.first * 3 * s.C, 3 * s.C, p.length - p.first, s);
    }
    for (int i = 0; p.first < p.length && i < p.length; i += Cols) {
        __syncthreads(); /* the tiles before have been used */
        load_transposed<DP, Cols>(q_tile, q + i * 3 * s.C, 3 * s.C, p.length - i, s);
        load_transposed<DP, Cols>(dy_tile, dy + i * s.C, s.C, p.length - i, s);
        __syncthreads();
        products<DP, Rows, Cols>(k_tile, q_tile, prob);
        products<DP, Rows, Cols>(v_tile, dy_tile, ds);
        for (int c = 0; c < mine::cols; c++) {
            int64_t t = i + tx + c * kAcross;
            float lse = t < p.length ? in.lse[head + t] : 0.0f;
            float dot = t < p.length ? delta[head + t] : 0.0f;

            for (int r = 0; r < mine::rows; r++)
                differentiate(&prob[r][c], &ds[r][c], t < p.length && p.first + row + r < p.length,
                              lse, dot, s.scale);
        }
        keep<DP, Rows, Cols>(p_tile, prob);
        keep<DP, Rows, Cols>(ds_tile, ds);
        __syncthreads();
        add_weighted<DP, Rows, Cols>(p_tile, dy_tile, dv);
        add_weighted<DP, Rows, Cols>(ds_tile, q_tile, dk);
    }
    write_rows<DP, Rows>(dk_out, 3 * s.C, p, s, dk);
    write_rows<DP, Rows>(dk_out + s.C, 3 * s.C, p, s, dv);
}

/* --- launchers -------------------------------------------------------------------------------- */

static const attention_state *state_of(const sg_args *a) {
    return static_cast<const attention_state *>(a->state);
}

/* What the kernels are given; `pointers` are those that they read from by packs. */
static attention_state state_for(const sg_args *a, const void *const pointers[], int n) {
    attention_state s = *state_of(a);

    s.packed = s.D % kPack == 0;
    for (int i = 0; i < n; i++)
        s.packed = s.packed && (uintptr_t)pointers[i] % (kPack * sizeof(float)) == 0;
    return s;
}

/* One a tile of every head. */
static unsigned blocks_of(const attention_state *s, int rows) {
    return (unsigned)(s->N * s->H) * blocks_for(s->T, rows);
}

template <typename T, int DP, int Rows, int Cols> static sg_status attention_as(const sg_args *a) {
    attention_state s = state_for(a, &a->in[0], 1);

    SG_LAUNCH((attention_kernel<T, DP, Rows, Cols>), blocks_of(&s, Rows), kThreads, 0,
              (cudaStream_t)a->queue, static_cast<const T *>(a->in[0]),
              static_cast<const int32_t *>(a->in[1]), static_cast<T *>(a->out[0]),
              static_cast<float *>(a->out[1]), s);
    return sg_cuda_launched(a);
}

template <typename T, int DP, int Rows, int Cols>
static sg_status attention_dx_as(const sg_args *a) {
    const void *const pointers[] = {a->in[0], a->in[4]};
    attention_state s = state_for(a, pointers, 2);
    gradient_inputs<T> in = {static_cast<const T *>(a->in[0]),
                             static_cast<const int32_t *>(a->in[1]),
                             static_cast<const T *>(a->in[2]), static_cast<const float *>(a->in[3]),
                             static_cast<const T *>(a->in[4])};
    float *delta = static_cast<float *>(a->scratch);

    SG_LAUNCH((dq_kernel<T, DP, Rows, Cols>), blocks_of(&s, Rows), kThreads, 0,
              (cudaStream_t)a->queue, in, static_cast<T *>(a->out[0]), delta, s);
    SG_TRY(sg_cuda_launched(a));
    SG_LAUNCH((dkv_kernel<T, DP, Rows, Cols>), blocks_of(&s, Rows), kThreads, 0,
              (cudaStream_t)a->queue, in, static_cast<T *>(a->out[0]), delta, s);
    return sg_cuda_launched(a);
}

/* f<T, DP, Rows, Cols>(a): DP is the least that a head's channels fit, and each has its tiles. */
#define BY_WIDTH(f, T, a, rows_32, cols_32, rows_64, cols_64, rows_wide, cols_wide)                \
    (state_of(a)->N * state_of(a)->T == 0 ? SG_OK                                                  \
     : state_of(a)->D <= 32               ? f<T, 32, rows_32, cols_32>(a)                          \
     : state_of(a)->D <= 64               ? f<T, 64, rows_64, cols_64>(a)                          \
                                          : f<T, kWide, rows_wide, cols_wide>(a))

template <typename T> static sg_status attention_run(const sg_args *a) {
    return BY_WIDTH(attention_as, T, a, 64, 64, 64, 32, 32, 32);
}

template <typename T> static sg_status attention_dx_run(const sg_args *a) {
    return BY_WIDTH(attention_dx_as, T, a, 64, 32, 32, 32, 16, 16);
}

/* --- selection -------------------------------------------------------------------------------- */

/* `products`: of T x T x D multiply-adds. */
static sg_status select_attention(const sg_node *node, const sg_layout have[], sg_kernel f32,
                                  sg_kernel bf16_too, int products, sg_kernel_plan *plan) {
    const sg_attention_attr *attr = static_cast<const sg_attention_attr *>(node->attr);
    const sg_shape *qkv = &node->in[0]->shape;
    sg_layout layout = sg_cuda_common_layout(node, have);
    attention_state s = {qkv->dim[0], qkv->dim[1], attr->heads, 0, qkv->dim[2] / 3, 0.0f, false};

    s.D = s.C / s.H;
    s.scale = 1.0f / sqrtf((float)s.D);
    if (s.D > kWide)
        return sg_fail(SG_ERR_UNSUPPORTED,
                       "%s: heads of %lld channels; cuda's attention takes at most %d: more "
                       "model.heads, or run.device=cpu",
                       node->name, (long long)s.D, kWide);
    if (s.N * s.H * s.T > INT32_MAX)
        return sg_fail(SG_ERR_UNSUPPORTED, "%s: too many tokens for one launch", node->name);
    sg_cuda_plan(plan, node, sg_cuda_is_bf16(layout) ? bf16_too : f32, layout);
    plan->flop = 2.0 * products * (double)(s.N * s.T * s.T) * (double)s.C;
    return sg_cuda_plan_state(plan, &s, sizeof s);
}

extern "C" sg_status sg_cuda_select_attention(sg_cuda *, const sg_node *node,
                                              const sg_layout have[], sg_kernel_plan *plan) {
    SG_TRY(select_attention(node, have, attention_run<float>, attention_run<bf16>, 2, plan));
    plan->out[1] = SG_CUDA_PLAIN;
    return SG_OK;
}

extern "C" sg_status sg_cuda_select_attention_dx(sg_cuda *, const sg_node *node,
                                                 const sg_layout have[], sg_kernel_plan *plan) {
    SG_TRY(select_attention(node, have, attention_dx_run<float>, attention_dx_run<bf16>, 7, plan));
    plan->in[3] = SG_CUDA_PLAIN;
    plan->scratch = (size_t)sg_shape_count(&node->in[3]->shape) * sizeof(float);
    return SG_OK;
}
