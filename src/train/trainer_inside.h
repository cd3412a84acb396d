/* A trainer from the inside: shared by trainer.c (building it, a step on CPUs) and trainer_device.c
 * (a step on a device). */
#ifndef SG_TRAIN_TRAINER_INSIDE_H
#define SG_TRAIN_TRAINER_INSIDE_H

#include "ops/ops.h"
#include "train/trainer.h"

enum {
    SG_TRAINER_SLOTS = 2,   /* steps under way at once, on a device */
    SG_TRAINER_BUCKETS = 64 /* of gradients, at most */
};

/* Parts of the gradients, floats start .. end - 1, in the order in which workers exchange them. */
typedef struct {
    int n;
    int64_t start[SG_TRAINER_BUCKETS], end[SG_TRAINER_BUCKETS];
} sg_trainer_buckets;

/* On CPUs, where workers share steps. */
typedef struct sg_trainer_exchange sg_trainer_exchange;

/* What one step's host side needs until it is settled; all pinned. */
typedef struct {
    void *input[SG_MAX_INPUTS]; /* a whole batch each */
    float *step_block;
    float *answer; /* sums, then the norm, then whether the step diverged */
    void *done;    /* event: the answer is there */
} sg_trainer_slot;

/* Of a trainer whose backend has a device: what lies there, and what goes to and fro. */
typedef struct {
    void *queue;                 /* steps */
    void *upload, *download;     /* copies beside them */
    void *input[SG_MAX_INPUTS];  /* what the shards read: a whole batch each */
    void *staged[SG_MAX_INPUTS]; /* the next batch, while the shards read */
    float *values, *ema, *moment[2], *rows, *rows_sum, *step_block;
    float *result; /* the norm */
    sg_trainer_slot slot[SG_TRAINER_SLOTS];
    int next;                       /* slot of the next launch */
    void *uploaded, *taken, *saved; /* events: staged is full, is free again; snapshot is there */
    bool saving;                    /* the next update must wait for the snapshot */
    void *update_recording;         /* NULL at first */
    int64_t host_step;              /* whose state the host's copy is; -1: nobody's */
    /* Where several workers share steps; NULL before. */
    void *complete[SG_TRAINER_BUCKETS]; /* events: the own nodes of a bucket are there */
    void *exchanged;                    /* event: all that came through the host is there */
    float **host_grads;                 /* (shards), pinned; NULL, too, where none are needed */
    float *host_source[SG_MAX_ROWS];    /* pinned */
    int part;                           /* while shards are put in parts: which, and whether */
    bool record_parts, recording;       /* they are to be recorded, and a recording is open */
} sg_trainer_device;

/* What a shard computes where the step's batch has that shape. */
typedef struct {
    sg_graph *graph;
    sg_program *program;
    size_t input_stride[SG_MAX_INPUTS]; /* bytes of a shard's part of an input */
    /* Of tables of rows, where there are any: their update, and which of the shards' inputs its
     * inputs are, whole batches. */
    sg_graph *rows_graph;
    sg_program *rows;
    int rows_input[SG_MAX_INPUTS];
    /* Where workers share steps: the step of the program behind which a shard's part of a bucket is
     * complete, and so are those before it. */
    int ready[SG_TRAINER_BUCKETS];
    /* on a device */
    void *recording;                /* of a step up to the tree; NULL at first */
    void *part[SG_TRAINER_BUCKETS]; /* the same in parts, each with what follows it: NULL, where it
                                       is complete with the one before */
    bool in_parts;                  /* they are recorded */
    void *rows_recording;           /* of `rows` */
    int64_t launched;               /* steps since the program was made */
} sg_trainer_shape;

struct sg_trainer {
    sg_trainer_options options;
    const sg_backend *backend;
    const sg_device *device; /* the backend's, or NULL */
    int threads;
    sg_pool *pool;
    sg_table *table;
    sg_state *state;

    sg_trainer_shape *shape; /* (n_shapes) */
    int n_shapes;
    sg_graph *update_graph;
    sg_program *update;
    void *weights; /* of whatever shape the step has, as are the arenas */
    void **arena;  /* one a thread */
    float **grads; /* one a shard; after the tree the sum is in grads[0] */
    void *update_arena, *update_weights;
    float *source[SG_MAX_ROWS]; /* of a table of rows: (batch, d), what its rows are updated with */
    void **rows_arena;          /* one a thread */
    float step_block[SG_STEP_SLOTS];
    float norm;             /* output of the update program */
    float sum[SG_MAX_SUMS]; /* of the last step, over its shards */
    sg_trainer_device on;
    int under_way; /* steps launched and not settled */
    sg_trainer_team team;
    sg_trainer_buckets buckets;    /* where they share steps */
    sg_trainer_exchange *exchange; /* NULL: alone, or on a device */

    const void *const *inputs; /* of the step in work */
    int at_shape;              /* its shape */
    double *seconds;           /* with times: NULL, or being profiled */
    sg_step_times *times;
    int profiled_shape;
    bool (*stop)(void *context); /* NULL, or gives a step up */
    void *stop_context;
};

