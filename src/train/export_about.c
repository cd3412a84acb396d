/* Metadata that models of all kinds have. No time is among it: the same checkpoint gives the same
 * file. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/line.h"
#include "core/mem.h"
#include "core/utf8.h"
#include "data/fingerprint.h"
#include "spotgrad.h"
#include "train/export.h"

void sg_export_json(sg_onnx *m, const char *key, json_t *value) {
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;

    json_decref(value);
    if (text)
        sg_onnx_about(m, key, text);
    else
        sg_onnx_fail(m, sg_fail(SG_ERR_OOM, "export: no memory for %s", key));
    free(text);
}

/* The line of the file's history that its last evaluation has written; NULL: there is none. */
static char *last_evaluation(const char *history) {
    const char *found = NULL;

    for (const char *line = history; line && *line;) {
        const char *end = strchr(line, '\n');

        if (strncmp(line, "{\"step\"", 7) == 0) found = line;
        line = end ? end + 1 : NULL;
    }
    return found ? sg_str_printf("%.*s", (int)strcspn(found, "\n"), found) : NULL;
}

void sg_export_about(sg_onnx *m, const char *kind, const sg_model_file *file) {
    char *measured = last_evaluation(file->history);

    sg_onnx_about_f(m, "description", "%s, trained with Spotgrad", kind);
    sg_onnx_about(m, "author", "Spotgrad");
    sg_onnx_about(m, "version", SPOTGRAD_VERSION);
    sg_onnx_about(m, "spotgrad.version", SPOTGRAD_VERSION);
    sg_onnx_about(m, "spotgrad.model", kind);
    sg_onnx_about(m, "spotgrad.run_id", file->run_id);
    sg_onnx_about_f(m, "spotgrad.step", "%lld", (long long)file->step);
    sg_onnx_about_f(m, "spotgrad.epoch", "%lld", (long long)file->epoch);
    sg_onnx_about_f(m, "spotgrad.data_sha256", "%.*s", SG_FINGERPRINT_BYTES - 1,
                    file->data_fingerprint); /* data.train's */
    if (measured) sg_onnx_about(m, "spotgrad.metrics", measured);
    sg_free(measured);
}

static json_t *number(double x) { return isnan(x) ? json_null() : json_real(x); }

void sg_export_about_int8(sg_onnx *m, const sg_export_loss *loss) {
    sg_export_json(m, "spotgrad.int8",
                   json_pack("{s:I, s:o, s:o}", "seen", (json_int_t)loss->seen, loss->score,
                             number(loss->after), "before", number(loss->before)));
}

/* As Python's repr: what is no UTF-8 and what cannot be seen in digits. */
static void put_quoted(sg_line *line, const char *name) {
    const char *end = name + strlen(name), *bad = name + sg_utf8_check(name, strlen(name));

    sg_line_text(line, "'");
    for (; name < end; name++) {
        unsigned char c = (unsigned char)*name;
        bool foreign = name == bad;

        if (foreign || c < ' ' || c == 127)
            sg_line_printf(line, "\\x%02x", c);
        else if (c == '\'' || c == '\\')
            sg_line_printf(line, "\\%c", c);
        else
            sg_line_put(line, name, 1);
        if (foreign) bad = name + 1 + sg_utf8_check(name + 1, (size_t)(end - name - 1));
    }
    sg_line_text(line, "'");
}

void sg_export_names(sg_onnx *m, const char *const *names, int64_t n) {
    sg_line line = {0};
    char *text;
    sg_status st;

    for (int64_t i = 0; i < n; i++) {
        sg_line_printf(&line, "%s%lld: ", i ? ", " : "{", (long long)i);
        put_quoted(&line, names[i]);
    }
    sg_line_text(&line, "}");
    st = sg_line_take(&line, &text);
    if (st != SG_OK) {
        sg_onnx_fail(m, st);
        return;
    }
    sg_onnx_about(m, "names", text);
    sg_free(text);
}
