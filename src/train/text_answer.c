#include "train/text_answer.h"

#include <string.h>

static void put_name(sg_line *out, const char *name) { sg_line_json(out, name, strlen(name)); }

/* "label": L, "probabilities": {..}, of one task */
static void put_task(const sg_text_model *m, int task, const float *probabilities, sg_line *out) {
    const sg_classes *classes = &m->classes[task];
    const float *p = probabilities + m->first_class[task];

    sg_line_text(out, "\"label\":");
    put_name(out, classes->name[sg_text_best(m, task, probabilities)]);
    sg_line_text(out, ",\"probabilities\":{");
    for (int c = 0; c < classes->n; c++) {
        if (c > 0) sg_line_text(out, ",");
        put_name(out, classes->name[c]);
        sg_line_text(out, ":");
        sg_line_number(out, (double)p[c]);
    }
    sg_line_text(out, "}");
}

void sg_text_answer_json(const sg_text_model *m, const char *text, int64_t bytes,
                         const float *probabilities, sg_line *out) {
    sg_line_text(out, "{\"text\":");
    sg_line_json(out, text, (size_t)bytes);
    sg_line_text(out, m->n_tasks == 1 ? "," : ",\"tasks\":{");
    for (int t = 0; t < m->n_tasks; t++) {
        if (m->n_tasks > 1) {
            if (t > 0) sg_line_text(out, ",");
            put_name(out, m->tasks.name[t]);
            sg_line_text(out, ":{");
        }
        put_task(m, t, probabilities, out);
        if (m->n_tasks > 1) sg_line_text(out, "}");
    }
    sg_line_text(out, m->n_tasks == 1 ? "}\n" : "}}\n");
}

void sg_text_answer_plain(const sg_text_model *m, const char *text, int64_t bytes,
                          const float *probabilities, sg_line *out) {
    for (int t = 0; t < m->n_tasks; t++) {
        int32_t best = sg_text_best(m, t, probabilities);
        const char *label = m->classes[t].name[best];

        if (m->n_tasks > 1) {
            sg_line_visible(out, m->tasks.name[t], strlen(m->tasks.name[t]));
            sg_line_text(out, "=");
        }
        sg_line_visible(out, label, strlen(label));
        sg_line_text(out, "\t");
        sg_line_fixed(out, (double)probabilities[m->first_class[t] + best]);
        sg_line_text(out, "\t");
    }
    sg_line_visible(out, text, (size_t)bytes);
    sg_line_text(out, "\n");
}
