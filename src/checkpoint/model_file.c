/* Writing. HDF5 builds the whole file in memory (its core driver, nothing behind it); sg_file_write
 * then puts it where it belongs. HDF5 never sees a full disk: when closing a file fails, it keeps
 * the file and tries again at exit. */
#include "checkpoint/model_file.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/model_file_format.h"
#include "checkpoint/state_views.h"
#include "core/crc32c.h"
#include "core/file.h"
#include "core/mem.h"

typedef struct {
    const char *name;
    uint32_t crc;
} checked;

typedef struct {
    const char *path;
    hid_t file;
    hid_t layout;  /* of data sets: contiguous, allocated at once, never filled, no times */
    hid_t group;   /* of groups: no times */
    checked *sets; /* what was written, room for all */
    int64_t n;
    uint8_t *image; /* the file, once closed */
    size_t room;    /* bytes of the image's block */
} writer;

static sg_status fail(const char *path, const char *what) {
    char text[160];

    return sg_fail(SG_ERR_OOM, "%s: HDF5 cannot make %s: %s", path, what,
                   sg_hdf5_reason(text, sizeof text));
}

/* A data set of what lies in memory as in the file. rank 0: a scalar. */
static sg_status put(writer *w, const char *name, hid_t type, int rank, const hsize_t *dims,
                     const void *data) {
    hid_t space = rank > 0 ? H5Screate_simple(rank, dims, NULL) : H5Screate(H5S_SCALAR);
    hid_t set = H5Dcreate2(w->file, name, type, space, H5P_DEFAULT, w->layout, H5P_DEFAULT);
    bool ok = set >= 0 && H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
    sg_status st = ok ? SG_OK : fail(w->path, name);

    if (set >= 0) H5Dclose(set);
    if (space >= 0) H5Sclose(space);
    return st;
}

/* The same, remembered for the table of checksums. `name` must outlive the writer. */
static sg_status put_checked(writer *w, const char *name, hid_t type, int rank, const hsize_t *dims,
                             const void *data, size_t bytes) {
    SG_TRY(put(w, name, type, rank, dims, data));
    w->sets[w->n++] = (checked){name, sg_crc32c(0, data, bytes)};
    return SG_OK;
}

static sg_status put_view(writer *w, const sg_state_view *view) {
    const sg_shape *shape = &view->entry->shape;
    hsize_t dims[SG_MAX_RANK];

    for (int i = 0; i < shape->rank; i++) dims[i] = (hsize_t)shape->dim[i];
    return put_checked(w, view->path, H5T_IEEE_F32LE, shape->rank, dims, view->data,
                       (size_t)view->entry->count * sizeof(float));
}

static sg_status put_text(writer *w, const char *name, const char *text) {
    size_t length = strlen(text);
    hid_t type = sg_model_text_type(length);
    sg_status st = type < 0 ? fail(w->path, name)
                            : put_checked(w, name, type, 0, NULL, text, length > 0 ? length : 1);

    if (type >= 0) H5Tclose(type);
    return st;
}

/* A list of texts: one block of equal widths, padded with NUL. Its checksum is *crc's
 * continuation. */
static sg_status put_texts(writer *w, const char *name, int64_t count,
                           const char *(*text_at)(const void *, int64_t), const void *context,
                           uint32_t *crc) {
    hsize_t n = (hsize_t)count;
    size_t width = 1;
    sg_status st;
    char *block;
    hid_t type;

    for (int64_t i = 0; i < count; i++)
        if (strlen(text_at(context, i)) > width) width = strlen(text_at(context, i));
    block = sg_calloc((size_t)count + 1, width);
    if (!block) return sg_fail(SG_ERR_OOM, "%s: no memory for %s", w->path, name);
    for (int64_t i = 0; i < count; i++)
        memcpy(block + (size_t)i * width, text_at(context, i), strlen(text_at(context, i)));
    type = sg_model_text_type(width);
    st = type < 0 ? fail(w->path, name) : put(w, name, type, 1, &n, block);
    *crc = sg_crc32c(*crc, block, (size_t)count * width);
    if (type >= 0) H5Tclose(type);
    sg_free(block);
    return st;
}

static const char *class_at(const void *about, int64_t i) {
    return ((const sg_model_about *)about)->classes[i];
}

static sg_status put_classes(writer *w, const sg_model_about *about) {
    uint32_t crc = 0;

    SG_TRY(put_texts(w, SG_MODEL_CLASSES, about->n_classes, class_at, about, &crc));
    w->sets[w->n++] = (checked){SG_MODEL_CLASSES, crc};
    return SG_OK;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const checked *)a)->name, ((const checked *)b)->name);
}

static const char *set_at(const void *w, int64_t i) { return ((const writer *)w)->sets[i].name; }

