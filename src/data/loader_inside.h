/* A loader from the inside: shared by loader.c (threads, the ring, who fills what when),
 * loader_rows.c (filling a row) and loader_memory.c (what is allocated at the start). */
#ifndef SG_DATA_LOADER_INSIDE_H
#define SG_DATA_LOADER_INSIDE_H

#include <pthread.h>
#include <stdbool.h>

#include "data/loader.h"

enum { SG_LOADER_TEXT = 1024 };

typedef enum { SG_CACHE_EMPTY, SG_CACHE_LOADING, SG_CACHE_READY } sg_cache_state;

typedef struct {
    uint8_t *rgb; /* in the cache's block; NULL: not cached */
    int shrink;   /* 1, 2, 4 or 8, cached or not */
    sg_cache_state state;
} sg_loader_picture;

typedef struct {
    sg_batch batch;    /* pointers into the loader's block */
    int64_t *dropped;  /* (B) */
    int64_t rows_done; /* of B */
} sg_loader_slot;

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
    int64_t slots;
    sg_loader_slot *slot;     /* (slots) */
    uint8_t *memory;          /* what the slots point into */
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
    bool stop;
    sg_status status; /* of the lowest failed job */
    int64_t failed_job;
    char text[SG_LOADER_TEXT];
    double waited;
};

/* Of a picture's side, as it is read. */
static inline int64_t sg_loader_shrunk(int64_t size, int shrink) {
    return (size + shrink - 1) / shrink;
}

/* loader_rows.c: job number `job`, on the worker's thread. */
sg_status sg_loader_fill_row(sg_loader_worker *w, int64_t job) SG_CHECKED;

/* loader_memory.c: everything but the threads; what it leaves after a failure, too, is released. */
sg_status sg_loader_allocate(sg_loader *l) SG_CHECKED;
void sg_loader_release(sg_loader *l);

#endif
