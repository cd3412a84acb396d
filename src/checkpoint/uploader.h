/* Copies a run's checkpoints to its store, in a thread of its own, while training goes on.
 *
 * The newest file that was offered is what is copied, under the name of its step, and that of the
 * best evaluation as best.h5; one that still waits is replaced by a newer one. A file is opened
 * when it is offered, so it may be deleted or replaced before its turn comes. A store that fails
 * stops nothing: each kind of failure is warned of once, and its end, and in between it is tried
 * again with growing pauses, always with the newest file. */
#ifndef SG_CHECKPOINT_UPLOADER_H
#define SG_CHECKPOINT_UPLOADER_H

#include <stdbool.h>
#include <stdint.h>

#include "checkpoint/store.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sg_uploader sg_uploader;

typedef struct {
    /* the checkpoints with the greatest steps that stay in the store, at least 1; the last one sent
     * stays whatever its step */
    int keep;
    /* seconds from the end of one upload to the next of its kind: an S3 request costs money, and
     * with a checkpoint a second there would be a dozen a second; 0: none. sg_uploader_wait does
     * not wait for it */
    double every;
    /* What is to be the local file `best`, as the checkpoint of that run and step, was written by
     * another node: it is fetched, if it is in the store. Copied; NULL: nothing is to be fetched */
    const char *best, *run_id;
    int64_t best_step;
    double first_pause, longest_pause; /* seconds after failures, doubled each time */
} sg_uploader_options;

sg_uploader_options sg_uploader_defaults(void);

/* The store is the uploader's from here on, unless it fails: SG_ERR_ARG (keep), SG_ERR_OOM,
 * SG_ERR_UNAVAILABLE (no thread). */
sg_status sg_uploader_create(sg_store *store, const sg_uploader_options *options,
                             sg_uploader **out) SG_CHECKED;
/* Calls off what is under way and closes the store. Takes at most two seconds, even where a dead
 * file server holds the thread: then the thread keeps what it needs and is left behind. */
void sg_uploader_destroy(sg_uploader *u);

/* The whole checkpoint `path` of this step is to be in the store. Returns at once; a file that
 * cannot be opened is warned of. Without an uploader (NULL) nothing happens. */
void sg_uploader_offer(sg_uploader *u, const char *path, int64_t step);
/* The same, to be best.h5 there. */
void sg_uploader_offer_best(sg_uploader *u, const char *path, int64_t step);
/* A better one is about to be written here: none is fetched from now on. */
void sg_uploader_fetch_none(sg_uploader *u);

/* Wait for the newest offered files, at most so many seconds, without pauses between attempts
 * longer than one second, and for one attempt to fetch what is to be fetched. Whether they are in
 * the store; true when there is nothing to wait for. */
bool sg_uploader_wait(sg_uploader *u, double seconds);
/* The same, unless `stop`, which is asked all the while, says true. */
bool sg_uploader_wait_unless(sg_uploader *u, double seconds, bool (*stop)(void *context),
                             void *context);

/* The last step that was sent; -1: none yet. */
int64_t sg_uploader_step(sg_uploader *u);

#ifdef __cplusplus
}
#endif
#endif
