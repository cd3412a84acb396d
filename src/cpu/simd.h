/* Eight floats at a time: exp, sigmoid and the activations.
 *
 * exp: x = n ln 2 + r; 2^r by a polynomial of degree 5 (minimax of the relative error, 9.2e-8, with
 * the constant 1 so that exp(0) is 1; coefficients from Lawson's algorithm, rounded one after the
 * other); 2^n by its bits. Relative error below 2.5e-7 (2 ulp) on [-87.3, 88.3], measured by
 * tests/test_cpu_backend.c; above 88.38 it is infinite, below -87.34 it stays at 1.2e-38, NaN stays
 * NaN. */
#ifndef SG_CPU_SIMD_H
#define SG_CPU_SIMD_H

#include <immintrin.h>

#include "spotgrad.h"

#define SG_INLINE static inline __attribute__((always_inline))

/* 2^n from t, n + 1.5 2^23 + 127 rounded to an integer: its low bits are the exponent. */
#define SG_ROUND_MAGIC 12583039.0f

SG_INLINE __m256 exp_tail8(__m256 t, __m256 r) {
    __m256 p = _mm256_set1_ps(8.289499208e-3f);

    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.189817980e-2f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.666765064e-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.999914765e-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(9.999997020e-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(t), 23)));
}

SG_INLINE __m256 exp8(__m256 x) {
    const __m256 magic = _mm256_set1_ps(SG_ROUND_MAGIC);
    __m256 t, n, r;

    /* min and max return their second operand for a NaN */
    x = _mm256_min_ps(_mm256_set1_ps(88.72283f), x);
    x = _mm256_max_ps(_mm256_set1_ps(-87.336544f), x);
    t = _mm256_fmadd_ps(x, _mm256_set1_ps(1.44269504088896341f), magic);
    n = _mm256_sub_ps(t, magic);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x); /* ln 2 in two parts */
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    return exp_tail8(t, r);
}

/* exp(-x), without an instruction for the sign. */
SG_INLINE __m256 exp_minus8(__m256 x) {
    const __m256 magic = _mm256_set1_ps(SG_ROUND_MAGIC);
    __m256 t, n, r;

    x = _mm256_max_ps(_mm256_set1_ps(-88.72283f), x);
    x = _mm256_min_ps(_mm256_set1_ps(87.336544f), x);
    t = _mm256_fnmadd_ps(x, _mm256_set1_ps(1.44269504088896341f), magic);
    n = _mm256_sub_ps(t, magic);
    r = _mm256_fnmsub_ps(n, _mm256_set1_ps(0.693359375f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    return exp_tail8(t, r);
}

SG_INLINE __m256 sigmoid8(__m256 x) {
    const __m256 one = _mm256_set1_ps(1.0f);

    return _mm256_div_ps(one, _mm256_add_ps(one, exp_minus8(x)));
}

SG_INLINE __m256 silu8(__m256 x) {
    const __m256 one = _mm256_set1_ps(1.0f);

    return _mm256_div_ps(x, _mm256_add_ps(one, exp_minus8(x)));
}

/* max returns its second operand for a NaN */
SG_INLINE __m256 relu8(__m256 x) { return _mm256_max_ps(_mm256_setzero_ps(), x); }

SG_INLINE __m256 act8(sg_act act, __m256 x) {
    return act == SG_ACT_SILU ? silu8(x) : act == SG_ACT_RELU ? relu8(x) : x;
}

/* dy * act'(x) */
SG_INLINE __m256 act_dx8(sg_act act, __m256 x, __m256 dy) {
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256 s;

    if (act == SG_ACT_NONE) return dy;
    if (act == SG_ACT_RELU)
        return _mm256_and_ps(dy, _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_NLE_UQ));
    s = sigmoid8(x); /* s (1 + x (1 - s)) */
    return _mm256_mul_ps(dy, _mm256_mul_ps(s, _mm256_fmadd_ps(x, _mm256_sub_ps(one, s), one)));
}

/* The first `n` (1 .. 8) floats at p, zeros after them; and the store. */
SG_INLINE __m256i mask8(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
/* Masked stores take dozens of cycles on some processors: only where they are needed. */
SG_INLINE __m256 load_some8(const float *p, int n) {
    return n == 8 ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, mask8(n));
}
SG_INLINE void store_some8(float *p, int n, __m256 x) {
    if (n == 8)
        _mm256_storeu_ps(p, x);
    else
        _mm256_maskstore_ps(p, mask8(n), x);
}

/* rows r[0..7] of 8 floats -> its columns */
SG_INLINE void transpose8(__m256 r[8]) {
    __m256 a[8], b[8];

    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        b[4 * i] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0x44);
        b[4 * i + 1] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0xEE);
        b[4 * i + 2] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
        b[4 * i + 3] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xEE);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
    }
}

/* Sums in double: lanes 0-3 and 4-7. */
typedef struct {
    __m256d lo, hi;
} sg_double8;

SG_INLINE sg_double8 zero_double8(void) {
    sg_double8 z = {_mm256_setzero_pd(), _mm256_setzero_pd()};

    return z;
}
SG_INLINE sg_double8 to_double8(__m256 x) {
    sg_double8 d = {_mm256_cvtps_pd(_mm256_castps256_ps128(x)),
                    _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))};

    return d;
}
SG_INLINE __m256 to_float8(sg_double8 d) {
    return _mm256_set_m128(_mm256_cvtpd_ps(d.hi), _mm256_cvtpd_ps(d.lo));
}
SG_INLINE void add_double8(sg_double8 *sum, __m256 x) {
    sg_double8 d = to_double8(x);

    sum->lo = _mm256_add_pd(sum->lo, d.lo);
    sum->hi = _mm256_add_pd(sum->hi, d.hi);
}
/* The sum of all eight lanes, in a fixed order. */
SG_INLINE double total_double8(sg_double8 d) {
    double v[4];

    _mm256_storeu_pd(v, _mm256_add_pd(d.lo, d.hi));
    return (v[0] + v[1]) + (v[2] + v[3]);
}

#endif
