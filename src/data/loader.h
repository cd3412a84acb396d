/* The prefetching loader: threads decode and augment ahead, batches come out in order.
 *
 * The order is a function, not a state: position p -> epoch = p / n, and the sample is the
 * (p % n)-th of the permutation keyed by (seed, epoch). Batches run through the borders of epochs.
 * Neither the number of threads nor the prefetch depth nor the cache changes a byte.
 *
 * Of several workers each loads its part of every batch. A batch keeps its B rows; those of the
 * part have the bytes that they have in a whole batch, the others are left as they are. When the
 * parts change the loader begins anew, and keeps its threads and its decoded pictures (restart).
 *
 * Without `augment` it is the evaluation loader: sample = position, letterboxed; the last batch of
 * a pass is padded (count 0, sample -1, matte) and the next one starts the list anew.
 *
 * With a device its batches are raw: threads only decode, and a batch holds the decoded pictures
 * with what is to become of them, for data/staging.h to put on the device. The input pictures that
 * come of it are the same to the byte. */
#ifndef SG_DATA_LOADER_H
#define SG_DATA_LOADER_H

#include <stdint.h>

#include "core/status.h"
#include "data/augment.h"
#include "data/dataset.h"
#include "data/letterbox.h"
#include "data/part.h"
#include "data/warp.h"
#include "graph/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int64_t batch;                     /* B, pictures a batch */
    int64_t input;                     /* S, side of the input in pixels */
    uint64_t seed;                     /* order and augmentation */
    int threads;                       /* >= 1; own threads, beside the caller */
    int prefetch;                      /* batches ready ahead, >= 1 */
    int64_t cache_bytes;               /* decoded pictures kept in memory; 0: none */
    const sg_augment_options *augment; /* NULL: evaluation; copied */
    int64_t start;                     /* samples consumed before; the sampler's whole state */
    const sg_part *part;               /* rows to load of each batch; NULL: all; copied */
    int64_t mosaic_close_epoch;        /* no mosaics from this epoch on; negative: never closed */
    const sg_device *device;           /* NULL: finished pictures; else raw ones, all pinned */
    int64_t kept_bytes;                /* raw: decoded pictures kept on the device; 0: none */
} sg_loader_options;

/* batch 16, input 416, seed 0, threads 1, prefetch 2, cache 512 MiB, no augmentation, start 0,
 * mosaics never closed, no device. */
sg_loader_options sg_loader_defaults(void);

/* Raw: a staged picture that is to be kept; later jobs expect it among the kept ones. */
typedef struct {
    int64_t from, to, bytes; /* in the staged block, in that of kept pictures */
} sg_staged_copy;

/* One batch, borrowed from the loader until its next call. */
typedef struct {
    uint8_t *image;       /* (B, 3, S, S) RGB planes; NULL when raw */
    float *boxes;         /* (B, SG_MAX_BOXES, 4) xyxy input pixels, unused rows 0 */
    int32_t *classes;     /* (B, SG_MAX_BOXES), unused 0 */
    int32_t *count;       /* (B) boxes used */
    int64_t *sample;      /* (B) index in the data set; -1: padding */
    sg_letterbox *map;    /* (B) evaluation: picture -> input; zero in training */
    int64_t first_sample; /* position of row 0: samples consumed before this batch */
    sg_part part;         /* the rows that are filled */
    int64_t dropped;      /* boxes over SG_MAX_BOXES in them */

    /* Raw, else NULL and 0. The block holds B jobs at its start, of which those of the part count,
     * then pictures; what is to be kept is copied before the jobs are done. */
    uint8_t *staged;
    int64_t staged_bytes; /* used of it */
    sg_staged_copy *keep; /* (n_keep) */
    int64_t n_keep;
} sg_batch;

typedef struct sg_loader sg_loader;

/* `dataset` is borrowed and must outlive the loader. Everything the loader needs is allocated
 * here, threads start at once. SG_ERR_ARG, SG_ERR_OOM, SG_ERR_UNAVAILABLE (threads). */
sg_status sg_loader_create(const sg_dataset *dataset, const sg_loader_options *options,
                           sg_loader **out) SG_CHECKED;
void sg_loader_destroy(sg_loader *loader); /* NULL is fine; waits for pictures in work only */

/* The next batch. A picture that cannot be read fails the call with its text (SG_ERR_DATA,
 * SG_ERR_MISSING, SG_ERR_IO, SG_ERR_OOM), and every later call too, until a restart. */
sg_status sg_loader_next(sg_loader *loader, sg_batch *batch) SG_CHECKED;

/* Go on as a loader would that was created with that start and part, with the same cache and
 * threads: what was loaded ahead is dropped, with its failures, once the rows in work are done. The
 * last batch is given back; if it is raw its staging must have been waited for. An evaluation's
 * list begins anew. SG_ERR_ARG for a start or a part that cannot be, which changes nothing. */
sg_status sg_loader_restart(sg_loader *loader, int64_t start, const sg_part *part) SG_CHECKED;

/* Batches in one pass of an evaluation: n / B, rounded up. */
int64_t sg_loader_batches(const sg_loader *loader);
/* Seconds that sg_loader_next has waited, in all. */
double sg_loader_wait_seconds(const sg_loader *loader);

/* The sample at position `p` of a training run over `n` samples. */
int64_t sg_sampler_at(uint64_t seed, int64_t n, int64_t p);

#ifdef __cplusplus
}
#endif
#endif
