/* What tests that train share: failures with their text, hashes, distances and copies of states,
 * and a device that records nothing. */
#ifndef SG_TESTS_TRAINER_FIXTURE_H
#define SG_TESTS_TRAINER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "checkpoint/state_hash.h"
#include "core/mem.h"
#include "graph/device.h"
#include "train/trainer.h"

#define CHECK_OK(call)                                                                             \
    do {                                                                                           \
        if ((call) != SG_OK) fail_msg("%s", sg_last_error());                                      \
    } while (0)

/* The state's hash, and the end of the trainer. */
static inline void finish(sg_trainer *t, char hash[SG_STATE_HASH_BYTES]) {
    CHECK_OK(sg_trainer_fetch(t));
    CHECK_OK(sg_state_sha256(sg_trainer_state(t), hash));
    sg_trainer_destroy(t);
}

/* |a - b| relative to how far b has moved from its start, as norms of whole buffers. */
static inline double distance(const float *a, const float *b, const float *start, int64_t n) {
    double apart = 0.0, moved = 0.0;

    for (int64_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i], m = (double)b[i] - (double)start[i];

        apart += d * d;
        moved += m * m;
    }
    return sqrt(apart / moved);
}

/* A copy that the caller frees (sg_free). */
static inline float *copy_floats(const float *from, int64_t n) {
    float *copy = sg_malloc((size_t)n * sizeof *copy + 1);

    assert_non_null(copy);
    if (n > 0) memcpy(copy, from, (size_t)n * sizeof *copy);
    return copy;
}

static inline void put_floats(float *to, const float *from, int64_t n) {
    if (n > 0) memcpy(to, from, (size_t)n * sizeof *to);
}

static inline void copy_state(const sg_state *from, sg_state *to) {
    const sg_table *table = from->table;

    put_floats(to->values, from->values, table->n_values);
    put_floats(to->ema, from->ema, table->n_values);
    for (int i = 0; i < from->n_moments; i++)
        put_floats(to->moment[i], from->moment[i], table->n_params);
    put_floats(to->rows, from->rows, table->n_rows);
    put_floats(to->rows_sum, from->rows_sum, sg_table_rows_sum(table, from->rule));
    to->step = from->step;
    to->samples = from->samples;
}

/* --- without recordings ----------------------------------------------------------------------- */

static inline sg_status record_nothing(void *queue) {
    (void)queue;
    return SG_OK;
}

static inline sg_status record_nothing_end(void *queue, void **recording) {
    (void)queue;
    *recording = NULL;
    return SG_OK;
}

static inline sg_status replay_nothing(void *queue, void *recording) {
    (void)queue;
    assert_null(recording);
    return SG_OK;
}

/* `device`, but what is put between `record` and `record_end` is run, and no recording is ever
 * there. */
static inline sg_device without_recordings(const sg_device *device) {
    sg_device plain = *device;

    plain.record = record_nothing;
    plain.record_end = record_nothing_end;
    plain.replay = replay_nothing;
    return plain;
}

#endif
