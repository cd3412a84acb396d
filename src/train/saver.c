#include "train/saver.h"

#include <string.h>

#include "checkpoint/folder.h"
#include "checkpoint/uploader.h"
#include "checkpoint/writer.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/threads.h"
#include "spotgrad.h"
#include "train/cadence.h"

/* Seconds that an end waits for the store: of a run that is done, of one that is interrupted
 * (docker stop kills after ten). */
static const double kPatience = 600.0, kHurry = 8.0;

struct sg_saver {
    const sg_config *config;
    sg_trainer *trainer; /* borrowed, may be NULL */
    const sg_state *state;
    const sg_history *history;
    int64_t n_train;
    sg_model_about about;
    sg_compute compute;
    char numeric_class[SG_PLUGIN_CLASS_BYTES];
    char *plans; /* when it began; owned */
    sg_writer *writer;
    sg_uploader *uploader; /* NULL: no store */
    sg_notices *notices;
    sg_stop_fn stop; /* may be NULL */
    void *stop_context;
    sg_cadence cadence;
    int64_t began; /* step of the file that it goes on from; -1 */
    char *best;    /* RUN/best.h5; owned */
};

static sg_retention retention(const sg_saver *s) {
    sg_retention keep = {.last = s->config->checkpoint.keep_last,
                         .every = s->config->checkpoint.keep_every};

    while (keep.n_best < s->history->n_top && keep.n_best < s->config->checkpoint.keep_best) {
        keep.best[keep.n_best] = s->history->top_step[keep.n_best];
        keep.n_best++;
    }
    return keep;
}

/* --- the best --------------------------------------------------------------------------------- */

static bool is_of_run(const sg_saver *s, const char *path, int64_t step) {
    sg_model_file file = {0};
    bool is = sg_model_file_read(path, &file) == SG_OK && file.step == step &&
              strcmp(file.run_id, s->about.run_id) == 0;

    sg_model_file_clear(&file);
    return is;
}

/* Whether best.h5 is what the history says. A writer that was killed may have left it behind. */
static bool has_best(const sg_saver *s) {
    int64_t step = sg_history_best_step(s->history);
    char *path = NULL;
    bool has = is_of_run(s, s->best, step);

    if (!has) path = sg_checkpoint_path(s->config->run.dir, step);
    if (path && is_of_run(s, path, step)) has = sg_checkpoint_link(path, s->best) == SG_OK;
    sg_free(path);
    return has;
}

/* One that was written by another worker, on another machine, and is not in the store. */
static void tell_of_best(const sg_saver *s) {
    int64_t step = sg_history_best_step(s->history);

    if (step >= 0 && !has_best(s))
        sg_log(SG_LOG_WARN,
               "%s is not that of step %lld, the best evaluation: the worker that wrote it has it; "
               "with checkpoint.store all have",
               s->best, (long long)step);
}

/* --- start and end ---------------------------------------------------------------------------- */

static void send(void *context, const char *path, int64_t step, bool best) {
    const sg_saver *s = context;

    sg_uploader_offer(s->uploader, path, step);
    if (best) sg_uploader_offer_best(s->uploader, path, step);
}

/* What a killed process had not sent is sent now. */
static void send_what_is_here(const sg_saver *s, const sg_saver_options *o, bool best) {
    if (o->resumed_from && o->resumed_step == s->state->step)
        sg_uploader_offer(s->uploader, o->resumed_from, o->resumed_step);
    if (best) sg_uploader_offer_best(s->uploader, s->best, sg_history_best_step(s->history));
}

static sg_status start_uploader(sg_saver *s, const sg_saver_options *o) {
    sg_uploader_options options = sg_uploader_defaults();
    bool evaluated = sg_history_best_step(s->history) >= 0, best = evaluated && has_best(s);
    sg_status st;

    if (!o->store) return SG_OK;
    options.keep = (int)s->config->checkpoint.keep_last;
    if (evaluated && !best) options.best = s->best;
    options.run_id = s->about.run_id;
    options.best_step = sg_history_best_step(s->history);
    st = sg_uploader_create(o->store, &options, &s->uploader);
    if (st != SG_OK) sg_store_close(o->store);
    if (st == SG_OK) send_what_is_here(s, o, best);
    return st;
}

