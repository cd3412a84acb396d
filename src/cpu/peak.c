/* The best of many short runs each, for others use the machine too.
 *
 *   FMA      12 independent chains: 2 units times a latency of 4 to 5 cycles, and some to spare
 *   triad    a[i] = b[i] + s c[i] (McCalpin's STREAM), counting 12 bytes an element as a profile
 *            counts a kernel's inputs and outputs: what a store reads first is not counted
 *
 * Cache sizes are fixed, not asked for: a virtual machine tells its host's. */
#include "cpu/peak.h"

#include <immintrin.h>
#include <math.h>

#include "core/mem.h"
#include "core/threads.h"
#include "cpu/blas.h"
#include "cpu/cpu.h"

enum {
    kChains = 12,
    kFmaRounds = 40000,
    kInnerBytes = 512 << 10,
    kOuterBytes = 8 << 20,
    kMemoryBytes = 96 << 20,
    kTriads = 3 /* arrays */
};

static const double kSeconds = 0.06; /* of each measurement */

static float fma_avx2(int rounds) {
    __m256 x[kChains], a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
    float sum[8];

    for (int k = 0; k < kChains; k++) x[k] = _mm256_set1_ps((float)k);
    for (int i = 0; i < rounds; i++)
        for (int k = 0; k < kChains; k++) x[k] = _mm256_fmadd_ps(x[k], a, b);
    for (int k = 1; k < kChains; k++) x[0] = _mm256_add_ps(x[0], x[k]);
    _mm256_storeu_ps(sum, x[0]);
    return sum[0];
}

__attribute__((target("avx512f"))) static float fma_avx512(int rounds) {
    __m512 x[kChains], a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
    float sum[16];

    for (int k = 0; k < kChains; k++) x[k] = _mm512_set1_ps((float)k);
    for (int i = 0; i < rounds; i++)
        for (int k = 0; k < kChains; k++) x[k] = _mm512_fmadd_ps(x[k], a, b);
    for (int k = 1; k < kChains; k++) x[0] = _mm512_add_ps(x[0], x[k]);
    _mm512_storeu_ps(sum, x[0]);
    return sum[0];
}

static double measure_fma(bool wide) {
    double begin = sg_now(), best = (double)INFINITY;
    volatile float keep; /* or the compiler would leave the sums out */

    while (sg_now() - begin < kSeconds) {
        double start = sg_now(), seconds;

        keep = wide ? fma_avx512(kFmaRounds) : fma_avx2(kFmaRounds);
        seconds = sg_now() - start;
        if (seconds < best) best = seconds;
    }
    (void)keep;
    return (wide ? 16.0 : 8.0) * 2.0 * kChains * kFmaRounds / best;
}

static void triad(float *a, const float *b, const float *c, int64_t n) {
    __m256 s = _mm256_set1_ps(0.5f);

    for (int64_t i = 0; i + 8 <= n; i += 8)
        _mm256_store_ps(a + i, _mm256_fmadd_ps(s, _mm256_load_ps(c + i), _mm256_load_ps(b + i)));
}

/* Bytes a second over three arrays of `bytes` in all, at `block`. */
static double measure_triad(float *block, int64_t bytes) {
    int64_t n = bytes / kTriads / (int64_t)sizeof *block / 16 * 16; /* keeps arrays aligned */
    double begin = sg_now(), best = (double)INFINITY;

    while (sg_now() - begin < kSeconds) {
        double start = sg_now(), seconds;

        triad(block, block + n, block + 2 * n, n);
        seconds = sg_now() - start;
        if (seconds < best) best = seconds;
    }
    return (double)(kTriads * n) * sizeof *block / best;
}

sg_status sg_cpu_measure_peak(sg_cpu_peak *out) {
    static const int64_t kBytes[SG_PEAK_LEVELS] = {kInnerBytes, kOuterBytes, kMemoryBytes};
    float *block;

    SG_TRY(sg_blas_default_isa());
    block = sg_calloc(1, kMemoryBytes);
    if (!block) return sg_fail(SG_ERR_OOM, "peak: no memory for %d bytes", kMemoryBytes);
    out->flop_rate = measure_fma(sg_cpu_block() == 16);
    for (int i = 0; i < SG_PEAK_LEVELS; i++) {
        out->level[i].bytes = i + 1 < SG_PEAK_LEVELS ? (double)kBytes[i] : (double)INFINITY;
        out->level[i].rate = measure_triad(block, kBytes[i]);
    }
    sg_free(block);
    return SG_OK;
}

double sg_cpu_peak_seconds(const sg_cpu_peak *peak, double flop, double bytes) {
    int level = 0;

    while (level + 1 < SG_PEAK_LEVELS && bytes > peak->level[level].bytes) level++;
    return fmax(flop / peak->flop_rate, bytes / peak->level[level].rate);
}
