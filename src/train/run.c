#define _GNU_SOURCE
#include "train/run.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "checkpoint/folder.h"
#include "checkpoint/model_file.h"
#include "checkpoint/state_hash.h"
#include "checkpoint/writer.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "cpu/cpu.h"
#include "cpu/peak.h"
#include "nn/schedule.h"
#include "report/profile.h"
#include "spotgrad.h"
#include "train/cadence.h"
#include "train/history.h"
#include "train/run_plots.h"

enum { kRunIdBytes = 17, kErrorBytes = 1024, kLossPoints = 400, kClassBytes = 128 };

/* A step that is not done so long after a wish to stop is given up. */
static const double kPatience = 0.4;
static const double kMtbf = 7200.0; /* seconds between interruptions */

typedef struct {
    const sg_config *config;
    const sg_run_observer *observer;
    sg_task *task;
    sg_trainer *trainer;
    sg_state *state; /* the trainer's */
    sg_schedule schedule;
    int64_t total_steps; /* of the schedule's horizon */
    sg_history history;
    char run_id[kRunIdBytes], numeric_class[kClassBytes];
    char *metrics, *plots, *config_text; /* paths; owned */
    char *resumed_from;                  /* owned, or NULL */
    sg_model_file before;                /* what it says */
    bool again;                          /* it was damaged and set aside: begin again */
    sg_model_about about;                /* what every checkpoint says */
    sg_writer *writer;
    sg_cadence cadence;
    int64_t offered;      /* step of the newest offer; -1 */
    _Atomic double asked; /* clock of the first sight of a wish to stop; 0 */
    int lock;
    int64_t first_step;
    int64_t point_every; /* steps from one point of the loss's curve to the next */
    sg_run_step at;
} run;

/* --- the folder ------------------------------------------------------------------------------- */

static sg_status take_lock(run *r) {
    char *path = sg_path_join(r->config->run.dir, "lock");
    sg_status st = SG_OK;

    if (!path) return sg_fail(SG_ERR_OOM, "%s: no memory", r->config->run.dir);
    r->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (r->lock < 0)
        st = sg_fail(SG_ERR_IO, "%s: cannot create: %s", path, strerror(errno));
    else if (flock(r->lock, LOCK_EX | LOCK_NB) != 0)
        st = sg_fail(SG_ERR_UNAVAILABLE,
                     "%s: another process trains in this folder; choose another run.dir",
                     r->config->run.dir);
    sg_free(path);
    return st;
}

static sg_status open_folder(run *r) {
    const char *dir = r->config->run.dir;

    SG_TRY(sg_make_dirs(dir));
    SG_TRY(take_lock(r));
    sg_checkpoints_sweep(dir);
    r->metrics = sg_path_join(dir, "metrics.jsonl");
    r->plots = sg_path_join(dir, "plots");
    if (!r->metrics || !r->plots) return sg_fail(SG_ERR_OOM, "%s: no memory", dir);
    return sg_config_write(r->config, &r->config_text);
}

static sg_status write_config(const run *r) {
    char *path = sg_path_join(r->config->run.dir, "config.ini");
    sg_status st;

    if (!path) return sg_fail(SG_ERR_OOM, "%s: no memory", r->config->run.dir);
    st = sg_file_write(path, r->config_text, strlen(r->config_text));
    sg_free(path);
    return st;
}

/* A new name for a run that starts; one that goes on takes its own from the file. */
static sg_status name_run(run *r) {
    uint64_t number;

    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
        return sg_fail(SG_ERR_UNAVAILABLE, "no random numbers for a run id: %s", strerror(errno));
    snprintf(r->run_id, sizeof r->run_id, "%016llx", (unsigned long long)number);
    return SG_OK;
}

/* Complete epochs when `samples` have been consumed. */
static int64_t epochs_at(const run *r, int64_t samples) { return samples / r->task->n_train; }

/* --- checkpoints ------------------------------------------------------------------------------ */

static sg_retention retention(const run *r) {
    sg_retention keep = {.last = r->config->checkpoint.keep_last,
                         .every = r->config->checkpoint.keep_every};

    while (keep.n_best < r->history.n_top && keep.n_best < r->config->checkpoint.keep_best) {
        keep.best[keep.n_best] = r->history.top_step[keep.n_best];
        keep.n_best++;
    }
    return keep;
}

