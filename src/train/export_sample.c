#include "train/export_sample.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/line.h"
#include "core/mem.h"
#include "onnx/run.h"

enum { kPngLevel = 6 };

sg_status sg_export_sample_take(const sg_trained_source *source, const sg_export_options *options,
                                const sg_export_graph *graph, sg_export_sample *out) {
    const char *type;
    sg_status st;

    memset(out, 0, sizeof *out);
    SG_TRY(sg_trained_type(source->path, &type));
    st = sg_choice_is(type, "mask_detector")
             ? sg_export_sample_pictures(source, options, graph, out)
             : sg_export_sample_texts(source, graph, out);
    if (st != SG_OK) sg_export_sample_clear(out);
    return st;
}

void sg_export_sample_clear(sg_export_sample *s) {
    sg_export_inputs_clear(&s->input);
    for (int i = 0; i < SG_EXPORT_OUTPUTS; i++) sg_onnx_array_clear(&s->output[i]);
    for (int i = 0; i < SG_EXPORT_SAMPLES; i++) {
        sg_image_clear(&s->image[i]);
        sg_onnx_array_clear(&s->boxes[i]);
        sg_free(s->answer[i]);
    }
    memset(s, 0, sizeof *s);
}

void sg_export_sample_unreal(sg_export_sample *s) {
    s->real = false;
    snprintf(s->why, sizeof s->why, "%s", sg_last_error());
}

sg_status sg_export_sample_fits(const sg_export_sample *s, const sg_onnx_array *got) {
    for (int o = 0; o < s->n_outputs; o++) {
        const sg_onnx_array *a = &got[o], *b = &s->output[o];

        if (a->type != b->type || a->rank != b->rank ||
            memcmp(a->dim, b->dim, (size_t)b->rank * sizeof b->dim[0]) != 0)
            return sg_fail(SG_ERR_DATA, "the exported graph differs: %s has another shape",
                           b->name);
    }
    return SG_OK;
}

sg_status sg_export_sample_run(const sg_export_graph *graph, sg_export_sample *s) {
    sg_onnx_array got[SG_EXPORT_OUTPUTS];
    sg_status st;

    SG_TRY(sg_onnx_run(graph->bytes, graph->size, s->input.array, s->input.n, got, s->n_outputs));
    st = sg_export_sample_fits(s, got);
    for (int o = 0; o < s->n_outputs && st == SG_OK; o++)
        memcpy(s->output[o].data, got[o].data, sg_onnx_array_bytes(&got[o]));
    for (int o = 0; o < s->n_outputs; o++) sg_onnx_array_clear(&got[o]);
    return st;
}

/* --- the test vector -------------------------------------------------------------------------- */

static sg_status write_array(const char *folder, const char *what, int i, const sg_onnx_array *a) {
    char *path = sg_str_printf("%s/%s_%d.pb", folder, what, i);
    uint8_t *bytes = NULL;
    size_t size = 0;
    sg_status st =
        path ? sg_onnx_array_pack(a, &bytes, &size) : sg_fail(SG_ERR_OOM, "%s: no memory", folder);

    if (st == SG_OK) st = sg_file_write(path, bytes, size);
    sg_free(bytes);
    sg_free(path);
    return st;
}

static sg_status write_picture(const char *folder, int i, const sg_image *image) {
    char *path = sg_str_printf("%s/picture_%d.png", folder, i);
    sg_status st = path ? sg_image_write_png(path, image, kPngLevel)
                        : sg_fail(SG_ERR_OOM, "%s: no memory", folder);

    sg_free(path);
    return st;
}

static sg_status write_answers(const char *folder, const sg_export_sample *s) {
    char *path = sg_str_printf("%s/answers.jsonl", folder);
    sg_line all = {0};
    sg_status st;

    for (int i = 0; i < s->n; i++) sg_line_text(&all, s->answer[i]);
    st = path ? sg_line_status(&all) : sg_fail(SG_ERR_OOM, "%s: no memory", folder);
    if (st == SG_OK) st = sg_file_write(path, all.data, all.size);
    sg_line_clear(&all);
    sg_free(path);
    return st;
}

sg_status sg_export_write_vector(const char *folder, const sg_export_sample *s) {
    SG_TRY(sg_make_dirs(folder));
    for (int i = 0; i < s->input.n; i++)
        SG_TRY(write_array(folder, "input", i, &s->input.array[i]));
    for (int i = 0; i < s->n_outputs; i++) SG_TRY(write_array(folder, "output", i, &s->output[i]));
    if (s->kind == SG_EXPORT_LABELS) return write_answers(folder, s);
    for (int i = 0; i < s->n; i++) {
        SG_TRY(write_picture(folder, i, &s->image[i]));
        SG_TRY(write_array(folder, "boxes", i, &s->boxes[i]));
    }
    return SG_OK;
}