/* The table of checksums, and the mark that vouches for it. */
static sg_status put_checksums(writer *w) {
    hsize_t n = (hsize_t)w->n;
    uint32_t complete = 0, *table = sg_malloc((size_t)w->n * sizeof *table);
    sg_status st;

    if (!table) return sg_fail(SG_ERR_OOM, "%s: no memory for its checksums", w->path);
    qsort(w->sets, (size_t)w->n, sizeof *w->sets, compare_names);
    for (int64_t i = 0; i < w->n; i++) table[i] = w->sets[i].crc;
    st = put_texts(w, SG_MODEL_NAMES, w->n, set_at, w, &complete);
    if (st == SG_OK) st = put(w, SG_MODEL_CHECKSUMS, H5T_STD_U32LE, 1, &n, table);
    complete = sg_crc32c(complete, table, (size_t)w->n * sizeof *table);
    if (st == SG_OK) st = put(w, SG_MODEL_COMPLETE, H5T_STD_U32LE, 0, NULL, &complete);
    sg_free(table);
    return st;
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

static sg_status put_groups(writer *w, int n_moments) {
    static const char *const groups[] = {"/parameters",
                                         "/statistics",
                                         "/ema",
                                         "/progress",
                                         "/run",
                                         "/checksums",
                                         "/optimizer",
                                         "/optimizer/moment1",
                                         "/optimizer/moment2"};
    int n = 7 + n_moments;

    for (int i = 0; i < n; i++) {
        hid_t group = H5Gcreate2(w->file, groups[i], H5P_DEFAULT, w->group, H5P_DEFAULT);

        if (group < 0) return fail(w->path, groups[i]);
        H5Gclose(group);
    }
    return SG_OK;
}

static sg_status put_all(writer *w, const sg_model_about *about, const sg_state *state,
                         const sg_state_view *views, int n_views) {
    const sg_model_file counted = {
        .epoch = about->epoch, .step = state->step, .samples = state->samples, .seed = state->seed};

    SG_TRY(put_attributes(w));
    SG_TRY(put_groups(w, state->n_moments));
    SG_TRY(put_classes(w, about));
    for (int i = 0; i < SG_MODEL_TEXTS; i++) {
        const char *text = *(const char *const *)((const char *)about + sg_model_texts[i].about);

        SG_TRY(put_text(w, sg_model_texts[i].path, text ? text : ""));
    }
    for (int i = 0; i < SG_MODEL_COUNTERS; i++)
        SG_TRY(put_checked(w, sg_model_counters[i].path, sg_model_counter_type(i), 0, NULL,
                           (const char *)&counted + sg_model_counters[i].file, sizeof(int64_t)));
    for (int i = 0; i < n_views; i++) SG_TRY(put_view(w, &views[i]));
    return put_checksums(w);
}

/* HDF5's core driver works in our memory, and leaves it to us when it closes the file: then the
 * image is final (H5Fget_file_image gives one whose superblock has a wrong checksum, in 1.10.8). */
static void *image_grow(void *block, size_t bytes, H5FD_file_image_op_t op, void *context) {
    writer *w = context;
    void *larger = sg_realloc(block, w->room, bytes);

    (void)op;
    if (larger) w->room = bytes;
    return larger;
}

static herr_t image_leave(void *block, H5FD_file_image_op_t op, void *context) {
    (void)op;
    ((writer *)context)->image = block;
    return 0;
}

static void *keep_context(void *context) { return context; }
static herr_t leave_context(void *context) { return context ? 0 : -1; }

/* The end of the file, as its superblock (version 2) says: the block may be longer. */
static size_t image_size(const writer *w) {
    enum { kEndOfFile = 28 };
    uint64_t size = 0;

    if (w->room >= kEndOfFile + sizeof size) memcpy(&size, w->image + kEndOfFile, sizeof size);
    return size <= w->room ? (size_t)size : 0;
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

/* The whole file, as an image in w->image (w->room bytes), the caller's also on failure. */
static sg_status build(writer *w, const sg_model_about *about, const sg_state *state,
                       const sg_state_view *views, int n_views) {
    size_t data = (size_t)state->table->n_values * (size_t)(2 + state->n_moments) * sizeof(float);
    sg_status st = open_image(w, data + data / 8 + (1 << 16));

    if (st == SG_OK) st = put_all(w, about, state, views, n_views);
    if (w->file >= 0 && H5Fclose(w->file) < 0 && st == SG_OK) st = fail(w->path, "the file");
    if (w->layout >= 0) H5Pclose(w->layout);
    if (w->group >= 0) H5Pclose(w->group);
    return st;
}

sg_status sg_model_file_write(const char *path, const sg_model_about *about,
                              const sg_state *state) {
    writer w = {.path = path, .file = -1, .layout = -1, .group = -1};
    sg_state_view *views;
    sg_status st;
    int n;

    sg_hdf5_quiet();
    SG_TRY(sg_state_views_create(state, &views, &n));
    w.sets = sg_malloc(((size_t)n + SG_MODEL_TEXTS + SG_MODEL_COUNTERS + 1) * sizeof *w.sets);
    st = w.sets ? build(&w, about, state, views, n)
                : sg_fail(SG_ERR_OOM, "%s: no memory for its names", path);
    sg_free(w.sets);
    sg_state_views_destroy(views, n);
    if (st == SG_OK) st = sg_file_write(path, w.image, image_size(&w));
    sg_free(w.image);
    return st;
}
