/* The gradient of a whole model against central differences of its loss: of each parameter's tensor
 * along its own gradient and along a random direction. For models without dropout and without
 * tables of rows. */
#ifndef SG_TESTS_WHOLE_GRADIENT_H
#define SG_TESTS_WHOLE_GRADIENT_H

#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "core/philox.h"
#include "train/trainer.h"

/* A step of rate 0 tells the loss and changes nothing. */
static double loss_here(sg_trainer *t, const void *const inputs[]) {
    sg_step_report report;

    assert_int_equal(sg_trainer_step(t, 0, inputs, 0.0, &report), SG_OK);
    return report.loss;
}

/* What the loss rises by along direction d (count) of unit length, from the tensor's `at`. */
static double rise(sg_trainer *t, const void *const inputs[], float *w, const float *at,
                   const float *d, int64_t count) {
    const double h = 3e-3;
    double loss[2];

    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < count; i++)
            w[i] = (float)((double)at[i] + (side ? h : -h) * (double)d[i]);
        loss[side] = loss_here(t, inputs);
    }
    memcpy(w, at, (size_t)count * sizeof *w);
    return (loss[1] - loss[0]) / (2.0 * h);
}

static void scale_to_one(float *d, int64_t count) {
    double sum = 0.0;

    for (int64_t i = 0; i < count; i++) sum += (double)d[i] * (double)d[i];
    for (int64_t i = 0; i < count && sum > 0.0; i++) d[i] = (float)((double)d[i] / sqrt(sum));
}

static void check_tensor(sg_trainer *t, const void *const inputs[], const sg_entry *e,
                         const float *gradient) {
    float *w = sg_trainer_state(t)->values + e->offset;
    float *at = sg_malloc((size_t)e->count * sizeof *at),
          *d = sg_malloc((size_t)e->count * sizeof *d);

    assert_true(at && d);
    memcpy(at, w, (size_t)e->count * sizeof *at);
    for (int random = 0; random < 2; random++) {
        sg_random r = sg_random_init(sg_key_name(e->name));
        double along = 0.0, found;

        for (int64_t i = 0; i < e->count; i++) d[i] = random ? sg_random_normal(&r) : gradient[i];
        scale_to_one(d, e->count);
        for (int64_t i = 0; i < e->count; i++) along += (double)gradient[i] * (double)d[i];
        found = rise(t, inputs, w, at, d, e->count);
        if (!(fabs(found - along) <= 2e-3 * fabs(along) + 2e-4))
            fail_msg("%s, %s: %g, by differences %g", e->name,
                     random ? "a random direction" : "its gradient", along, found);
    }
    sg_free(at);
    sg_free(d);
}

/* Away from where parameters begin: there embeddings are small, so that norms are steep, and biases
 * are 0. */
static void shake(sg_state *state) {
    sg_random r = sg_random_init(3);

    for (int i = 0; i < state->table->n_entries; i++) {
        float *w = state->values + state->table->entry[i].offset;

        for (int64_t k = 0; k < state->table->entry[i].count; k++)
            w[k] += 0.4f * sg_random_normal(&r);
    }
}

/* `inputs` are those of `batch` samples, which are one shard. */
static void check_whole_gradient(sg_build_fn build, void *context, int64_t batch,
                                 const void *const inputs[]) {
    sg_trainer_options o = sg_trainer_defaults();
    const sg_table *table;
    sg_step_report report;
    sg_trainer *t;
    float *before, *gradient;
    int64_t n;

    o.build = build;
    o.context = context;
    o.batch = batch;
    o.shards = 1;
    o.optimizer.momentum = o.optimizer.weight_decay = o.optimizer.clip_norm = o.optimizer.ema = 0.0;
    assert_int_equal(sg_trainer_create(&o, &t), SG_OK);
    table = sg_trainer_table(t);
    n = table->n_params;
    before = sg_malloc((size_t)n * sizeof *before);
    gradient = sg_malloc((size_t)n * sizeof *gradient);
    assert_true(before && gradient);
    shake(sg_trainer_state(t));
    memcpy(before, sg_trainer_state(t)->values, (size_t)n * sizeof *before);
    assert_int_equal(sg_trainer_step(t, 0, inputs, 1.0, &report), SG_OK);
    for (int64_t i = 0; i < n; i++) gradient[i] = before[i] - sg_trainer_state(t)->values[i];
    memcpy(sg_trainer_state(t)->values, before, (size_t)n * sizeof *before);
    for (int i = 0; i < table->n_entries; i++)
        check_tensor(t, inputs, &table->entry[i], gradient + table->entry[i].offset);
    sg_free(before);
    sg_free(gradient);
    sg_trainer_destroy(t);
}

#endif
