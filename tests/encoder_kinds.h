/* For tests of texts' encoders, which are run for each kind of them. */
#ifndef SG_TESTS_ENCODER_KINDS_H
#define SG_TESTS_ENCODER_KINDS_H

#include "nn/text_encoder.h"
#include "train/trainer.h"

static sg_encoder_kind kind; /* that is tested */

static inline int of_transformer(void **unused) {
    (void)unused;
    kind = SG_ENCODER_TRANSFORMER;
    return 0;
}

static inline int of_gated_cnn(void **unused) {
    (void)unused;
    kind = SG_ENCODER_GATED_CNN;
    return 0;
}

#define OF_BOTH(test)                                                                              \
    cmocka_unit_test_setup(test, of_transformer), cmocka_unit_test_setup(test, of_gated_cnn)

/* A model's graph for training, made and given up again: for tests without memory. */
static inline sg_status build_once(sg_build_fn build, void *model) {
    sg_table *table = NULL;
    sg_graph *g = NULL;
    sg_status st = sg_table_create(&table);

    if (st == SG_OK) st = sg_graph_create(SG_TRAIN, table, &g);
    if (st == SG_OK) st = build(g, 2, model);
    sg_graph_destroy(g);
    sg_table_destroy(table);
    return st;
}

#endif
