/* From a configuration to the first step: the folder, what is there already, data, device, trainer,
 * state. */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "checkpoint/folder.h"
#include "checkpoint/mend.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "train/run_inside.h"

enum { kLossPoints = 400 };

/* --- the folder ------------------------------------------------------------------------------- */

/* Workers of one group may share a folder, but not with a run of another kind. */
static bool in_group(const sg_run *r) { return r->config->distributed.store[0] != '\0'; }

/* Of each worker: one that takes over when its disk is full could not make it. */
static sg_status make_checkpoints(const char *dir) {
    char *path = sg_path_join(dir, SG_CHECKPOINT_FOLDER);
    sg_status st = path ? sg_make_dirs(path) : sg_fail(SG_ERR_OOM, "%s: no memory", dir);

    sg_free(path);
    return st;
}

/* A run that starts over has it alone until what was there is forgotten. */
static sg_status open_folder(sg_run *r, bool fresh) {
    const char *dir = r->config->run.dir;

    SG_TRY(sg_make_dirs(dir));
    SG_TRY(sg_checkpoints_lock(dir, "lock", in_group(r) && !fresh, &r->lock));
    if (in_group(r))
        SG_TRY(make_checkpoints(dir));
    else
        sg_checkpoints_sweep(dir);
    r->metrics = sg_path_join(dir, "metrics.jsonl");
    r->plots = sg_path_join(dir, "plots");
    if (!r->metrics || !r->plots) return sg_fail(SG_ERR_OOM, "%s: no memory", dir);
    return sg_config_write(r->config, &r->config_text);
}

static sg_status write_config(const sg_run *r) {
    char *path = sg_path_join(r->config->run.dir, "config.ini");
    sg_status st;

    if (!path) return sg_fail(SG_ERR_OOM, "%s: no memory", r->config->run.dir);
    st = sg_file_write(path, r->config_text, strlen(r->config_text));
    sg_free(path);
    return st;
}

/* A new name for a run that starts; one that goes on takes its own from the file. */
static sg_status name_run(sg_run *r) {
    uint64_t number;

    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
        return sg_fail(SG_ERR_UNAVAILABLE, "no random numbers for a run id: %s", strerror(errno));
    snprintf(r->run_id, sizeof r->run_id, "%016llx", (unsigned long long)number);
    return SG_OK;
}

int64_t sg_run_steps(const sg_config *c, int64_t n_train) {
    return (c->train.epochs * n_train + c->train.batch - 1) / c->train.batch;
}

int64_t sg_run_epochs(const sg_run *r, int64_t samples) { return samples / r->task->n_train; }

/* --- going on --------------------------------------------------------------------------------- */

/* Before the trainer: what the run in the folder, or in the store, says of itself. */
static sg_status look_back(sg_run *r, bool fresh) {
    SG_TRY(sg_store_open(r->config->checkpoint.store, &r->store));
    if (fresh) return name_run(r);
    SG_TRY(sg_resume_find(r->config, r->store, &r->before));
    if (!r->before.path) return name_run(r);
    SG_TRY(sg_resume_check(&r->before, r->config, r->task->fingerprint));
    snprintf(r->run_id, sizeof r->run_id, "%s", r->before.file.run_id);
    return sg_history_set(&r->history, r->before.file.history);
}

sg_status sg_run_prepare_task(sg_task *task, const sg_config *c, const sg_resume *before) {
    sg_model_file init = {0};
    const char *path;
    sg_status st;

    if (!task->prepare) return SG_OK;
    if (before) return task->prepare(task, before->path, before->file.tokenizer);
    path = c->model.init;
    if (!path[0]) return task->prepare(task, NULL, NULL);
    SG_TRY(sg_model_file_read(path, &init));
    st = task->prepare(task, path, init.tokenizer[0] ? init.tokenizer : NULL);
    sg_model_file_clear(&init);
    return st;
}

/* Start from the averaged weights of another run: those of its tensors that fit by name and shape,
 * and, where they tell classes apart, by the classes' names. */
