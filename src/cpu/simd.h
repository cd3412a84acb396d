/* kBlock floats at a time: a thin layer over intrinsics, then exp, sigmoid and the activations.
 *
 * kBlock is the number of channels of a block of the BLOCKED layout and of floats in a `vec`: 8
 * (AVX2), or 16 (AVX-512) where a file is compiled with SG_BLOCK=16. Files for both sizes are
 * compiled twice (Makefile: BLOCKED) and use nothing but what stands here; what they export goes
 * through SG_BLOCKED. With 8, each function is one AVX2 instruction or a fixed sequence of them:
 * the bits of run.isa = avx2 depend on it.
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

#ifndef SG_BLOCK
#define SG_BLOCK 8
#endif

enum { kBlock = SG_BLOCK };

/* vec: kBlock floats; hvec: kBlock / 2 doubles; ivec: kBlock int32_t; vec_mask: which lanes. */
#if SG_BLOCK == 16
#define SG_SIMD(name) _mm512_##name /* the intrinsic for this size */
typedef __m512 vec;
typedef __m512d hvec;
typedef __m512i ivec;
typedef __mmask16 vec_mask;
#else
#define SG_SIMD(name) _mm256_##name
typedef __m256 vec;
typedef __m256d hvec;
typedef __m256i ivec;
typedef __m256 vec_mask;
#endif

SG_INLINE vec vec_zero(void) { return SG_SIMD(setzero_ps)(); }
SG_INLINE vec vec_set1(float x) { return SG_SIMD(set1_ps)(x); }
SG_INLINE vec vec_load(const float *p) { return SG_SIMD(loadu_ps)(p); }
SG_INLINE void vec_store(float *p, vec x) { SG_SIMD(storeu_ps)(p, x); }
SG_INLINE vec vec_add(vec a, vec b) { return SG_SIMD(add_ps)(a, b); }
SG_INLINE vec vec_sub(vec a, vec b) { return SG_SIMD(sub_ps)(a, b); }
SG_INLINE vec vec_mul(vec a, vec b) { return SG_SIMD(mul_ps)(a, b); }
SG_INLINE vec vec_div(vec a, vec b) { return SG_SIMD(div_ps)(a, b); }
SG_INLINE vec vec_sqrt(vec a) { return SG_SIMD(sqrt_ps)(a); }
/* The second operand where one of the two is a NaN. */
SG_INLINE vec vec_min(vec a, vec b) { return SG_SIMD(min_ps)(a, b); }
SG_INLINE vec vec_max(vec a, vec b) { return SG_SIMD(max_ps)(a, b); }
/* a b + c, -a b + c, a b - c, -a b - c, rounded once */
SG_INLINE vec vec_fma(vec a, vec b, vec c) { return SG_SIMD(fmadd_ps)(a, b, c); }
SG_INLINE vec vec_fnma(vec a, vec b, vec c) { return SG_SIMD(fnmadd_ps)(a, b, c); }
SG_INLINE vec vec_fms(vec a, vec b, vec c) { return SG_SIMD(fmsub_ps)(a, b, c); }
SG_INLINE vec vec_fnms(vec a, vec b, vec c) { return SG_SIMD(fnmsub_ps)(a, b, c); }

SG_INLINE hvec hvec_zero(void) { return SG_SIMD(setzero_pd)(); }
SG_INLINE hvec hvec_set1(double x) { return SG_SIMD(set1_pd)(x); }
SG_INLINE hvec hvec_add(hvec a, hvec b) { return SG_SIMD(add_pd)(a, b); }
SG_INLINE hvec hvec_sub(hvec a, hvec b) { return SG_SIMD(sub_pd)(a, b); }
SG_INLINE hvec hvec_mul(hvec a, hvec b) { return SG_SIMD(mul_pd)(a, b); }
SG_INLINE hvec hvec_div(hvec a, hvec b) { return SG_SIMD(div_pd)(a, b); }
SG_INLINE hvec hvec_fma(hvec a, hvec b, hvec c) { return SG_SIMD(fmadd_pd)(a, b, c); }
SG_INLINE hvec hvec_sqrt(hvec a) { return SG_SIMD(sqrt_pd)(a); }

