/* A run from the inside: shared by run.c (the loop), run_start.c (from a configuration to the first
 * step), run_group.c (with other workers) and run_profile.c. */
#ifndef SG_TRAIN_RUN_INSIDE_H
#define SG_TRAIN_RUN_INSIDE_H

#include "dist/group.h"
#include "nn/schedule.h"
#include "spot/notice.h"
#include "train/history.h"
#include "train/resume.h"
#include "train/run.h"
#include "train/saver.h"

enum { SG_RUN_ID_BYTES = 17 };

typedef struct {
    const sg_config *config;
    const sg_run_observer *observer;
    sg_task *task;
    sg_compute compute;
    sg_trainer *trainer;
    sg_state *state; /* the trainer's */
    sg_schedule schedule;
    int64_t total_steps; /* of the schedule's horizon */
    sg_history history;
    char run_id[SG_RUN_ID_BYTES];
    char *metrics, *plots, *config_text; /* paths; owned */
    bool config_written;                 /* config.ini, by this process */
    bool metrics_written;                /* metrics.jsonl has the newest line too */
    sg_resume before;                    /* where it goes on from */
    bool again;                          /* that proved damaged: begin again */
    sg_store *store;                     /* until the saver takes it over; NULL: there is none */
    sg_saver *saver;                     /* NULL where another worker writes */
    sg_group *group;                     /* NULL: alone */
    char *about;                         /* what its members must agree in; owned */
    bool torn;  /* the state was on its way from another worker: it is worth nothing */
    bool apart; /* the group broke, or changes, and this worker is in no new one yet */
    const char *resumed_from; /* for people; NULL: it is new */
    char resumed[64];
    char *ended;          /* the run is over, says the group; owned */
    _Atomic double asked; /* clock of the first sight of a wish to stop; 0 */
    sg_notices *notices;
    int lock;
    bool begun; /* it has what it needs for its first step */
    int64_t first_step;
    bool snapshot;       /* of the step that is settled next */
    int64_t point_every; /* steps from one point of the loss's curve to the next */
    sg_run_step at;
    sg_shards own;     /* of a group: this worker's part of a step */
    double step_began; /* on sg_now()'s clock */
} sg_run;

/* Of the whole schedule. */
int64_t sg_run_steps(const sg_config *c, int64_t n_train);
/* Complete epochs when `samples` have been consumed. */
int64_t sg_run_epochs(const sg_run *r, int64_t samples);
/* Whether the run should end here. In any thread. */
bool sg_run_asked_to_stop(void *run);

/* In any thread, between the nodes of a step: whether it is given up. */
bool sg_run_must_give_up(void *run);

/* run_start.c: everything up to the first step; the end, also of a start that failed. */
sg_status sg_run_begin(sg_run *r, bool fresh) SG_CHECKED;
void sg_run_end(sg_run *r);
/* Checkpoints, metrics and plots are this process's affair from now on. A disk that cannot be
 * written to is a failure at the start, a warning to one who takes over. */
sg_status sg_run_become_writer(sg_run *r) SG_CHECKED;
/* config.ini, once, and metrics.jsonl. */
sg_status sg_run_write_texts(sg_run *r) SG_CHECKED;

/* run_group.c: be a member of the group that distributed.store names, with its newest state. */
sg_status sg_run_join(sg_run *r, bool fresh) SG_CHECKED;
/* After a failure `st`, or at the end of a step: whether the group has to be formed anew. */
bool sg_run_group_broke(const sg_run *r, sg_status st);
/* Form it, and stand where it stands. r->ended: there is no more to do. */
sg_status sg_run_regroup(sg_run *r) SG_CHECKED;
/* Of several workers: a wish to stop is told in a step's exchange first. */
bool sg_run_in_company(const sg_run *r);
bool sg_run_writes(const sg_run *r);
/* How it evaluates with the others; NULL: alone. */
const sg_share *sg_run_share(sg_run *r, sg_share *share);
/* A line a step: which samples this worker computed of it. */
void sg_run_group_log(const sg_run *r);
/* All is saved: the others hear of it. SG_ERR_UNAVAILABLE: the group broke. */
sg_status sg_run_group_finish(sg_run *r, const sg_run_result *result) SG_CHECKED;
/* Whether --fresh can start over where distributed.store (if any) says. Errors as sg_run_forget's.
 */
sg_status sg_run_check_fresh(const sg_config *config) SG_CHECKED;
/* What r->ended says. */
sg_status sg_run_group_result(const sg_run *r, sg_run_result *result) SG_CHECKED;

/* run.device and train.precision; `before`: of the checkpoint that it goes on from, or NULL. */
sg_status sg_run_choose_device(const sg_config *c, const sg_model_file *before,
                               sg_compute *out) SG_CHECKED;
/* What was learned of the data before: the checkpoint's (`before`, or NULL), or that of the model
 * to start from. */
sg_status sg_run_prepare_task(sg_task *task, const sg_config *c,
                              const sg_resume *before) SG_CHECKED;
/* `loaded`: its state will be. */
sg_status sg_run_make_trainer(const sg_config *c, sg_task *task, const sg_compute *compute,
                              bool loaded, sg_trainer **out) SG_CHECKED;

#endif
