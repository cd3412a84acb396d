#include "core/philox.h"

#include <math.h>
#include <string.h>

/* kLanes: counters side by side, which compilers turn into vectors */
enum { kRounds = 10, kFeistelRounds = 4, kLanes = 16, kWords = 4 * kLanes };

static uint32_t mul_high(uint32_t a, uint32_t b, uint32_t *low) {
    uint64_t product = (uint64_t)a * b;

    *low = (uint32_t)product;
    return (uint32_t)(product >> 32);
}

sg_philox4 sg_philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    sg_philox4 x = {{(uint32_t)counter_low, (uint32_t)(counter_low >> 32), (uint32_t)counter_high,
                     (uint32_t)(counter_high >> 32)}};

    for (int round = 0; round < kRounds; round++) {
        uint32_t low0, low1;
        uint32_t high0 = mul_high(0xD2511F53u, x.word[0], &low0);
        uint32_t high1 = mul_high(0xCD9E8D57u, x.word[2], &low1);
        uint32_t w1 = x.word[1], w3 = x.word[3];

        x.word[0] = high1 ^ w1 ^ k0;
        x.word[1] = low1;
        x.word[2] = high0 ^ w3 ^ k1;
        x.word[3] = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return x;
}

static uint64_t mix64(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

uint64_t sg_key_mix(uint64_t key, uint64_t value) {
    return mix64(mix64(key + 0x9E3779B97F4A7C15ull) ^ (value + 0xD1B54A32D192ED03ull));
}

uint64_t sg_key_name(const char *name) {
    uint64_t hash = 0xCBF29CE484222325ull;

    for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 0x100000001B3ull;
    return hash;
}

uint32_t sg_random_u32(sg_random *r) {
    uint64_t i = r->index++;

    return sg_philox(r->key, i / 4, 0).word[i % 4];
}

float sg_random_float(sg_random *r) { return sg_unit_float(sg_random_u32(r)); }

float sg_random_range(sg_random *r, float lo, float hi) {
    return lo + (hi - lo) * sg_random_float(r);
}

int64_t sg_random_below(sg_random *r, int64_t n) {
    return (int64_t)(((uint64_t)sg_random_u32(r) * (uint64_t)n) >> 32);
}

/* x[0] + x[1] t + x[2] t^2 + x[3] t^3 */
static double cubic(const double x[4], double t) {
    return ((x[3] * t + x[2]) * t + x[1]) * t + x[0];
}

/* M. J. Wichura, algorithm AS 241 (PPND7), Applied Statistics 37 (1988): seven figures. Six numbers
 * in seven, those within kMiddle of a half, need neither logarithm nor root. */
static const double kMiddle = 0.425;

static double normal_middle(double q) {
    static const double above[] = {3.3871327179, 50.434271938, 159.29113202, 59.109374720};
    static const double under[] = {1.0, 17.895169469, 78.757757664, 67.187563600};
    double t = 0.180625 - q * q;

    return q * cubic(above, t) / cubic(under, t);
}

static double normal_quantile(double p) {
    static const double tail[] = {1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103};
    static const double under_tail[] = {1.0, 0.73700164250, 0.12021132975, 0.0};
    static const double end[] = {6.6579051150, 3.0812263860, 0.42868294337, 0.017337203997};
    static const double under_end[] = {1.0, 0.24197894225, 0.012258202635, 0.0};
    double q = p - 0.5, t, value;

    if (fabs(q) <= kMiddle) return normal_middle(q);
    t = sqrt(-log(q < 0.0 ? p : 1.0 - p));
    if (t <= 5.0)
        value = cubic(tail, t - 1.6) / cubic(under_tail, t - 1.6);
    else
        value = cubic(end, t - 5.0) / cubic(under_end, t - 5.0);
    return q < 0.0 ? -value : value;
}

static double place_of(uint32_t bits) { return ((double)bits + 0.5) / 4294967296.0; }

float sg_random_normal(sg_random *r) { return (float)normal_quantile(place_of(sg_random_u32(r))); }

/* --- many at once, the same bits -------------------------------------------------------------- */

/* The words of counters first .. first + kLanes - 1, below 2^64, one counter after the other. */
static void philox_lanes(uint64_t key, uint64_t first, uint32_t words[kWords]) {
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32), x[4][kLanes];

    for (unsigned l = 0; l < kLanes; l++) {
        x[0][l] = (uint32_t)(first + l);
        x[1][l] = (uint32_t)((first + l) >> 32);
        x[2][l] = x[3][l] = 0;
    }
    for (int round = 0; round < kRounds; round++) {
        for (int l = 0; l < kLanes; l++) {
            uint64_t product0 = (uint64_t)x[0][l] * 0xD2511F53u;
            uint64_t product1 = (uint64_t)x[2][l] * 0xCD9E8D57u;

            x[0][l] = (uint32_t)(product1 >> 32) ^ x[1][l] ^ k0;
            x[1][l] = (uint32_t)product1;
            x[2][l] = (uint32_t)(product0 >> 32) ^ x[3][l] ^ k1;
            x[3][l] = (uint32_t)product0;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int l = 0; l < kLanes; l++)
        for (int w = 0; w < 4; w++) words[4 * l + w] = x[w][l];
}

/* The next words, at most n and kWords; how many. */
static int next_words(sg_random *r, int64_t n, uint32_t words[kWords]) {
    int skip = (int)(r->index % 4);
    int64_t count = kWords - skip < n ? kWords - skip : n;

    philox_lanes(r->key, r->index / 4, words);
    if (skip > 0) memmove(words, words + skip, (size_t)count * sizeof *words);
    r->index += (uint64_t)count;
    return (int)count;
}

void sg_random_ranges(sg_random *r, float lo, float hi, float *x, int64_t n) {
    uint32_t words[kWords];

    for (int64_t i = 0, count; i < n; i += count) {
        count = next_words(r, n - i, words);
        for (int64_t k = 0; k < count; k++) x[i + k] = lo + (hi - lo) * sg_unit_float(words[k]);
    }
}

/* As normal_quantile, in two loops of which the first needs no branch. */
static void normals_of(const uint32_t words[kWords], float *x, int count) {
    for (int k = 0; k < count; k++) {
        double q = place_of(words[k]) - 0.5;

        x[k] = (float)normal_middle(q);
    }
    for (int k = 0; k < count; k++) {
        double p = place_of(words[k]);

        if (!(fabs(p - 0.5) <= kMiddle)) x[k] = (float)normal_quantile(p);
    }
}

void sg_random_normals(sg_random *r, float *x, int64_t n) {
    uint32_t words[kWords];

    for (int64_t i = 0, count; i < n; i += count) {
        count = next_words(r, n - i, words);
        normals_of(words, x + i, (int)count);
    }
}

/* --- permutations ----------------------------------------------------------------------------- */

static uint64_t feistel(uint64_t key, int half_bits, uint64_t x) {
    uint64_t mask = (1ull << half_bits) - 1;
    uint64_t left = x >> half_bits, right = x & mask;

    for (int round = 0; round < kFeistelRounds; round++) {
        sg_philox4 f = sg_philox(key, right, (uint64_t)round);
        uint64_t next = left ^ ((f.word[0] | (uint64_t)f.word[1] << 32) & mask);

        left = right;
        right = next;
    }
    return left << half_bits | right;
}

int64_t sg_permute(uint64_t key, int64_t n, int64_t index) {
    int half_bits = 1;
    uint64_t x = (uint64_t)index;

    while ((1ull << (2 * half_bits)) < (uint64_t)n) half_bits++;
    do x = feistel(key, half_bits, x);
    while (x >= (uint64_t)n); /* the domain is at most four times the range */
    return (int64_t)x;
}
