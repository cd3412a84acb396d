/* Dropout, four Philox counters at a time: 16 elements. All of it is integers, whose bits do not
 * depend on the instruction set. */
#include "cpu/backend_cpu.h"
#include "cpu/simd.h"

enum { kLanes = 8, kWords = 16, kRounds = 10 };

typedef struct {
    int64_t count;
    uint32_t threshold;
    float scale;
} dropout_state;

SG_INLINE __m256i xor3(__m256i a, __m256i b, uint32_t key) {
    return _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_set1_epi32((int)key));
}

/* The words of counters c .. c + 3 in order; c is a multiple of 4. As core/philox.c, each counter's
 * words in the lower halves of 64-bit lanes: what is left in the upper ones no product reads. */
SG_INLINE void philox_words(uint64_t key, uint64_t c, __m256i words[2]) {
    const __m256i m0 = _mm256_set1_epi64x(0xD2511F53), m1 = _mm256_set1_epi64x(0xCD9E8D57);
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    __m256i x0 = _mm256_add_epi64(_mm256_set1_epi64x((int64_t)c), _mm256_setr_epi64x(0, 1, 2, 3));
    __m256i x1 = _mm256_srli_epi64(x0, 32), x2 = _mm256_setzero_si256(), x3 = x2;
    __m256i even, odd;

    for (int round = 0; round < kRounds; round++) {
        __m256i p0 = _mm256_mul_epu32(x0, m0), p1 = _mm256_mul_epu32(x2, m1);

        x0 = xor3(_mm256_srli_epi64(p1, 32), x1, k0);
        x2 = xor3(_mm256_srli_epi64(p0, 32), x3, k1);
        x1 = p1;
        x3 = p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    x0 = _mm256_blend_epi32(x0, _mm256_slli_epi64(x1, 32), 0xAA);
    x2 = _mm256_blend_epi32(x2, _mm256_slli_epi64(x3, 32), 0xAA);
    even = _mm256_unpacklo_epi64(x0, x2); /* of counters 0 and 2 */
    odd = _mm256_unpackhi_epi64(x0, x2);
    words[0] = _mm256_permute2x128_si256(even, odd, 0x20);
    words[1] = _mm256_permute2x128_si256(even, odd, 0x31);
}

static sg_status dropout_run(const sg_args *a) {
    const dropout_state *s = a->state;
    uint64_t key = sg_dropout_key(a->in[1], sg_dropout_place(a->node->attr, a->info->shard));
    const __m256i threshold = _mm256_set1_epi32((int)s->threshold);
    const __m256 scale = _mm256_set1_ps(s->scale);
    const float *x = a->in[0];
    float *y = a->out[0];
    __m256i words[2];
    int64_t i = 0;

    for (; i < s->count; i += kWords) {
        philox_words(key, (uint64_t)i / 4, words);
        for (int k = 0; k < 2 && i + k * kLanes < s->count; k++) {
            int64_t at = i + k * kLanes;
            int some = s->count - at < kLanes ? (int)(s->count - at) : kLanes;
            /* word >= threshold, of which there is an instruction for signed words alone */
            __m256i keep = _mm256_cmpeq_epi32(_mm256_max_epu32(words[k], threshold), words[k]);
            __m256 v = _mm256_mul_ps(vec_load_some(x + at, some), scale);

            vec_store_some(y + at, some, _mm256_and_ps(v, _mm256_castsi256_ps(keep)));
        }
    }
    return SG_OK;
}

/* PLAIN: an element's place decides. */
sg_status sg_cpu_select_dropout(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                                sg_kernel_plan *plan) {
    dropout_state s = {sg_shape_count(&node->out[0].shape), sg_dropout_threshold(node->attr),
                       sg_dropout_scale(node->attr)};

    (void)cpu;
    (void)have;
    sg_cpu_plan(plan, node, dropout_run, SG_LAYOUT_PLAIN);
    plan->inplace[0] = 0;
    return sg_cpu_plan_state(plan, &s, sizeof s);
}
