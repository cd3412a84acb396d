/* Dropout, eight Philox counters at a time: 32 elements. All of it is integers, whose bits do not
 * depend on the instruction set. */
#include "core/philox.h"
#include "cpu/backend_cpu.h"
#include "cpu/simd.h"

enum { kLanes = 8, kWords = 4 * kLanes, kRounds = 10 };

typedef struct {
    int64_t count;
    uint32_t threshold;
    float scale;
} dropout_state;

/* The upper halves of a * b, lane by lane; *low: the lower ones. */
SG_INLINE __m256i mul_high(__m256i a, __m256i b, __m256i *low) {
    __m256i even = _mm256_mul_epu32(a, b), odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), b);

    *low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
    return _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
}

/* The words of counters c .. c + 7 in order; c is a multiple of 8. As core/philox.c. */
SG_INLINE void philox_words(uint64_t key, uint64_t c, __m256i words[4]) {
    const __m256i m0 = _mm256_set1_epi32((int)0xD2511F53u),
                  m1 = _mm256_set1_epi32((int)0xCD9E8D57u);
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    __m256i x0 = _mm256_add_epi32(_mm256_set1_epi32((int)(uint32_t)c),
                                  _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    __m256i x1 = _mm256_set1_epi32((int)(uint32_t)(c >> 32));
    __m256i x2 = _mm256_setzero_si256(), x3 = x2, a, b, t, u;

    for (int round = 0; round < kRounds; round++) {
        __m256i low0, low1;
        __m256i high0 = mul_high(x0, m0, &low0), high1 = mul_high(x2, m1, &low1);

        x0 = _mm256_xor_si256(_mm256_xor_si256(high1, x1), _mm256_set1_epi32((int)k0));
        x2 = _mm256_xor_si256(_mm256_xor_si256(high0, x3), _mm256_set1_epi32((int)k1));
        x1 = low1;
        x3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    /* from four words of eight counters to the four of one after the other's */
    a = _mm256_unpacklo_epi32(x0, x1);
    b = _mm256_unpacklo_epi32(x2, x3);
    t = _mm256_unpacklo_epi64(a, b);
    u = _mm256_unpackhi_epi64(a, b);
    words[0] = _mm256_permute2x128_si256(t, u, 0x20);
    words[2] = _mm256_permute2x128_si256(t, u, 0x31);
    a = _mm256_unpackhi_epi32(x0, x1);
    b = _mm256_unpackhi_epi32(x2, x3);
    t = _mm256_unpacklo_epi64(a, b);
    u = _mm256_unpackhi_epi64(a, b);
    words[1] = _mm256_permute2x128_si256(t, u, 0x20);
    words[3] = _mm256_permute2x128_si256(t, u, 0x31);
}

static sg_status dropout_run(const sg_args *a) {
    const dropout_state *s = a->state;
    uint64_t key = sg_dropout_key(a->in[1], sg_dropout_place(a->node->attr, a->info->shard));
    const __m256i threshold = _mm256_set1_epi32((int)s->threshold);
    const __m256 scale = _mm256_set1_ps(s->scale);
    const float *x = a->in[0];
    float *y = a->out[0];
    __m256i words[4];
    int64_t i = 0;

    for (; i < s->count; i += kWords) {
        philox_words(key, (uint64_t)i / 4, words);
        for (int k = 0; k < 4 && i + k * kLanes < s->count; k++) {
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
