/* For tests of tables of rows: a classifier of bags of features. Included once by a test program.
 */
#ifndef SG_TESTS_BAG_MODEL_H
#define SG_TESTS_BAG_MODEL_H

#include "core/philox.h"
#include "spotgrad.h"
#include "train/trainer.h"

enum {
    kBatch = 16,
    kShort = 5, /* features of a bag, in its two shapes */
    kLong = 9,
    kRows = 61,
    kWide = 12,
    kNarrow = 5,
    kClasses = 3
};

static int64_t bag_short = kShort, bag_long = kLong;
static void *const bag_shapes[] = {&bag_short, &bag_long};

/* Two tables share the ids, one of them with weights. context: the number of features. */
static inline sg_status build_bags(sg_graph *g, int64_t n, void *context) {
    int64_t F = *(const int64_t *)context;
    sg_value *ids = sg_input(g, "ids", SG_I32, sg_shape_2(n, F));
    sg_value *weights = sg_input(g, "weights", SG_F32, sg_shape_2(n, F)), *x[2];

    x[0] = sg_embedding_bag(g, ids, weights,
                            sg_param(g, "wide", SG_ENTRY_ROWS, sg_shape_2(kRows, kWide),
                                     (sg_init){SG_INIT_UNIFORM, 0.3f}));
    x[1] = sg_embedding_bag(g, ids, NULL,
                            sg_param(g, "narrow", SG_ENTRY_ROWS, sg_shape_2(kRows, kNarrow),
                                     (sg_init){SG_INIT_NORMAL, 0.2f}));
    x[0] = sg_linear(g, "classify", sg_concat(g, x, 2), kClasses);
    if (sg_graph_mode(g) == SG_EVAL)
        sg_output(g, "p", sg_softmax(g, x[0]));
    else
        sg_loss(g, sg_cross_entropy(g, x[0], sg_input(g, "label", SG_I32, sg_shape_1(n))), NULL);
    return sg_graph_status(g);
}

static int32_t bag_ids[kBatch * kLong], bag_label[kBatch];
static float bag_weight[kBatch * kLong];

/* Most features of a bag say its class; one is in every bag, the last is padding now and then. */
static inline const void *const *draw_bags(int64_t step, int64_t F) {
    static const void *const inputs[] = {bag_ids, bag_weight, bag_label};
    sg_random r = sg_random_init(sg_key_mix(29, (uint64_t)step));

    for (int64_t n = 0; n < kBatch; n++) {
        bag_label[n] = (int32_t)sg_random_below(&r, kClasses);
        for (int64_t f = 0; f < F; f++) {
            int32_t id = (int32_t)sg_random_below(&r, kRows / kClasses) * kClasses + bag_label[n];

            if (sg_random_below(&r, 4) == 0) id = (int32_t)sg_random_below(&r, kRows);
            bag_ids[n * F + f] = f == 0 ? 7 : f == F - 1 && n % 2 == 0 ? -1 : id;
            bag_weight[n * F + f] = sg_random_range(&r, 0.5f, 1.5f);
        }
    }
    return inputs;
}

/* The shape of a step's batch is one or the other. */
static inline int bag_shape_at(int64_t step) { return (int)(step % 3 == 1); }

static inline sg_trainer_options bag_trainer(const sg_backend *backend, sg_rows_rule rule,
                                             int shards, int threads) {
    sg_trainer_options o = sg_trainer_defaults();

    o.build = build_bags;
    o.shapes = bag_shapes;
    o.n_shapes = 2;
    o.backend = backend;
    o.batch = kBatch;
    o.shards = shards;
    o.threads = threads;
    o.seed = 3;
    o.optimizer.rows = rule;
    o.optimizer.rows_lr = rule == SG_ROWS_SGD ? 10.0 : 2.0;
    return o;
}

static inline sg_status bag_step(sg_trainer *t, double *loss) {
    int64_t step = sg_trainer_state(t)->step;
    int shape = bag_shape_at(step);
    sg_step_report report = {0};
    sg_status st =
        sg_trainer_step(t, shape, draw_bags(step, shape ? kLong : kShort), 0.05, &report);

    *loss = report.loss;
    return st;
}

#endif
