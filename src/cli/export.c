/* `export`: a trained model as an ONNX file. */
#include "cli/cli.h"

#include "core/file.h"
#include "core/mem.h"
#include "train/export.h"
#include "train/run.h"

static sg_status write_model(const sg_onnx *m, const char *path) {
    uint8_t *bytes = NULL;
    size_t size = 0;
    sg_status st;

    SG_TRY(sg_onnx_pack(m, &bytes, &size));
    st = sg_file_write(path, bytes, size);
    sg_free(bytes);
    return st;
}

int cli_export(int argc, char **argv) {
    const char *checkpoint = NULL, *output = NULL;
    sg_export_options what = {0};
    const cli_option options[] = {
        {.name = "--checkpoint",
         .value_name = "FILE|RUN",
         .value = &checkpoint,
         .help = "a model file, or a run's folder: its best"},
        {.name = "--output", .value_name = "FILE.onnx", .value = &output, .help = "what to write"},
        {.name = "--nms",
         .flag = &what.nms,
         .help = "detector: boxes are suppressed in the graph, by predict.*"},
        {.name = "--preprocess",
         .flag = &what.preprocess,
         .help = "detector: the graph takes pictures of any size, as bytes"},
    };
    const cli_syntax syntax = {
        .usage = "--checkpoint FILE|RUN --output FILE.onnx [section.key=value ...] [--nms] "
                 "[--preprocess]",
        .summary = "Writes a model as ONNX (opset 17), with all that a client needs in its "
                   "metadata (docs/serving.md):\n"
                   "  export --checkpoint RUN --output model.onnx\n"
                   "  export --checkpoint RUN --output model.nms.onnx --nms predict.score=0.5\n"
                   "  export --checkpoint RUN --output pictures.onnx --nms --preprocess\n"
                   "section.key=value lays over the configuration that the model was trained with, "
                   "such as model.input=416.",
        .options = options,
        .n_options = sizeof options / sizeof options[0],
    };
    cli_arguments arguments;
    sg_trained_source source = {0};
    sg_onnx *model = NULL;
    char *path = NULL;
    sg_status st;

    cli_parse(argc, argv, &syntax, &arguments);
    if (!checkpoint) die_usage("--checkpoint FILE|RUN is missing");
    if (!output) die_usage("--output FILE.onnx is missing");
    cli_prepare_model(&arguments);
    st = sg_run_find_model(checkpoint, &path);
    if (st != SG_OK) die(st, NULL);
    if (sg_same_file(path, output))
        die_usage("--output %s: is the checkpoint itself; name another file", output);
    source = (sg_trained_source){path, arguments.overrides, arguments.n_overrides};
    st = sg_export_model(&source, &what, &model);
    if (st == SG_OK) st = write_model(model, output);
    if (st != SG_OK) die(st, NULL);
    sg_onnx_destroy(model);
    sg_free(path);
    cli_arguments_clear(&arguments);
    return CLI_DONE;
}
