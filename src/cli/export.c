/* `export`: a trained model as an ONNX file. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "train/export_sample.h"

enum { kTextBytes = 512 };

static const double kMuch = 0.01; /* of the score, for int8 to lose */

typedef struct {
    const char *output, *vector; /* vector: NULL: none */
    bool unverified;
    int threads;
    sg_export_options what;
} request;

/* What is made on the way; owned. */
typedef struct {
    uint8_t *bytes; /* the file */
    size_t size;
    sg_export_sample own, quantised; /* what our own engine answers, and the graph in int8 */
    char checked[kTextBytes];        /* by what, or why not */
    int64_t alike;                   /* what of the graph's in int8 was compared */
} making;

static sg_status pack(const sg_trained_source *source, const sg_export_options *what,
                      uint8_t **bytes, size_t *size) {
    sg_onnx *model;
    sg_status st;

    SG_TRY(sg_export_model(source, what, &model));
    st = sg_onnx_pack(model, bytes, size);
    sg_onnx_destroy(model);
    return st;
}

/* The network alone: where there are no boxes, suppression has nothing to show. */
static sg_status check_raw(const request *r, const sg_trained_source *source) {
    const sg_export_options raw = {.preprocess = r->what.preprocess};
    sg_export_sample sample = {.n = 0};
    uint8_t *bytes;
    size_t size;
    sg_status st;

    SG_TRY(pack(source, &raw, &bytes, &size));
    st = sg_export_sample_take(source, &raw, NULL, &sample);
    if (st == SG_OK) st = sg_export_verify(bytes, size, &sample);
    sg_export_sample_clear(&sample);
    sg_free(bytes);
    return st;
}

/* Whatever the test vector and the check need of our own engine. */
static sg_status check(const request *r, const sg_trained_source *source, making *m) {
    const char *none = "";

    snprintf(m->checked, sizeof m->checked, "not checked");
    if (r->unverified && !r->vector) return SG_OK;
    SG_TRY(sg_export_sample_take(source, &r->what, NULL, &m->own));
    if (r->unverified) return SG_OK;
    SG_TRY(sg_export_verify(m->bytes, m->size, &m->own));
    if (r->what.nms && m->own.found == 0) {
        SG_TRY(check_raw(r, source));
        none = ", in which it finds no box: raw outputs were compared, too";
    }
    if (m->own.real)
        snprintf(m->checked, sizeof m->checked,
                 "checked against our own engine on samples of data.val%s", none);
    else
        snprintf(m->checked, sizeof m->checked,
                 "checked against our own engine on made-up samples%s (data.val: %s)", none,
                 m->own.why);
    return SG_OK;
}

/* --- int8 ------------------------------------------------------------------------------------- */

static void tell_loss(const sg_export_loss *loss) {
    if (isnan(loss->before)) {
        sg_log(SG_LOG_WARN,
               "what int8 loses cannot be told: %s needs something to find, and data.val has "
               "nothing",
               loss->score);
        return;
    }
    cli_print("int8: %s %.4f on %lld samples of data.val, %.4f in floats: %+.4f\n", loss->score,
              loss->after, (long long)loss->measured, loss->before, loss->after - loss->before);
    if (loss->seen < SG_EXPORT_SEEN)
        sg_log(SG_LOG_WARN,
               "int8 is calibrated on %lld samples, all that data.train has; %d are what "
               "it takes where there are as many",
               (long long)loss->seen, SG_EXPORT_SEEN);
    if (!(loss->before - loss->after <= kMuch))
        sg_log(SG_LOG_WARN, "int8 loses %.4f of %s, more than %.2f", loss->before - loss->after,
               loss->score, kMuch);
}

/* The file becomes the int8 model's. */
static sg_status quantize(const request *r, const sg_trained_source *source, making *m) {
    sg_export_loss loss;
    sg_onnx *model;
    uint8_t *packed;
    sg_status st;

    SG_TRY(sg_export_int8(source, r->threads, m->bytes, m->size, &model, &loss));
    sg_export_about_int8(model, &loss);
    st = sg_onnx_pack(model, &packed, &m->size);
    sg_onnx_destroy(model);
    if (st != SG_OK) return st;
    sg_free(m->bytes);
    m->bytes = packed;
    tell_loss(&loss);
    return SG_OK;
}

