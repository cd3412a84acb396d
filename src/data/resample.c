/* For each output row: blend the source rows that fall on it (vectorised across columns), part the
 * three colours, then blend columns. Source pixels pass once per output row that needs them; no
 * intermediate picture exists.
 *
 *   u8 rows --(14-bit weights)--> i16 with 7 fractional bits --(14-bit weights)--> u8 planes */
#include "data/resample.h"

#include <math.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "core/mem.h"

enum {
    kRowShift = SG_WEIGHT_BITS - SG_ROW_BITS,
    kOutShift = SG_WEIGHT_BITS + SG_ROW_BITS,
    kLanes = 16,
};

/* Output pixel begin + i takes `taps` (even) source pixels from low + first[i] on. Weights stand in
 * pairs, pair-major: weight[((k / 2) * n + i) * 2 + k % 2] is tap k's. */
typedef struct {
    int64_t begin, n;
    int64_t low, high; /* source pixels touched: low .. high-1 */
    int64_t taps;
    int32_t *first;  /* (n) */
    int16_t *weight; /* (taps / 2, n, 2) */
} axis_table;

int64_t sg_resample_taps(double scale) {
    double reach = fabs(scale) < 1.0 ? 1.0 / fabs(scale) : 1.0;

    return 2 * (int64_t)ceil(reach) + 2;
}

static size_t table_bytes(int64_t n, int64_t taps) {
    return sg_align_up((size_t)n * sizeof(int32_t)) +
           sg_align_up((size_t)(n * taps) * sizeof(int16_t));
}

static int64_t plane_stride(int64_t width, int64_t taps) {
    return (width + taps + 2 * kLanes) / kLanes * kLanes;
}

size_t sg_resample_scratch_bytes(int64_t width, int64_t height, int64_t side, double scale_min) {
    int64_t taps = sg_resample_taps(scale_min);

    (void)height; /* the vertical table has the same number of rows as the output */
    return 2 * table_bytes(side, taps) + sg_align_up((size_t)(3 * width) * sizeof(int16_t)) +
           sg_align_up((size_t)(3 * plane_stride(width, taps)) * sizeof(int16_t)) +
           sg_align_up((size_t)taps * sizeof(int16_t));
}

/* The output pixels, a contiguous run, whose centres fall into 0 .. size. */
static void covered(const sg_axis *axis, int64_t size, int64_t *begin, int64_t *end) {
    int64_t b = axis->begin, e = axis->end;

#define INSIDE(i)                                                                                  \
    (((double)(i) + 0.5 - axis->shift) / axis->scale >= 0.0 &&                                     \
     ((double)(i) + 0.5 - axis->shift) / axis->scale < (double)size)
    while (b < e && !INSIDE(b)) b++;
    while (e > b && !INSIDE(e - 1)) e--;
#undef INSIDE
    *begin = b;
    *end = e;
}

/* Weights of the taps first .. first + taps-1 about `centre`, rounded so that they sum to one. */
static void set_weights(axis_table *t, int64_t i, int64_t first, int64_t last, double centre,
                        double reach) {
    double total = 0.0;
    int32_t sum = 0;
    int64_t nearest = 0;

    for (int64_t j = first; j <= last; j++) total += 1.0 - fabs((double)j - centre) / reach;
    for (int64_t k = 0; k < t->taps; k++) {
        double share = 0.0;
        int16_t *w = &t->weight[((k / 2) * t->n + i) * 2 + k % 2];

        if (first + k <= last) share = (1.0 - fabs((double)(first + k) - centre) / reach) / total;
        *w = (int16_t)lrint(share * (1 << SG_WEIGHT_BITS));
        sum += *w;
        if (fabs((double)(first + k) - centre) < fabs((double)(first + nearest) - centre))
            nearest = k;
    }
    t->weight[((nearest / 2) * t->n + i) * 2 + nearest % 2] +=
        (int16_t)((1 << SG_WEIGHT_BITS) - sum);
}

/* Fill the table in `memory`; returns what follows it. t->n is 0 when nothing is seen. */
static uint8_t *make_table(axis_table *t, const sg_axis *axis, int64_t size, uint8_t *memory) {
    double reach = fabs(axis->scale) < 1.0 ? 1.0 / fabs(axis->scale) : 1.0;
    int64_t end;

    covered(axis, size, &t->begin, &end);
    t->n = end - t->begin;
    t->taps = sg_resample_taps(axis->scale);
    t->first = (int32_t *)memory;
    t->weight = (int16_t *)(memory + sg_align_up((size_t)t->n * sizeof(int32_t)));
    t->low = size;
    t->high = 0;
    for (int64_t i = 0; i < t->n; i++) {
        double centre = ((double)(t->begin + i) + 0.5 - axis->shift) / axis->scale - 0.5;
        int64_t first = (int64_t)ceil(centre - reach), last = (int64_t)floor(centre + reach);

        if (first < 0) first = 0;
        if (last > size - 1) last = size - 1;
        set_weights(t, i, first, last, centre, reach);
        t->first[i] = (int32_t)first;
        if (first < t->low) t->low = first;
        if (last + 1 > t->high) t->high = last + 1;
    }
    for (int64_t i = 0; i < t->n; i++) t->first[i] -= (int32_t)t->low;
    return memory + table_bytes(t->n, t->taps);
}