static sg_status start_from_file(sg_run *r, const char *path) {
    const sg_task *task = r->task;
    sg_class_outputs outputs = {task->classes, task->n_classes, task->class_axis};
    sg_fitting got;
    const char *classes = "";

    SG_TRY(sg_model_file_load_fitting(path, r->state, task->class_axis ? &outputs : NULL, &got));
    if (got.classes == SG_CLASSES_REORDERED)
        classes = ", its classes brought into this run's order";
    if (got.classes == SG_CLASSES_OTHER)
        classes = "; its classes are not this run's, so what tells classes apart begins anew";
    sg_log(SG_LOG_INFO, "model.init: took %d of %d tensors from %s%s", got.tensors,
           r->state->table->n_entries, path, classes);
    return SG_OK;
}

static sg_status begin_state(sg_run *r) {
    char here[SG_PLUGIN_CLASS_BYTES];

    sg_compute_class(&r->compute, here, sizeof here);
    if (r->before.path) return sg_resume_load(&r->before, r->config, here, r->state, &r->again);
    if (r->config->model.init[0]) return start_from_file(r, r->config->model.init);
    return SG_OK;
}

/* Of a writer that takes over the store is not open any more. */
static sg_status start_saver(sg_run *r) {
    sg_saver_options options = {.config = r->config,
                                .config_text = r->config_text,
                                .run_id = r->run_id,
                                .task = r->task,
                                .compute = &r->compute,
                                .state = r->state,
                                .trainer = r->trainer,
                                .history = &r->history,
                                .notices = r->notices,
                                .store = r->store,
                                .stop = sg_run_asked_to_stop,
                                .stop_context = r,
                                .resumed_from = r->before.path,
                                .resumed_step = r->before.file.step};

    if (!r->store) SG_TRY(sg_store_open(r->config->checkpoint.store, &options.store));
    r->store = NULL;
    return sg_saver_create(&options, &r->saver);
}

sg_status sg_run_write_texts(sg_run *r) {
    const char *text = r->history.text ? r->history.text : "";

    if (!r->config_written) SG_TRY(write_config(r));
    r->config_written = true;
    return sg_file_write(r->metrics, text, r->history.text_size);
}

sg_status sg_run_become_writer(sg_run *r) {
    sg_status st;

    if (in_group(r)) sg_checkpoints_sweep(r->config->run.dir); /* what a dead one was writing */
    if (r->before.path && !r->begun) /* one that takes over knows of newer ones */
        sg_checkpoint_mend(r->config->run.dir, r->before.path, r->before.file.step,
                           sg_history_best_step(&r->history));
    SG_TRY(start_saver(r));
    st = sg_run_write_texts(r);
    r->metrics_written = st == SG_OK;
    if (st != SG_ERR_IO || !r->begun) return st;
    sg_log(SG_LOG_WARN, "%s; training goes on", sg_last_error());
    return SG_OK;
}

/* --- the start -------------------------------------------------------------------------------- */

static sg_schedule make_schedule(const sg_config *c, int64_t n_train, int64_t total_steps) {
    sg_schedule s = {SG_SCHEDULE_CONSTANT, c->train.lr, c->train.lr_final, 0, (double)total_steps};

    if (sg_choice_is(c->train.schedule, "cosine")) s.kind = SG_SCHEDULE_COSINE;
    if (sg_choice_is(c->train.schedule, "step")) s.kind = SG_SCHEDULE_STEP;
    s.warmup_steps = floor(c->train.warmup * (double)n_train / (double)c->train.batch);
    return s;
}

sg_status sg_run_choose_device(const sg_config *c, const sg_model_file *before, sg_compute *out) {
    const sg_compute_options o = {.device = c->run.device,
                                  .precision = c->train.precision,
                                  .began = before ? before->numeric_class : NULL,
                                  .plans = before ? before->plans : NULL,
                                  .timed = c->run.tune};

    return sg_compute_open(&o, out);
}

