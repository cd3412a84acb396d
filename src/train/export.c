#include "train/export.h"

static sg_status export_kind(const char *type, const sg_trained_source *source,
                             const sg_export_options *o, sg_onnx *m) {
    if (sg_choice_is(type, "mask_detector")) return sg_export_detector(source, o, m);
    if (!sg_choice_is(type, "text_classifier"))
        return sg_fail(SG_ERR_CONFIG,
                       "%s: is a model of type %s, which answers nothing; train a text_classifier "
                       "with model.init=%s and export that",
                       source->path, type, source->path);
    if (o->nms || o->preprocess)
        return sg_fail(SG_ERR_ARG, "%s is for detectors, and %s classifies texts",
                       o->nms ? "--nms" : "--preprocess", source->path);
    return sg_export_text(source, o, m);
}

sg_status sg_export_model(const sg_trained_source *source, const sg_export_options *options,
                          sg_onnx **out) {
    const char *type;
    sg_onnx *m;
    sg_status st;

    SG_TRY(sg_trained_type(source->path, &type));
    SG_TRY(sg_onnx_create(&m));
    st = export_kind(type, source, options, m);
    if (st == SG_OK) st = sg_onnx_status(m);
    if (st == SG_OK)
        *out = m;
    else
        sg_onnx_destroy(m);
    return st;
}