SG_INLINE ivec ivec_set1(int32_t x) { return SG_SIMD(set1_epi32)(x); }

/* --- what differs by more than a name -----------------------------------------------------------
 *
 *   vec_load_some, vec_store_some   the first n (1 .. kBlock) floats at p; zeros after them
 *   vec_of_bytes                    kBlock bytes as floats
 *   vec_shift23                     the bits, as an integer, 23 places to the left
 *   mask_above                      where a > b or one of them is a NaN
 *   mask_number                     where x is no NaN
 *   vec_where, ivec_where           a where the mask says so, else b
 *   vec_keep                        x where the mask says so, else 0
 *   dvec                            kBlock doubles: the lower and the upper lanes
 *   vec_transpose                   rows r[0 .. kBlock - 1] -> its columns */
typedef struct {
    hvec lo, hi;
} dvec;

#if SG_BLOCK == 16

SG_INLINE vec_mask first_lanes(int n) { return (vec_mask)((1u << n) - 1u); }
SG_INLINE vec vec_load_some(const float *p, int n) {
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
SG_INLINE void store_masked(float *p, int n, vec x) { _mm512_mask_storeu_ps(p, first_lanes(n), x); }
SG_INLINE vec vec_of_bytes(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
SG_INLINE vec vec_shift23(vec x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(x), 23));
}
SG_INLINE vec_mask mask_above(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLE_UQ); }
SG_INLINE vec_mask mask_number(vec x) { return _mm512_cmp_ps_mask(x, x, _CMP_EQ_OQ); }
SG_INLINE vec_mask mask_and(vec_mask a, vec_mask b) { return (vec_mask)(a & b); }
SG_INLINE vec vec_where(vec_mask m, vec a, vec b) { return _mm512_mask_blend_ps(m, b, a); }
SG_INLINE vec vec_keep(vec_mask m, vec x) { return _mm512_maskz_mov_ps(m, x); }
SG_INLINE ivec ivec_where(vec_mask m, ivec a, ivec b) { return _mm512_mask_blend_epi32(m, b, a); }
SG_INLINE void ivec_store(int32_t *p, ivec x) { _mm512_storeu_si512(p, x); }
SG_INLINE dvec dvec_of(vec x) {
    dvec d = {_mm512_cvtps_pd(_mm512_castps512_ps256(x)),
              _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1))};

    return d;
}
SG_INLINE vec vec_of(dvec d) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(d.lo)), _mm512_cvtpd_ps(d.hi),
                              1);
}
/* The sum of all lanes, in a fixed order. */
SG_INLINE double dvec_total(dvec d) {
    double v[8];

    _mm512_storeu_pd(v, hvec_add(d.lo, d.hi));
    return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
}
SG_INLINE void vec_transpose(vec r[16]) {
    vec a[16], b[16], c[4];

    for (int i = 0; i < 8; i++) {
        a[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        b[4 * i] = _mm512_shuffle_ps(a[4 * i], a[4 * i + 2], 0x44);
        b[4 * i + 1] = _mm512_shuffle_ps(a[4 * i], a[4 * i + 2], 0xEE);
        b[4 * i + 2] = _mm512_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
        b[4 * i + 3] = _mm512_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xEE);
    }
    for (int i = 0; i < 4; i++) {
        c[0] = _mm512_shuffle_f32x4(b[i], b[i + 4], 0x88);
        c[1] = _mm512_shuffle_f32x4(b[i], b[i + 4], 0xDD);
        c[2] = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0x88);
        c[3] = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0xDD);
        r[i] = _mm512_shuffle_f32x4(c[0], c[2], 0x88);
        r[i + 4] = _mm512_shuffle_f32x4(c[1], c[3], 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(c[0], c[2], 0xDD);
        r[i + 12] = _mm512_shuffle_f32x4(c[1], c[3], 0xDD);
    }
}

