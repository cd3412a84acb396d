/* The activations that kernels apply on the way, and their slopes: ops/pointwise.c defines them. */
#ifndef SG_CUDA_ACTIVATION_H
#define SG_CUDA_ACTIVATION_H

#include "launch.h"
#include "spotgrad.h"

/* Within 2e-6 of its value, by the hardware's exponential and reciprocal: with expf and a division
 * that rounds correctly, batch norm with SiLU waited for arithmetic and not for memory (H200).
 * Written as instructions, for __expf and __fdividef take five more each for the sake of results
 * that are denormal; these become 0. */
__device__ inline float sigmoid(float x) {
#ifdef __CUDA_ARCH__
    float e, s;

    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(-1.44269504f * x));
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(s) : "f"(1.0f + e));
    return s;
#else
    return 1.0f / (1.0f + expf(-x));
#endif
}

/* The normal distribution's; 0 below -5.5, where gelu is -1e-7. */
__device__ inline float normal_cdf(float x) { return 0.5f + 0.5f * erff(x * 0.70710678f); }

__device__ inline float act_value(sg_act act, float x) {
    if (act == SG_ACT_RELU) return x <= 0.0f ? 0.0f : x;
    if (act == SG_ACT_SILU) return x * sigmoid(x);
    if (act == SG_ACT_GELU) return x * normal_cdf(x);
    return x;
}

__device__ inline float act_slope(sg_act act, float x) {
    if (act == SG_ACT_RELU) return x <= 0.0f ? 0.0f : 1.0f;
    if (act == SG_ACT_SILU) {
        float s = sigmoid(x);

        return s + s * (x - x * s);
    }
    if (act == SG_ACT_GELU) return normal_cdf(x) + x * 0.39894228f * expf(-0.5f * x * x);
    return 1.0f;
}

/* f<T, V, Inner, Act>(...), `act` a constant of the kernel: to look it up for each element costs
 * more than to apply it. GELU, which only linear layers have, is not among them. */
#define SG_BY_ACT(act, f, T, V, Inner, ...)                                                        \
    ((act) == SG_ACT_RELU   ? f<T, V, Inner, SG_ACT_RELU>(__VA_ARGS__)                             \
     : (act) == SG_ACT_SILU ? f<T, V, Inner, SG_ACT_SILU>(__VA_ARGS__)                             \
                            : f<T, V, Inner, SG_ACT_NONE>(__VA_ARGS__))

#endif
