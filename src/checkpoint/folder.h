/* The checkpoints of a run:
 *
 *   RUN/checkpoints/step-000000123.h5   written once, never changed
 *   RUN/last.h5, RUN/best.h5            other names (hard links) of the newest and the best
 *
 * What is being written has a name that ends in `.tmp`; what proved to be damaged is kept under one
 * that ends in `.damaged`. */
#ifndef SG_CHECKPOINT_FOLDER_H
#define SG_CHECKPOINT_FOLDER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SG_CHECKPOINT_FOLDER  "checkpoints"
#define SG_CHECKPOINT_LAST    "last.h5"
#define SG_CHECKPOINT_BEST    "best.h5"
#define SG_CHECKPOINT_DAMAGED ".damaged"

enum { SG_KEEP_MOST = 64, SG_STEP_NAME = 32 /* bytes of a name, with its NUL */ };

/* "step-000000123.h5", the name of a checkpoint. step >= 0. */
void sg_step_name(int64_t step, char name[SG_STEP_NAME]);
/* -1: `name` is not what sg_step_name gives. */
int64_t sg_step_of(const char *name);

typedef struct {
    char *path;
    int64_t step; /* as the name says; last.h5 and best.h5: as they say, -1 when they do not */
} sg_checkpoint;

typedef struct {
    sg_checkpoint *item; /* newest first; one of unknown step comes first of all */
    int n;
} sg_checkpoint_list;

/* What is not deleted: the newest `last`, those whose step is a multiple of `every` (0: none), and
 * those after the `n_best` steps. */
typedef struct {
    int64_t last, every;
    int64_t best[SG_KEEP_MOST];
    int n_best;
} sg_retention;

/* Hold RUN/`name`, made if absent, until *lock is closed: alone, or `shared` with whoever shares
 * it. SG_ERR_UNAVAILABLE: another process has it. SG_ERR_IO: it cannot be made, or has no locks;
 * SG_ERR_OOM.
 */
sg_status sg_checkpoints_lock(const char *run_dir, const char *name, bool shared,
                              int *lock) SG_CHECKED;
/* From now on others may share what this process held alone. Errors as sg_checkpoints_lock's. */
sg_status sg_checkpoints_share(const char *run_dir, int lock) SG_CHECKED;

/* RUN/checkpoints/step-000000123.h5; the caller's, NULL when there is no memory. */
char *sg_checkpoint_path(const char *run_dir, int64_t step);

/* All from which a run could go on, each file once though it has several names. A folder that is
 * not there holds none. *out is the caller's. SG_ERR_IO, SG_ERR_OOM. */
sg_status sg_checkpoints_find(const char *run_dir, sg_checkpoint_list *out) SG_CHECKED;
/* Those that proved damaged and were set aside (`.damaged`), in the same order. */
sg_status sg_checkpoints_damaged(const char *run_dir, sg_checkpoint_list *out) SG_CHECKED;
void sg_checkpoint_list_clear(sg_checkpoint_list *list);

/* Let `name` be another name of `path`, at once, whatever it was before. SG_ERR_IO: the file system
 * has no hard links, or no room. */
sg_status sg_checkpoint_link(const char *path, const char *name) SG_CHECKED;

/* Delete what no rule keeps. What cannot be deleted stays: that is no failure of a run. */
void sg_checkpoints_retain(const char *run_dir, const sg_retention *keep);
/* Delete what a killed process has left half-written, in RUN, RUN/checkpoints and RUN/plots. Only
 * while RUN/lock is held. */
void sg_checkpoints_sweep(const char *run_dir);
/* Delete all, for a run that starts over. SG_ERR_IO. */
sg_status sg_checkpoints_forget(const char *run_dir) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
