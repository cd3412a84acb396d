/* Randomness as a pure function: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011). There is no generator state anywhere: a key says what the numbers are for
 * (seed, step, name, shard), a counter says which one. */
#ifndef SG_CORE_PHILOX_H
#define SG_CORE_PHILOX_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    uint32_t word[4];
} sg_philox4;

/* The four words at `counter` under `key`. */
sg_philox4 sg_philox(uint64_t key, uint64_t counter_low, uint64_t counter_high);

/* A key from what the numbers are for; order matters. SplitMix64's finaliser over both. */
uint64_t sg_key_mix(uint64_t key, uint64_t value);
/* FNV-1a of a name, for sg_key_mix. */
uint64_t sg_key_name(const char *name);

/* [0, 1): the upper 24 bits, exact in f32. */
static inline float sg_unit_float(uint32_t word) {
    return (float)(word >> 8) * (1.0f / 16777216.0f);
}

/* A stream of draws for code that consumes a varying number, such as an augmentation: a key and a
 * running index on the caller's stack. */
typedef struct {
    uint64_t key;
    uint64_t index;
} sg_random;

static inline sg_random sg_random_init(uint64_t key) {
    sg_random r;
    r.key = key;
    r.index = 0;
    return r;
}
uint32_t sg_random_u32(sg_random *r);
float sg_random_float(sg_random *r);                     /* [0, 1) */
float sg_random_range(sg_random *r, float lo, float hi); /* [lo, hi) */
int64_t sg_random_below(sg_random *r, int64_t n); /* 0 .. n-1, unbiased enough for n < 2^31 */
float sg_random_normal(sg_random *r);             /* mean 0, variance 1 */
/* The next n of these two, faster. */
void sg_random_ranges(sg_random *r, float lo, float hi, float *x, int64_t n);
void sg_random_normals(sg_random *r, float *x, int64_t n);

/* Keyed permutation of 0 .. n-1 without a table: a four-round Feistel network over the next even
 * number of bits, walked until it falls inside the range. n >= 1, 0 <= index < n. */
int64_t sg_permute(uint64_t key, int64_t n, int64_t index);

#ifdef __cplusplus
}
#endif
#endif
