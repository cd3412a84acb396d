#define _GNU_SOURCE
#include "checkpoint/writer.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "checkpoint/model_image.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/threads.h"

enum { kImages = 2, kErrorBytes = 1024, kHistoryRoom = 1 << 16, kPlansRoom = 1 << 15 };

/* OWED: the best one could not be written; it is tried again before the next. */
typedef enum { LAYING, FREE, FILLING, WAITING, WRITING, OWED } slot_use;

typedef struct {
    sg_model_image *image;
    slot_use use, before; /* before it was FILLING */
    int64_t step;
    bool best, must;
    double take_seconds;
} slot;

struct sg_writer {
    char *run_dir, *last, *best;
    const sg_model_about *about;
    const sg_state *state;
    void (*durable)(void *context, const char *path, int64_t step, bool best);
    void *context;
    pthread_t thread;
    bool started, stop;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    slot slot[kImages];
    sg_retention keep;
    sg_writer_stats stats;
    sg_status status; /* of the last one tried */
    char error[kErrorBytes];
};

/* --- the writer's thread ---------------------------------------------------------------------- */

static size_t room_for(const char *text, size_t least) {
    size_t length = text ? strlen(text) : 0, room = least;

    while (room < length + length / 4) room *= 2;
    return room;
}

/* Runs on CPUs have no plans, and no room for them. */
static sg_status make_image(sg_writer *w, slot *s, const sg_model_growing *texts) {
    sg_model_room room = {room_for(texts->history, kHistoryRoom),
                          texts->plans ? room_for(texts->plans, kPlansRoom) : 0};
    sg_model_image *image;

    SG_TRY(sg_model_image_create(w->run_dir, w->about, w->state, room, &image));
    sg_model_image_destroy(s->image);
    s->image = image;
    return SG_OK;
}

/* Another name, or where there are no hard links another copy. */
static sg_status name_it(const char *path, const char *name, const void *bytes, size_t size) {
    if (sg_checkpoint_link(path, name) == SG_OK) return SG_OK;
    return sg_file_write(name, bytes, size);
}

static sg_status write_slot(sg_writer *w, const slot *s, const char *path, bool newest) {
    size_t size;
    const void *bytes = sg_model_image_bytes(s->image, &size);

    SG_TRY(sg_file_write_pages(path, bytes, size));
    if (newest) SG_TRY(name_it(path, w->last, bytes, size));
    if (s->best) SG_TRY(name_it(path, w->best, bytes, size));
    return sg_sync_folder(w->run_dir);
}

