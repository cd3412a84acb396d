/* `evaluate`: measures a model file on a part of a data set. */
#include "cli/cli.h"

#include <string.h>

#include "core/mem.h"
#include "train/evaluate.h"

int cli_evaluate(int argc, char **argv) {
    const char *checkpoint = NULL, *split = NULL;
    sg_trained_source source = {0};
    bool json = false;
    const cli_option options[] = {
        CLI_CHECKPOINT(&checkpoint),
        {.name = "--split",
         .value_name = "PART",
         .value = &split,
         .help = "train, val (default) or test: what data.PART names"},
        {.name = "--json", .flag = &json, .help = "one JSON object on standard output"},
    };
    const cli_syntax syntax = {
        .usage = "--checkpoint FILE|RUN [section.key=value ...] [--split PART] [--json]",
        .summary = "Measures a model: of a detector the average precision of each class, as COCO "
                   "defines it; of texts precision,\nrecall and F1 of each class, and the measure "
                   "that TweetEval has for the task.\nsection.key=value lays over the "
                   "configuration that the model was trained with, such as data.root=... or\n"
                   "train.threads=1.",
        .options = options,
        .n_options = sizeof options / sizeof options[0],
    };
    cli_arguments arguments;
    sg_evaluation evaluation;
    char *path;
    sg_status st;
    int threads;

    cli_parse(argc, argv, &syntax, &arguments);
    if (!split) split = "val";
    if (strcmp(split, "train") != 0 && strcmp(split, "val") != 0 && strcmp(split, "test") != 0)
        die_usage("--split %s: is none of train, val, test", split);
    path = cli_find_model(checkpoint, &arguments, &threads);
    source.path = path;
    source.overrides = arguments.overrides;
    source.n_overrides = arguments.n_overrides;
    st = sg_evaluate_file(&source, split, threads, &evaluation);
    if (st != SG_OK) die(st, NULL);
    if (json)
        cli_print("%s\n", evaluation.json);
    else
        cli_print("%s", evaluation.table);
    sg_evaluation_clear(&evaluation);
    sg_free(path);
    cli_arguments_clear(&arguments);
    return CLI_DONE;
}