/* Hand the state to the writer; `must`: it will be durable, whatever comes after. */
static sg_status offer(run *r, bool must, bool best) {
    sg_retention keep = retention(r);
    sg_offer o = {
        .epoch = epochs_at(r, r->state->samples), .keep = &keep, .must = must, .best = best};
    char *history = NULL;
    sg_status st;

    SG_TRY(sg_history_write(&r->history, &history));
    o.history = history;
    st = sg_writer_offer(r->writer, &o);
    sg_free(history);
    r->offered = r->state->step;
    r->cadence.last = sg_now();
    return st;
}

/* The state is on disk, or the reason why not. */
static sg_status save(run *r) {
    if (r->offered != r->state->step || sg_writer_report(r->writer).durable_step != r->offered)
        SG_TRY(offer(r, true, false));
    return sg_writer_flush(r->writer);
}

/* What training loses by one: the copy that it waits for, and the processor that the rest takes
 * from it. */
static void choose_interval(run *r) {
    sg_writer_stats stats = sg_writer_report(r->writer);
    const sg_cadence *c = &r->cadence;
    double cost = stats.cost_seconds;

    if (!c->automatic || stats.written == 0 || !sg_cadence_measured(&r->cadence, cost)) return;
    sg_log(SG_LOG_INFO,
           "a checkpoint every %.1f s: one costs %.1f ms, an interruption is expected every %.0f "
           "minutes (spot.mtbf); both together lose %.2f %% of the time",
           c->interval, 1e3 * cost, c->mtbf / 60.0,
           100.0 * sg_cadence_waste(cost, c->mtbf, c->interval));
}

static sg_status checkpoint(run *r) {
    const sg_run_observer *o = r->observer;

    if (o->hurry && o->hurry(o->context)) r->cadence.every_step = true;
    choose_interval(r);
    if (!sg_cadence_due(&r->cadence, r->state->step, sg_now())) return SG_OK;
    SG_TRY(offer(r, false, false));
    /* what fails is told by the writer, and training goes on */
    if (r->config->checkpoint.sync && sg_writer_flush(r->writer) != SG_OK) return SG_OK;
    return SG_OK;
}

static sg_status start_writer(run *r) {
    const sg_config *c = r->config;
    sg_writer_options options = {
        .run_dir = c->run.dir, .about = &r->about, .state = r->state, .keep = retention(r)};

    sg_cpu_class(r->numeric_class, sizeof r->numeric_class);
    r->about = (sg_model_about){.run_id = r->run_id,
                                .version = SPOTGRAD_VERSION,
                                .numeric_class = r->numeric_class,
                                .data_fingerprint = r->task->fingerprint,
                                .config = r->config_text,
                                .classes = r->task->classes,
                                .n_classes = r->task->n_classes};
    r->offered = r->resumed_from ? r->state->step : -1;
    r->cadence = (sg_cadence){.every_steps = c->checkpoint.every_steps,
                              .every_seconds = c->checkpoint.every_seconds,
                              .mtbf = kMtbf,
                              .last = sg_now()};
    r->cadence.automatic = sg_choice_is(c->checkpoint.interval, "auto") &&
                           !c->checkpoint.every_steps && !(c->checkpoint.every_seconds > 0.0);
    return sg_writer_create(&options, &r->writer);
}

/* --- going on --------------------------------------------------------------------------------- */

static sg_status check_same_class(const run *r, const sg_model_file *file) {
    char here[128];

    sg_cpu_class(here, sizeof here);
    if (strcmp(file->numeric_class, here) == 0) return SG_OK;
    if (r->config->run.exact)
        return sg_fail(SG_ERR_UNAVAILABLE,
                       "%s: was computed on \"%s\", here is \"%s\": the same bits cannot be "
                       "promised; run.exact=false goes on all the same",
                       r->resumed_from, file->numeric_class, here);
    sg_log(SG_LOG_WARN, "%s: goes on from \"%s\" on \"%s\": not to the same bits", r->resumed_from,
           file->numeric_class, here);
    return SG_OK;
}