static sg_status start_writer(sg_saver *s) {
    sg_writer_options options = {.run_dir = s->config->run.dir,
                                 .about = &s->about,
                                 .state = s->state,
                                 .keep = retention(s),
                                 .durable = send,
                                 .context = s};

    return sg_writer_create(&options, &s->writer);
}

/* A run that is killed again and again between a checkpoint's name and what retention deletes would
 * fill the disk. */
static void tidy(const sg_saver *s) {
    sg_retention keep = retention(s);

    sg_checkpoints_retain(s->config->run.dir, &keep);
}

static sg_cadence cadence_of(const sg_config *c) {
    sg_cadence cadence = {.every_steps = c->checkpoint.every_steps,
                          .every_seconds = c->checkpoint.every_seconds,
                          .last = sg_now()};

    cadence.automatic = sg_choice_is(c->checkpoint.interval, "auto") && !cadence.every_steps &&
                        !(cadence.every_seconds > 0.0);
    return cadence;
}

/* Which kernels were chosen: on CPUs none ever are, and there is no text. */
static sg_status note_plans(sg_saver *s) {
    if (!s->compute.plugin) return SG_OK;
    SG_TRY(sg_compute_plans(&s->compute, &s->plans));
    s->about.plans = s->plans;
    return SG_OK;
}

sg_status sg_saver_create(const sg_saver_options *o, sg_saver **out) {
    sg_saver *s = sg_calloc(1, sizeof *s);
    sg_status st;

    if (!s) {
        sg_store_close(o->store);
        return sg_fail(SG_ERR_OOM, "%s: no memory for checkpoints", o->config->run.dir);
    }
    s->config = o->config;
    s->trainer = o->trainer;
    s->state = o->state;
    s->history = o->history;
    s->n_train = o->task->n_train;
    s->notices = o->notices;
    s->stop = o->stop;
    s->stop_context = o->stop_context;
    if (o->compute) s->compute = *o->compute;
    sg_compute_class(&s->compute, s->numeric_class, sizeof s->numeric_class);
    s->about = (sg_model_about){.run_id = o->run_id,
                                .version = SPOTGRAD_VERSION,
                                .numeric_class = s->numeric_class,
                                .data_fingerprint = o->task->fingerprint,
                                .tokenizer = o->task->tokenizer,
                                .config = o->config_text,
                                .classes = o->task->classes,
                                .n_classes = o->task->n_classes};
    s->began = o->resumed_from ? o->resumed_step : -1;
    s->cadence = cadence_of(o->config);
    if (o->resumed_from) tidy(s);
    s->best = sg_path_join(o->config->run.dir, SG_CHECKPOINT_BEST);
    if (s->best) {
        st = start_uploader(s, o);
    } else {
        sg_store_close(o->store);
        st = sg_fail(SG_ERR_OOM, "%s: no memory for checkpoints", o->config->run.dir);
    }
    if (st == SG_OK) st = note_plans(s);
    if (st == SG_OK) st = start_writer(s);
    if (st != SG_OK) {
        sg_saver_destroy(s);
        return st;
    }
    *out = s;
    return SG_OK;
}

void sg_saver_destroy(sg_saver *s) {
    if (!s) return;
    sg_writer_destroy(s->writer);
    sg_uploader_destroy(s->uploader);
    sg_free(s->plans);
    sg_free(s->best);
    sg_free(s);
}

/* --- saving ----------------------------------------------------------------------------------- */

/* Hand the state to the writer; `must`: it will be durable, whatever comes after. */
static sg_status offer(sg_saver *s, bool must, bool best) {
    sg_retention keep = retention(s);
    sg_offer o = {
        .epoch = s->state->samples / s->n_train, .keep = &keep, .must = must, .best = best};
    char *history = NULL, *plans = NULL;
    sg_status st;

    if (s->trainer) SG_TRY(sg_trainer_fetch(s->trainer));
    if (s->compute.plugin) SG_TRY(sg_compute_plans(&s->compute, &plans));
    st = sg_history_write(s->history, &history);
    o.history = history;
    o.plans = plans;
    if (st == SG_OK) st = sg_writer_offer(s->writer, &o);
    sg_free(history);
    sg_free(plans);
    if (st == SG_OK) s->cadence.last = sg_now();
    return st;
}

