/* `evaluate`: measures a model file on a part of a data set. */
#include "cli/cli.h"

#include <string.h>

#include "core/mem.h"
#include "cpu/cpu.h"
#include "train/detector_model.h"
#include "train/run.h"

static const char *list_of(const sg_config *config, const char *split) {
    if (!split || strcmp(split, "val") == 0) return config->data.val;
    if (strcmp(split, "train") == 0) return config->data.train;
    if (strcmp(split, "test") == 0) return config->data.test;
    die_usage("--split %s: is none of train, val, test", split);
}

static void measure(sg_detector_model *m, const char *split, sg_evaluation *out) {
    const char *list = list_of(&m->config, split);
    sg_dataset *dataset = NULL;
    sg_pool *pool = NULL;
    sg_status st = sg_detector_dataset(&m->config, list, &m->classes, &dataset);

    if (st == SG_OK)
        st = sg_pool_create(m->workers, sg_compute_backend(&m->compute)->enter_thread, &pool);
    if (st == SG_OK)
        st = sg_detector_evaluate(&m->config, &m->model, m->inference, pool, dataset, NULL, NULL,
                                  NULL, out);
    sg_pool_destroy(pool);
    sg_dataset_destroy(dataset);
    if (st != SG_OK) die(st, NULL);
}

int cli_evaluate(int argc, char **argv) {
    const char *checkpoint = NULL, *split = NULL;
    bool json = false;
    const cli_option options[] = {
        {.name = "--checkpoint",
         .value_name = "FILE|RUN",
         .value = &checkpoint,
         .help = "a model file, or a run's folder: its best"},
        {.name = "--split",
         .value_name = "PART",
         .value = &split,
         .help = "train, val (default) or test: the list data.PART"},
        {.name = "--json", .flag = &json, .help = "one JSON object on standard output"},
    };
    const cli_syntax syntax = {
        .usage = "--checkpoint FILE|RUN [section.key=value ...] [--split PART] [--json]",
        .summary = "Measures a model: average precision of each class, as COCO defines it. "
                   "section.key=value lays over the\nconfiguration that the model was trained "
                   "with, such as data.root=... or train.threads=1.",
        .options = options,
        .n_options = sizeof options / sizeof options[0],
    };
    sg_detector_model_options load = {SG_DETECTOR_EVAL_BATCH, 1, 1};
    cli_arguments arguments;
    sg_detector_model model;
    sg_evaluation evaluation;
    char *path = NULL;
    sg_status st;

    cli_parse(argc, argv, &syntax, &arguments);
    if (!checkpoint) die_usage("--checkpoint FILE|RUN is missing");
    list_of(&(sg_config){0}, split);
    load.workers = cli_prepare_model(&arguments);
    st = sg_run_find_model(checkpoint, &path);
    if (st == SG_OK)
        st =
            sg_detector_model_load(path, arguments.overrides, arguments.n_overrides, &load, &model);
    if (st != SG_OK) die(st, NULL);
    measure(&model, split, &evaluation);
    if (json)
        cli_print("%s\n", evaluation.json);
    else
        cli_print("%s", evaluation.table);
    sg_evaluation_clear(&evaluation);
    sg_detector_model_clear(&model);
    sg_free(path);
    cli_arguments_clear(&arguments);
    return CLI_DONE;
}