static sg_status check_same_run(const run *r) {
    const sg_model_file *file = &r->before;
    sg_config before;
    char *names = NULL;

    if (strcmp(file->data_fingerprint, r->task->fingerprint) != 0)
        return sg_fail(SG_ERR_CONFIG,
                       "%s: was trained on other data than %s now holds; "
                       "--fresh starts over",
                       r->resumed_from, r->config->data.root);
    SG_TRY(sg_config_parse(r->resumed_from, file->config, strlen(file->config), NULL, 0, &before));
    SG_TRY(sg_config_diff(&before, r->config, &names));
    if (!names) return SG_OK;
    sg_fail(SG_ERR_CONFIG,
            "%s: the run began with other values of %s; --fresh starts over, "
            "another run.dir keeps both",
            r->resumed_from, names);
    sg_free(names);
    return SG_ERR_CONFIG;
}

/* A damaged file must neither be gone on from nor count as one that is kept. The last error says
 * what is wrong with it. */
static sg_status set_aside(const char *path) {
    char *name = sg_str_printf("%s.damaged", path);
    sg_status st = SG_OK;

    if (!name) return sg_fail(SG_ERR_OOM, "%s: no memory for its name", path);
    if (rename(path, name) == 0)
        sg_log(SG_LOG_WARN, "%s; kept as %s", sg_last_error(), name);
    else
        st = sg_fail(SG_ERR_IO, "%s; cannot be renamed to %s: %s", sg_last_error(), name,
                     strerror(errno));
    sg_free(name);
    return st;
}

/* A run of which nothing whole is left does not start over by itself. */
static sg_status refuse_if_damaged(const char *dir) {
    sg_checkpoint_list list;
    int n;

    SG_TRY(sg_checkpoints_damaged(dir, &list));
    n = list.n;
    sg_checkpoint_list_clear(&list);
    if (n == 0) return SG_OK;
    return sg_fail(SG_ERR_DATA, "%s: none of its %d checkpoints is whole; --fresh starts over", dir,
                   n);
}

/* The newest checkpoint that can be read, its tensors apart; r->resumed_from stays NULL where there
 * is none at all. */
static sg_status find_newest(run *r) {
    sg_checkpoint_list list;
    sg_status st = SG_OK;

    SG_TRY(sg_checkpoints_find(r->config->run.dir, &list));
    for (int i = 0; i < list.n && st == SG_OK && !r->resumed_from; i++) {
        st = sg_model_file_read(list.item[i].path, &r->before);
        if (st == SG_OK) {
            r->resumed_from = sg_strdup(list.item[i].path);
            if (!r->resumed_from) st = sg_fail(SG_ERR_OOM, "%s: no memory", r->config->run.dir);
        } else if (st != SG_ERR_OOM) {
            st = set_aside(list.item[i].path);
        }
    }
    sg_checkpoint_list_clear(&list);
    if (st == SG_OK && !r->resumed_from) st = refuse_if_damaged(r->config->run.dir);
    return st;
}

/* Before the trainer: what the run in the folder says of itself, if there is one. */
static sg_status look_back(run *r) {
    SG_TRY(find_newest(r));
    if (!r->resumed_from) return name_run(r);
    SG_TRY(check_same_run(r));
    snprintf(r->run_id, sizeof r->run_id, "%s", r->before.run_id);
    return sg_history_set(&r->history, r->before.history);
}

/* Start from the averaged weights of another run: those of its tensors that fit by name and shape.
 */
static sg_status start_from_file(run *r, const char *path) {
    int fitting;

    SG_TRY(sg_model_file_load_fitting(path, r->state, &fitting));
    sg_log(SG_LOG_INFO, "model.init: took %d of %d tensors from %s", fitting,
           r->state->table->n_entries, path);
    return SG_OK;
}

/* A file whose tensors prove damaged is set aside: the run is then begun again with an older one.
 */
static sg_status begin_state(run *r) {
    sg_status st;

    if (r->resumed_from) {
        SG_TRY(check_same_class(r, &r->before));
        st = sg_model_file_load(r->resumed_from, r->state);
        if (st != SG_ERR_DATA && st != SG_ERR_IO) return st;
        SG_TRY(set_aside(r->resumed_from));
        r->again = true;
        return sg_fail(st, "%s: is damaged", r->resumed_from);
    }
    if (r->config->model.init[0]) return start_from_file(r, r->config->model.init);
    return SG_OK;
}

/* --- evaluation ------------------------------------------------------------------------------- */

static bool finished(const run *r) {
    const sg_config *c = r->config;

    if (r->state->samples >= c->train.epochs * r->task->n_train) return true;
    if (c->train.steps > 0 && r->state->step >= c->train.steps) return true;
    return c->train.patience > 0 && sg_history_since_best(&r->history) >= c->train.patience;
}

