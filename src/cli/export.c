/* `export`: a trained model as an ONNX file. */
#include "cli/cli.h"

#include "core/file.h"
#include "core/mem.h"
#include "train/export_sample.h"
#include "train/run.h"

typedef struct {
    const char *output, *vector; /* vector: NULL: none */
    bool unverified, int8;
    int threads;
    sg_export_options what;
} request;

/* Whatever the test vector and the check need of our own engine. *checked: by what, or why not. */
static sg_status check(const request *r, const sg_trained_source *source, const uint8_t *bytes,
                       size_t size, const char **checked) {
    sg_export_sample sample;
    sg_status st = SG_OK;

    *checked = "not checked";
    if (r->unverified && !r->vector) return SG_OK;
    SG_TRY(sg_export_sample_take(source, &r->what, &sample));
    if (!r->unverified) {
        st = sg_export_verify(bytes, size, &sample);
        *checked = sample.real
                       ? "checked against our own engine on samples of data.val"
                       : "checked against our own engine on made-up samples, as data.val is "
                         "not here";
    }
    if (st == SG_OK && r->vector) st = sg_export_write_vector(r->vector, &sample);
    sg_export_sample_clear(&sample);
    return st;
}

/* *bytes and *size become the int8 model's. */
static sg_status quantize(const request *r, const sg_trained_source *source, uint8_t **bytes,
                          size_t *size) {
    sg_export_loss loss;
    sg_onnx *model;
    uint8_t *packed;
    sg_status st;

    SG_TRY(sg_export_int8(source, r->threads, *bytes, *size, &model, &loss));
    sg_onnx_about_f(model, "spotgrad.int8", "{\"seen\":%lld,\"%s\":%.6f,\"before\":%.6f}",
                    (long long)loss.seen, loss.score, loss.after, loss.before);
    st = sg_onnx_pack(model, &packed, size);
    sg_onnx_destroy(model);
    if (st != SG_OK) return st;
    sg_free(*bytes);
    *bytes = packed;
    cli_print("int8: %s %.4f on %lld samples of data.val, %.4f in floats: %+.4f\n", loss.score,
              loss.after, (long long)loss.measured, loss.before, loss.after - loss.before);
    return SG_OK;
}

static sg_status write_model(const request *r, const sg_trained_source *source) {
    sg_onnx *model = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    const char *checked = "";
    sg_status st = sg_export_model(source, &r->what, &model);

    if (st == SG_OK) st = sg_onnx_pack(model, &bytes, &size);
    sg_onnx_destroy(model);
    if (st == SG_OK) st = check(r, source, bytes, size, &checked);
    if (st == SG_OK && r->int8) st = quantize(r, source, &bytes, &size);
    if (st == SG_OK) st = sg_file_write(r->output, bytes, size);
    if (st == SG_OK)
        cli_print("%s: %zu bytes, %s%s\n", r->output, size, r->int8 ? "in floats " : "", checked);
    sg_free(bytes);
    return st;
}

/* What a rename would replace must be a file, and not the one that is read. */
static void refuse_output(const char *output, const char *checkpoint) {
    if (sg_same_file(checkpoint, output))
        die_usage("--output %s: is the checkpoint itself; name another file", output);
    if (sg_is_dir(output)) die_usage("--output %s: is a folder; name a file in it", output);
    if (sg_file_check(output) != SG_OK)
        die_usage("--output %s: is a pipe or a device; name a file", output);
}

int cli_export(int argc, char **argv) {
    const char *checkpoint = NULL;
    request r = {0};
    const cli_option options[] = {
        {.name = "--checkpoint",
         .value_name = "FILE|RUN",
         .value = &checkpoint,
         .help = "a model file, or a run's folder: its best"},
        {.name = "--output",
         .value_name = "FILE.onnx",
         .value = &r.output,
         .help = "what to write"},
        {.name = "--nms",
         .flag = &r.what.nms,
         .help = "detector: boxes are suppressed in the graph, by predict.*"},
        {.name = "--preprocess",
         .flag = &r.what.preprocess,
         .help = "detector: the graph takes pictures of any size, as bytes"},
        {.name = "--int8",
         .flag = &r.int8,
         .help = "in int8, calibrated on data.train, its loss measured on data.val: takes minutes"},
        {.name = "--test-vector",
         .value_name = "DIR",
         .value = &r.vector,
         .help = "write inputs and the answers to expect to DIR"},
        {.name = "--no-verify",
         .flag = &r.unverified,
         .help = "do not compare the graph's answers with our own engine's"},
    };
    const cli_syntax syntax = {
        .usage = "--checkpoint FILE|RUN --output FILE.onnx [section.key=value ...] [--nms] "
                 "[--preprocess] [--int8] [--test-vector DIR] [--no-verify]",
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
    sg_export_source source;
    char *path = NULL;
    sg_status st;

    cli_parse(argc, argv, &syntax, &arguments);
    if (!checkpoint) die_usage("--checkpoint FILE|RUN is missing");
    if (!r.output) die_usage("--output FILE.onnx is missing");
    r.threads = cli_prepare_model(&arguments);
    st = sg_run_find_model(checkpoint, &path);
    if (st != SG_OK) die(st, NULL);
    refuse_output(r.output, path);
    st = sg_export_open(path, arguments.overrides, arguments.n_overrides, &source);
    if (st == SG_OK) st = sg_export_named(&source, write_model(&r, &source.file));
    if (st != SG_OK) die(st, NULL);
    sg_export_close(&source);
    sg_free(path);
    cli_arguments_clear(&arguments);
    return CLI_DONE;
}
