/* Weighted sums of rows of floats: what an embedding bag is, and the gradient of one row of its
 * table. Rows are added in their order, so the bits depend on nothing else. */
#ifndef SG_CPU_BAG_H
#define SG_CPU_BAG_H

#include "cpu/simd.h"

/* Rows that are added at a time; vectors that are kept in registers. */
enum { kBagRows = 32, kBagVecs = 8, kLine = 64 };

typedef struct {
    const float *row[kBagRows];
    float weight[kBagRows];
    int n;
} bag_rows;

/* Have the d floats at `row` in the second cache soon. Not in the first, which on some processors
 * waits for a third as many lines at a time: from the second it is not far. */
SG_INLINE void bag_prefetch(const float *row, int64_t d) {
    const char *line = (const char *)((uintptr_t)row & ~(uintptr_t)(kLine - 1));

    for (; line < (const char *)(row + d); line += kLine) _mm_prefetch(line, _MM_HINT_T1);
}

/* The same where another thread may have had them: lines that are to be written are then taken away
 * from its core at once, and not when a store has to wait for that. */
SG_INLINE void bag_prefetch_own(const float *row, int64_t d) {
    const char *line = (const char *)((uintptr_t)row & ~(uintptr_t)(kLine - 1));

    for (; line < (const char *)(row + d); line += kLine) __builtin_prefetch(line, 1, 3);
}

/* The first n (1 .. kBlock) floats, zeros after them. A masked load, as a masked store, takes
 * dozens of cycles on some processors: longer than all the whole vectors of a row. */
SG_INLINE vec bag_load_some(const float *p, int n) {
    __m128 low = _mm_setzero_ps(), part = low;

    if (n == kBlock) return vec_load(p);
    if (n & 4) {
        low = _mm_loadu_ps(p);
        p += 4;
    }
    if (n & 2) part = _mm_loadl_pi(part, (const __m64 *)p);
    if (n & 1) part = n & 2 ? _mm_movelh_ps(part, _mm_load_ss(p + 2)) : _mm_load_ss(p);
    return n & 4 ? _mm256_set_m128(part, low) : _mm256_zextps128_ps256(part);
}

/* The first n (1 .. kBlock) floats. What is loaded where a masked store has been waits until that
 * has reached the cache. */
SG_INLINE void bag_store_some(float *p, int n, vec x) {
    __m128 part = _mm256_castps256_ps128(x);

    if (n == kBlock) {
        vec_store(p, x);
        return;
    }
    if (n & 4) {
        _mm_storeu_ps(p, part);
        part = _mm256_extractf128_ps(x, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)p, part);
        part = _mm_movehl_ps(part, part);
        p += 2;
    }
    if (n & 1) _mm_store_ss(p, part);
}

/* V vectors from column c on; the last has `some` floats in the rows. */
SG_INLINE void bag_strip(const bag_rows *b, float *y, int64_t c, int V, int some) {
    vec sum[kBagVecs];

    for (int v = 0; v < V; v++) sum[v] = vec_load(y + c + v * kBlock);
    for (int k = 0; k < b->n; k++) {
        const float *x = b->row[k] + c;
        vec w = vec_set1(b->weight[k]);

        for (int v = 0; v < V - 1; v++) sum[v] = vec_fma(w, vec_load(x + v * kBlock), sum[v]);
        sum[V - 1] = vec_fma(w, bag_load_some(x + (V - 1) * kBlock, some), sum[V - 1]);
    }
    for (int v = 0; v < V; v++) vec_store(y + c + v * kBlock, sum[v]);
}

/* Floats of a sum of rows of d: whole vectors, so that none is stored in part. */
static inline int64_t bag_width(int64_t d) { return (d + kBlock - 1) / kBlock * kBlock; }

/* y (bag_width) += the rows of d floats, and none are left. */
SG_INLINE void bag_add(bag_rows *b, float *y, int64_t d) {
    for (int64_t c = 0; c < d; c += kBagVecs * kBlock) {
        int64_t left = d - c < kBagVecs * kBlock ? d - c : kBagVecs * kBlock;
        int V = (int)((left + kBlock - 1) / kBlock), some = (int)(left - (V - 1) * kBlock);

        switch (V) {
        case 1:
            bag_strip(b, y, c, 1, some);
            break;
        case 2:
            bag_strip(b, y, c, 2, some);
            break;
        case 3:
            bag_strip(b, y, c, 3, some);
            break;
        case 4:
            bag_strip(b, y, c, 4, some);
            break;
        case 5:
            bag_strip(b, y, c, 5, some);
            break;
        case 6:
            bag_strip(b, y, c, 6, some);
            break;
        case 7:
            bag_strip(b, y, c, 7, some);
            break;
        default:
            bag_strip(b, y, c, kBagVecs, some);
        }
    }
    b->n = 0;
}

SG_INLINE void bag_put(bag_rows *b, const float *row, float weight, float *y, int64_t d) {
    b->row[b->n] = row;
    b->weight[b->n++] = weight;
    if (b->n == kBagRows) bag_add(b, y, d);
}

#endif
