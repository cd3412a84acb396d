/* Laying out. HDF5 builds the whole file once, in memory (its core driver, nothing behind it), with
 * every data set in place and empty; from then on the bytes are ours to fill. */
#include "checkpoint/model_image.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/model_file_format.h"
#include "checkpoint/state_views.h"
#include "core/crc32c.h"
#include "core/mem.h"

/* A data set, and where its bytes are in the file. */
typedef struct {
    const char *name;
    size_t offset, bytes;
} section;

struct sg_model_image {
    const sg_state *state; /* borrowed */
    sg_state_view *views;
    int n_views;
    section *view;    /* (n_views) */
    section *section; /* (n) what the table of checksums vouches for, sorted by name */
    int64_t n;
    section names, checksums, complete, counter[SG_MODEL_COUNTERS], history, plans;
    uint32_t names_crc;
    uint8_t *block; /* owned */
    uint8_t *bytes; /* in it, aligned */
    size_t size;
};

typedef struct {
    sg_model_image *to;
    const char *path; /* for messages */
    hid_t file;
    hid_t layout;   /* of data sets: contiguous, allocated at once, never filled, no times */
    hid_t group;    /* of groups: no times */
    uint8_t *image; /* the file, once closed */
    size_t room;    /* bytes of the image's block */
} writer;

static sg_status fail(const char *path, const char *what) {
    char text[160];

    return sg_fail(SG_ERR_OOM, "%s: HDF5 cannot make %s: %s", path, what,
                   sg_hdf5_reason(text, sizeof text));
}