/* At the first step past the border of an epoch, and at the end. */
static bool evaluation_due(const run *r) {
    int64_t now = epochs_at(r, r->state->samples);
    int64_t before = epochs_at(r, r->state->samples - r->config->train.batch);

    if (r->state->step == 0 || now == before) return false;
    if (now >= r->config->train.epochs) return true;
    return now / r->config->train.eval_every > before / r->config->train.eval_every;
}

/* The learning rate of the last step. */
static double last_lr(const run *r) { return sg_schedule_lr(&r->schedule, r->state->step - 1); }

static sg_status record(run *r, const sg_evaluation *evaluation) {
    SG_TRY(sg_history_add_evaluation(&r->history, r->state->table, r->state->step,
                                     epochs_at(r, r->state->samples), last_lr(r), evaluation->score,
                                     evaluation->json));
    return sg_file_write(r->metrics, r->history.text, r->history.text_size);
}

/* Pictures are a service: without them the run goes on. Those of an evaluation are drawn before the
 * state that knows it is saved, so that a run killed on the way draws them when it comes back. */
static void draw_plots(const run *r, bool best) {
    sg_status st;

    if (!r->config->run.plots) return;
    st = sg_make_dirs(r->plots);
    if (st == SG_OK) st = sg_run_plots(&r->history, r->state->table, r->plots);
    if (st == SG_OK && best && r->task->report) st = r->task->report(r->task, r->plots);
    if (st != SG_OK) sg_log(SG_LOG_WARN, "%s; run.plots=false does without plots", sg_last_error());
}

static sg_status evaluate(run *r) {
    const sg_run_observer *o = r->observer;
    sg_evaluation evaluation;
    sg_status st;
    bool best;

    SG_TRY(r->task->evaluate(r->task, r->trainer, r->state->ema, o->stop, o->context, &evaluation));
    st = record(r, &evaluation);
    best = st == SG_OK && sg_history_since_best(&r->history) == 0;
    if (st == SG_OK) draw_plots(r, best);
    if (st == SG_OK) st = offer(r, true, best);
    /* what fails is told by the writer, and training goes on */
    if (st == SG_OK && best && sg_writer_flush(r->writer) != SG_OK) best = false;
    if (st == SG_OK && o->evaluated) o->evaluated(o->context, &r->at, &evaluation, best);
    sg_evaluation_clear(&evaluation);
    return st;
}

/* --- the loop --------------------------------------------------------------------------------- */

static void fill_at(run *r) {
    r->at.step = r->state->step;
    r->at.total_steps = r->total_steps;
    r->at.epoch = epochs_at(r, r->state->samples);
    r->at.epochs = r->config->train.epochs;
    r->at.images = (r->state->step - r->first_step) * r->config->train.batch;
    r->at.wait_seconds = r->task->wait_seconds(r->task);
}

static sg_status step(run *r) {
    const void *inputs[SG_MAX_INPUTS] = {NULL};

    SG_TRY(r->task->next(r->task, inputs));
    r->at.lr = sg_schedule_lr(&r->schedule, r->state->step);
    SG_TRY(sg_trainer_step(r->trainer, inputs, r->at.lr, &r->at.report));
    sg_history_step(&r->history, r->at.report.sum);
    if (r->state->step % r->point_every == 0)
        SG_TRY(sg_history_add_point(&r->history, r->state->table, r->state->step, r->at.lr));
    fill_at(r);
    if (r->observer->stepped) r->observer->stepped(r->observer->context, &r->at);
    return checkpoint(r);
}

static bool asked_to_stop(const run *r) {
    return r->observer->stop && r->observer->stop(r->observer->context);
}

/* In any thread, between the nodes of a step. */
static bool must_give_up(void *context) {
    run *r = context;
    double none = 0.0, now;

    if (!asked_to_stop(r)) return false;
    now = sg_now();
    atomic_compare_exchange_strong(&r->asked, &none, now);
    return now - atomic_load(&r->asked) > kPatience;
}

/* A picture that turned bad must not cost what was computed before it: the last finished step is
 * saved, if it can be written, and the failure stays what it was. */
