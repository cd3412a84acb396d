/* Non-maximum suppression: nn/nms.c defines it, this finds the same. One launch, a block a picture:
 *
 *   limit    count the candidates; where there are too many, find the last key that still belongs
 *            to the best, eight bits a round (a trained detector has too few for that)
 *   gather   their keys into shared memory, by a prefix sum over threads
 *   sort     a bitonic network: keys are unique, so there is one order
 *   strike   the first key left is kept, all threads strike what its box suppresses, and the next
 *            key left is the next one to keep: as many rounds as boxes are kept, at most max_boxes
 *
 * A key is what it is there: the score's bits, inverted, above its index in (anchors, classes). The
 * overlap is the same arithmetic in double, products not fused, so no choice differs. A matrix of
 * all overlaps, as is usual, would be more work: boxes kept are far fewer than candidates. */
#include <math.h>

#include "backend_cuda.h"
#include "detect_cuda.h"
#include "detect_nms.h"

enum {
    kThreads = 512,
    kWarps = kThreads / kWarp,
    kNear = SG_NMS_CANDIDATES, /* keys in shared memory, a power of two */
    kDigitBits = 8,
    kDigits = 1 << kDigitBits
};

static const uint64_t kStruck = UINT64_MAX; /* no key: scores are above 0 */

/* One picture or all. */
typedef struct {
    const float *boxes;  /* (N, anchors, 4) */
    const float *scores; /* (N, anchors, classes) */
    sg_detection *found; /* (N, max_boxes) */
    int64_t *count;      /* (N) */
    uint64_t *far;       /* (N, room): keys, where they are more than kNear; or NULL */
    int64_t anchors, max_boxes, limit, room;
    unsigned classes;
    float min_score;
    double max_iou;
} nms_data;

/* --- what a block does together --------------------------------------------------------------- */

/* The sum of x over the threads before this one; *total: over all. */
__device__ static unsigned sum_before(unsigned x, unsigned *total) {
    SG_SHARED(unsigned, sums, kWarps);
    int lane = (int)threadIdx.x % kWarp, warp = (int)threadIdx.x / kWarp;
    unsigned up_to = x, before = 0;

    for (unsigned step = 1; step < kWarp; step *= 2) {
        unsigned other = __shfl_up_sync(0xffffffffu, up_to, step);

        if (lane >= (int)step) up_to += other;
    }
    __syncthreads(); /* the sums before these have been read */
    if (lane == kWarp - 1) sums[warp] = up_to;
    __syncthreads();
    *total = 0;
    for (int w = 0; w < kWarps; w++) {
        if (w < warp) before += sums[w];
        *total += sums[w];
    }
    return before + up_to - x;
}

__device__ static unsigned least_of_block(unsigned x) {
    SG_SHARED(unsigned, least, kWarps);

    for (int step = kWarp / 2; step > 0; step /= 2)
        x = min(x, __shfl_xor_sync(0xffffffffu, x, step));
    __syncthreads(); /* those before have been read */
    if (threadIdx.x % kWarp == 0) least[threadIdx.x / kWarp] = x;
    __syncthreads();
    for (int w = 0; w < kWarps; w++) x = min(x, least[w]);
    return x;
}

/* --- candidates ------------------------------------------------------------------------------- */

/* The key of score number i, or kStruck if it is no candidate. */
__device__ static uint64_t key_at(const nms_data &d, unsigned i) {
    float score = d.scores[i];
    const float *box;

    if (!(score > d.min_score) || !isfinite(score)) return kStruck;
    box = d.boxes + (int64_t)(i / d.classes) * 4;
    if (!isfinite(box[0]) || !isfinite(box[1]) || !isfinite(box[2]) || !isfinite(box[3]))
        return kStruck;
    return (uint64_t)~__float_as_uint(score) << 32 | i;
}

/* How many of this thread's candidates have a key of at most `most`, which is below kStruck. */
__device__ static unsigned count_mine(const nms_data &d, uint64_t most) {
    int64_t scores = d.anchors * d.classes;
    unsigned n = 0;

    for (int64_t i = threadIdx.x; i < scores; i += kThreads) n += key_at(d, (unsigned)i) <= most;
    return n;
}

/* The key that is number d.limit of the candidates', from the least, digit by digit; a key that
 * none exceeds where there are no more than that. */
__device__ static uint64_t greatest_key(const nms_data &d) {
    SG_SHARED(unsigned, counts, kDigits);
    SG_SHARED(unsigned, chosen, 2); /* the digit, and the key's number among those that share it */
    int64_t scores = d.anchors * d.classes;
    unsigned rank = (unsigned)d.limit;
    uint64_t upper = 0; /* the digits found */

    for (int shift = 64 - kDigitBits; shift >= 0; shift -= kDigitBits) {
        unsigned n, count, before;

        if (threadIdx.x < kDigits) counts[threadIdx.x] = 0;
        __syncthreads();
        for (int64_t i = threadIdx.x; i < scores; i += kThreads) {
            uint64_t key = key_at(d, (unsigned)i);

            if (key != kStruck && key >> shift >> kDigitBits == upper)
                (void)atomicAdd(&counts[(key >> shift) % kDigits], 1u);
        }
        __syncthreads();
        count = threadIdx.x < kDigits ? counts[threadIdx.x] : 0;
        before = sum_before(count, &n);
        if (shift == 64 - kDigitBits && n <= rank) return kStruck - 1;
        if (before < rank && rank <= before + count) {
            chosen[0] = threadIdx.x;
            chosen[1] = rank - before;
        }
        __syncthreads();
        upper = upper << kDigitBits | chosen[0];
        rank = chosen[1];
    }
    return upper;
}