static bool put_unit(hid_t set, const char *unit) {
    hid_t type = sg_model_text_type(strlen(unit)), space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(set, "unit", type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = attribute >= 0 && H5Awrite(attribute, type, unit) >= 0;

    if (attribute >= 0) H5Aclose(attribute);
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    return ok;
}

/* An empty data set. rank 0: a scalar. `name` must outlive the image. */
static sg_status put(writer *w, const char *name, hid_t type, int rank, const hsize_t *dims,
                     const char *unit, section *out) {
    hid_t space = rank > 0 ? H5Screate_simple(rank, dims, NULL) : H5Screate(H5S_SCALAR);
    hid_t set = H5Dcreate2(w->file, name, type, space, H5P_DEFAULT, w->layout, H5P_DEFAULT);
    hssize_t count = space >= 0 ? H5Sget_simple_extent_npoints(space) : -1;
    bool ok = set >= 0 && count >= 0 && (!unit || put_unit(set, unit));
    haddr_t offset = ok && count > 0 ? H5Dget_offset(set) : 0;

    *out = (section){name, (size_t)offset, ok ? (size_t)count * H5Tget_size(type) : 0};
    ok = ok && offset != HADDR_UNDEF;
    if (set >= 0) H5Dclose(set);
    if (space >= 0) H5Sclose(space);
    return ok ? SG_OK : fail(w->path, name);
}

/* The same, in the table of checksums. */
static sg_status put_checked(writer *w, const char *name, hid_t type, int rank, const hsize_t *dims,
                             const char *unit, section *out) {
    SG_TRY(put(w, name, type, rank, dims, unit, out));
    w->to->section[w->to->n++] = *out;
    return SG_OK;
}

static sg_status put_view(writer *w, int i) {
    const sg_state_view *view = &w->to->views[i];
    const sg_shape *shape = &view->shape;
    hsize_t dims[SG_MAX_RANK];

    for (int k = 0; k < shape->rank; k++) dims[k] = (hsize_t)shape->dim[k];
    return put_checked(w, view->path, H5T_IEEE_F32LE, shape->rank, dims, NULL, &w->to->view[i]);
}

static sg_status put_text(writer *w, const char *name, size_t length, section *out) {
    hid_t type = sg_model_text_type(length);
    sg_status st = type < 0 ? fail(w->path, name) : put_checked(w, name, type, 0, NULL, NULL, out);

    if (type >= 0) H5Tclose(type);
    return st;
}

/* A list of texts: one block of equal widths, padded with NUL. */
static sg_status put_texts(writer *w, const char *name, int64_t count, size_t width, bool checked,
                           section *out) {
    hid_t type = sg_model_text_type(width);
    hsize_t n = (hsize_t)count;
    sg_status st = SG_OK;

    if (type < 0) st = fail(w->path, name);
    if (st == SG_OK && checked) st = put_checked(w, name, type, 1, &n, NULL, out);
    if (st == SG_OK && !checked) st = put(w, name, type, 1, &n, NULL, out);
    if (type >= 0) H5Tclose(type);
    return st;
}

static int compare_sections(const void *a, const void *b) {
    return strcmp(((const section *)a)->name, ((const section *)b)->name);
}

static size_t wider(size_t width, const char *text) {
    return strlen(text) > width ? strlen(text) : width;
}

/* The table of checksums, and the mark that vouches for it. */
static sg_status put_checksums(writer *w) {
    sg_model_image *m = w->to;
    hsize_t n = (hsize_t)m->n;
    size_t width = 1;

    qsort(m->section, (size_t)m->n, sizeof *m->section, compare_sections);
    for (int64_t i = 0; i < m->n; i++) width = wider(width, m->section[i].name);
    SG_TRY(put_texts(w, SG_MODEL_NAMES, m->n, width, false, &m->names));
    SG_TRY(put(w, SG_MODEL_CHECKSUMS, H5T_STD_U32LE, 1, &n, NULL, &m->checksums));
    return put(w, SG_MODEL_COMPLETE, H5T_STD_U32LE, 0, NULL, NULL, &m->complete);
}

static sg_status put_attributes(writer *w) {
    const int64_t version = SG_MODEL_VERSION;
    hid_t type = sg_model_text_type(strlen(SG_MODEL_FORMAT)), space = H5Screate(H5S_SCALAR);
    hid_t format = H5Acreate2(w->file, "format", type, space, H5P_DEFAULT, H5P_DEFAULT);
    hid_t number =
        H5Acreate2(w->file, "format_version", H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = format >= 0 && number >= 0 && H5Awrite(format, type, SG_MODEL_FORMAT) >= 0 &&
              H5Awrite(number, H5T_STD_I64LE, &version) >= 0;
    sg_status st = ok ? SG_OK : fail(w->path, "its attributes");

    if (format >= 0) H5Aclose(format);
    if (number >= 0) H5Aclose(number);
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    return st;
}

static sg_status put_group(const writer *w, const char *name) {
    hid_t group = H5Gcreate2(w->file, name, H5P_DEFAULT, w->group, H5P_DEFAULT);

    if (group < 0) return fail(w->path, name);
    H5Gclose(group);
    return SG_OK;
}

static sg_status put_groups(const writer *w) {
    static const char *const groups[] = {"/parameters",
                                         "/statistics",
                                         "/ema",
                                         "/progress",
                                         "/run",
                                         "/checksums",
                                         "/optimizer",
                                         "/optimizer/moment1",
                                         "/optimizer/moment2"};
    const sg_state *state = w->to->state;

    for (int i = 0; i < 7 + state->n_moments; i++) SG_TRY(put_group(w, groups[i]));
    return state->rows_sum ? put_group(w, "/optimizer/sum") : SG_OK;
}

/* What is constant in a run, with its place. */
typedef struct {
    section classes, text[SG_MODEL_TEXTS];
} constants;

static const char *text_of(const sg_model_about *about, int i) {
    const char *text = *(const char *const *)((const char *)about + sg_model_texts[i].about);

    return text ? text : "";
}

static bool is_history(int i) { return sg_model_texts[i].file == offsetof(sg_model_file, history); }
static bool is_plans(int i) { return sg_model_texts[i].file == offsetof(sg_model_file, plans); }

static size_t room_for(int i, const sg_model_about *about, sg_model_room room) {
    if (is_history(i)) return room.history;
    return is_plans(i) ? room.plans : strlen(text_of(about, i));
}

static sg_status put_all(writer *w, const sg_model_about *about, sg_model_room room, constants *c) {
    sg_model_image *m = w->to;
    size_t width = 1;

    SG_TRY(put_attributes(w));
    SG_TRY(put_groups(w));
    for (int64_t i = 0; i < about->n_classes; i++) width = wider(width, about->classes[i]);
    SG_TRY(put_texts(w, SG_MODEL_CLASSES, about->n_classes, width, true, &c->classes));
    for (int i = 0; i < SG_MODEL_TEXTS; i++) {
        SG_TRY(put_text(w, sg_model_texts[i].path, room_for(i, about, room), &c->text[i]));
        if (is_history(i)) m->history = c->text[i];
        if (is_plans(i)) m->plans = c->text[i];
    }
    for (int i = 0; i < SG_MODEL_COUNTERS; i++)
        SG_TRY(put_checked(w, sg_model_counters[i].path, sg_model_counter_type(i), 0, NULL,
                           sg_model_counters[i].unit, &m->counter[i]));
    for (int i = 0; i < m->n_views; i++) SG_TRY(put_view(w, i));
    return put_checksums(w);
}

/* HDF5's core driver works in our memory, and leaves it to us when it closes the file: then the
 * image is final (H5Fget_file_image gives one whose superblock has a wrong checksum, in 1.10.8). */
static void *image_grow(void *block, size_t bytes, H5FD_file_image_op_t op, void *context) {
    writer *w = context;
    void *larger = sg_realloc(block, w->room, bytes);

    (void)op;
    if (!larger) return NULL;
    if (bytes > w->room) memset((char *)larger + w->room, 0, bytes - w->room);
    w->room = bytes;
    return larger;
}

static herr_t image_leave(void *block, H5FD_file_image_op_t op, void *context) {
    (void)op;
    ((writer *)context)->image = block;
    return 0;
}

static void *keep_context(void *context) { return context; }
static herr_t leave_context(void *context) { return context ? 0 : -1; }

/* The end of the file, as its superblock (version 2) says: the block may be longer, or end where
 * HDF5 has nothing more to write. */
static size_t image_size(const writer *w) {
    enum { kEndOfFile = 28 };
    uint64_t size = 0;

    if (w->room >= kEndOfFile + sizeof size) memcpy(&size, w->image + kEndOfFile, sizeof size);
    return (size_t)size;
}

/* An empty file in memory that grows by `step` bytes. */
static sg_status open_image(writer *w, size_t step) {
    H5FD_file_image_callbacks_t ours = {.image_realloc = image_grow,
                                        .image_free = image_leave,
                                        .udata_copy = keep_context,
                                        .udata_free = leave_context,
                                        .udata = w};
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), creation = H5Pcreate(H5P_FILE_CREATE);
    char name[64];
    bool ok;

    /* HDF5 looks at an existing file of that name first, and takes two files of one name for one:
     * no such file can be, and no other writer has this name. */
    snprintf(name, sizeof name, "/dev/null/%p", (void *)w);
    w->layout = H5Pcreate(H5P_DATASET_CREATE);
    w->group = H5Pcreate(H5P_GROUP_CREATE);
    ok = access >= 0 && creation >= 0 && w->layout >= 0 && w->group >= 0 &&
         H5Pset_fapl_core(access, step, false) >= 0 &&
         H5Pset_file_image_callbacks(access, &ours) >= 0 &&
         H5Pset_alignment(access, 512, SG_ALIGN) >= 0 &&
         H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18) >= 0 &&
         H5Pset_obj_track_times(creation, false) >= 0 &&
         H5Pset_obj_track_times(w->group, false) >= 0 &&
         H5Pset_obj_track_times(w->layout, false) >= 0 &&
         H5Pset_layout(w->layout, H5D_CONTIGUOUS) >= 0 &&
         H5Pset_alloc_time(w->layout, H5D_ALLOC_TIME_EARLY) >= 0 &&
         H5Pset_fill_time(w->layout, H5D_FILL_TIME_NEVER) >= 0;
    if (ok) w->file = H5Fcreate(name, H5F_ACC_TRUNC, creation, access);
    if (access >= 0) H5Pclose(access);
    if (creation >= 0) H5Pclose(creation);
    return w->file >= 0 ? SG_OK : fail(w->path, "the file");
}

