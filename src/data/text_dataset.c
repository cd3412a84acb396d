/* Parts of all tasks -> one sg_text_dataset; its fingerprint. */
#include "data/text_dataset.h"

#include <string.h>

#include "core/mem.h"
#include "data/text_source.h"

sg_status sg_text_place_tasks(const sg_text_place *place, sg_classes *names) {
    sg_classes none = {0};
    int id;

    if (place->task && place->task[strspn(place->task, " \t")])
        return sg_names_parse("data.task: task", place->task, SG_TEXT_MAX_TASKS, names);
    SG_TRY(sg_classes_intern(&none, "", 1, &id));
    *names = none;
    return SG_OK;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* Room for the texts of one more task. */
static sg_status grow(sg_text_dataset *d, int64_t more) {
    size_t n = (size_t)d->n, wanted = (size_t)(d->n + more);
    sg_message *texts = sg_realloc(d->texts, n * sizeof *texts, wanted * sizeof *texts);
    int32_t *labels = NULL;

    if (texts) {
        d->texts = texts;
        labels = sg_realloc(d->labels, n * sizeof *labels, wanted * sizeof *labels);
    }
    if (!labels) return sg_fail(SG_ERR_OOM, "data: no memory for %zu texts", wanted);
    d->labels = labels;
    return SG_OK;
}

/* Appends the part's rows and takes over its path and block. */
static sg_status add_part(sg_text_dataset *d, int index, sg_text_part *part) {
    sg_text_task *task = &d->tasks[index];

    SG_TRY(grow(d, part->n));
    task->first = d->n;
    task->n = part->n;
    for (int64_t i = 0; i < part->n; i++) {
        const sg_text_row *row = &part->rows[i];

        d->texts[d->n] = (sg_message){row->text, row->length, index, row->line};
        d->labels[d->n++] = row->id;
    }
    task->path = part->path;
    task->block = part->block;
    part->path = part->block = NULL;
    return SG_OK;
}

static sg_status read_task(sg_text_dataset *d, int index, const sg_text_place *place,
                           const char *split, const sg_classes *classes) {
    const sg_fault_sink strict = {0};
    sg_text_part part;
    sg_status st;

    SG_TRY(sg_text_part_read(place, d->tasks[index].name, split, &strict, &part));
    st = classes ? sg_classes_copy(&classes[index], &d->classes[index])
                 : sg_text_part_classes(&part, &d->classes[index]);
    if (st == SG_OK)
        st = sg_text_part_resolve(&part, &d->classes[index], place->texts_only, &strict);
    if (st == SG_OK) st = add_part(d, index, &part);
    sg_text_part_clear(&part);
    return st;
}

static sg_status read_tasks(sg_text_dataset *d, const sg_classes *names, const sg_text_place *place,
                            const char *split, const sg_classes *classes) {
    d->tasks = sg_calloc((size_t)names->n, sizeof *d->tasks);
    d->classes = sg_calloc((size_t)names->n, sizeof *d->classes);
    if (!d->tasks || !d->classes)
        return sg_fail(SG_ERR_OOM, "data: no memory for %d tasks", names->n);
    for (; d->n_tasks < names->n; d->n_tasks++) {
        char *name = sg_strdup(names->name[d->n_tasks]);

        if (!name) return sg_fail(SG_ERR_OOM, "data: no memory for a task's name");
        d->tasks[d->n_tasks].name = name;
    }
    for (int i = 0; i < d->n_tasks; i++) SG_TRY(read_task(d, i, place, split, classes));
    return SG_OK;
}

sg_status sg_text_dataset_read(const sg_text_place *place, const char *split,
                               const sg_classes *classes, sg_text_dataset **out) {
    sg_text_dataset *d = sg_calloc(1, sizeof *d);
    sg_classes names = {0};
    sg_status st;

    if (!d) return sg_fail(SG_ERR_OOM, "data: no memory for a data set");
    st = sg_text_place_tasks(place, &names);
    if (st == SG_OK) st = read_tasks(d, &names, place, split, classes);
    sg_classes_clear(&names);
    if (st == SG_OK)
        *out = d;
    else
        sg_text_dataset_destroy(d);
    return st;
}

void sg_text_dataset_destroy(sg_text_dataset *dataset) {
    if (!dataset) return;
    for (int i = 0; i < dataset->n_tasks; i++) {
        sg_free(dataset->tasks[i].name);
        sg_free(dataset->tasks[i].path);
        sg_free(dataset->tasks[i].block);
        sg_classes_clear(&dataset->classes[i]);
    }
    sg_free(dataset->tasks);
    sg_free(dataset->classes);
    sg_free(dataset->texts);
    sg_free(dataset->labels);
    sg_free(dataset);
}

/* --- fingerprint ------------------------------------------------------------------------------ */

sg_status sg_text_dataset_fingerprint(const sg_text_dataset *dataset,
                                      char hex[SG_FINGERPRINT_BYTES]) {
    sg_fingerprint f;

    SG_TRY(sg_fingerprint_begin(dataset->tasks[0].path, "spotgrad text data 1", &f));
    sg_fingerprint_number(&f, (uint64_t)dataset->n_tasks);
    for (int t = 0; t < dataset->n_tasks; t++) {
        const sg_classes *classes = &dataset->classes[t];

        sg_fingerprint_number(&f, (uint64_t)dataset->tasks[t].n);
        sg_fingerprint_number(&f, (uint64_t)classes->n);
        for (int i = 0; i < classes->n; i++) sg_fingerprint_text(&f, classes->name[i]);
    }
    for (int64_t i = 0; i < dataset->n; i++) {
        sg_fingerprint_number(&f, (uint64_t)dataset->labels[i]);
        sg_fingerprint_bytes(&f, dataset->texts[i].bytes, (size_t)dataset->texts[i].length);
    }
    return sg_fingerprint_end(&f, hex);
}
