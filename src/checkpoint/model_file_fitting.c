/* A model that starts from another one, which may tell other classes apart. */
#include <string.h>

#include "checkpoint/model_file_reader.h"
#include "core/mem.h"

static void copy_floats(float *to, const float *from, int64_t n) {
    if (n > 0) memcpy(to, from, (size_t)n * sizeof(float));
}

/* A model that starts from a file. */
typedef struct {
    const sg_model_reader *r;
    const sg_state *fresh;
    const sg_class_outputs *classes;
    int64_t *from; /* (classes->n) which class of the file each one is */
    sg_fitting done;
} start;

static int64_t find_class(const sg_model_file *file, const char *name) {
    for (int64_t i = 0; i < file->n_classes; i++)
        if (strcmp(file->classes[i], name) == 0) return i;
    return -1;
}

/* Names do not repeat, so that as many, all of which are found, are the same ones. */
static sg_status match_classes(start *s) {
    const sg_class_outputs *own = s->classes;
    sg_model_file file = {0};
    sg_status st = sg_model_read_classes(s->r, &file);

    s->from = sg_calloc((size_t)own->n + 1, sizeof *s->from);
    if (st == SG_OK && !s->from)
        st = sg_fail(SG_ERR_OOM, "%s: no memory for %lld classes", s->r->path, (long long)own->n);
    if (st == SG_OK && file.n_classes != own->n && file.n_classes > 0 && own->n > 0)
        s->done.classes = SG_CLASSES_OTHER;
    for (int64_t c = 0; st == SG_OK && file.n_classes == own->n && c < own->n; c++) {
        s->from[c] = find_class(&file, own->name[c]);
        if (s->from[c] < 0)
            s->done.classes = SG_CLASSES_OTHER;
        else if (s->from[c] != c && s->done.classes == SG_CLASSES_SAME)
            s->done.classes = SG_CLASSES_REORDERED;
    }
    sg_model_file_clear(&file);
    return st;
}

/* Along the axis of the classes, element c becomes element from[c]. */
static sg_status move_classes(const start *s, const sg_shape *shape, int axis, float *x) {
    int64_t before = 1, n = shape->dim[axis], after = 1;
    float *was;

    for (int i = 0; i < axis; i++) before *= shape->dim[i];
    for (int i = axis + 1; i < shape->rank; i++) after *= shape->dim[i];
    was = sg_malloc((size_t)(n * after + 1) * sizeof *was);
    if (!was) return sg_fail(SG_ERR_OOM, "%s: no memory to order classes", s->r->path);
    for (int64_t b = 0; b < before; b++) {
        float *block = x + b * n * after;

        copy_floats(was, block, n * after);
        for (int64_t c = 0; c < n; c++)
            copy_floats(block + c * after, was + s->from[c] * after, after);
    }
    sg_free(was);
    return SG_OK;
}

static sg_status take_fitting(start *s, const sg_entry *e) {
    int axis = s->classes && s->classes->n > 0 ? s->classes->axis(e->name) : -1;
    bool rows = e->kind == SG_ENTRY_ROWS;
    float *to = (rows ? s->fresh->rows : s->fresh->values) + e->offset;
    sg_status st = SG_OK;
    char *name;

    if (axis >= 0 && s->done.classes == SG_CLASSES_OTHER) return SG_OK;
    name = sg_str_printf("%s%s", rows ? SG_MODEL_PARAMETERS : SG_MODEL_EMA, e->name);
    if (!name) return sg_fail(SG_ERR_OOM, "%s: no memory for a name", s->r->path);
    if (sg_model_has(s->r, name, &e->shape)) {
        st = sg_model_read_numbers(s->r, name, H5T_IEEE_F32LE, &e->shape, to);
        if (st == SG_OK && axis >= 0 && s->done.classes == SG_CLASSES_REORDERED)
            st = move_classes(s, &e->shape, axis, to);
        s->done.tensors++;
    }
    sg_free(name);
    return st;
}

static sg_status load_fitting(start *s) {
    if (s->classes) SG_TRY(match_classes(s));
    for (int i = 0; i < s->fresh->table->n_entries; i++)
        SG_TRY(take_fitting(s, &s->fresh->table->entry[i]));
    if (s->done.tensors == 0)
        return sg_fail(SG_ERR_DATA, "%s: has nothing that fits this model", s->r->path);
    return SG_OK;
}

sg_status sg_model_file_load_fitting(const char *path, sg_state *state,
                                     const sg_class_outputs *classes, sg_fitting *out) {
    const sg_table *table = state->table;
    sg_state *fresh = NULL;
    start s = {.classes = classes};
    sg_status st;
    sg_model_reader r;

    SG_TRY(sg_model_open(path, &r));
    st = sg_state_create(table, 0, &fresh);
    if (st == SG_OK) {
        copy_floats(fresh->values, state->values, table->n_values);
        copy_floats(fresh->rows, state->rows, table->n_rows);
        s.r = &r;
        s.fresh = fresh;
        st = load_fitting(&s);
    }
    st = sg_model_close(&r, st);
    if (st == SG_OK) {
        copy_floats(state->values, fresh->values, table->n_values);
        copy_floats(state->ema, fresh->values, table->n_values);
        copy_floats(state->rows, fresh->rows, table->n_rows);
        sg_state_begin_sums(state);
        *out = s.done;
    }
    sg_free(s.from);
    sg_state_destroy(fresh);
    return st;
}