/* The laid-out file in w->image, the caller's also on failure. */
static sg_status build(writer *w, const sg_model_about *about, sg_model_room room, constants *c) {
    const sg_state *state = w->to->state;
    size_t data = (size_t)state->table->n_values * (size_t)(2 + state->n_moments) * sizeof(float);
    sg_status st = open_image(w, data + data / 8 + room.history + room.plans + (1 << 16));

    if (st == SG_OK) st = put_all(w, about, room, c);
    if (w->file >= 0 && H5Fclose(w->file) < 0 && st == SG_OK) st = fail(w->path, "the file");
    if (w->layout >= 0) H5Pclose(w->layout);
    if (w->group >= 0) H5Pclose(w->group);
    return st;
}

/* --- filling ---------------------------------------------------------------------------------- */

static void fill(sg_model_image *m, const section *s, const void *data, size_t bytes) {
    if (bytes > 0) memcpy(m->bytes + s->offset, data, bytes);
    if (bytes < s->bytes) memset(m->bytes + s->offset + bytes, 0, s->bytes - bytes);
}

static void fill_constants(sg_model_image *m, const sg_model_about *about, const constants *c) {
    size_t width = about->n_classes > 0 ? c->classes.bytes / (size_t)about->n_classes : 0;

    fill(m, &c->classes, NULL, 0);
    for (int64_t i = 0; i < about->n_classes; i++)
        memcpy(m->bytes + c->classes.offset + (size_t)i * width, about->classes[i],
               strlen(about->classes[i]));
    for (int i = 0; i < SG_MODEL_TEXTS; i++) {
        const char *text = is_history(i) || is_plans(i) ? "" : text_of(about, i);

        fill(m, &c->text[i], text, strlen(text));
    }
    width = m->names.bytes / (size_t)m->n;
    fill(m, &m->names, NULL, 0);
    for (int64_t i = 0; i < m->n; i++)
        memcpy(m->bytes + m->names.offset + (size_t)i * width, m->section[i].name,
               strlen(m->section[i].name));
    m->names_crc = sg_crc32c(0, m->bytes + m->names.offset, m->names.bytes);
}

