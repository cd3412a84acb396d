/* Letterbox, mirroring, colours and mosaics: src/data/resample.c on the device, to the same bits.
 *
 * A block makes a tile of 32 x 32 pixels of an input picture. For each source that may reach into
 * it, 64 threads work out which source pixels each of the tile's columns and rows takes and with
 * which weights: in double, as a CPU does, but once for 32 pixels, so that a GPU with few units for
 * double is not held up by them. Then a thread makes four pixels from integers: it blends the
 * source rows of each source column that it needs, then those columns.
 *
 * Blending rows anew for every pixel costs more multiplications than keeping blended rows in shared
 * memory, which is what a CPU does, but at most 12 for each byte of the source whatever the scale,
 * no second table, and no limit on how many source pixels lie under a tile; neighbours in a warp
 * read neighbouring bytes, and those that they share come from L1. */
#include "backend_cuda.h"
#include "data/image.h"
#include "data/warp.h"
#include "launch.h"

enum {
    kTile = 32,           /* = kWarp: a warp makes rows of the tile */
    kWarps = 8,           /* of a block */
    kEntries = 2 * kTile, /* of its tables: columns, then rows */
    kRowShift = SG_WEIGHT_BITS - SG_ROW_BITS,
    kOutShift = SG_WEIGHT_BITS + SG_ROW_BITS,
};

/* Column or row e takes `count` source pixels from `first` on, with weight[k][e] of 1 << 14: lanes
 * lie side by side. */
typedef struct {
    int32_t first[kEntries], count[kEntries]; /* count 0: it is not the source's */
    int16_t weight[SG_WARP_TAPS][kEntries];
} tap_tables;

/* Entry `e` for output pixel `i`: `covered`, `make_table` and `set_weights` of resample.c. */
__device__ static void set_taps(tap_tables *t, int e, const sg_axis &axis, int size, int64_t i) {
    double scale = axis.scale, reach = fabs(scale) < 1.0 ? 1.0 / fabs(scale) : 1.0;
    double at = ((double)i + 0.5 - axis.shift) / scale, centre = at - 0.5, total = 0.0;
    int first, last, sum = 0, nearest = 0;

    t->count[e] = 0;
    if (i < axis.begin || i >= axis.end || !(at >= 0.0 && at < (double)size)) return;
    first = max((int)ceil(centre - reach), 0);
    last = min((int)floor(centre + reach), size - 1);
    for (int j = first; j <= last; j++) total += 1.0 - fabs((double)j - centre) / reach;
    for (int j = first; j <= last; j++) {
        double distance = fabs((double)j - centre);
        int w = (int)lrint((1.0 - distance / reach) / total * (1 << SG_WEIGHT_BITS));

        t->weight[j - first][e] = (int16_t)w;
        sum += w;
        if (distance < fabs((double)(first + nearest) - centre)) nearest = j - first;
    }
    t->weight[nearest][e] += (int16_t)((1 << SG_WEIGHT_BITS) - sum); /* they sum to one */
    t->first[e] = first;
    t->count[e] = last - first + 1;
}

__device__ static inline int to_byte(int v) { return v < 0 ? 0 : v > 255 ? 255 : v; }

/* The source's pixel for column `x` and row `y` of the tables, colours unchanged. */
__device__ static inline void blend(const tap_tables *t, int x, int y, const uint8_t *rgb,
                                    int64_t width, int out[3]) {
    int sum[3] = {1 << (kOutShift - 1), 1 << (kOutShift - 1), 1 << (kOutShift - 1)};

    rgb += (t->first[y] * width + t->first[x]) * 3;
    for (int k = 0; k < t->count[x]; k++) {
        int column[3] = {1 << (kRowShift - 1), 1 << (kRowShift - 1), 1 << (kRowShift - 1)};
        const uint8_t *p = rgb + 3 * k;

        for (int l = 0; l < t->count[y]; l++, p += 3 * width) {
            int w = t->weight[l][y];

            for (int c = 0; c < 3; c++) column[c] += w * p[c];
        }
        for (int c = 0; c < 3; c++) sum[c] += t->weight[k][x] * (column[c] >> kRowShift);
    }
    for (int c = 0; c < 3; c++) out[c] = to_byte(sum[c] >> kOutShift);
}