#else

SG_INLINE __m256i mask8(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
SG_INLINE vec vec_load_some(const float *p, int n) {
    return n == kBlock ? vec_load(p) : _mm256_maskload_ps(p, mask8(n));
}
SG_INLINE void store_masked(float *p, int n, vec x) { _mm256_maskstore_ps(p, mask8(n), x); }
SG_INLINE vec vec_of_bytes(const uint8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
SG_INLINE vec vec_shift23(vec x) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x), 23));
}
SG_INLINE vec_mask mask_above(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_NLE_UQ); }
SG_INLINE vec_mask mask_number(vec x) { return _mm256_cmp_ps(x, x, _CMP_EQ_OQ); }
SG_INLINE vec_mask mask_and(vec_mask a, vec_mask b) { return _mm256_and_ps(a, b); }
SG_INLINE vec vec_where(vec_mask m, vec a, vec b) { return _mm256_blendv_ps(b, a, m); }
SG_INLINE vec vec_keep(vec_mask m, vec x) { return _mm256_and_ps(x, m); }
SG_INLINE ivec ivec_where(vec_mask m, ivec a, ivec b) {
    return _mm256_blendv_epi8(b, a, _mm256_castps_si256(m));
}
SG_INLINE void ivec_store(int32_t *p, ivec x) { _mm256_storeu_si256((__m256i *)p, x); }
SG_INLINE dvec dvec_of(vec x) {
    dvec d = {_mm256_cvtps_pd(_mm256_castps256_ps128(x)),
              _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))};

    return d;
}
SG_INLINE vec vec_of(dvec d) {
    return _mm256_set_m128(_mm256_cvtpd_ps(d.hi), _mm256_cvtpd_ps(d.lo));
}
SG_INLINE double dvec_total(dvec d) {
    double v[4];

    _mm256_storeu_pd(v, hvec_add(d.lo, d.hi));
    return (v[0] + v[1]) + (v[2] + v[3]);
}
SG_INLINE void vec_transpose(vec r[8]) {
    vec a[8], b[8];

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

#endif

/* Masked stores take dozens of cycles on some processors: only where they are needed. */
SG_INLINE void vec_store_some(float *p, int n, vec x) {
    if (n == kBlock)
        vec_store(p, x);
    else
        store_masked(p, n, x);
}

SG_INLINE dvec dvec_zero(void) {
    dvec z = {hvec_zero(), hvec_zero()};

    return z;
}
SG_INLINE void dvec_add(dvec *sum, vec x) {
    dvec d = dvec_of(x);

    sum->lo = hvec_add(sum->lo, d.lo);
    sum->hi = hvec_add(sum->hi, d.hi);
}

/* --- functions -------------------------------------------------------------------------------- */

/* 2^n from t, n + 1.5 2^23 + 127 rounded to an integer: its low bits are the exponent. */
#define SG_ROUND_MAGIC 12583039.0f

SG_INLINE vec exp_tail(vec t, vec r) {
    vec p = vec_set1(8.289499208e-3f);

    p = vec_fma(p, r, vec_set1(4.189817980e-2f));
    p = vec_fma(p, r, vec_set1(1.666765064e-1f));
    p = vec_fma(p, r, vec_set1(4.999914765e-1f));
    p = vec_fma(p, r, vec_set1(9.999997020e-1f));
    p = vec_fma(p, r, vec_set1(1.0f));
    return vec_mul(p, vec_shift23(t));
}

SG_INLINE vec vec_exp(vec x) {
    const vec magic = vec_set1(SG_ROUND_MAGIC);
    vec t, n, r;

    /* min and max return their second operand for a NaN */
    x = vec_min(vec_set1(88.72283f), x);
    x = vec_max(vec_set1(-87.336544f), x);
    t = vec_fma(x, vec_set1(1.44269504088896341f), magic);
    n = vec_sub(t, magic);
    r = vec_fnma(n, vec_set1(0.693359375f), x); /* ln 2 in two parts */
    r = vec_fnma(n, vec_set1(-2.12194440e-4f), r);
    return exp_tail(t, r);
}

/* exp(-x), without an instruction for the sign. */
SG_INLINE vec vec_exp_minus(vec x) {
    const vec magic = vec_set1(SG_ROUND_MAGIC);
    vec t, n, r;

    x = vec_max(vec_set1(-88.72283f), x);
    x = vec_min(vec_set1(87.336544f), x);
    t = vec_fnma(x, vec_set1(1.44269504088896341f), magic);
    n = vec_sub(t, magic);
    r = vec_fnms(n, vec_set1(0.693359375f), x);
    r = vec_fnma(n, vec_set1(-2.12194440e-4f), r);
    return exp_tail(t, r);
}

SG_INLINE vec vec_sigmoid(vec x) {
    const vec one = vec_set1(1.0f);

    return vec_div(one, vec_add(one, vec_exp_minus(x)));
}

SG_INLINE vec vec_silu(vec x) {
    const vec one = vec_set1(1.0f);

    return vec_div(x, vec_add(one, vec_exp_minus(x)));
}

/* The normal distribution's P(x), and exp(-x^2 / 2) as *bell: Abramowitz and Stegun 7.1.26, whose
 * error is below 0.75e-7; with rounding P is within 3e-7, and gelu's slope within 3.5e-7, measured
 * by tests/test_cpu_backend.c. The polynomial gives the smaller tail, so that far below zero P goes
 * to 0 as it should, within 5 % at -12. */
SG_INLINE vec vec_normal_cdf(vec x, vec *bell) {
    const vec one = vec_set1(1.0f);
    vec z = vec_max(x, vec_sub(vec_zero(), x)); /* |x| */
    vec t = vec_div(one, vec_fma(z, vec_set1(0.3275911f * 0.70710678f), one));
    vec e = vec_exp_minus(vec_mul(vec_mul(x, x), vec_set1(0.5f)));
    vec p = vec_set1(0.5f * 1.061405429f);

    p = vec_fma(p, t, vec_set1(0.5f * -1.453152027f));
    p = vec_fma(p, t, vec_set1(0.5f * 1.421413741f));
    p = vec_fma(p, t, vec_set1(0.5f * -0.284496736f));
    p = vec_fma(p, t, vec_set1(0.5f * 0.254829592f));
    p = vec_mul(vec_mul(p, t), e);
    *bell = e;
    return vec_where(mask_above(x, vec_zero()), vec_sub(one, p), p);
}

SG_INLINE vec vec_gelu(vec x) {
    vec bell;

    return vec_mul(x, vec_normal_cdf(x, &bell));
}

SG_INLINE vec vec_gelu_dx(vec x, vec dy) {
    vec bell, cdf = vec_normal_cdf(x, &bell);

    return vec_mul(dy, vec_fma(vec_mul(x, vec_set1(0.39894228f)), bell, cdf));
}

/* max returns its second operand for a NaN */
SG_INLINE vec vec_relu(vec x) { return vec_max(vec_zero(), x); }

SG_INLINE vec vec_act(sg_act act, vec x) {
    if (act == SG_ACT_GELU) return vec_gelu(x);
    return act == SG_ACT_SILU ? vec_silu(x) : act == SG_ACT_RELU ? vec_relu(x) : x;
}

/* dy * act'(x) */
SG_INLINE vec vec_act_dx(sg_act act, vec x, vec dy) {
    const vec one = vec_set1(1.0f);
    vec s;

    if (act == SG_ACT_NONE) return dy;
    if (act == SG_ACT_RELU) return vec_keep(mask_above(x, vec_zero()), dy);
    if (act == SG_ACT_GELU) return vec_gelu_dx(x, dy);
    s = vec_sigmoid(x); /* s (1 + x (1 - s)) */
    return vec_mul(dy, vec_mul(s, vec_fma(x, vec_sub(one, s), one)));
}

#endif
