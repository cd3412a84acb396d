#include "cpu/dnnl.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <oneapi/dnnl/dnnl_debug.h>
#include <stdio.h>

#include "core/mem.h"

enum { kMaxArgs = 5 };

typedef struct {
    dnnl_memory_desc_t md;    /* what the convolution wants */
    dnnl_memory_desc_t plain; /* the same dimensions, row-major */
    sg_shape shape;           /* without groups */
} filter_format;

struct sg_dnnl {
    dnnl_engine_t engine;
    int threads;
    filter_format *format; /* owned */
    int n_formats, capacity;
};

/* What a run hands to oneDNN. */
typedef struct {
    dnnl_stream_t stream;
    dnnl_exec_arg_t arg[kMaxArgs];
    int made;
} arguments;

struct sg_dnnl_op {
    const sg_dnnl *d; /* borrowed */
    dnnl_primitive_t primitive;
    arguments *kept; /* owned; NULL where runs may be side by side */
    int n_args;      /* inputs, output, scratchpad */
    int id[kMaxArgs];
    dnnl_memory_desc_t md[kMaxArgs];
    size_t scratch;
    char label[40];
};

static sg_status fail(const char *what, dnnl_status_t st) {
    sg_status code = st == dnnl_out_of_memory   ? SG_ERR_OOM
                     : st == dnnl_unimplemented ? SG_ERR_UNSUPPORTED
                                                : SG_ERR_ARG;

    return sg_fail(code, "oneDNN: %s: %s", what, dnnl_status2str(st));
}

#define DNNL_TRY(call, what)                                                                       \
    do {                                                                                           \
        dnnl_status_t dst_ = (call);                                                               \
        if (dst_ != dnnl_success) return fail(what, dst_);                                         \
    } while (0)

void sg_dnnl_cap_avx2(void) {
    /* refused once oneDNN has asked the processor: then the cap of the first call stands */
    (void)dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2);
}

bool sg_dnnl_has_avx512(void) {
    return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core;
}

void sg_dnnl_version(char *text, size_t bytes) {
    const dnnl_version_t *v = dnnl_version();

    snprintf(text, bytes, "%d.%d.%d", v->major, v->minor, v->patch);
}

/* oneDNN divides a primitive's work among this many threads when it makes it, and does not ask
 * whether they have all come when it runs: what is not theirs would stay undone. */
typedef struct {
    int threads, dynamic;
} team;

/* As many as a team that begins here can have. */
static int most_threads(void) {
    return omp_get_active_level() < omp_get_max_active_levels() ? omp_get_thread_limit() : 1;
}

static team impose(int threads) {
    team before = {omp_get_max_threads(), omp_get_dynamic()};

    if (before.threads != threads) omp_set_num_threads(threads);
    if (before.dynamic) omp_set_dynamic(0);
    return before;
}

static void put_back(team before, int threads) {
    if (before.threads != threads) omp_set_num_threads(before.threads);
    if (before.dynamic) omp_set_dynamic(before.dynamic);
}

sg_status sg_dnnl_matmul(const float *a, const float *b, float *c, int64_t M, int64_t N, int64_t K,
                         bool transpose_a, bool transpose_b) {
    team before = impose(1);
    dnnl_status_t st;

    st = dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', M, N, K, 1.0f, a,
                    transpose_a ? M : K, b, transpose_b ? K : N, 0.0f, c, N);
    put_back(before, 1);
    return st == dnnl_success ? SG_OK : fail("matrix product", st);
}

sg_status sg_dnnl_open(int op_threads, sg_dnnl **out) {
    sg_dnnl *d = sg_calloc(1, sizeof *d);
    dnnl_status_t st;

    if (!d) return sg_fail(SG_ERR_OOM, "oneDNN: no memory for an engine");
    d->threads = op_threads < most_threads() ? op_threads : most_threads();
    if (d->threads < 1) d->threads = 1;
    st = dnnl_engine_create(&d->engine, dnnl_cpu, 0);
    if (st != dnnl_success) {
        sg_free(d);
        return fail("cannot make an engine", st);
    }
    *out = d;
    return SG_OK;
}

void sg_dnnl_close(sg_dnnl *d) {
    if (!d) return;
    dnnl_engine_destroy(d->engine);
    sg_free(d->format);
    sg_free(d);
}

/* --- formats of filters ----------------------------------------------------------------------- */