__device__ static inline void change_colours(const sg_colour &m, const int in[3], uint8_t out[3]) {
    for (int c = 0; c < 3; c++)
        out[c] = (uint8_t)to_byte((m.m[c][0] * in[0] + m.m[c][1] * in[1] + m.m[c][2] * in[2] +
                                   m.offset[c] + (1 << (SG_COLOUR_BITS - 1))) >>
                                  SG_COLOUR_BITS);
}

/* Whether the tile from x0, y0 on has pixels that the source may fill. */
__device__ static inline bool reaches(const sg_warp_source &s, int x0, int y0) {
    return s.x.begin < x0 + kTile && s.x.end > x0 && s.y.begin < y0 + kTile && s.y.end > y0;
}

/* Pixel (x, y) of a picture that is there already. */
__device__ static inline void copy_pixel(const uint8_t *from, int64_t pixel, int64_t plane,
                                         uint8_t out[3]) {
    for (int c = 0; c < 3; c++) out[c] = from[c * plane + pixel];
}

/* grid: tiles of a row, rows of tiles, pictures; block: a column of the tile, a warp. */
__global__ void __launch_bounds__(kWarps *kWarp, 4)
    augment_kernel(const sg_warp_job *jobs, int64_t n, const uint8_t *kept, const uint8_t *staged,
                   int side, uint8_t *image) {
    SG_SHARED(tap_tables, tables, 1);
    const int x0 = (int)blockIdx.x * kTile, y0 = (int)blockIdx.y * kTile;
    const int lane = (int)threadIdx.x, x = x0 + lane, thread = (int)threadIdx.y * kWarp + lane;
    const int64_t plane = (int64_t)side * side;

    for (int64_t row = blockIdx.z; row < n; row += gridDim.z) {
        const sg_warp_job &job = jobs[row];
        uint8_t pixel[kTile / kWarps][3];

        for (int i = 0; i < kTile / kWarps; i++)
            for (int c = 0; c < 3; c++) pixel[i][c] = SG_IMAGE_MATTE;
        for (int s = 0; s < job.n_sources; s++) {
            const sg_warp_source &source = job.source[s];
            const uint8_t *rgb = (source.kept ? kept : staged) + source.at;

            if (!reaches(source, x0, y0)) continue; /* the whole block */
            __syncthreads();                        /* until the tables are no longer read */
            if (thread < kTile)
                set_taps(tables, thread, source.x, source.width, x0 + thread);
            else if (thread < kEntries)
                set_taps(tables, thread, source.y, source.height, y0 + thread - kTile);
            __syncthreads();
            for (int i = 0; i < kTile / kWarps; i++) {
                int y = kTile + i * kWarps + (int)threadIdx.y, colour[3];

                if (tables->count[lane] == 0 || tables->count[y] == 0) continue;
                blend(tables, lane, y, rgb, source.width, colour);
                change_colours(source.colour, colour, pixel[i]);
            }
        }
        for (int i = 0; i < kTile / kWarps; i++) {
            int y = y0 + i * kWarps + (int)threadIdx.y;
            int64_t at = (int64_t)y * side + x;

            if (x >= side || y >= side) continue;
            if (job.finished) copy_pixel(staged + job.source[0].at, at, plane, pixel[i]);
            for (int c = 0; c < 3; c++) image[(row * 3 + c) * plane + at] = pixel[i][c];
        }
    }
}

extern "C" sg_status sg_cuda_augment(void *queue, const struct sg_warp_job *jobs, int64_t n,
                                     const uint8_t *kept, const uint8_t *staged, int64_t side,
                                     uint8_t *image) {
    unsigned tiles = blocks_for(side, kTile);

    if (n == 0 || side == 0) return SG_OK;
    SG_LAUNCH(augment_kernel, dim3(tiles, tiles, grid_side(n)), dim3(kWarp, kWarps), 0,
              (cudaStream_t)queue, jobs, n, kept, staged, (int)side, image);
    return sg_cuda_check(cudaGetLastError(), "augmentation");
}
