/* The checkpoints of a run: when one is due, what it says, and where it goes. */
#ifndef SG_TRAIN_SAVER_H
#define SG_TRAIN_SAVER_H

#include <stdbool.h>

#include "checkpoint/store.h"
#include "core/config.h"
#include "graph/state.h"
#include "spot/notice.h"
#include "train/compute.h"
#include "train/history.h"
#include "train/task.h"

#ifdef __cplusplus
extern "C" {
#endif

/* With a store the best one is there too, as best.h5: a writer that takes over on another machine
 * fetches it from there. */
typedef struct sg_saver sg_saver;

/* All is borrowed but the store. */
typedef struct {
    const sg_config *config;
    const char *config_text, *run_id;
    const sg_task *task;
    const sg_state *state;
    const sg_compute *compute; /* NULL: the CPU */
    sg_trainer *trainer;       /* whose state it is, fetched before it is saved; NULL: nobody's */
    const sg_history *history;
    sg_notices *notices; /* NULL: none are heard */
    sg_store *store;     /* NULL: none; the saver's from sg_saver_create on, whatever it says */
    sg_stop_fn stop;     /* asked while the end waits for the store; NULL: never */
    void *stop_context;
    const char *resumed_from; /* NULL: the run is new */
    int64_t resumed_step;     /* of that file; the state may be newer, from another worker */
} sg_saver_options;

/* SG_ERR_IO, SG_ERR_OOM, SG_ERR_UNAVAILABLE (no thread). */
sg_status sg_saver_create(const sg_saver_options *options, sg_saver **out) SG_CHECKED;
/* Waits for a write that is under way. NULL is fine. */
void sg_saver_destroy(sg_saver *saver);

/* Whether the state after `step`, the last that was launched, is to be saved: a trainer that works
 * ahead is then asked for a snapshot before its next step. `hurry`, or advice from the machine's
 * owner: now and after every step from then on. */
bool sg_saver_due(sg_saver *saver, int64_t step, bool hurry);
/* Save the state, which is that of settled steps. What cannot be written is warned of, and is no
 * failure. SG_ERR_OOM. */
sg_status sg_saver_save(sg_saver *saver) SG_CHECKED;
/* After an evaluation, which the history knows: saves the state in any case; the best one's has the
 * name best.h5 when this returns, unless that failed: *kept. SG_ERR_OOM. */
sg_status sg_saver_evaluated(sg_saver *saver, bool best, bool *kept) SG_CHECKED;
/* The state, that of the last finished step, is. Also in another thread, while none is saved. */
bool sg_saver_is_durable(sg_saver *saver);
/* The state is durable here when this returns; for the store it waits as long as is sensible: some
 * seconds in an interrupted run, which may be killed soon, minutes at the end. Then a notice of an
 * interruption is acknowledged. SG_ERR_IO; SG_ERR_INTERRUPTED: asked to stop while it waited,
 * though the run was at its end. */
sg_status sg_saver_finish(sg_saver *saver, bool interrupted) SG_CHECKED;
/* The state is lost, with the device that held it: what was saved before becomes durable. The step
 * of the newest durable one, -1: there is none. */
int64_t sg_saver_abandon(sg_saver *saver);

#ifdef __cplusplus
}
#endif
#endif