static void choose_interval(sg_saver *s) {
    sg_writer_stats stats = sg_writer_report(s->writer);
    const sg_cadence *c = &s->cadence;
    double cost = stats.cost_seconds;

    s->cadence.mtbf = s->config->spot.mtbf > 0.0 ? s->config->spot.mtbf
                                                 : sg_spot_mtbf(sg_notices_provider(s->notices));
    if (!c->automatic || stats.written == 0 || !sg_cadence_measured(&s->cadence, cost)) return;
    sg_log(SG_LOG_INFO,
           "a checkpoint every %.1f s: one costs %.1f ms, an interruption is expected every %.0f s "
           "(spot.mtbf); both together lose %.2f %% of the time",
           c->interval, 1e3 * cost, c->mtbf, 100.0 * sg_cadence_waste(cost, c->mtbf, c->interval));
}

bool sg_saver_due(sg_saver *s, int64_t step, bool hurry) {
    if (hurry || sg_notices_state(s->notices) == SG_NOTICE_REBALANCE) s->cadence.every_step = true;
    choose_interval(s);
    return sg_cadence_due(&s->cadence, step, sg_now());
}

/* With sync all that is finished is durable. With every_steps = 1 all but two steps are, though
 * writing may take longer than steps do: a step begins once the checkpoint of the last is being
 * written, that of the one before is then durable. Else training waits for nothing. */
sg_status sg_saver_save(sg_saver *s) {
    bool sync = s->config->checkpoint.sync, bounded = s->config->checkpoint.every_steps > 0;

    /* not even behind an evaluation's, which waits to be written, is it left out then */
    SG_TRY(offer(s, sync || bounded, false));
    if (bounded) sg_writer_keep_up(s->writer);
    /* what fails is told by the writer, and training goes on */
    if (sync && sg_writer_flush(s->writer) != SG_OK) return SG_OK;
    return SG_OK;
}

sg_status sg_saver_evaluated(sg_saver *s, bool best, bool *kept) {
    if (best) sg_uploader_fetch_none(s->uploader);
    SG_TRY(offer(s, true, best));
    *kept = false;
    if (best || s->config->checkpoint.sync) *kept = sg_writer_flush(s->writer) == SG_OK && best;
    return SG_OK;
}

bool sg_saver_is_durable(sg_saver *s) {
    sg_writer_stats stats = sg_writer_report(s->writer);

    if (stats.taken == 0) return s->began == s->state->step;
    return stats.durable_step == s->state->step;
}

static bool wait_for_store(sg_saver *s, bool interrupted) {
    if (interrupted) return sg_uploader_wait(s->uploader, kHurry);
    return sg_uploader_wait_unless(s->uploader, kPatience, s->stop, s->stop_context);
}

sg_status sg_saver_finish(sg_saver *s, bool interrupted) {
    bool written = sg_writer_report(s->writer).taken == 0 || sg_writer_flush(s->writer) == SG_OK;

    /* behind an evaluation's that waited, the newest one may have been left out */
    if (!written || !sg_saver_is_durable(s)) {
        SG_TRY(offer(s, true, false));
        SG_TRY(sg_writer_flush(s->writer));
    }
    if (interrupted) sg_uploader_fetch_none(s->uploader);
    if (s->uploader && !wait_for_store(s, interrupted)) {
        if (!interrupted && s->stop && s->stop(s->stop_context))
            return sg_fail(SG_ERR_INTERRUPTED, "interrupted while the store is waited for");
        sg_log(SG_LOG_WARN,
               "%s: does not have step %lld yet, which is in %s; the same command sends it",
               s->config->checkpoint.store, (long long)s->state->step, s->config->run.dir);
    }
    sg_notices_acknowledge(s->notices);
    if (!interrupted) tell_of_best(s);
    return SG_OK;
}

int64_t sg_saver_abandon(sg_saver *s) {
    if (sg_writer_report(s->writer).taken > 0 && sg_writer_flush(s->writer) != SG_OK)
        sg_log(SG_LOG_WARN, "%s", sg_last_error());
    if (s->uploader) (void)sg_uploader_wait(s->uploader, kHurry);
    return sg_writer_report(s->writer).durable_step;
}
