#include "train/text_runner.h"

#include <string.h>

#include "core/mem.h"

struct sg_text_runner {
    sg_text_runner_options options;
    sg_inference *inference[SG_TEXT_SHAPES];
    sg_text_rows *rows; /* (workers) */
    float **answer;     /* (workers) (batch, the largest answer) */
};

static sg_status allocate(sg_text_runner *r) {
    const sg_text_runner_options *o = &r->options;
    size_t count = (size_t)(o->batch * o->answer[o->shapes->n - 1]);

    r->rows = sg_calloc((size_t)o->workers, sizeof *r->rows);
    r->answer = sg_calloc((size_t)o->workers, sizeof *r->answer);
    if (!r->rows || !r->answer) return sg_fail(SG_ERR_OOM, "texts: no memory for answers");
    for (int i = 0; i < o->workers; i++) {
        SG_TRY(sg_text_rows_init(o->shapes, o->batch, &r->rows[i]));
        r->answer[i] = sg_malloc(count * sizeof(float));
        if (!r->answer[i]) return sg_fail(SG_ERR_OOM, "texts: no memory for answers");
    }
    return SG_OK;
}

/* All shapes have the table of the first. */
static sg_status create_inferences(sg_text_runner *r) {
    const sg_trainer *trainer = r->options.trainer;
    /* frozen: read only */
    sg_table *table = trainer ? (sg_table *)(uintptr_t)sg_trainer_table(trainer) : NULL;

    for (int i = 0; i < r->options.shapes->n; i++) {
        sg_inference_options o;

        memset(&o, 0, sizeof o);
        o.build = r->options.build;
        o.context = r->options.contexts[i];
        o.backend = r->options.backend;
        o.table = table;
        o.beside = trainer;
        o.batch = r->options.batch;
        o.workers = r->options.workers;
        SG_TRY(sg_inference_create(&o, &r->inference[i]));
        /* frozen: the others only read it */
        if (!table) table = (sg_table *)(uintptr_t)sg_inference_table(r->inference[0]);
    }
    return SG_OK;
}

sg_status sg_text_runner_create(const sg_text_runner_options *options, sg_text_runner **out) {
    sg_text_runner *r = sg_calloc(1, sizeof *r);
    sg_status st;

    if (!r) return sg_fail(SG_ERR_OOM, "texts: no memory");
    r->options = *options;
    st = create_inferences(r);
    if (st == SG_OK) st = allocate(r);
    if (st != SG_OK) {
        sg_text_runner_destroy(r);
        return st;
    }
    *out = r;
    return SG_OK;
}

void sg_text_runner_destroy(sg_text_runner *r) {
    if (!r) return;
    for (int i = SG_TEXT_SHAPES - 1; i >= 0; i--) sg_inference_destroy(r->inference[i]);
    for (int i = 0; i < r->options.workers; i++) {
        if (r->rows) sg_text_rows_clear(&r->rows[i]);
        if (r->answer) sg_free(r->answer[i]);
    }
    sg_free(r->rows);
    sg_free(r->answer);
    sg_free(r);
}

sg_status sg_text_runner_use(sg_text_runner *r, const sg_trainer *trainer) {
    for (int i = 0; i < r->options.shapes->n; i++)
        SG_TRY(sg_inference_use_values(r->inference[i], sg_trainer_averages(trainer),
                                       sg_trainer_rows(trainer)));
    return SG_OK;
}

sg_status sg_text_runner_load(sg_text_runner *r, const char *path) {
    SG_TRY(sg_inference_load(r->inference[0], path));
    for (int i = 1; i < r->options.shapes->n; i++)
        SG_TRY(sg_inference_share_values(r->inference[i], r->inference[0]));
    return SG_OK;
}

/* Texts in the order in which they are run. */
typedef struct {
    sg_text_runner *runner;
    const sg_encoded_set *set;
    int64_t *order; /* (n) numbers of texts, by shape */
    int64_t *group; /* (n_groups + 1) where each begins in the order */
    uint8_t *shape; /* (n_groups) */
    int64_t n_groups;
    int rank, size; /* of the workers: each takes every size-th group */
    const sg_text_taking *taking;
} running;

/* Text `number` into row i; without one (-1) an empty text. */
static void put_text(const running *a, const sg_text_rows *rows, int shape, int64_t i,
                     int64_t number) {
    const sg_text_runner_options *o = &a->runner->options;
    sg_encoded none = {0}, text = none;

    if (number >= 0) text = sg_encoded_at(a->set, number);
    sg_text_rows_put(rows, o->shapes, shape, i, &text);
    if (o->masking)
        sg_text_rows_mask(rows, o->shapes, shape, i, i, o->masking,
                          sg_masking_key(o->masking, SG_MASKING_FIXED, number));
}