static sg_status filter_add(sg_dnnl *d, const dnnl_memory_desc_t *md,
                            const dnnl_memory_desc_t *plain, sg_shape shape, int *number) {
    for (int i = 0; i < d->n_formats; i++) {
        if (dnnl_memory_desc_equal(&d->format[i].md, md)) {
            *number = i;
            return SG_OK;
        }
    }
    if (d->n_formats == d->capacity) {
        int more = d->capacity ? 2 * d->capacity : 16;
        filter_format *grown = sg_realloc(d->format, (size_t)d->capacity * sizeof *grown,
                                          (size_t)more * sizeof *grown);

        if (!grown) return sg_fail(SG_ERR_OOM, "oneDNN: no memory for filter formats");
        d->format = grown;
        d->capacity = more;
    }
    d->format[d->n_formats].md = *md;
    d->format[d->n_formats].plain = *plain;
    d->format[d->n_formats].shape = shape;
    *number = d->n_formats++;
    return SG_OK;
}

sg_shape sg_dnnl_filter_shape(const sg_dnnl *d, int format) { return d->format[format].shape; }

size_t sg_dnnl_filter_bytes(const sg_dnnl *d, int format) {
    return dnnl_memory_desc_get_size(&d->format[format].md);
}

/* --- primitives ------------------------------------------------------------------------------- */

static void arguments_clear(arguments *a) {
    for (int i = 0; i < a->made; i++) dnnl_memory_destroy(a->arg[i].memory);
    if (a->stream) dnnl_stream_destroy(a->stream);
}

/* What may be cleared also where it fails. */
static dnnl_status_t arguments_make(const sg_dnnl_op *op, arguments *a) {
    dnnl_status_t st = dnnl_stream_create(&a->stream, op->d->engine, dnnl_stream_default_flags);

    for (; a->made < op->n_args && st == dnnl_success; a->made += st == dnnl_success) {
        a->arg[a->made].arg = op->id[a->made];
        st = dnnl_memory_create(&a->arg[a->made].memory, &op->md[a->made], op->d->engine,
                                DNNL_MEMORY_NONE);
    }
    return st;
}

static sg_status keep_arguments(sg_dnnl_op *op) {
    dnnl_status_t st;

    op->kept = sg_calloc(1, sizeof *op->kept);
    if (!op->kept) return sg_fail(SG_ERR_OOM, "oneDNN: no memory for a primitive");
    st = arguments_make(op, op->kept);
    return st == dnnl_success ? SG_OK : fail("cannot make a primitive's arguments", st);
}

/* The primitive of `pd`, with user-mode scratchpad as the last argument; destroys pd. */
static sg_status op_finish(sg_dnnl_op *op, dnnl_primitive_desc_t pd) {
    const dnnl_memory_desc_t *scratch =
        dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    const char *info = "";
    dnnl_status_t st = dnnl_primitive_create(&op->primitive, pd);

    if (st == dnnl_success) st = dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &info);
    if (st == dnnl_success) snprintf(op->label, sizeof op->label, "%s", info);
    if (scratch && dnnl_memory_desc_get_size(scratch) > 0) {
        op->id[op->n_args] = DNNL_ARG_SCRATCHPAD;
        op->md[op->n_args++] = *scratch;
        op->scratch = sg_align_up(dnnl_memory_desc_get_size(scratch));
    }
    dnnl_primitive_desc_destroy(pd);
    if (st != dnnl_success) return fail("cannot make a primitive", st);
    return op->d->threads > 1 ? keep_arguments(op) : SG_OK;
}

static void op_arg(sg_dnnl_op *op, int id, dnnl_primitive_desc_t pd, dnnl_query_t what) {
    op->id[op->n_args] = id;
    op->md[op->n_args++] = *dnnl_primitive_desc_query_md(pd, what, 0);
}

static sg_status attributes(bool relu, dnnl_primitive_attr_t *out) {
    dnnl_post_ops_t post = NULL;
    dnnl_status_t st = dnnl_primitive_attr_create(out);

    if (st != dnnl_success) return fail("cannot make attributes", st);
    st = dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
    if (st == dnnl_success && relu) {
        st = dnnl_post_ops_create(&post);
        if (st == dnnl_success)
            st = dnnl_post_ops_append_eltwise(post, 1.0f, dnnl_eltwise_relu, 0.0f, 0.0f);
        if (st == dnnl_success) st = dnnl_primitive_attr_set_post_ops(*out, post);
        if (post) dnnl_post_ops_destroy(post);
    }
    if (st != dnnl_success) {
        dnnl_primitive_attr_destroy(*out);
        return fail("cannot set attributes", st);
    }
    return SG_OK;
}

typedef struct {
    dnnl_memory_desc_t x, w, w_plain, b, y;
} conv_descs;

