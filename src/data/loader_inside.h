/* A loader from the inside: shared by loader.c (threads, the ring, who fills what when),
 * loader_rows.c (filling a row), loader_raw.c (where a raw row's pictures go), loader_memory.c
 * (what is allocated at the start) and staging.c (a raw loader's device). */
#ifndef SG_DATA_LOADER_INSIDE_H
#define SG_DATA_LOADER_INSIDE_H

#include <pthread.h>
#include <stdbool.h>

#include "core/mem.h"
#include "data/loader.h"

enum { SG_LOADER_TEXT = 1024 };

typedef enum { SG_CACHE_EMPTY, SG_CACHE_LOADING, SG_CACHE_READY } sg_cache_state;

typedef struct {
    uint8_t *rgb; /* in the cache's block; NULL: not cached */
    bool is_cached;
    int shrink; /* 1, 2, 4 or 8, cached or not */
    sg_cache_state state;
    int64_t place;      /* among the kept pictures; negative: it is not kept */
    bool was_staged;    /* of one that is kept: a row before has brought it, */
    int64_t brought_by; /* in that batch; negative: before the last restart */
} sg_loader_picture;

typedef struct {
    sg_batch batch;    /* pointers into the loader's block */
    int64_t *dropped;  /* (B) */
    int64_t rows_done; /* of the part */
} sg_loader_slot;

/* What a row is made of. */
typedef struct {
    int64_t sample;                  /* -1: padding */
    int n_sources;                   /* 0: padding */
    int64_t index[SG_WARP_SOURCES];  /* samples of the sources */
    sg_augment_plan plan;            /* in training */
    uint8_t *image;                  /* where it is finished; NULL: on the device */
    uint8_t *bring[SG_WARP_SOURCES]; /* raw: where the pixels of a source go; NULL: nowhere */
} sg_loader_row;

typedef struct {
    struct sg_loader *loader;
    pthread_t thread;
    uint8_t *picture; /* a decoded picture that is not cached; NULL when all are */
    uint8_t *full;    /* one before it is shrunk; NULL when none is */
    uint8_t *scratch;
} sg_loader_worker;

struct sg_loader {
    const sg_dataset *dataset; /* borrowed */
    sg_loader_options options;
    sg_augment_options augment;
    sg_part part; /* of each batch; it and options.start change at a restart */
    int64_t slots;
    sg_loader_slot *slot;     /* (slots) */
    uint8_t *memory;          /* what the slots point into; the device's where there is one */
    size_t staged_bytes;      /* raw: of a slot */
    size_t kept_bytes;        /* raw: of all pictures that are kept */
    sg_loader_picture *cache; /* (n) */
    uint8_t *cache_memory;
    sg_loader_worker *worker; /* (threads) */
    int started;

    pthread_mutex_t lock;
    pthread_cond_t room, done, loaded; /* for workers, for the caller, for cache waiters */
    int64_t next_job;
    int running;      /* jobs in work */
    int64_t released; /* batches given back */
    int64_t taken;    /* batches handed out, the last one still borrowed */
    bool stop, paused;
    sg_status status; /* of the lowest failed job */
    int64_t failed_job;
    char text[SG_LOADER_TEXT];
    double waited;
};

/* As it is read, rounded up so that the next one is aligned. */
static inline size_t sg_loader_picture_bytes(const sg_sample *s, int shrink) {
    return sg_align_up(
        (size_t)(sg_image_shrunk(s->width, shrink) * sg_image_shrunk(s->height, shrink) * 3));
}

static inline size_t sg_loader_finished_bytes(const sg_loader *l) {
    return sg_align_up((size_t)(3 * l->options.input * l->options.input));
}

static inline int64_t sg_loader_batch_of(const sg_loader *l, int64_t job) {
    return job / l->part.count;
}

static inline int64_t sg_loader_row_of(const sg_loader *l, int64_t job) {
    return l->part.first + job % l->part.count;
}

static inline sg_loader_slot *sg_loader_slot_of(const sg_loader *l, int64_t job) {
    return &l->slot[sg_loader_batch_of(l, job) % l->slots];
}

/* loader_rows.c: what job number `job` is to be made of: a pure function. */
void sg_loader_plan_row(const sg_loader *l, int64_t job, sg_loader_row *row);
/* Fill it, on the worker's thread. */
sg_status sg_loader_fill_row(sg_loader_worker *w, int64_t job, const sg_loader_row *row) SG_CHECKED;

/* loader_raw.c: nothing is staged in the slot. */
void sg_loader_clear_staged(const sg_loader *l, sg_loader_slot *s);
/* At a restart: kept pictures that a dropped batch was to bring are brought again. */
void sg_loader_forget_brought(sg_loader *l);
/* Under the lock, in order: write the job of a row (that is number `number`) which has been
 * planned, and give its pictures their places in the slot's staged block. */
void sg_loader_place_row(sg_loader *l, int64_t number, sg_loader_row *row);

/* loader_memory.c: everything but the threads; what it leaves after a failure, too, is released. */
sg_status sg_loader_allocate(sg_loader *l) SG_CHECKED;
void sg_loader_release(sg_loader *l);

#endif
