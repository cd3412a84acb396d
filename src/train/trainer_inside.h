/* A trainer from the inside: shared by trainer.c (building it, a step on CPUs) and trainer_device.c
 * (a step on a device). */
#ifndef SG_TRAIN_TRAINER_INSIDE_H
#define SG_TRAIN_TRAINER_INSIDE_H

#include "ops/ops.h"
#include "train/trainer.h"

enum { SG_TRAINER_SLOTS = 2 }; /* steps under way at once, on a device */

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
    /* Where several workers share steps: what they exchange goes through the host. NULL before. */
    float **host_grads;              /* (shards), pinned */
    float *host_source[SG_MAX_ROWS]; /* pinned */
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
    /* on a device */
    void *recording;      /* of a step up to the tree; NULL at first */
    void *rows_recording; /* of `rows` */
    int64_t launched;     /* steps since the program was made */
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

/* trainer_device.c */
sg_status sg_trainer_device_create(sg_trainer *t) SG_CHECKED;
void sg_trainer_device_destroy(sg_trainer *t);
/* Before t->team is another one. */
sg_status sg_trainer_device_share(sg_trainer *t) SG_CHECKED;
/* Of t->inputs, t->at_shape. */
sg_status sg_trainer_device_launch(sg_trainer *t, double lr) SG_CHECKED;
/* Everything but the counting; t->sum and t->norm are set. */
sg_status sg_trainer_device_settle(sg_trainer *t) SG_CHECKED;

/* trainer_memory.c: after SG_ERR_OOM on a device, the same with what would fit, `free_bytes` having
 * been free before. */
sg_status sg_trainer_suggest(const sg_trainer *t, size_t free_bytes) SG_CHECKED;

#endif