static sg_status describe(const sg_dnnl_conv *c, conv_descs *m) {
    dnnl_dims_t x = {c->N, c->IC, c->IH, c->IW}, y = {c->N, c->OC, c->OH, c->OW}, b = {c->OC};
    dnnl_dims_t w = {c->OC, c->IC, c->KH, c->KW};
    dnnl_dims_t wg = {c->groups, c->OC / c->groups, c->IC / c->groups, c->KH, c->KW};
    bool grouped = c->groups > 1;
    dnnl_format_tag_t blocked = c->block == 16 ? dnnl_nChw16c : dnnl_nChw8c;
    dnnl_status_t st =
        dnnl_memory_desc_init_by_tag(&m->x, 4, x, dnnl_f32, c->plain_x ? dnnl_nchw : blocked);

    if (st == dnnl_success)
        st = dnnl_memory_desc_init_by_tag(&m->y, 4, y, dnnl_f32, c->plain_y ? dnnl_nchw : blocked);
    if (st == dnnl_success) st = dnnl_memory_desc_init_by_tag(&m->b, 1, b, dnnl_f32, dnnl_a);
    if (st == dnnl_success) {
        st = dnnl_memory_desc_init_by_tag(&m->w, grouped ? 5 : 4, grouped ? wg : w, dnnl_f32,
                                          dnnl_format_tag_any);
    }
    if (st == dnnl_success) {
        st = dnnl_memory_desc_init_by_tag(&m->w_plain, grouped ? 5 : 4, grouped ? wg : w, dnnl_f32,
                                          grouped ? dnnl_goihw : dnnl_oihw);
    }
    return st == dnnl_success ? SG_OK : fail("convolution's shapes", st);
}

static sg_status conv_desc(const sg_dnnl_conv *c, const conv_descs *m, dnnl_primitive_attr_t attr,
                           dnnl_engine_t engine, dnnl_primitive_desc_t *pd) {
    dnnl_dims_t stride = {c->stride, c->stride}, pad = {c->pad, c->pad};
    dnnl_convolution_desc_t desc;
    dnnl_status_t st;

    if (c->pass == SG_DNNL_FORWARD) {
        st = dnnl_convolution_forward_desc_init(&desc, dnnl_forward_inference,
                                                dnnl_convolution_direct, &m->x, &m->w,
                                                c->bias ? &m->b : NULL, &m->y, stride, pad, pad);
    } else if (c->pass == SG_DNNL_DATA) {
        st = dnnl_convolution_backward_data_desc_init(&desc, dnnl_convolution_direct, &m->x, &m->w,
                                                      &m->y, stride, pad, pad);
    } else {
        st = dnnl_convolution_backward_weights_desc_init(&desc, dnnl_convolution_direct, &m->x,
                                                         &m->w, NULL, &m->y, stride, pad, pad);
    }
    if (st == dnnl_success) st = dnnl_primitive_desc_create(pd, &desc, attr, engine, NULL);
    return st == dnnl_success ? SG_OK : fail("convolution", st);
}

static sg_status conv_fill(sg_dnnl *d, const sg_dnnl_conv *c, sg_dnnl_op *op, int *filter) {
    conv_descs m;
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t pd;
    sg_shape shape = sg_shape_4(c->OC, c->IC / c->groups, c->KH, c->KW);
    dnnl_query_t filter_query =
        c->pass == SG_DNNL_WEIGHTS ? dnnl_query_diff_weights_md : dnnl_query_weights_md;
    sg_status st;

    SG_TRY(describe(c, &m));
    SG_TRY(attributes(c->pass == SG_DNNL_FORWARD && c->relu, &attr));
    st = conv_desc(c, &m, attr, d->engine, &pd);
    dnnl_primitive_attr_destroy(attr);
    if (st != SG_OK) return st;
    st =
        filter_add(d, dnnl_primitive_desc_query_md(pd, filter_query, 0), &m.w_plain, shape, filter);
    if (st != SG_OK) {
        dnnl_primitive_desc_destroy(pd);
        return st;
    }
    if (c->pass == SG_DNNL_FORWARD) {
        op_arg(op, DNNL_ARG_SRC, pd, dnnl_query_src_md);
        op_arg(op, DNNL_ARG_WEIGHTS, pd, dnnl_query_weights_md);
        if (c->bias) {
            op->id[op->n_args] = DNNL_ARG_BIAS;
            op->md[op->n_args++] = m.b;
        }
        op_arg(op, DNNL_ARG_DST, pd, dnnl_query_dst_md);
    } else if (c->pass == SG_DNNL_DATA) {
        op_arg(op, DNNL_ARG_WEIGHTS, pd, dnnl_query_weights_md);
        op_arg(op, DNNL_ARG_DIFF_DST, pd, dnnl_query_diff_dst_md);
        op_arg(op, DNNL_ARG_DIFF_SRC, pd, dnnl_query_diff_src_md);
    } else {
        op_arg(op, DNNL_ARG_SRC, pd, dnnl_query_src_md);
        op_arg(op, DNNL_ARG_DIFF_DST, pd, dnnl_query_diff_dst_md);
        op_arg(op, DNNL_ARG_DIFF_WEIGHTS, pd, dnnl_query_diff_weights_md);
    }
    return op_finish(op, pd);
}