/* Bytes of a whole batch of an input, in the shape where it is largest. */
size_t sg_trainer_input_bytes(const sg_trainer *t, int input);
/* Bytes of an arena, of weights: enough for every shape. */
size_t sg_trainer_arena_bytes(const sg_trainer *t);
size_t sg_trainer_weights_bytes(const sg_trainer *t);
/* Seconds of nodes are wanted of the step in work. */
bool sg_trainer_profiled(const sg_trainer *t);

/* trainer.c: what both kinds of step bind; what varies from step to step. */
sg_bindings sg_trainer_bind(sg_trainer *t);
void sg_trainer_fill_step_block(sg_trainer *t, double lr);
sg_status sg_trainer_diverged(const sg_trainer *t) SG_CHECKED;

/* trainer_rows.c: the part of tables of rows in building and in a step. */
sg_status sg_trainer_rows_build(sg_trainer *t, sg_trainer_shape *s) SG_CHECKED;
sg_status sg_trainer_rows_allocate(sg_trainer *t) SG_CHECKED;
void sg_trainer_rows_destroy(sg_trainer *t);
/* Bytes of sources and arenas. */
size_t sg_trainer_rows_bytes(const sg_trainer *t);
/* Floats of the source of a table (by rows_index). */
int64_t sg_trainer_source_floats(const sg_trainer *t, int table);
/* Where a shard writes its part of the sources. */
void sg_trainer_bind_sources(const sg_trainer *t, int shard, sg_bindings *b);
/* What the update of rows works on, but for the inputs and what a device has its own of. */
sg_bindings sg_trainer_bind_rows(sg_trainer *t);
/* What workers gather of them, a part a shard, from `source` (of each table): into `gather`, how
 * many. */
int sg_trainer_rows_gather(const sg_trainer *t, float *const source[], sg_gather *gather);
/* On CPUs, when the shards are done, and after the update. */
sg_status sg_trainer_rows_check(sg_trainer *t) SG_CHECKED;
sg_status sg_trainer_rows_step(sg_trainer *t) SG_CHECKED;

/* trainer_buckets.c: of this model, and where its programs have them ready. */
void sg_trainer_cut_buckets(sg_trainer *t);
/* Number k, with what is gathered where it is the last one. */
sg_bucket sg_trainer_bucket(const sg_trainer *t, int k, const sg_gather *gather, int n);

/* trainer_exchange.c: beside the shards, from begin to end, which takes what became of them and
 * says what became of the step. */
sg_status sg_trainer_exchange_create(sg_trainer *t) SG_CHECKED;
void sg_trainer_exchange_destroy(sg_trainer *t);
void sg_trainer_exchange_begin(sg_trainer *t);
sg_status sg_trainer_exchange_end(sg_trainer *t, sg_status shards) SG_CHECKED;
/* For a shard's program: how far it is; whether the step is to be given up. */
typedef struct {
    sg_trainer *trainer;
    int shard, bucket; /* the next one to be complete */
} sg_trainer_progress;
sg_status sg_trainer_exchange_reached(void *progress, int step) SG_CHECKED;
bool sg_trainer_exchange_stops(void *trainer);

/* trainer_device.c */
sg_status sg_trainer_device_create(sg_trainer *t) SG_CHECKED;
void sg_trainer_device_destroy(sg_trainer *t);
/* Of t->inputs, t->at_shape. */
sg_status sg_trainer_device_launch(sg_trainer *t, double lr) SG_CHECKED;
/* Everything but the counting; t->sum and t->norm are set. */
sg_status sg_trainer_device_settle(sg_trainer *t) SG_CHECKED;
/* Pinned, and the device's to release. */
sg_status sg_trainer_device_alloc_host(const sg_trainer *t, int64_t floats, float **out) SG_CHECKED;

/* trainer_device_kernels.c: on the queue, recorded where they can be. */
sg_status sg_trainer_device_put_shards(sg_trainer *t) SG_CHECKED; /* all, and their sum */
/* The own ones, with their nodes of the tree, and t->on.complete marked behind each bucket. */
sg_status sg_trainer_device_put_parts(sg_trainer *t) SG_CHECKED;
void sg_trainer_device_forget_parts(sg_trainer *t);                  /* they are of other shards */
sg_status sg_trainer_device_check_sources(sg_trainer *t) SG_CHECKED; /* that all are finite */
sg_status sg_trainer_device_put_update(sg_trainer *t) SG_CHECKED;
sg_status sg_trainer_device_put_rows(sg_trainer *t) SG_CHECKED;

/* trainer_device_exchange.c: once t->team is another one; what is behind put_parts. */
sg_status sg_trainer_device_share(sg_trainer *t) SG_CHECKED;
sg_status sg_trainer_device_exchange(sg_trainer *t) SG_CHECKED;
void sg_trainer_device_exchange_destroy(sg_trainer *t);

/* trainer_memory.c: after SG_ERR_OOM on a device, what was wanted; and, once the trainer is gone
 * and what is free is what a smaller one would find, the same failure with the batch that would
 * fit. */
typedef struct {
    const sg_device *device;
    int64_t shards, n; /* samples of a shard */
    bool known;        /* bytes of a sample in every shard, and those that no batch changes: */
    double each, fixed;
    char reason[512];
} sg_trainer_need;
sg_trainer_need sg_trainer_measure(const sg_trainer *t);
sg_status sg_trainer_suggest(const sg_trainer_need *need) SG_CHECKED;

#endif