static sg_status check_int8(const request *r, const sg_trained_source *source, making *m) {
    const sg_export_graph graph = {m->bytes, m->size};

    if (r->unverified && !r->vector) return SG_OK;
    SG_TRY(sg_export_sample_take(source, &r->what, &graph, &m->quantised));
    return r->unverified ? SG_OK : sg_export_resembles(&m->quantised, &m->own, &m->alike);
}

/* --- the whole -------------------------------------------------------------------------------- */

static sg_status make(const request *r, const sg_trained_source *source, making *m) {
    SG_TRY(pack(source, &r->what, &m->bytes, &m->size));
    SG_TRY(check(r, source, m));
    if (!r->what.int8) return SG_OK;
    SG_TRY(quantize(r, source, m));
    return check_int8(r, source, m);
}

static sg_status write_all(const request *r, const making *m) {
    SG_TRY(sg_file_write(r->output, m->bytes, m->size));
    cli_print("%s: %zu bytes, %s%s%s\n", r->output, m->size,
              r->what.int8 ? "the graph in floats " : "", m->checked,
              !r->what.int8 || r->unverified ? ""
              : m->alike > 0                 ? "; in int8 it answers alike"
                                             : "; in int8 no box was sure enough to be compared");
    if (!r->vector) return SG_OK;
    return sg_export_write_vector(r->vector, r->what.int8 ? &m->quantised : &m->own);
}

static sg_status write_model(const request *r, const sg_export_source *source) {
    making m = {.bytes = NULL};
    sg_status st = sg_export_unchanged(source, make(r, &source->file, &m));

    if (st == SG_OK) st = write_all(r, &m);
    sg_export_sample_clear(&m.own);
    sg_export_sample_clear(&m.quantised);
    sg_free(m.bytes);
    return st;
}

/* --- what is asked for ------------------------------------------------------------------------ */

/* A checkpoint, of whatever run. */
static bool is_hdf5(const char *path) {
    static const char kSignature[] = "\x89HDF\r\n\x1a\n";
    char begin[sizeof kSignature - 1];
    FILE *file = fopen(path, "rb");
    bool is = file && fread(begin, 1, sizeof begin, file) == sizeof begin &&
              memcmp(begin, kSignature, sizeof begin) == 0;

    if (file) fclose(file);
    return is;
}

/* What a rename would replace must be a file, and no model of ours; and one can be made there. */
static void refuse_output(const char *output, const char *checkpoint) {
    sg_status st;

    if (sg_same_file(checkpoint, output))
        die_usage("--output %s: is the checkpoint itself; name another file", output);
    if (sg_is_dir(output)) die_usage("--output %s: is a folder; name a file in it", output);
    if (sg_file_check(output) != SG_OK)
        die_usage("--output %s: is a pipe or a device; name a file", output);
    if (is_hdf5(output))
        die_usage("--output %s: is an HDF5 file, as checkpoints are; name another file", output);
    st = sg_file_try_write(output);
    if (st != SG_OK) die(st, NULL);
}

/* The folder, or where it is still to be made the one that is there. */
static void refuse_vector(const char *vector) {
    char *path = sg_path_join(vector, "input_0.pb"), *slash;
    sg_status st = path ? SG_OK : sg_fail(SG_ERR_OOM, "%s: no memory for its name", vector);

    if (sg_file_exists(vector) && !sg_is_dir(vector))
        die_usage("--test-vector %s: is a file; name a folder", vector);
    while (path && (slash = strrchr(path, '/')) && slash > path) {
        *slash = '\0';
        if (!sg_is_dir(path)) continue;
        *slash = '/';
        break;
    }
    if (st == SG_OK) st = sg_file_try_write(path);
    sg_free(path);
    if (st != SG_OK) die(st, NULL);
}

int cli_export(int argc, char **argv) {
    const char *checkpoint = NULL;
    request r = {0};
    const cli_option options[] = {
        CLI_CHECKPOINT(&checkpoint),
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
         .flag = &r.what.int8,
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
    char *path;
    sg_status st;

    cli_parse(argc, argv, &syntax, &arguments);
    if (!r.output) die_usage("--output FILE.onnx is missing");
    path = cli_find_model(checkpoint, &arguments, &r.threads);
    refuse_output(r.output, path);
    if (r.vector) refuse_vector(r.vector);
    st = sg_export_open(path, arguments.overrides, arguments.n_overrides, &source);
    if (st == SG_OK) st = write_model(&r, &source);
    if (st != SG_OK) die(st, NULL);
    sg_export_close(&source);
    sg_free(path);
    cli_arguments_clear(&arguments);
    return CLI_DONE;
}