/* The keys up to `most`, in no order that matters; returns how many. */
__device__ static unsigned gather(const nms_data &d, uint64_t most, uint64_t *keys) {
    int64_t scores = d.anchors * d.classes;
    unsigned n, at = sum_before(count_mine(d, most), &n);

    for (int64_t i = threadIdx.x; i < scores; i += kThreads) {
        uint64_t key = key_at(d, (unsigned)i);

        if (key <= most) keys[at++] = key;
    }
    return n;
}

/* Ascending; behind the n keys there is room up to the next power of two. */
__device__ static void sort(uint64_t *keys, unsigned n) {
    int64_t size = 1;

    while (size < n) size *= 2;
    for (int64_t i = n + threadIdx.x; i < size; i += kThreads) keys[i] = kStruck;
    __syncthreads();
    for (int64_t run = 2; run <= size; run *= 2)
        for (int64_t apart = run / 2; apart > 0; apart /= 2) {
            for (int64_t i = threadIdx.x; i < size / 2; i += kThreads) {
                int64_t a = 2 * i - (i & (apart - 1)), b = a + apart;
                uint64_t p = keys[a], q = keys[b];

                if ((p > q) == ((a & run) == 0)) {
                    keys[a] = q;
                    keys[b] = p;
                }
            }
            __syncthreads();
        }
}

/* --- suppression ------------------------------------------------------------------------------ */

/* sg_box_iou */
__device__ static double iou_of(const float *a, const float *b) {
    double W = fmin((double)a[2], (double)b[2]) - fmax((double)a[0], (double)b[0]);
    double H = fmin((double)a[3], (double)b[3]) - fmax((double)a[1], (double)b[1]);
    double inter, area_a, area_b;

    if (!(W > 0.0) || !(H > 0.0)) return 0.0;
    inter = product(W, H);
    area_a = product((double)a[2] - (double)a[0], (double)a[3] - (double)a[1]);
    area_b = product((double)b[2] - (double)b[0], (double)b[3] - (double)b[1]);
    return inter / (area_a + area_b - inter);
}

__device__ static sg_detection detection_of(const nms_data &d, uint64_t key) {
    unsigned index = (unsigned)key;
    sg_detection found;

    found.anchor = index / d.classes;
    found.label = (int32_t)(index % d.classes);
    found.score = __uint_as_float(~(unsigned)(key >> 32));
    for (int k = 0; k < 4; k++) found.box[k] = d.boxes[found.anchor * 4 + k];
    return found;
}

/* Strike the keys behind `at` that the detection there suppresses; returns the next one left, n if
 * there is none. */
__device__ static unsigned strike(const nms_data &d, uint64_t *keys, unsigned n, unsigned at,
                                  const sg_detection &kept) {
    unsigned next = n;

    for (int64_t i = (int64_t)at + 1 + threadIdx.x; i < n; i += kThreads) {
        unsigned index = (unsigned)keys[i];

        if (keys[i] == kStruck) continue;
        if (index % d.classes == (unsigned)kept.label &&
            iou_of(kept.box, d.boxes + (int64_t)(index / d.classes) * 4) > d.max_iou)
            keys[i] = kStruck;
        else
            next = min(next, (unsigned)i);
    }
    return least_of_block(next);
}

/* grid: pictures. */
__global__ void nms_kernel(nms_data d) {
    SG_SHARED(uint64_t, near, kNear);
    int64_t picture = blockIdx.x, kept = 0;
    uint64_t *keys = d.far ? d.far + picture * d.room : near;
    unsigned n, at = 0;

    d.boxes += picture * d.anchors * 4;
    d.scores += picture * d.anchors * d.classes;
    n = gather(d, greatest_key(d), keys);
    sort(keys, n);
    while (at < n && kept < d.max_boxes) {
        sg_detection best = detection_of(d, keys[at]);

        if (threadIdx.x == 0) d.found[picture * d.max_boxes + kept] = best;
        at = strike(d, keys, n, at, best);
        kept++;
    }
    if (threadIdx.x == 0) d.count[picture] = kept;
}

/* --- the launcher ----------------------------------------------------------------------------- */

/* Keys of a picture in scratch; 0: shared memory holds them. */
static int64_t far_room(int64_t limit) {
    int64_t room = kNear;

    while (room < limit) room *= 2;
    return room > kNear ? room : 0;
}

extern "C" size_t sg_cuda_nms_scratch(const sg_nms_options *options, int64_t N, int64_t anchors,
                                      int64_t classes) {
    int64_t limit;

    if (sg_nms_check(options, anchors, classes, &limit) != SG_OK) return 0;
    return (size_t)(N * far_room(limit)) * sizeof(uint64_t);
}

extern "C" sg_status sg_cuda_nms(const sg_nms_options *options, int64_t N, const float *boxes,
                                 const float *scores, int64_t anchors, int64_t classes,
                                 sg_detection *found, int64_t *count, void *scratch, void *queue) {
    nms_data d;

    SG_TRY(sg_nms_check(options, anchors, classes, &d.limit));
    if (N == 0) return SG_OK;
    d.room = far_room(d.limit);
    d.boxes = boxes;
    d.scores = scores;
    d.found = found;
    d.count = count;
    d.far = d.room > 0 ? static_cast<uint64_t *>(scratch) : NULL;
    d.anchors = anchors;
    d.classes = (unsigned)classes;
    d.max_boxes = options->max_boxes;
    d.min_score = options->min_score;
    d.max_iou = (double)options->max_iou;
    SG_LAUNCH(nms_kernel, (unsigned)N, kThreads, 0, (cudaStream_t)queue, d);
    return sg_cuda_check(cudaGetLastError(), "non-maximum suppression");
}