static sg_status reserve(sg_model_image *m, const char *path) {
    size_t most;

    SG_TRY(sg_state_views_create(m->state, &m->views, &m->n_views));
    most = (size_t)m->n_views + SG_MODEL_TEXTS + SG_MODEL_COUNTERS + 1;
    m->view = sg_malloc((size_t)m->n_views * sizeof *m->view + 1);
    m->section = sg_malloc(most * sizeof *m->section);
    return m->view && m->section ? SG_OK : sg_fail(SG_ERR_OOM, "%s: no memory for its names", path);
}

/* To where a page begins, so that it can be written without another copy. */
static sg_status take_over(sg_model_image *m, const writer *w) {
    m->size = image_size(w);
    m->block = sg_calloc(m->size + 2 * SG_MODEL_PAGE, 1);
    if (!m->block) return sg_fail(SG_ERR_OOM, "%s: no memory for its image", w->path);
    m->bytes = m->block + (SG_MODEL_PAGE - (uintptr_t)m->block % SG_MODEL_PAGE) % SG_MODEL_PAGE;
    memcpy(m->bytes, w->image, m->size < w->room ? m->size : w->room);
    return SG_OK;
}

sg_status sg_model_image_create(const char *path, const sg_model_about *about,
                                const sg_state *state, sg_model_room room, sg_model_image **out) {
    sg_model_image *m = sg_calloc(1, sizeof *m);
    writer w = {.to = m, .path = path, .file = -1, .layout = -1, .group = -1};
    constants c;
    sg_status st;

    if (!m) return sg_fail(SG_ERR_OOM, "%s: no memory for its image", path);
    sg_hdf5_quiet();
    m->state = state;
    st = reserve(m, path);
    if (st == SG_OK) st = build(&w, about, room, &c);
    if (st == SG_OK) st = take_over(m, &w);
    sg_free(w.image);
    if (st != SG_OK) {
        sg_model_image_destroy(m);
        return st;
    }
    fill_constants(m, about, &c);
    *out = m;
    return SG_OK;
}

void sg_model_image_destroy(sg_model_image *m) {
    if (!m) return;
    sg_state_views_destroy(m->views, m->n_views);
    sg_free(m->view);
    sg_free(m->section);
    sg_free(m->block);
    sg_free(m);
}

static const char *or_nothing(const char *text) { return text ? text : ""; }

bool sg_model_image_fits(const sg_model_image *m, const sg_model_growing *texts) {
    return strlen(or_nothing(texts->history)) <= m->history.bytes &&
           strlen(or_nothing(texts->plans)) <= m->plans.bytes;
}

void sg_model_image_take(sg_model_image *m, int64_t epoch, const sg_model_growing *texts) {
    const sg_state *s = m->state;
    const sg_model_file counted = {
        .epoch = epoch, .step = s->step, .samples = s->samples, .seed = s->seed};

    for (int i = 0; i < m->n_views; i++) fill(m, &m->view[i], m->views[i].data, m->view[i].bytes);
    for (int i = 0; i < SG_MODEL_COUNTERS; i++)
        fill(m, &m->counter[i], (const char *)&counted + sg_model_counters[i].file,
             m->counter[i].bytes);
    fill(m, &m->history, or_nothing(texts->history), strlen(or_nothing(texts->history)));
    fill(m, &m->plans, or_nothing(texts->plans), strlen(or_nothing(texts->plans)));
}

void sg_model_image_seal(sg_model_image *m) {
    uint8_t *table = m->bytes + m->checksums.offset;
    uint32_t crc;

    for (int64_t i = 0; i < m->n; i++) {
        crc = sg_crc32c(0, m->bytes + m->section[i].offset, m->section[i].bytes);
        memcpy(table + (size_t)i * sizeof crc, &crc, sizeof crc);
    }
    crc = sg_crc32c(m->names_crc, table, m->checksums.bytes);
    fill(m, &m->complete, &crc, sizeof crc);
}

const void *sg_model_image_bytes(const sg_model_image *m, size_t *size) {
    *size = m->size;
    return m->bytes;
}