static double thread_seconds(void) {
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Said once when writing begins to fail, and once when it works again. */
static void tell(sg_writer *w, sg_status now, int64_t step, const char *error) {
    long long newest = (long long)w->stats.durable_step;
    sg_status before = w->status;

    if (now != SG_OK && before == SG_OK && newest >= 0)
        sg_log(SG_LOG_WARN, "%s; training goes on, the newest checkpoint is of step %lld", error,
               newest);
    else if (now != SG_OK && before == SG_OK)
        sg_log(SG_LOG_WARN, "%s; training goes on, none was written since the start", error);
    else if (now == SG_OK && before != SG_OK)
        sg_log(SG_LOG_INFO, "checkpoints can be written again: step %lld", (long long)step);
    if (now == SG_OK)
        sg_log(SG_LOG_DEBUG, "checkpoint of step %lld: durable", (long long)step);
    else
        snprintf(w->error, sizeof w->error, "%s", error);
}

static slot *find(sg_writer *w, slot_use use) {
    for (int i = 0; i < kImages; i++)
        if (w->slot[i].use == use) return &w->slot[i];
    return NULL;
}

static void count_written(sg_writer *w, const slot *s, double cpu_seconds) {
    if (s->step > w->stats.durable_step) w->stats.durable_step = s->step;
    w->stats.cost_seconds = s->take_seconds + cpu_seconds;
    w->stats.written++;
}

/* After a failure: what was to be best.h5 is kept, in the place of an older one. */
static void keep_best(sg_writer *w, slot *s) {
    slot *older = find(w, OWED);

    if (older) older->use = FREE;
    s->use = OWED;
}

/* Called and left with the lock held; not while writing. */
static void work(sg_writer *w, slot *s) {
    char *path = sg_checkpoint_path(w->run_dir, s->step);
    double begin = sg_now(), sealed, end, cpu = thread_seconds();
    sg_retention keep = w->keep;
    bool again = s->use == OWED, newest = s->step >= w->stats.durable_step;
    sg_status st;

    s->use = WRITING;
    pthread_mutex_unlock(&w->lock);
    sg_model_image_seal(s->image);
    sealed = sg_now();
    st = path ? write_slot(w, s, path, newest) : sg_fail(SG_ERR_OOM, "%s: no memory", w->run_dir);
    end = sg_now();
    if (st == SG_OK && w->durable) w->durable(w->context, path, s->step, s->best);
    if (st == SG_OK) sg_checkpoints_retain(w->run_dir, &keep); /* a best one that was owed, too */
    sg_free(path);
    pthread_mutex_lock(&w->lock);
    cpu = thread_seconds() - cpu;
    w->stats.seal_seconds += sealed - begin;
    w->stats.write_seconds += end - sealed;
    w->stats.cpu_seconds += cpu;
    if (!again || st == SG_OK) { /* another failure of one that failed is no news */
        tell(w, st, s->step, sg_last_error());
        w->status = st;
    }
    if (st == SG_OK)
        count_written(w, s, cpu);
    else if (!again)
        w->stats.failed++;
    s->use = FREE;
    if (st != SG_OK && s->best) keep_best(w, s);
    pthread_cond_broadcast(&w->changed);
}

/* Laying out takes as long as many checkpoints do: it is done while the first step computes. */
static void lay_out(sg_writer *w) {
    const sg_model_growing texts = {NULL, w->about->plans};

    for (int i = 0; i < kImages; i++) {
        sg_status st = make_image(w, &w->slot[i], &texts);

        pthread_mutex_lock(&w->lock);
        if (st != SG_OK) sg_log(SG_LOG_WARN, "%s", sg_last_error());
        w->slot[i].use = FREE; /* without an image: the first offer makes it, or fails */
        pthread_cond_broadcast(&w->changed);
        pthread_mutex_unlock(&w->lock);
    }
}

static void *run(void *argument) {
    sg_writer *w = argument;

    lay_out(w);
    pthread_mutex_lock(&w->lock);
    for (;;) {
        slot *s = find(w, WAITING);

        if (s && find(w, OWED)) {
            work(w, find(w, OWED));
            s = find(w, WAITING); /* it may have been replaced meanwhile */
        }
        if (s)
            work(w, s);
        else if (w->stop)
            break;
        else
            pthread_cond_wait(&w->changed, &w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* --- the trainer's side ----------------------------------------------------------------------- */

static sg_status prepare(sg_writer *w, const sg_writer_options *o) {
    char *folder = sg_path_join(o->run_dir, SG_CHECKPOINT_FOLDER);
    sg_status st;

    w->run_dir = sg_strdup(o->run_dir);
    w->last = sg_path_join(o->run_dir, "last.h5");
    w->best = sg_path_join(o->run_dir, "best.h5");
    if (!folder || !w->run_dir || !w->last || !w->best)
        st = sg_fail(SG_ERR_OOM, "%s: no memory for its names", o->run_dir);
    else
        st = sg_make_dirs(folder);
    sg_free(folder);
    return st;
}

sg_status sg_writer_create(const sg_writer_options *o, sg_writer **out) {
    sg_writer *w = sg_calloc(1, sizeof *w);
    sg_status st;

    if (!w) return sg_fail(SG_ERR_OOM, "%s: no memory for a writer", o->run_dir);
    w->about = o->about;
    w->state = o->state;
    w->durable = o->durable;
    w->context = o->context;
    w->keep = o->keep;
    w->stats.durable_step = -1;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    st = prepare(w, o);
    w->started = st == SG_OK && pthread_create(&w->thread, NULL, run, w) == 0;
    if (st == SG_OK && !w->started) st = sg_fail(SG_ERR_OOM, "%s: no thread to write", o->run_dir);
    if (st != SG_OK) {
        sg_writer_destroy(w);
        return st;
    }
    *out = w;
    return SG_OK;
}

void sg_writer_destroy(sg_writer *w) {
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    if (w->started) pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    for (int i = 0; i < kImages; i++) sg_model_image_destroy(w->slot[i].image);
    sg_free(w->run_dir);
    sg_free(w->last);
    sg_free(w->best);
    sg_free(w);
}

/* The slot for an offer, FILLING; NULL: the waiting one goes first, and this one is left out. */
static slot *claim(sg_writer *w, bool must) {
    slot *s;

    pthread_mutex_lock(&w->lock);
    while ((s = find(w, WAITING)) && s->must && must) pthread_cond_wait(&w->changed, &w->lock);
    if (s) w->stats.replaced++;
    if (s && s->must) {
        s = NULL;
    } else if (!s) {
        while (!(s = find(w, FREE))) pthread_cond_wait(&w->changed, &w->lock);
    }
    if (s) s->before = s->use;
    if (s) s->use = FILLING;
    pthread_mutex_unlock(&w->lock);
    return s;
}

/* There was no memory for a larger image: what waited in this one is still whole. */
static void give_back(sg_writer *w, slot *s) {
    pthread_mutex_lock(&w->lock);
    if (s->before == WAITING) w->stats.replaced--;
    s->use = s->before;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void hand_over(sg_writer *w, slot *s, const sg_offer *offer, double seconds) {
    pthread_mutex_lock(&w->lock);
    s->use = WAITING;
    s->step = w->state->step;
    s->best = offer->best;
    s->must = offer->must;
    if (offer->keep) w->keep = *offer->keep;
    s->take_seconds = seconds;
    w->stats.taken++;
    w->stats.take_seconds += seconds;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

sg_status sg_writer_offer(sg_writer *w, const sg_offer *offer) {
    const sg_model_growing texts = {offer->history, offer->plans};
    slot *s = claim(w, offer->must);
    double begin;
    sg_status st = SG_OK;

    if (!s) return SG_OK;
    if (!s->image || !sg_model_image_fits(s->image, &texts)) st = make_image(w, s, &texts);
    if (st != SG_OK) {
        give_back(w, s);
        return st;
    }
    begin = sg_now();
    sg_model_image_take(s->image, offer->epoch, &texts);
    hand_over(w, s, offer, sg_now() - begin);
    return SG_OK;
}

void sg_writer_keep_up(sg_writer *w) {
    pthread_mutex_lock(&w->lock);
    while (find(w, WAITING)) pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

sg_status sg_writer_flush(sg_writer *w) {
    char error[kErrorBytes];
    sg_status st;

    pthread_mutex_lock(&w->lock);
    while (find(w, WAITING) || find(w, WRITING)) pthread_cond_wait(&w->changed, &w->lock);
    st = w->status;
    memcpy(error, w->error, sizeof error);
    pthread_mutex_unlock(&w->lock);
    return st == SG_OK ? SG_OK : sg_fail(st, "%s", error);
}

sg_writer_stats sg_writer_report(sg_writer *w) {
    sg_writer_stats stats;

    pthread_mutex_lock(&w->lock);
    stats = w->stats;
    pthread_mutex_unlock(&w->lock);
    return stats;
}