static sg_status save_and_fail(run *r, sg_status st) {
    char text[kErrorBytes];

    snprintf(text, sizeof text, "%s", sg_last_error());
    if (save(r) == SG_OK)
        sg_log(SG_LOG_INFO, "saved step %lld before the end", (long long)r->state->step);
    return sg_fail(st, "%s", text);
}

static sg_status finish(run *r) {
    SG_TRY(save(r));
    if (sg_history_last_step(&r->history) != r->state->step) draw_plots(r, false);
    return SG_OK;
}

static sg_status loop(run *r) {
    for (;;) {
        sg_status st = SG_OK;

        if (evaluation_due(r) && sg_history_last_step(&r->history) != r->state->step)
            st = evaluate(r);
        if (st == SG_OK && finished(r)) return finish(r);
        if (st == SG_OK && !asked_to_stop(r)) st = step(r);
        if (st == SG_OK && !asked_to_stop(r)) continue;
        if (st != SG_OK && st != SG_ERR_INTERRUPTED) return save_and_fail(r, st);
        SG_TRY(save(r));
        return sg_fail(SG_ERR_INTERRUPTED, "interrupted after step %lld",
                       (long long)r->state->step);
    }
}

/* --- start and end ---------------------------------------------------------------------------- */

static sg_schedule make_schedule(const sg_config *c, int64_t n_train, int64_t total_steps) {
    sg_schedule s = {SG_SCHEDULE_CONSTANT, c->train.lr, c->train.lr_final, 0, (double)total_steps};

    if (sg_choice_is(c->train.schedule, "cosine")) s.kind = SG_SCHEDULE_COSINE;
    if (sg_choice_is(c->train.schedule, "step")) s.kind = SG_SCHEDULE_STEP;
    s.warmup_steps = floor(c->train.warmup * (double)n_train / (double)c->train.batch);
    return s;
}

static sg_status make_trainer(const sg_config *c, const sg_task *task, bool loaded,
                              sg_trainer **out) {
    sg_trainer_options o = sg_trainer_defaults();

    o.blank = loaded;
    o.build = task->build;
    o.context = task->build_context;
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
    return sg_trainer_create(&o, out);
}

/* The first batch is decoded while the trainer is made. */
static sg_status start(run *r, bool fresh) {
    int64_t batch = r->config->train.batch;

    SG_TRY(open_folder(r));
    SG_TRY(sg_task_create(r->config, &r->task));
    /* so that not even a run that dies at once can go on from what was there before */
    if (fresh) SG_TRY(sg_checkpoints_forget(r->config->run.dir));
    SG_TRY(look_back(r));
    SG_TRY(r->task->start(r->task, r->before.samples));
    SG_TRY(make_trainer(r->config, r->task, r->resumed_from != NULL, &r->trainer));
    r->state = sg_trainer_state(r->trainer);
    sg_trainer_stop_when(r->trainer, must_give_up, r);
    SG_TRY(begin_state(r));
    SG_TRY(start_writer(r));
    SG_TRY(write_config(r));
    r->total_steps = (r->config->train.epochs * r->task->n_train + batch - 1) / batch;
    r->schedule = make_schedule(r->config, r->task->n_train, r->total_steps);
    r->point_every = (r->total_steps + kLossPoints - 1) / kLossPoints;
    if (r->config->train.steps > 0 && r->config->train.steps < r->total_steps)
        r->total_steps = r->config->train.steps;
    r->first_step = r->state->step;
    fill_at(r);
    return sg_file_write(r->metrics, r->history.text ? r->history.text : "", r->history.text_size);
}

static void tell_start(const run *r) {
    sg_run_start s = {r->config,      r->task,           r->trainer,     r->total_steps,
                      r->state->step, r->state->samples, r->resumed_from};

    if (r->observer->started) r->observer->started(r->observer->context, &s);
}

static sg_status fill_result(const run *r, sg_run_result *result) {
    result->steps = r->state->step;
    result->epochs = epochs_at(r, r->state->samples);
    result->best = sg_history_best(&r->history);
    result->stopped_early = r->state->samples < r->config->train.epochs * r->task->n_train;
    return sg_state_sha256(r->state, result->sha256);
}

static void end(run *r) {
    sg_writer_destroy(r->writer);
    sg_trainer_destroy(r->trainer);
    sg_task_destroy(r->task);
    sg_history_clear(&r->history);
    sg_model_file_clear(&r->before);
    sg_free(r->metrics);
    sg_free(r->plots);
    sg_free(r->config_text);
    sg_free(r->resumed_from);
    if (r->lock >= 0) close(r->lock);
}

