#include "train/trained.h"

#include <string.h>

#include "core/mem.h"

static sg_status parse(const sg_trained_source *s, const sg_model_file *file, int n_overrides,
                       sg_config *out) {
    return sg_config_parse(s->path, file->config, strlen(file->config), s->overrides, n_overrides,
                           out);
}

sg_status sg_trained_type(const char *path, const char **type) {
    const sg_trained_source source = {.path = path};
    sg_model_file file;
    sg_config config;
    sg_status st;

    SG_TRY(sg_model_file_read(path, &file));
    st = parse(&source, &file, 0, &config);
    sg_model_file_clear(&file);
    if (st == SG_OK) *type = config.model.type;
    return st;
}

/* Whether `name`, "section.key" of that length, is in the list. */
static bool is_built_in(const char *const *built_in, const char *name, size_t length) {
    for (; *built_in; built_in++) {
        size_t n = strlen(*built_in);
        bool section = (*built_in)[n - 1] == '.';

        if ((section ? n < length : n == length) && memcmp(*built_in, name, n) == 0) return true;
    }
    return false;
}

sg_status sg_trained_config(const sg_trained_source *source, const sg_model_file *file,
                            const char *const *built_in, sg_config *out) {
    sg_status st = SG_OK;
    sg_config trained, now;
    char *differing = NULL;

    SG_TRY(parse(source, file, 0, &trained));
    SG_TRY(parse(source, file, source->n_overrides, &now));
    SG_TRY(sg_config_diff(&trained, &now, &differing)); /* "a.b, c.d" */
    for (const char *at = differing; at && *at && st == SG_OK;) {
        size_t length = strcspn(at, ",");

        if (is_built_in(built_in, at, length))
            st = sg_fail(SG_ERR_CONFIG, "command line: %.*s: is built into %s; leave it out",
                         (int)length, at, source->path);
        at += length;
        at += strspn(at, ", ");
    }
    sg_free(differing);
    if (st == SG_OK) *out = now;
    return st;
}

sg_status sg_trained_compute(const sg_trained_source *source, const sg_model_file *file,
                             sg_compute *out) {
    sg_compute_options o = {.began = file->numeric_class, .plans = file->plans};
    sg_config asked;

    sg_config_default(&asked);
    for (int i = 0; i < source->n_overrides; i++)
        SG_TRY(sg_config_set(&asked, source->overrides[i]));
    o.device = asked.run.device;
    o.precision = asked.train.precision;
    return sg_compute_open(&o, out);
}
