/* A detector as ONNX.
 *
 *   images f32 (batch, 3, S, S), red green blue, 0 .. 1      preprocess: u8 (batch, H, W, 3)
 *   output0 (batch, 4 + classes, A), cx cy w h and scores    nms: (batch, max_boxes, 6)
 *
 * in pixels of the input, or with preprocess of the pictures: the ultralytics layout. */
#include <jansson.h>
#include <string.h>

#include "onnx/boxes.h"
#include "onnx/forms.h"
#include "train/detector_model.h"
#include "train/export.h"
#include "train/inference.h"

typedef struct {
    const sg_export_options *options;
    sg_detector_model model;
    sg_table *table;
    sg_graph *graph;
    sg_state *state;
    sg_conversion *conversion;
    sg_onnx *m;
    sg_onnx_letterbox map; /* with preprocess */
} exporting;

static sg_status load(exporting *e, const sg_trained_source *source) {
    SG_TRY(sg_detector_model_read(source, &e->model));
    SG_TRY(sg_table_create(&e->table));
    SG_TRY(sg_graph_create(SG_EVAL, e->table, &e->graph));
    SG_TRY(sg_mask_detector_build(e->graph, 1, &e->model.model));
    sg_table_freeze(e->table);
    SG_TRY(sg_state_create(e->table, 0, &e->state));
    SG_TRY(sg_model_file_load(source->path, e->state));
    return sg_conversion_create(e->m, e->graph, e->state->ema, e->state->rows, &e->conversion);
}

/* The output of that name. */
static sg_value *output(const exporting *e, const char *name) {
    for (int i = 0; i < sg_graph_outputs(e->graph); i++)
        if (strcmp(sg_graph_output_name(e->graph, i), name) == 0)
            return sg_graph_output(e->graph, i);
    return NULL;
}

/* The value that is fed as floats: what to_float makes of the picture. */
static sg_value *floats(const exporting *e) {
    for (int i = 0; i < sg_graph_nodes(e->graph); i++) {
        sg_node *node = sg_graph_node(e->graph, i);

        if (node->op == &sg_op_to_float && node->in[0] == sg_graph_input(e->graph, 0))
            return &node->out[0];
    }
    return NULL;
}

static sg_status bind_input(exporting *e) {
    long long side = (long long)e->model.model.input;
    const char *images;

    if (!e->options->preprocess) {
        images = sg_onnx_input(e->m, "images", SG_ONNX_FLOAT, "batch 3 %lld %lld", side, side);
        sg_conversion_bind(e->conversion, floats(e), images);
        return sg_onnx_status(e->m);
    }
    images = sg_onnx_input(e->m, "images", SG_ONNX_UINT8, "batch height width 3");
    e->map = sg_onnx_letterbox_of(e->m, images, side);
    images = SG_ONNX_OP(e->m, "Mul", e->map.pixels, sg_onnx_float(e->m, 1.0f / 255.0f));
    sg_conversion_bind(e->conversion, floats(e), images);
    return sg_onnx_status(e->m);
}

/* --- outputs ---------------------------------------------------------------------------------- */

static int64_t anchor_count(const exporting *e) {
    sg_anchors anchors = sg_mask_detector_anchors(&e->model.model);

    return sg_anchor_count(&anchors);
}

/* (N, A, 2) in pixels of the picture. */
static sg_form_boxes in_picture(exporting *e, sg_form_boxes b) {
    const char *pads[] = {e->map.pad_x, e->map.pad_y, SG_ONNX_END}, *pad;

    for (int i = 0; i < 2; i++)
        pads[i] = SG_ONNX_OP(e->m, "Unsqueeze", pads[i], SG_ONNX_INTS(e->m, 0));
    pad = sg_onnx_node(e->m, "Concat", pads, SG_ONNX_WITH(sg_onnx_attr_int("axis", 0)));
    b.centre = SG_ONNX_OP(e->m, "Sub", b.centre, pad);
    b.centre = SG_ONNX_OP(e->m, "Div", b.centre, e->map.scale);
    b.size = SG_ONNX_OP(e->m, "Div", b.size, e->map.scale);
    return b;
}

