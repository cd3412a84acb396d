/* A model of your own: square, disc or cross? docs/custom-model.md explains it. */
#include <stdio.h>
#include <stdlib.h>

#include "checkpoint/model_file.h"
#include "core/philox.h"
#include "spotgrad.h"
#include "train/inference.h"
#include "train/trainer.h"

enum { kSide = 16, kPixels = kSide * kSide, kClasses = 3, kBatch = 64, kSteps = 300, kTest = 500 };

static char *names[kClasses] = {"square", "disc", "cross"};

static sg_status shapes(sg_graph *g, int64_t n, void *context) {
    sg_value *x = sg_input(g, "image", SG_F32, sg_shape_4(n, 1, kSide, kSide));

    (void)context;
    x = sg_conv_norm_act(g, "conv1", x, 16, 3, 2, SG_ACT_SILU, NULL);
    x = sg_conv_norm_act(g, "conv2", x, 32, 3, 2, SG_ACT_SILU, NULL);
    x = sg_linear(g, "classify", sg_global_avg_pool(g, x), kClasses);
    sg_output(g, "probability", sg_softmax(g, x));
    if (sg_graph_mode(g) == SG_TRAIN)
        sg_loss(g, sg_cross_entropy(g, x, sg_input(g, "label", SG_I32, sg_shape_1(n))), NULL);
    return sg_graph_status(g);
}

/* Draw picture `number`, a shape of any size, place and brightness on noise; returns its class. */
static int32_t draw(int64_t number, float image[kPixels]) {
    sg_random r = sg_random_init(sg_key_mix(2024, (uint64_t)number));
    int64_t size = 3 + sg_random_below(&r, 3), shape = sg_random_below(&r, kClasses);
    int64_t x = size + sg_random_below(&r, kSide - 2 * size);
    int64_t y = size + sg_random_below(&r, kSide - 2 * size);
    float light = sg_random_range(&r, 0.4f, 1.0f);

    for (int i = 0; i < kPixels; i++) {
        int64_t dx = llabs(i % kSide - x), dy = llabs(i / kSide - y);
        int square = dx <= size && dy <= size, disc = dx * dx + dy * dy <= size * size;
        int inside[kClasses] = {square, disc, square && (dx < 2 || dy < 2)};

        image[i] = sg_random_range(&r, 0.0f, 0.4f) + (inside[shape] ? light : 0.0f);
    }
    return (int32_t)shape;
}

static void check(sg_status st) {
    if (st == SG_OK) return;
    fprintf(stderr, "image_classifier: %s\n", sg_last_error());
    exit(EXIT_FAILURE);
}

static void train(const char *path) {
    sg_trainer_options options = sg_trainer_defaults();
    const sg_model_about about = {.classes = names, .n_classes = kClasses};
    static float image[kBatch][kPixels];
    int32_t label[kBatch];
    sg_step_report report;
    sg_trainer *trainer;

    options.build = shapes;
    options.batch = kBatch;
    check(sg_trainer_create(&options, &trainer));
    for (int64_t step = 0; step < kSteps; step++) {
        for (int i = 0; i < kBatch; i++) label[i] = draw(step * kBatch + i, image[i]);
        check(sg_trainer_step(trainer, 0, (const void *[]){image, label}, 0.1, &report));
        if (step % 100 == 0) printf("step %d: loss %.3f\n", (int)step, report.loss);
    }
    check(sg_model_file_write(path, &about, sg_trainer_state(trainer)));
    sg_trainer_destroy(trainer);
}

/* How many of kTest pictures that training has not seen the model in `path` gets right. */
static int test(const char *path) {
    sg_inference_options options = {.build = shapes, .batch = 1};
    float image[kPixels], probability[kClasses];
    sg_inference *model;
    int right = 0;

    check(sg_inference_create(&options, &model));
    check(sg_inference_load(model, path));
    for (int64_t i = 0; i < kTest; i++) {
        int32_t label = draw(kSteps * kBatch + i, image), best = 0;

        check(sg_inference_run(model, 0, (const void *[]){image}, (void *[]){probability}));
        for (int32_t c = 1; c < kClasses; c++)
            if (probability[c] > probability[best]) best = c;
        if (i < 3)
            printf("a %s: %s, p = %.3f\n", names[label], names[best], (double)probability[best]);
        right += best == label;
    }
    sg_inference_destroy(model);
    return right;
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "shapes.h5";

    train(path);
    printf("%d of %d new pictures are right\n", test(path), kTest);
    return EXIT_SUCCESS;
}