static sg_status op_create(sg_dnnl *d, sg_dnnl_op **out) {
    *out = sg_calloc(1, sizeof **out);
    if (!*out) return sg_fail(SG_ERR_OOM, "oneDNN: no memory for a primitive");
    (*out)->d = d;
    return SG_OK;
}

sg_status sg_dnnl_conv_create(sg_dnnl *d, const sg_dnnl_conv *conv, sg_dnnl_op **out, int *filter) {
    sg_dnnl_op *op;
    sg_status st;
    team before;

    SG_TRY(op_create(d, &op));
    before = impose(d->threads);
    st = conv_fill(d, conv, op, filter);
    put_back(before, d->threads);
    if (st != SG_OK) {
        sg_dnnl_op_destroy(op);
        return st;
    }
    *out = op;
    return SG_OK;
}

static sg_status reorder_fill(sg_dnnl *d, int from, int to, sg_dnnl_op *op) {
    const filter_format *f = &d->format[from == SG_DNNL_PLAIN ? to : from];
    const filter_format *t = &d->format[to == SG_DNNL_PLAIN ? from : to];
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t pd;
    dnnl_status_t st;

    if (!sg_shape_equal(&f->shape, &t->shape)) {
        return sg_fail(SG_ERR_UNSUPPORTED, "oneDNN: a filter's formats differ in their padding");
    }
    op->id[0] = DNNL_ARG_FROM;
    op->md[0] = from == SG_DNNL_PLAIN ? f->plain : f->md;
    op->id[1] = DNNL_ARG_TO;
    op->md[1] = to == SG_DNNL_PLAIN ? t->plain : t->md;
    op->n_args = 2;
    SG_TRY(attributes(false, &attr));
    st =
        dnnl_reorder_primitive_desc_create(&pd, &op->md[0], d->engine, &op->md[1], d->engine, attr);
    dnnl_primitive_attr_destroy(attr);
    if (st != dnnl_success) return fail("reorder", st);
    return op_finish(op, pd);
}

sg_status sg_dnnl_reorder_create(sg_dnnl *d, int from, int to, sg_dnnl_op **out) {
    sg_dnnl_op *op;
    sg_status st;
    team before;

    SG_TRY(op_create(d, &op));
    before = impose(d->threads);
    st = reorder_fill(d, from, to, op);
    put_back(before, d->threads);
    if (st != SG_OK) {
        sg_dnnl_op_destroy(op);
        return st;
    }
    *out = op;
    return SG_OK;
}

void sg_dnnl_op_destroy(sg_dnnl_op *op) {
    if (!op) return;
    if (op->kept) arguments_clear(op->kept);
    sg_free(op->kept);
    if (op->primitive) dnnl_primitive_destroy(op->primitive);
    sg_free(op);
}

size_t sg_dnnl_op_scratch(const sg_dnnl_op *op) { return op->scratch; }

const char *sg_dnnl_op_label(const sg_dnnl_op *op) { return op->label; }

static dnnl_status_t execute(const sg_dnnl_op *op, const arguments *a, const void *const in[],
                             void *out, void *scratch) {
    int n_in = op->n_args - (op->scratch > 0) - 1;
    dnnl_status_t st = dnnl_success;
    team before;

    for (int i = 0; i < op->n_args && st == dnnl_success; i++) {
        void *p = i < n_in ? (void *)(uintptr_t)in[i] : i == n_in ? out : scratch;

        st = dnnl_memory_set_data_handle(a->arg[i].memory, p);
    }
    if (st != dnnl_success) return st;
    before = impose(op->d->threads);
    st = dnnl_primitive_execute(op->primitive, a->stream, op->n_args, a->arg);
    if (st == dnnl_success) st = dnnl_stream_wait(a->stream);
    put_back(before, op->d->threads);
    return st;
}

/* Memory objects are a few dozen bytes each and are made anew for each run (about 1 us in all), so
 * that an op has no state that two threads could share; oneDNN itself allocates as much inside
 * dnnl_primitive_execute. Where an op has several threads there is one run at a time, and they are
 * kept. */
sg_status sg_dnnl_op_run(const sg_dnnl_op *op, const void *const in[], void *out, void *scratch) {
    arguments once = {.made = 0};
    dnnl_status_t st;

    if (op->d->threads > most_threads())
        return sg_fail(SG_ERR_UNSUPPORTED,
                       "oneDNN: made for %d threads, and OpenMP gives %d here: a parallel region?",
                       op->d->threads, most_threads());
    if (op->kept) {
        st = execute(op, op->kept, in, out, scratch);
    } else {
        st = arguments_make(op, &once);
        if (st == dnnl_success) st = execute(op, &once, in, out, scratch);
        arguments_clear(&once);
    }
    return st == dnnl_success ? SG_OK : fail("cannot run a primitive", st);
}
