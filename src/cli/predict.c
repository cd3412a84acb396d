/* `predict`: answers of a model, by its kind: boxes in pictures, labels of texts. */
#include "cli/predict.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "core/mem.h"
#include "train/trained.h"

bool cli_names_nothing(const char *input) {
    struct stat info;

    return stat(input, &info) != 0 &&
           (errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG);
}

void cli_put_error(sg_line *line, const char *input, const char *why) {
    sg_line_text(line, "{\"file\":");
    sg_line_json(line, input, strlen(input));
    sg_line_text(line, ",\"error\":");
    sg_line_json(line, why, strlen(why));
    sg_line_text(line, "}\n");
}

static int answer(const cli_prediction *request) {
    const char *type;
    sg_status st = sg_trained_type(request->model, &type);

    if (st != SG_OK) die(st, NULL);
    if (sg_choice_is(type, "mask_detector")) return cli_predict_pictures(request);
    if (!sg_choice_is(type, "text_classifier"))
        die(sg_fail(SG_ERR_CONFIG,
                    "%s: is a model of type %s, which labels nothing; train a text_classifier with "
                    "model.init=%s",
                    request->model, type, request->model),
            NULL);
    if (request->annotate)
        die_usage("--annotate %s: there is nothing to draw, the model answers texts",
                  request->annotate);
    return cli_predict_texts(request);
}

int cli_predict(int argc, char **argv) {
    const char *checkpoint = NULL;
    cli_prediction request = {0};
    const cli_option options[] = {
        CLI_CHECKPOINT(&checkpoint),
        {.name = "--json", .flag = &request.json, .help = "one JSON object an input, a line each"},
        {.name = "--annotate",
         .value_name = "DIR",
         .value = &request.annotate,
         .help = "pictures: write each with its boxes to DIR/NAME.png"},
    };
    const cli_syntax syntax = {
        .usage = "--checkpoint FILE|RUN INPUT... [section.key=value ...] [--json] [--annotate DIR]",
        .summary =
            "Finds boxes in pictures (PNG, JPEG; a folder: those in it): predict.score=0.5 shows "
            "only surer boxes.\nLabels texts: of a file each line is one, - is standard input, "
            "anything else is the text itself; -- comes\nbefore texts that begin with a dash. "
            "run.isa=native is faster where there is AVX-512; its last digits\nare not those of "
            "every machine.",
        .options = options,
        .n_options = sizeof options / sizeof options[0],
        .takes_inputs = true,
    };
    cli_arguments arguments;
    char *path;
    int code;

    cli_parse(argc, argv, &syntax, &arguments);
    if (arguments.n_inputs == 0) die_usage("INPUT is missing: a picture, a folder, a text or -");
    request.arguments = &arguments;
    path = cli_find_model(checkpoint, &arguments, &request.threads);
    request.model = path;
    code = answer(&request);
    sg_free(path);
    cli_arguments_clear(&arguments);
    return code;
}
