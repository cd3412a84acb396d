/* Checkpoints that training does not wait for.
 *
 * An offer copies the state at the end of a step; a thread of the writer's own does the rest:
 * checksums, one write under a temporary name, fsync, rename, fsync of the folder, the names
 * last.h5 and best.h5, and what retention deletes. There are two images: one is being written, the
 * newest offer waits in the other and is replaced by a newer one, but for an evaluation's, which is
 * written in any case. A failure to write is a warning: training goes on, and the next offer tries
 * again; what was to be best.h5 is kept in its image until then, and tried first. */
#ifndef SG_CHECKPOINT_WRITER_H
#define SG_CHECKPOINT_WRITER_H

#include "checkpoint/folder.h"
#include "checkpoint/model_file.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sg_writer sg_writer;

typedef struct {
    const char *run_dir;         /* must exist; borrowed, as all here */
    const sg_model_about *about; /* of the run; epoch, history and plans are those of the offers */
    const sg_state *state;
    sg_retention keep;
    /* Called in the writer's thread once the checkpoint of `step` is durable, and best.h5 too where
     * it is the best; may be NULL. */
    void (*durable)(void *context, const char *path, int64_t step, bool best);
    void *context;
} sg_writer_options;

typedef struct {
    int64_t epoch;
    const char *history, *plans; /* plans may be NULL: none */
    const sg_retention *keep;    /* from now on, or NULL: as before */
    bool best;                   /* this becomes best.h5 */
    bool must;                   /* never replaced by a newer one */
} sg_offer;

/* Sums over all checkpoints, and the newest durable one. */
typedef struct {
    int64_t durable_step; /* -1: none yet */
    int64_t taken, written, replaced, failed;
    double cost_seconds;  /* of the newest written one: the copy, and the processor for the rest */
    double take_seconds;  /* in offers: what training waited for */
    double seal_seconds;  /* checksums; wall time, as the next */
    double write_seconds; /* write, fsync, rename */
    double cpu_seconds;   /* of the writer's thread */
} sg_writer_stats;

/* Starts the thread. SG_ERR_IO: the folder cannot be made; SG_ERR_OOM. */
sg_status sg_writer_create(const sg_writer_options *options, sg_writer **out) SG_CHECKED;
/* Waits for what is under way; NULL is fine. */
void sg_writer_destroy(sg_writer *writer);

/* Copy the state as it is. An offer that meets a waiting one that must be written is left out
 * unless it must be written too: then it waits. SG_ERR_OOM (a history that has outgrown its room).
 */
sg_status sg_writer_offer(sg_writer *writer, const sg_offer *offer) SG_CHECKED;
/* Wait until no offer waits: all but the newest, which is being written, have been tried. */
void sg_writer_keep_up(sg_writer *writer);
/* Wait until all that was offered is durable. The failure of the last one that was tried, if it
 * failed: SG_ERR_IO. */
sg_status sg_writer_flush(sg_writer *writer) SG_CHECKED;
sg_writer_stats sg_writer_report(sg_writer *writer);

#ifdef __cplusplus
}
#endif
#endif