/* out[i] = sum_k weight[k] * rows[k][i], 7 fractional bits. */
static void blend_rows(const uint8_t *rows, int64_t stride, const int16_t *weight, int64_t taps,
                       int64_t n, int16_t *out) {
    int64_t i = 0;

#if defined(__AVX2__)
    for (; i + kLanes <= n; i += kLanes) {
        __m256i low = _mm256_set1_epi32(1 << (kRowShift - 1)), high = low;

        for (int64_t k = 0; k < taps; k += 2) {
            const uint8_t *p = rows + k * stride + i;
            const uint8_t *q = weight[k + 1] ? p + stride : p; /* a row past the last is not read */
            __m256i a = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
            __m256i b = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)q));
            __m256i w = _mm256_set1_epi32(
                (int32_t)((uint16_t)weight[k] | (uint32_t)(uint16_t)weight[k + 1] << 16));

            low = _mm256_add_epi32(low, _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), w));
            high = _mm256_add_epi32(high, _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), w));
        }
        low = _mm256_srai_epi32(low, kRowShift);
        high = _mm256_srai_epi32(high, kRowShift);
        _mm256_storeu_si256((__m256i *)(out + i), _mm256_packs_epi32(low, high));
    }
#endif
    for (; i < n; i++) {
        int32_t sum = 1 << (kRowShift - 1);

        for (int64_t k = 0; k < taps; k++)
            if (weight[k]) sum += weight[k] * rows[k * stride + i];
        out[i] = (int16_t)(sum >> kRowShift);
    }
}

static void part_colours(const int16_t *rgb, int64_t n, int64_t stride, int16_t *planes) {
    int16_t *r = planes, *g = planes + stride, *b = planes + 2 * stride;

    for (int64_t x = 0; x < n; x++) {
        r[x] = rgb[3 * x];
        g[x] = rgb[3 * x + 1];
        b[x] = rgb[3 * x + 2];
    }
}

static uint8_t to_byte(int32_t v) { return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v); }

static void blend_columns(const axis_table *t, const int16_t *row, uint8_t *out) {
    const int32_t half = 1 << (kOutShift - 1);
    int64_t i = 0;

#if defined(__AVX2__)
    for (; i + 8 <= t->n; i += 8) {
        __m256i at = _mm256_loadu_si256((const __m256i *)(t->first + i));
        __m256i sum = _mm256_set1_epi32(half);
        __m128i words;

        for (int64_t k = 0; k < t->taps; k += 2) {
            __m256i w = _mm256_loadu_si256((const __m256i *)(t->weight + (k / 2 * t->n + i) * 2));
            __m256i pair = _mm256_i32gather_epi32((const int *)(const void *)(row + k), at, 2);

            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pair, w));
        }
        sum = _mm256_srai_epi32(sum, kOutShift);
        words = _mm_packs_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
        _mm_storel_epi64((__m128i *)(out + i), _mm_packus_epi16(words, words));
    }
#endif
    for (; i < t->n; i++) {
        int32_t sum = half;

        for (int64_t k = 0; k < t->taps; k++)
            sum += t->weight[((k / 2) * t->n + i) * 2 + k % 2] * row[t->first[i] + k];
        out[i] = to_byte(sum >> kOutShift);
    }
}

static void change_colours(const sg_colour *c, int64_t n, uint8_t *r, uint8_t *g, uint8_t *b) {
    const int32_t half = 1 << (SG_COLOUR_BITS - 1);

    for (int64_t i = 0; i < n; i++) {
        int32_t R = r[i], G = g[i], B = b[i];

#define CHANGED(k)                                                                                 \
    to_byte((c->m[k][0] * R + c->m[k][1] * G + c->m[k][2] * B + c->offset[k] + half) >>            \
            SG_COLOUR_BITS)
        r[i] = CHANGED(0);
        g[i] = CHANGED(1);
        b[i] = CHANGED(2);
#undef CHANGED
    }
}

void sg_resample(const sg_image *image, const sg_axis *x, const sg_axis *y, const sg_colour *colour,
                 int64_t side, uint8_t *out, void *scratch) {
    uint8_t *memory = scratch;
    int16_t *row, *planes, *weight;
    axis_table tx, ty;
    int64_t columns, stride;

    memory = make_table(&tx, x, image->width, memory);
    memory = make_table(&ty, y, image->height, memory);
    if (tx.n == 0 || ty.n == 0) return;
    columns = tx.high - tx.low;
    stride = plane_stride(columns, tx.taps);
    row = (int16_t *)memory;
    planes = (int16_t *)(memory + sg_align_up((size_t)(3 * columns) * sizeof *row));
    weight = planes + sg_align_up((size_t)(3 * stride) * sizeof *planes) / sizeof *planes;
    memset(planes, 0, (size_t)(3 * stride) * sizeof *planes); /* taps past the end weigh nothing */
    for (int64_t i = 0; i < ty.n; i++) {
        int64_t taps = 0, at = (ty.begin + i) * side + tx.begin;
        const uint8_t *rows = image->rgb + ((ty.low + ty.first[i]) * image->width + tx.low) * 3;

        for (int64_t k = 0; k < ty.taps; k++) {
            weight[k] = ty.weight[((k / 2) * ty.n + i) * 2 + k % 2];
            if (weight[k]) taps = (k + 2) / 2 * 2;
        }
        blend_rows(rows, image->width * 3, weight, taps, 3 * columns, row);
        part_colours(row, columns, stride, planes);
        for (int c = 0; c < 3; c++)
            blend_columns(&tx, planes + c * stride, out + c * side * side + at);
        if (colour)
            change_colours(colour, tx.n, out + at, out + side * side + at,
                           out + 2 * side * side + at);
    }
}