sg_status sg_run_make_trainer(const sg_config *c, sg_task *task, const sg_compute *compute,
                              bool loaded, sg_trainer **out) {
    sg_trainer_options o = sg_trainer_defaults();

    o.backend = sg_compute_backend(compute);
    o.blank = loaded;
    o.build = task->build;
    o.context = task->build_context;
    o.shapes = task->shapes;
    o.n_shapes = task->n_shapes;
    if (task->device) o.fill = task->fill;
    o.fill_context = task;
    o.batch = c->train.batch;
    o.shards = (int)c->train.shards;
    o.threads = (int)c->train.threads;
    o.seed = (uint64_t)c->run.seed;
    if (sg_choice_is(c->train.optimizer, "adamw")) o.optimizer.kind = SG_OPTIMIZER_ADAMW;
    o.optimizer.momentum = c->train.momentum;
    o.optimizer.beta2 = c->train.beta2;
    o.optimizer.weight_decay = c->train.weight_decay;
    o.optimizer.clip_norm = c->train.clip_norm;
    o.optimizer.ema = c->train.ema;
    o.optimizer.rows = sg_choice_is(c->train.rows, "sgd")           ? SG_ROWS_SGD
                       : sg_choice_is(c->train.rows, "adagrad_row") ? SG_ROWS_ADAGRAD_ROW
                                                                    : SG_ROWS_ADAGRAD;
    o.optimizer.rows_lr = c->train.rows_lr;
    o.optimizer.rows_start = c->train.rows_start;
    return sg_trainer_create(&o, out);
}

static sg_status start_notices(sg_run *r) {
    const sg_notices_options o = {.provider = r->config->spot.provider,
                                  .endpoint = r->config->spot.endpoint};

    return sg_notices_start(&o, &r->notices);
}

static void plan_steps(sg_run *r) {
    const sg_config *c = r->config;

    r->total_steps = sg_run_steps(c, r->task->n_train);
    r->schedule = make_schedule(c, r->task->n_train, r->total_steps);
    r->point_every = (r->total_steps + kLossPoints - 1) / kLossPoints;
    if (c->train.steps > 0 && c->train.steps < r->total_steps) r->total_steps = c->train.steps;
}

/* Data, device and trainer. Alone the first batch is decoded while the trainer is made. */
static sg_status make_all(sg_run *r) {
    const sg_resume *before = r->before.path ? &r->before : NULL;

    SG_TRY(sg_run_choose_device(r->config, before ? &before->file : NULL, &r->compute));
    r->task->device = sg_compute_backend(&r->compute)->device;
    SG_TRY(sg_run_prepare_task(r->task, r->config, before));
    if (!in_group(r)) SG_TRY(r->task->start(r->task, r->before.file.samples, NULL));
    SG_TRY(sg_run_make_trainer(r->config, r->task, &r->compute, before != NULL, &r->trainer));
    r->state = sg_trainer_state(r->trainer);
    sg_trainer_stop_when(r->trainer, sg_run_must_give_up, r);
    SG_TRY(begin_state(r));
    return sg_trainer_store(r->trainer);
}

sg_status sg_run_forget(const sg_config *c) {
    sg_store *store = NULL;
    sg_status st;

    SG_TRY(sg_run_check_fresh(c)); /* before anything is forgotten */
    SG_TRY(sg_store_open(c->checkpoint.store, &store));
    st = store ? sg_store_forget(store) : SG_OK;
    sg_store_close(store);
    return st == SG_OK ? sg_checkpoints_forget(c->run.dir) : st;
}

sg_status sg_run_begin(sg_run *r, bool fresh) {
    SG_TRY(open_folder(r, fresh));
    SG_TRY(start_notices(r));
    SG_TRY(sg_task_create(r->config, &r->task));
    if (fresh) SG_TRY(sg_run_forget(r->config));
    if (fresh && in_group(r)) SG_TRY(sg_checkpoints_share(r->config->run.dir, r->lock));
    SG_TRY(look_back(r, fresh));
    SG_TRY(make_all(r));
    plan_steps(r);
    r->resumed_from = r->before.path;
    SG_TRY(in_group(r) ? sg_run_join(r, fresh) : sg_run_become_writer(r));
    r->first_step = r->state->step;
    r->begun = true;
    return SG_OK;
}

void sg_run_end(sg_run *r) {
    sg_notices_stop(r->notices);
    sg_saver_destroy(r->saver);
    sg_group_destroy(r->group);
    sg_free(r->about);
    sg_free(r->ended);
    sg_store_close(r->store);
    sg_trainer_destroy(r->trainer);
    sg_task_destroy(r->task);
    sg_compute_close(&r->compute);
    sg_history_clear(&r->history);
    sg_resume_clear(&r->before);
    sg_free(r->metrics);
    sg_free(r->plots);
    sg_free(r->config_text);
    if (r->lock >= 0) close(r->lock);
}
