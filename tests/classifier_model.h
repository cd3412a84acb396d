/* For tests of the text classifier: small ones of each kind, and texts that they can learn.
 * Included once by a test program. */
#ifndef SG_TESTS_CLASSIFIER_MODEL_H
#define SG_TESTS_CLASSIFIER_MODEL_H

#include "trainer_fixture.h"

#include "core/philox.h"
#include "nn/text_classifier.h"
#include "train/inference.h"

/* Which parts; the last two with a bag that is given. */
typedef enum { kWide, kBag, kEncoder, kAll, kKept, kAllKept, kKinds } kind;

enum {
    kBatch = 8,
    kFeatures = 5,
    kBuckets = 31,
    kBagWidth = 6,
    kLength = 6,
    kVocabulary = 23,
    kWidth = 8,
    kTasks = 2,
    kClasses = 5
};

static const double kRate = 1e-2; /* with which AdamW learns them */

static const int64_t kTaskClasses[kTasks] = {3, 2};
static const int64_t kFirstClass[kTasks] = {0, 3};

static inline bool has_wide(kind k) { return k == kWide || k == kAll || k == kAllKept; }
static inline bool has_bag(kind k) { return k != kWide && k != kEncoder; }
static inline bool has_encoder(kind k) { return k == kEncoder || k == kAll || k == kAllKept; }
static inline bool keeps_bag(kind k) { return k == kKept || k == kAllKept; }

static inline sg_text_classifier_options classifier(kind k, int n_tasks) {
    sg_text_classifier_options o = {.buckets = kBuckets,
                                    .features = k == kEncoder ? 0 : kFeatures,
                                    .wide = has_wide(k),
                                    .bag = has_bag(k) ? kBagWidth : 0,
                                    .keep_bag = keeps_bag(k),
                                    .encoder = sg_text_encoder_defaults(),
                                    .n_tasks = n_tasks,
                                    .task_classes = kTaskClasses};

    o.encoder.vocabulary = kVocabulary;
    o.encoder.length = kLength;
    o.encoder.layers = has_encoder(k) ? 1 : 0;
    o.encoder.width = kWidth;
    o.encoder.heads = 2;
    o.encoder.dropout = 0.0f;
    return o;
}

/* --- texts ------------------------------------------------------------------------------------ */

typedef struct {
    int32_t ngrams[kBatch][kFeatures], ids[kBatch][kLength], length[kBatch];
    float weights[kBatch][kFeatures], target[kBatch * kClasses];
    int task[kBatch], label[kBatch]; /* within its task */
} texts;

/* Every n-gram and subword of a text says its class among those of all tasks; the last places are
 * empty now and then. */
static inline void draw_texts(int64_t step, int n_tasks, texts *b) {
    int classes = n_tasks == 1 ? (int)kTaskClasses[0] : kClasses;
    sg_random r = sg_random_init(sg_key_mix(41, (uint64_t)step));

    for (int i = 0; i < kBatch; i++) {
        int task = b->task[i] = (int)sg_random_below(&r, (uint32_t)n_tasks), c;

        b->label[i] = (int)sg_random_below(&r, (uint32_t)kTaskClasses[task]);
        c = (int)kFirstClass[task] + b->label[i];
        b->length[i] = 1 + (int32_t)sg_random_below(&r, kLength);
        for (int f = 0; f < kFeatures; f++) {
            bool empty = f > 2 && i % 3 == 0;

            b->ngrams[i][f] =
                empty ? -1 : (int32_t)sg_random_below(&r, kBuckets / kClasses) * kClasses + c;
            b->weights[i][f] = empty ? 0.0f : sg_random_range(&r, 0.5f, 1.5f);
        }
        for (int t = 0; t < kLength; t++)
            b->ids[i][t] = t < b->length[i]
                               ? (int32_t)sg_random_below(&r, kVocabulary / kClasses) * kClasses + c
                               : -1;
        for (int k = 0; k < classes; k++) {
            bool of_task = k >= kFirstClass[task] && k < kFirstClass[task] + kTaskClasses[task];

            b->target[i * classes + k] = !of_task ? -1.0f : k == c ? 0.9f : 0.05f;
        }
    }
}

