/* Buckets: parts of the gradients that workers exchange one after the other, while the backward
 * pass still computes the next ones.
 *
 * It goes from the last layer to the first, and weights lie in the order of layers (those without
 * decay, a few, behind all others): so buckets are cut from the end of the weights, and the last
 * one is all that is behind the weights, sums included. The order is the same for every program and
 * worker, whatever each one's steps are. */
#include "train/trainer_inside.h"

/* A bucket is long enough to pay for its rounds. That of the first layers, for which little is left
 * to compute meanwhile, is a part of the others. */
enum { kBucketFloats = 1 << 18, kLastPart = 8, kLine = 16 };

static void append(sg_trainer_buckets *b, int64_t start, int64_t end) {
    if (start == end) return;
    b->start[b->n] = start;
    b->end[b->n++] = end;
}

/* Of `floats` floats, but for what is left at the end, or in the last one that there is room for.
 */
static int64_t next_start(int64_t end, int64_t floats, int room) {
    int64_t last = floats / kLastPart, start = end - floats;

    if (end <= last || room == 1) return 0;
    if (start < last) start = last;
    return start / kLine * kLine;
}

static void cut(const sg_table *table, int64_t floats, sg_trainer_buckets *b) {
    int64_t end = table->n_decay, room = SG_TRAINER_BUCKETS - 2;

    b->n = 0;
    if (table->n_grads <= floats) {
        append(b, 0, table->n_grads);
        return;
    }
    if (floats < (end + room - 1) / room) floats = (end + room - 1) / room;
    while (end > 0) {
        int64_t start = next_start(end, floats, SG_TRAINER_BUCKETS - 1 - b->n);

        append(b, start, end);
        end = start;
    }
    append(b, table->n_decay, table->n_grads);
}

void sg_trainer_cut_buckets(sg_trainer *t) {
    sg_trainer_buckets *b = &t->buckets;

    cut(t->table, t->team.bucket_floats > 0 ? t->team.bucket_floats : kBucketFloats, b);
    for (int i = 0; i < t->n_shapes; i++) {
        sg_trainer_shape *s = &t->shape[i];
        int ready = -1;

        for (int k = 0; k < b->n; k++) {
            int64_t size = (int64_t)sizeof(float);
            int last =
                sg_program_last_use(s->program, SG_BUF_GRADS, b->start[k] * size, b->end[k] * size);

            if (last > ready) ready = last;
            s->ready[k] = ready;
        }
        s->ready[b->n - 1] = sg_program_steps(s->program) - 1; /* and what is gathered */
    }
}

sg_bucket sg_trainer_bucket(const sg_trainer *t, int k, const sg_gather *gather, int n) {
    const sg_trainer_buckets *b = &t->buckets;
    bool last = k == b->n - 1;

    return (sg_bucket){b->start[k], b->end[k], last, last ? gather : NULL, last ? n : 0};
}
