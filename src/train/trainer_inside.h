/* A trainer from the inside: shared by trainer.c (building it, a step on CPUs) and trainer_device.c
 * (a step on a device). */
#ifndef SG_TRAIN_TRAINER_INSIDE_H
#define SG_TRAIN_TRAINER_INSIDE_H

#include "ops/ops.h"
#include "train/trainer.h"

/* Of a trainer whose backend has a device: what lies there, and what goes to and fro. */
typedef struct {
    void *queue;
    void *input[SG_MAX_INPUTS]; /* a whole batch each */
    float *values, *ema, *moment[2], *step_block;
    float *result;       /* on the device: the norm */
    float *answer;       /* pinned: sums, then the norm, then whether the step diverged */
    float *step_staging; /* pinned */
    void *recording;     /* of a step; NULL before there is one */
    int64_t steps;       /* since the programs were made */
    bool newer;          /* than the host's copy of the state */
} sg_trainer_device;

struct sg_trainer {
    sg_trainer_options options;
    const sg_backend *backend;
    const sg_device *device; /* the backend's, or NULL */
    int threads;
    sg_pool *pool;
    sg_table *table;
    sg_state *state;

    sg_graph *shard_graph, *update_graph;
    sg_program *shard, *update;
    void *weights;
    void **arena;  /* one a thread */
    float **grads; /* one a shard; after the tree the sum is in grads[0] */
    void *update_arena, *update_weights;
    float step_block[SG_STEP_SLOTS];
    float norm;             /* output of the update program */
    float sum[SG_MAX_SUMS]; /* of the last step, over its shards */
    sg_trainer_device on;

    const void *const *inputs; /* of the step in work */
    size_t input_stride[SG_MAX_INPUTS];
    double *seconds; /* with times: NULL, or being profiled */
    sg_step_times *times;
    bool (*stop)(void *context); /* NULL, or gives a step up */
    void *stop_context;
};

/* trainer.c: what both kinds of step bind; what varies from step to step. */
sg_bindings sg_trainer_bind(sg_trainer *t);
void sg_trainer_fill_step_block(sg_trainer *t, double lr);
sg_status sg_trainer_diverged(const sg_trainer *t) SG_CHECKED;

/* trainer_device.c */
sg_status sg_trainer_device_create(sg_trainer *t) SG_CHECKED;
void sg_trainer_device_destroy(sg_trainer *t);
/* Everything of a step but the counting; t->sum and t->norm are set. */
sg_status sg_trainer_device_step(sg_trainer *t, double lr) SG_CHECKED;

#endif