/* One attempt; *again: with an older checkpoint. */
static sg_status train(const sg_config *config, bool fresh, const sg_run_observer *observer,
                       sg_run_result *result, bool *again) {
    run r;
    sg_status st, told;

    memset(&r, 0, sizeof r);
    r.config = config;
    r.observer = observer;
    r.lock = -1;
    st = start(&r, fresh);
    *again = r.again;
    if (st == SG_OK) {
        tell_start(&r);
        st = loop(&r);
    }
    if (r.state && (st == SG_OK || st == SG_ERR_INTERRUPTED)) {
        told = fill_result(&r, result);
        if (st == SG_OK) st = told;
    }
    end(&r);
    return st;
}

sg_status sg_run_train(const sg_config *config, bool fresh, const sg_run_observer *observer,
                       sg_run_result *result) {
    sg_status st;
    bool again;

    do {
        st = train(config, fresh, observer, result, &again);
        fresh = false;
    } while (again);
    return st;
}

/* --- profile ---------------------------------------------------------------------------------- */

static sg_status profile_steps(const sg_config *config, sg_task *task, sg_trainer *trainer,
                               int64_t steps, char **text) {
    const sg_program *program = sg_trainer_program(trainer);
    int n = sg_program_steps(program), threads = sg_trainer_threads(trainer);
    sg_profile profile = {
        .program = program, .steps = steps, .shards = config->train.shards, .threads = threads};
    sg_step_times times = {0};
    double *seconds = sg_calloc((size_t)n * (size_t)threads, sizeof *seconds);
    const void *inputs[SG_MAX_INPUTS] = {NULL};
    sg_step_report report;
    sg_status st = SG_OK;

    if (!seconds) return sg_fail(SG_ERR_OOM, "profile: no memory");
    st = sg_cpu_measure_peak(&profile.peak);
    for (int64_t i = 0; i <= steps && st == SG_OK; i++) {
        if (i == 1) { /* the first step warms caches up */
            sg_trainer_profile(trainer, seconds, &times);
            profile.wait = -task->wait_seconds(task);
            profile.whole = -sg_now();
        }
        st = task->next(task, inputs);
        if (st == SG_OK) st = sg_trainer_step(trainer, inputs, config->train.lr, &report);
    }
    profile.whole += sg_now();
    profile.wait += task->wait_seconds(task);
    for (int i = 0; i < n; i++)
        for (int t = 1; t < threads; t++) seconds[i] += seconds[t * n + i];
    profile.seconds = seconds;
    profile.prologue = times.prologue;
    profile.parallel = times.shards;
    profile.tree = times.tree;
    profile.update = times.update;
    if (st == SG_OK) st = sg_profile_table(&profile, text);
    sg_free(seconds);
    return st;
}

sg_status sg_run_profile(const sg_config *config, int64_t steps, char **text) {
    sg_trainer *trainer = NULL;
    sg_task *task = NULL;
    sg_status st = sg_task_create(config, &task);

    if (st == SG_OK) st = task->start(task, 0);
    if (st == SG_OK) st = make_trainer(config, task, false, &trainer);
    if (st == SG_OK) st = profile_steps(config, task, trainer, steps, text);
    sg_trainer_destroy(trainer);
    sg_task_destroy(task);
    return st;
}

sg_status sg_run_find_model(const char *run_or_file, char **path) {
    static const char *const names[] = {"best.h5", "last.h5"};

    for (int i = 0; i < 2 && sg_is_dir(run_or_file); i++) {
        char *candidate = sg_path_join(run_or_file, names[i]);

        if (!candidate) return sg_fail(SG_ERR_OOM, "%s: no memory", run_or_file);
        if (sg_file_exists(candidate)) {
            *path = candidate;
            return SG_OK;
        }
        sg_free(candidate);
    }
    if (sg_is_dir(run_or_file))
        return sg_fail(SG_ERR_MISSING, "%s: holds neither best.h5 nor last.h5", run_or_file);
    if (!sg_file_exists(run_or_file))
        return sg_fail(SG_ERR_MISSING, "%s: no such file or folder", run_or_file);
    *path = sg_strdup(run_or_file);
    return *path ? SG_OK : sg_fail(SG_ERR_OOM, "%s: no memory", run_or_file);
}
