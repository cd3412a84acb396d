/* The activations that kernels apply on the way, and their slopes: ops/pointwise.c defines them. */
#ifndef SG_CUDA_ACTIVATION_H
#define SG_CUDA_ACTIVATION_H

#include "launch.h"
#include "spotgrad.h"

/* By the hardware's exponential and quotient, within 2e-6 of its value: with expf and a division
 * that rounds correctly, batch norm with SiLU waited for arithmetic and not for memory (H200). */
__device__ inline float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }

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

        return s * (1.0f + x * (1.0f - s));
    }
    if (act == SG_ACT_GELU) return normal_cdf(x) + x * 0.39894228f * expf(-0.5f * x * x);
    return 1.0f;
}

#endif