static sg_status put_raw(exporting *e) {
    const sg_node *decode = output(e, "boxes")->node;
    const char *raw, *scores, *all;
    sg_form_boxes b;

    SG_TRY(sg_convert(e->conversion, decode->in[0], &raw));
    SG_TRY(sg_convert(e->conversion, output(e, "scores"), &scores));
    sg_onnx_scope(e->m, "output");
    b = sg_form_decode(e->m, raw, decode->attr);
    if (e->options->preprocess) b = in_picture(e, b);
    all = sg_onnx_node(e->m, "Concat", SG_ONNX_IN(b.centre, b.size, scores),
                       SG_ONNX_WITH(sg_onnx_attr_int("axis", 2)));
    all = sg_onnx_node(e->m, "Transpose", SG_ONNX_IN(all),
                       SG_ONNX_WITH(sg_onnx_attr_ints("perm", 3, (const int64_t[]){0, 2, 1})));
    sg_onnx_output(e->m, "output0", all, SG_ONNX_FLOAT, "batch %lld %lld",
                   (long long)e->model.model.classes + 4, (long long)anchor_count(e));
    return sg_onnx_status(e->m);
}

static sg_status put_found(exporting *e) {
    const sg_config *c = &e->model.config;
    const sg_onnx_nms nms = {anchor_count(e), e->model.model.classes, (float)c->predict.score,
                             (float)c->predict.nms, c->predict.max_boxes};
    const char *boxes, *scores, *rows;

    SG_TRY(sg_convert(e->conversion, output(e, "boxes"), &boxes));
    SG_TRY(sg_convert(e->conversion, output(e, "scores"), &scores));
    rows = sg_onnx_nms_of(e->m, boxes, scores, &nms);
    if (e->options->preprocess) rows = sg_onnx_boxes_undo(e->m, rows, nms.max_boxes, &e->map);
    sg_onnx_output(e->m, "output0", rows, SG_ONNX_FLOAT, "batch %lld 6", (long long)nms.max_boxes);
    return sg_onnx_status(e->m);
}

/* --- metadata --------------------------------------------------------------------------------- */

/* Keys of the ultralytics layout. */
static void about_layout(const exporting *e) {
    sg_anchors anchors = sg_mask_detector_anchors(&e->model.model);
    long long side = (long long)e->model.model.input;

    sg_onnx_about(e->m, "task", "detect");
    sg_onnx_about(e->m, "batch", "1");
    sg_onnx_about(e->m, "channels", "3");
    sg_onnx_about_f(e->m, "stride", "%lld", (long long)anchors.stride[anchors.levels - 1]);
    sg_onnx_about_f(e->m, "imgsz", "[%lld, %lld]", side, side);
    /* readers of `dynamic` take it that height and width vary, and letterbox to rectangles */
    sg_onnx_about_f(e->m, "args", "{'batch': 1, 'dynamic': False, 'nms': %s}",
                    e->options->nms ? "True" : "False");
    sg_export_names(e->m, (const char *const *)e->model.classes.name, e->model.classes.n);
}

static void about_ours(const exporting *e) {
    const sg_config *c = &e->model.config;
    bool raw = !e->options->preprocess;
    double scale = raw ? 1.0 / 255.0 : 1.0;

    sg_onnx_about(e->m, "spotgrad.size", sg_detector_size_name(e->model.model.size));
    sg_export_json(e->m, "spotgrad.input",
                   json_pack("{s:s, s:s, s:s, s:[f,f,f], s:f}", "colour", "RGB", "layout",
                             raw ? "NCHW" : "NHWC", "type", raw ? "float32" : "uint8", "mean", 0.0,
                             0.0, 0.0, "scale", scale));
    sg_export_json(e->m, "spotgrad.letterbox",
                   json_pack("{s:b, s:I, s:i, s:s, s:s}", "inside", !raw, "side",
                             (json_int_t)e->model.model.input, "pad", SG_IMAGE_MATTE, "align",
                             "centre", "filter", "triangle"));
    sg_export_json(e->m, "spotgrad.boxes",
                   json_pack("{s:s, s:s, s:f, s:f, s:I}", "format",
                             e->options->nms ? "xyxy score class" : "cxcywh scores", "pixels",
                             raw ? "input" : "picture", "score", c->predict.score, "iou",
                             c->predict.nms, "max_boxes", (json_int_t)c->predict.max_boxes));
}

static sg_status export(exporting *e, const sg_trained_source *source) {
    SG_TRY(load(e, source));
    SG_TRY(bind_input(e));
    SG_TRY(e->options->nms ? put_found(e) : put_raw(e));
    sg_export_about(e->m, "mask_detector", &e->model.file);
    about_layout(e);
    about_ours(e);
    return sg_onnx_status(e->m);
}

sg_status sg_export_detector(const sg_trained_source *source, const sg_export_options *options,
                             sg_onnx *m) {
    exporting e = {.options = options, .m = m};
    sg_status st = export(&e, source);

    sg_conversion_destroy(e.conversion);
    sg_state_destroy(e.state);
    sg_graph_destroy(e.graph);
    sg_table_destroy(e.table);
    sg_detector_model_clear(&e.model);
    return st;
}
