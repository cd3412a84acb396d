/* Random numbers as core/philox.c's, to the bit, for kernels. */
#ifndef SG_CUDA_PHILOX_H
#define SG_CUDA_PHILOX_H

#include "launch.h"

struct philox4 {
    uint32_t word[4];
};

__device__ inline uint32_t mul_high(uint32_t a, uint32_t b) {
    return (uint32_t)(((uint64_t)a * b) >> 32);
}

/* sg_philox */
__device__ inline philox4 philox(uint64_t key, uint64_t counter) {
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    philox4 x = {{(uint32_t)counter, (uint32_t)(counter >> 32), 0, 0}};

    for (int round = 0; round < 10; round++) {
        uint32_t w0 = x.word[0], w2 = x.word[2];

        x.word[0] = mul_high(0xCD9E8D57u, w2) ^ x.word[1] ^ k0;
        x.word[2] = mul_high(0xD2511F53u, w0) ^ x.word[3] ^ k1;
        x.word[1] = 0xCD9E8D57u * w2;
        x.word[3] = 0xD2511F53u * w0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return x;
}

__device__ inline uint64_t mix64(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

/* sg_key_mix */
__device__ inline uint64_t key_mix(uint64_t key, uint64_t value) {
    return mix64(mix64(key + 0x9E3779B97F4A7C15ull) ^ (value + 0xD1B54A32D192ED03ull));
}

/* sg_dropout_key: step_key is the two words of SG_STEP_KEY in device memory. */
__device__ inline uint64_t dropout_key(const int32_t *step_key, uint64_t place) {
    return key_mix((uint32_t)step_key[0] | (uint64_t)(uint32_t)step_key[1] << 32, place);
}

#endif