/* The inputs of a classifier in its order; how many. `target` last: leave it out to infer. */
static inline int inputs_of(kind k, const texts *b, const void *inputs[5]) {
    int n = 0;

    if (has_wide(k) || has_bag(k)) {
        inputs[n++] = b->ngrams;
        inputs[n++] = b->weights;
    }
    if (has_encoder(k)) {
        inputs[n++] = b->ids;
        inputs[n++] = b->length;
    }
    inputs[n++] = b->target;
    return n;
}

/* --- training --------------------------------------------------------------------------------- */

/* A bag's table as another training could have left it: of rows of one class one column is larger.
 */
static inline void give_bag(sg_trainer *t) {
    sg_state *s = sg_trainer_state(t);
    const sg_entry *e = &s->table->entry[sg_table_find(s->table, "bag.weight")];
    sg_random r = sg_random_init(43);

    for (int64_t j = 0; j < e->count; j++)
        s->rows[e->offset + j] = sg_random_range(&r, -0.3f, 0.3f) +
                                 (j / kBagWidth % kClasses == j % kBagWidth ? 1.0f : 0.0f);
    CHECK_OK(sg_trainer_store(t));
}

/* The host's copy of the given bag's table. */
static inline const float *bag_table(sg_trainer *t, int64_t *n) {
    const sg_table *table = sg_trainer_table(t);
    const sg_entry *e = &table->entry[sg_table_find(table, "bag.weight")];

    *n = e->count;
    return sg_trainer_state(t)->rows + e->offset;
}

static inline sg_trainer *new_trainer(sg_text_classifier_options *model, const sg_backend *backend,
                                      sg_optimizer_kind optimizer, int threads) {
    sg_trainer_options o = sg_trainer_defaults();
    sg_trainer *t;

    o.build = sg_text_classifier_build;
    o.context = model;
    o.backend = backend;
    o.batch = kBatch;
    o.shards = 2;
    o.threads = threads;
    o.optimizer.kind = optimizer;
    o.optimizer.ema = 0.0;
    o.optimizer.rows_lr = 20.0;
    CHECK_OK(sg_trainer_create(&o, &t));
    if (model->keep_bag) give_bag(t);
    return t;
}

/* The loss. */
static inline double step(sg_trainer *t, kind k, int n_tasks, double lr) {
    sg_step_report report = {.loss = 0.0};
    const void *inputs[5];
    texts b;

    draw_texts(sg_trainer_state(t)->step, n_tasks, &b);
    (void)inputs_of(k, &b, inputs);
    CHECK_OK(sg_trainer_step(t, 0, inputs, lr, &report));
    return report.loss;
}

/* --- answers ---------------------------------------------------------------------------------- */

/* Of the trainer's values, which have been fetched: (kBatch, classes). */
static inline void answer(sg_text_classifier_options *model, sg_trainer *t, kind k, const texts *b,
                          float *p) {
    sg_inference_options o = {.build = sg_text_classifier_build,
                              .context = model,
                              .backend = sg_trainer_backend(t),
                              .batch = kBatch,
                              .workers = 1};
    const void *inputs[5];
    sg_inference *f;

    (void)inputs_of(k, b, inputs);
    CHECK_OK(sg_inference_create(&o, &f));
    CHECK_OK(sg_inference_set_values(f, sg_trainer_state(t)->values, sg_trainer_state(t)->rows));
    CHECK_OK(sg_inference_run(f, 0, inputs, (void *[]){p}));
    sg_inference_destroy(f);
}

/* They add up to 1 in each task. Returns how many texts were labelled rightly. */
static inline int check_answers(const texts *b, int n_tasks, const float *p) {
    int64_t classes = n_tasks == 1 ? kTaskClasses[0] : kClasses;
    int right = 0;

    for (int i = 0; i < kBatch; i++) {
        const float *own = p + i * classes + kFirstClass[b->task[i]];
        bool best = true;

        for (int t = 0; t < n_tasks; t++) {
            double sum = 0.0;

            for (int64_t c = 0; c < kTaskClasses[t]; c++) {
                double q = (double)p[i * classes + kFirstClass[t] + c];

                assert_true(q >= 0.0 && q <= 1.0);
                sum += q;
            }
            if (!(fabs(sum - 1.0) <= 1e-6)) fail_msg("text %d, task %d: %.9g in all", i, t, sum);
        }
        for (int64_t c = 0; c < kTaskClasses[b->task[i]]; c++)
            best = best && own[c] <= own[b->label[i]];
        right += best;
    }
    return right;
}

#endif