static sg_status run_group(void *context, int64_t item, int worker) {
    running *a = context;
    sg_text_runner *r = a->runner;
    int64_t group = a->rank + item * a->size;
    const sg_text_runner_options *o = &r->options;
    int shape = a->shape[group], k = 0;
    const int64_t *number = a->order + a->group[group];
    int64_t n = a->group[group + 1] - a->group[group];
    const sg_text_rows *rows = &r->rows[worker];
    const void *inputs[SG_MAX_INPUTS] = {NULL};

    for (int64_t i = 0; i < o->batch; i++) put_text(a, rows, shape, i, i < n ? number[i] : -1);
    if (o->shapes->features[shape] > 0) {
        inputs[k++] = rows->ngrams;
        inputs[k++] = rows->weights;
    }
    if (o->shapes->length[shape] > 0) {
        inputs[k++] = rows->ids;
        inputs[k++] = rows->length;
    }
    if (o->masking) inputs[k++] = rows->place;
    SG_TRY(sg_inference_run(r->inference[shape], worker, inputs,
                            (void *const[SG_MAX_OUTPUTS]){r->answer[worker]}));
    for (int64_t i = 0; i < n; i++) {
        const sg_text_answered answered = {number[i], shape, rows, i,
                                           r->answer[worker] + i * o->answer[shape]};

        a->taking->take(a->taking->context, &answered);
    }
    return SG_OK;
}

/* Groups of at most `batch` texts of one shape, in the order of their numbers. */
static void divide(running *a) {
    const sg_text_runner_options *o = &a->runner->options;
    int64_t at = 0;

    for (int s = 0; s < o->shapes->n; s++) {
        int64_t in_group = o->batch; /* each shape begins a group */

        for (int64_t i = 0; i < a->set->n; i++) {
            sg_encoded text = sg_encoded_at(a->set, i);

            if (sg_text_shape_for(o->shapes, text.n_ngrams, text.n_subwords) != s) continue;
            if (in_group == o->batch) {
                a->group[a->n_groups] = at;
                a->shape[a->n_groups++] = (uint8_t)s;
                in_group = 0;
            }
            a->order[at++] = i;
            in_group++;
        }
    }
    a->group[a->n_groups] = at;
}

/* The results of a worker's texts, in the order of its runs, between `packed` and their places; how
 * many bytes they are. */
static size_t move(const running *a, int rank, char *packed, bool pack) {
    size_t at = 0, bytes = a->taking->bytes;

    for (int64_t g = rank; g < a->n_groups; g += a->size)
        for (int64_t i = a->group[g]; i < a->group[g + 1]; i++) {
            char *place = (char *)a->taking->results + (size_t)a->order[i] * bytes;

            memcpy(pack ? packed + at : place, pack ? place : packed + at, bytes);
            at += bytes;
        }
    return at;
}

/* Everybody's results into their places. */
static sg_status gather(const running *a, const sg_share *share) {
    size_t whole = (size_t)a->set->n * a->taking->bytes, total, at = 0;
    char *mine = sg_malloc(whole + 1);
    void *all;
    sg_status st;

    if (!mine) return sg_fail(SG_ERR_OOM, "texts: no memory for answers");
    total = move(a, a->rank, mine, true);
    st = share->gather(share->context, mine, total, &all, &total);
    sg_free(mine);
    if (st != SG_OK) return st;
    if (total == whole)
        for (int rank = 0; rank < a->size; rank++) at += move(a, rank, (char *)all + at, false);
    else
        st =
            sg_fail(SG_ERR_DATA, "texts: the workers' answers, %zu bytes, are not about %lld texts",
                    total, (long long)a->set->n);
    sg_free(all);
    return st;
}

static void stop_when(sg_text_runner *r, sg_stop_fn stop, void *context) {
    for (int i = 0; i < r->options.shapes->n; i++)
        sg_inference_stop_when(r->inference[i], stop, context);
}

/* Of this worker. */
static int64_t groups_of(const running *a) {
    return (a->n_groups - a->rank + a->size - 1) / a->size;
}

sg_status sg_text_runner_run(sg_text_runner *r, const sg_encoded_set *set, sg_pool *pool,
                             const sg_share *share, sg_stop_fn stop, void *stop_context,
                             const sg_text_taking *taking) {
    running a = {.runner = r,
                 .set = set,
                 .rank = share ? share->rank : 0,
                 .size = share ? share->size : 1,
                 .taking = taking};
    size_t groups = (size_t)(set->n / r->options.batch + SG_TEXT_SHAPES + 1);
    sg_status st = SG_OK;

    a.order = sg_malloc((size_t)set->n * sizeof *a.order + 1);
    a.group = sg_malloc((groups + 1) * sizeof *a.group);
    a.shape = sg_malloc(groups * sizeof *a.shape);
    if (!a.order || !a.group || !a.shape) st = sg_fail(SG_ERR_OOM, "texts: no memory for answers");
    if (st == SG_OK) {
        divide(&a);
        stop_when(r, stop, stop_context);
        st = sg_pool_run(pool, groups_of(&a), run_group, &a);
        stop_when(r, NULL, NULL);
    }
    if (st == SG_OK && share && share->size > 1) st = gather(&a, share);
    sg_free(a.order);
    sg_free(a.group);
    sg_free(a.shape);
    return st;
}

typedef struct {
    float *answers;
    int64_t floats; /* of each */
} copying;

static void copy_answer(void *context, const sg_text_answered *answered) {
    const copying *c = context;

    memcpy(c->answers + answered->text * c->floats, answered->answer,
           (size_t)c->floats * sizeof *c->answers);
}

sg_status sg_text_runner_answer(sg_text_runner *r, const sg_encoded_set *set, sg_pool *pool,
                                const sg_share *share, sg_stop_fn stop, void *stop_context,
                                float *answers) {
    copying c = {answers, r->options.answer[0]};
    const sg_text_taking taking = {copy_answer, &c, answers, (size_t)c.floats * sizeof *answers};

    return sg_text_runner_run(r, set, pool, share, stop, stop_context, &taking);
}
