/* Reading, which trusts nothing: HDF5 checks its own structures, then the mark vouches for the
 * table of checksums and the table for every data set, before any of it is used. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint/model_file_format.h"
#include "checkpoint/state_views.h"
#include "core/crc32c.h"
#include "core/file.h"
#include "core/mem.h"

enum {
    kMaxSets = 1 << 20,
    kMaxNames = 256 << 20, /* bytes of a list of names */
    kMaxText = 256 << 20,  /* bytes of a text */
};

typedef struct {
    const char *path;
    hid_t file;
    hsize_t size; /* of the file */
    /* The table of checksums. */
    int64_t n;
    char *names;  /* (n, width), padded with NUL */
    size_t width; /* of a name, with a NUL at its end */
    uint32_t *crc;
    bool *used; /* (n) verified */
} reader;

static sg_status damaged(const reader *r, const char *name, const char *what) {
    return sg_fail(SG_ERR_DATA, "%s: the data set %s %s", r->path, name, what);
}

/* --- a single data set ------------------------------------------------------------------------ */

/* Contiguous, of the given class of type. */
static sg_status open_set(const reader *r, const char *name, H5T_class_t wanted, hid_t *set,
                          hid_t *type) {
    htri_t exists = H5Lexists(r->file, name, H5P_DEFAULT);
    hid_t creation;
    bool plain;

    if (exists == 0) return damaged(r, name, "is missing");
    *set = exists > 0 ? H5Dopen2(r->file, name, H5P_DEFAULT) : H5I_INVALID_HID;
    if (*set < 0) return damaged(r, name, "is missing or damaged: HDF5 cannot open it");
    *type = H5Dget_type(*set);
    creation = H5Dget_create_plist(*set);
    plain = creation >= 0 && H5Pget_layout(creation) == H5D_CONTIGUOUS &&
            H5Pget_external_count(creation) == 0;
    if (creation >= 0) H5Pclose(creation);
    if (plain && *type >= 0 && H5Tget_class(*type) == wanted) return SG_OK;
    if (*type >= 0) H5Tclose(*type);
    H5Dclose(*set);
    return damaged(r, name, "is not of the kind that this program writes");
}

static void close_set(hid_t set, hid_t type) {
    H5Tclose(type);
    H5Dclose(set);
}

/* -1 for a rank that no tensor has. */
static sg_shape shape_of(hid_t set) {
    hsize_t dims[H5S_MAX_RANK] = {0};
    hid_t space = H5Dget_space(set);
    int rank = space >= 0 ? H5Sget_simple_extent_dims(space, dims, NULL) : -1;
    sg_shape shape = {.rank = rank >= 0 && rank <= SG_MAX_RANK ? rank : -1};

    for (int i = 0; i < shape.rank; i++) {
        if (dims[i] > INT64_MAX) shape.rank = -1;
        shape.dim[i] = (int64_t)dims[i];
    }
    if (space >= 0) H5Sclose(space);
    return shape;
}

/* Whether the bytes that its shape asks for lie in the file, before memory is asked for them. */
static bool has_bytes(const reader *r, hid_t set, size_t bytes) {
    haddr_t offset = bytes > 0 ? H5Dget_offset(set) : 0;

    return H5Dget_storage_size(set) == bytes && bytes <= r->size && offset <= r->size - bytes;
}

static int64_t find_name(const reader *r, const char *name) {
    for (int64_t low = 0, high = r->n; low < high;) {
        int64_t middle = low + (high - low) / 2;
        int order = strcmp(r->names + (size_t)middle * r->width, name);

        if (order == 0) return middle;
        if (order < 0) low = middle + 1;
        if (order > 0) high = middle;
    }
    return -1;
}

/* All bytes of a data set as they lie in the file; then their checksum, unless there is no table
 * yet. */
static sg_status read_bytes(const reader *r, const char *name, hid_t set, hid_t type, void *data,
                            size_t bytes) {
    uint32_t crc;
    int64_t at;

    if (bytes > 0 && H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        return damaged(r, name, "cannot be read: the file is cut off or damaged");
    if (!r->crc) return SG_OK;
    at = find_name(r, name);
    if (at < 0) return damaged(r, name, "has no checksum");
    crc = sg_crc32c(0, data, bytes);
    if (crc != r->crc[at])
        return sg_fail(SG_ERR_DATA, "%s: the data set %s is damaged: its CRC32C is %08x, not %08x",
                       r->path, name, (unsigned)crc, (unsigned)r->crc[at]);
    r->used[at] = true;
    return SG_OK;
}

/* Numbers of exactly this type and shape. */
static sg_status read_numbers(const reader *r, const char *name, hid_t wanted,
                              const sg_shape *shape, void *data) {
    size_t bytes = (size_t)sg_shape_count(shape) * H5Tget_size(wanted);
    char has[96], wants[96];
    sg_status st = SG_OK;
    sg_shape found;
    hid_t set, type;

    SG_TRY(open_set(r, name, H5Tget_class(wanted), &set, &type));
    found = shape_of(set);
    if (H5Tequal(type, wanted) <= 0) st = damaged(r, name, "has numbers of another type");
    if (st == SG_OK && found.rank < 0) st = damaged(r, name, "has too many dimensions");
    if (st == SG_OK && !sg_shape_equal(&found, shape))
        st = sg_fail(SG_ERR_DATA, "%s: the data set %s has the shape %s where this model has %s",
                     r->path, name, sg_shape_text(&found, has, sizeof has),
                     sg_shape_text(shape, wants, sizeof wants));
    if (st == SG_OK) st = read_bytes(r, name, set, wanted, data, bytes);
    close_set(set, type);
    return st;
}

/* A text (count is NULL) or a list of texts of one width. *block: (count or 1, *width + 1) with a
 * NUL after each, the caller's. */
static sg_status read_strings(const reader *r, const char *name, int64_t *count, char **block,
                              size_t *width) {
    int64_t n = 1;
    sg_status st = SG_OK;
    char *data = NULL;
    sg_shape shape;
    hid_t set, type;

    SG_TRY(open_set(r, name, H5T_STRING, &set, &type));
    shape = shape_of(set);
    *width = H5Tget_size(type);
    if (H5Tis_variable_str(type) != 0 || shape.rank != (count ? 1 : 0) || *width < 1 ||
        *width > kMaxText || (shape.rank == 1 && shape.dim[0] > kMaxSets) ||
        (size_t)sg_shape_count(&shape) * (*width + 1) > kMaxNames)
        st = damaged(r, name, "is no text, or too long a one");
    if (st == SG_OK) n = sg_shape_count(&shape);
    if (st == SG_OK && !has_bytes(r, set, (size_t)n * *width))
        st = damaged(r, name, "is not wholly in the file");
    if (st == SG_OK) {
        data = sg_calloc((size_t)n + 1, *width + 1);
        if (!data) st = sg_fail(SG_ERR_OOM, "%s: no memory for %s", r->path, name);
    }
    if (st == SG_OK) st = read_bytes(r, name, set, type, data, (size_t)n * *width);
    close_set(set, type);
    if (st != SG_OK) {
        sg_free(data);
        return st;
    }
    for (int64_t i = n - 1; i >= 0; i--) { /* from the last: each moves to where it was or beyond */
        memmove(data + (size_t)i * (*width + 1), data + (size_t)i * *width, *width);
        data[(size_t)i * (*width + 1) + *width] = '\0';
    }
    if (count) *count = n;
    *block = data;
    return SG_OK;
}

/* --- the file --------------------------------------------------------------------------------- */

static sg_status check_file(const char *path, hsize_t *size) {
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool known;

    if (fd < 0)
        return sg_fail(errno == ENOENT || errno == ENOTDIR ? SG_ERR_MISSING : SG_ERR_IO,
                       "%s: cannot open: %s", path, strerror(errno));
    known = fstat(fd, &info) == 0;
    close(fd);
    if (known && S_ISDIR(info.st_mode))
        return sg_fail(SG_ERR_MISSING,
                       "%s: is a folder; name a model's file, such as a run's best.h5", path);
    if (!known || !S_ISREG(info.st_mode)) return sg_fail(SG_ERR_IO, "%s: is not a file", path);
    *size = (hsize_t)info.st_size;
    if (info.st_size == 0) return sg_fail(SG_ERR_DATA, "%s: is empty, not a model", path);
    if (H5Fis_hdf5(path) <= 0)
        return sg_fail(SG_ERR_DATA, "%s: is not an HDF5 file, so not a model", path);
    return SG_OK;
}

static sg_status check_format(const reader *r) {
    char format[sizeof SG_MODEL_FORMAT] = "";
    hid_t type = sg_model_text_type(strlen(SG_MODEL_FORMAT));
    hid_t name = H5Aexists(r->file, "format") > 0 ? H5Aopen(r->file, "format", H5P_DEFAULT) : -1;
    hid_t number = H5Aexists(r->file, "format_version") > 0
                       ? H5Aopen(r->file, "format_version", H5P_DEFAULT)
                       : -1;
    hid_t stored = name >= 0 ? H5Aget_type(name) : -1;
    int64_t version = 0;
    bool ours = type >= 0 && stored >= 0 && number >= 0 && H5Tequal(stored, type) > 0 &&
                H5Aread(name, type, format) >= 0 && strcmp(format, SG_MODEL_FORMAT) == 0 &&
                H5Aread(number, H5T_NATIVE_INT64, &version) >= 0;

    if (stored >= 0) H5Tclose(stored);
    if (number >= 0) H5Aclose(number);
    if (name >= 0) H5Aclose(name);
    if (type >= 0) H5Tclose(type);
    if (!ours)
        return sg_fail(SG_ERR_DATA, "%s: is HDF5, but not a model that Spotgrad wrote", r->path);
    if (version != SG_MODEL_VERSION)
        return sg_fail(SG_ERR_DATA, "%s: has the format %lld; this program reads format %d",
                       r->path, (long long)version, SG_MODEL_VERSION);
    return SG_OK;
}

/* The table, checked against the mark; sorted names are what find_name needs. */
static sg_status read_table(reader *r) {
    const sg_shape scalar = sg_shape_0();
    uint32_t complete = 0, crc = 0, *table;
    sg_status st;
    size_t width;
    sg_shape shape;

    SG_TRY(read_strings(r, SG_MODEL_NAMES, &r->n, &r->names, &width));
    r->width = width + 1;
    shape = sg_shape_1(r->n);
    table = sg_malloc((size_t)r->n * sizeof *table);
    r->used = sg_calloc((size_t)r->n + 1, sizeof *r->used);
    if (!table || !r->used) {
        sg_free(table);
        return sg_fail(SG_ERR_OOM, "%s: no memory for its checksums", r->path);
    }
    st = read_numbers(r, SG_MODEL_CHECKSUMS, H5T_STD_U32LE, &shape, table);
    if (st == SG_OK) st = read_numbers(r, SG_MODEL_COMPLETE, H5T_STD_U32LE, &scalar, &complete);
    r->crc = table; /* from now on every data set must have its checksum */
    if (st != SG_OK) return st;
    for (int64_t i = 0; i < r->n; i++) crc = sg_crc32c(crc, r->names + (size_t)i * r->width, width);
    if (sg_crc32c(crc, table, (size_t)r->n * sizeof *table) != complete)
        return sg_fail(SG_ERR_DATA, "%s: is not complete: its mark does not fit its checksums",
                       r->path);
    for (int64_t i = 1; i < r->n; i++)
        if (strcmp(r->names + (size_t)(i - 1) * r->width, r->names + (size_t)i * r->width) >= 0)
            return damaged(r, SG_MODEL_NAMES, "is not sorted");
    return SG_OK;
}

/* Returns `st`, but that no file is damaged whose disk cannot be read. */
static sg_status reader_close(reader *r, sg_status st) {
    if (r->file >= 0) H5Fclose(r->file);
    sg_free(r->names);
    sg_free(r->crc);
    sg_free(r->used);
    if (st == SG_ERR_DATA) SG_TRY(sg_file_try(r->path));
    return st;
}

static sg_status open_hdf5(reader *r) {
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    char reason[160];

    /* Files are published whole and never changed: no locks, which some file systems lack. */
    if (access >= 0 && H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0 &&
        H5Pset_file_locking(access, false, true) >= 0)
        r->file = H5Fopen(r->path, H5F_ACC_RDONLY, access);
    if (access >= 0) H5Pclose(access);
    if (r->file >= 0) return SG_OK;
    return sg_fail(SG_ERR_DATA, "%s: is cut off or damaged: HDF5 says: %s", r->path,
                   sg_hdf5_reason(reason, sizeof reason));
}

static sg_status reader_open(const char *path, reader *r) {
    sg_status st;

    *r = (reader){.path = path, .file = -1};
    sg_hdf5_quiet();
    st = check_file(path, &r->size);
    if (st == SG_OK) st = open_hdf5(r);
    if (st == SG_OK) st = check_format(r);
    if (st == SG_OK) st = read_table(r);
    return st == SG_OK ? SG_OK : reader_close(r, st);
}

/* --- beside the state ------------------------------------------------------------------------- */

static sg_status read_counters(const reader *r, sg_model_file *out) {
    const sg_shape scalar = sg_shape_0();

    for (int i = 0; i < SG_MODEL_COUNTERS; i++)
        SG_TRY(read_numbers(r, sg_model_counters[i].path, sg_model_counter_type(i), &scalar,
                            (char *)out + sg_model_counters[i].file));
    if (out->step < 0 || out->samples < 0 || out->epoch < 0)
        return damaged(r, "/progress", "counts below zero");
    return SG_OK;
}

static sg_status read_classes(const reader *r, sg_model_file *out) {
    int64_t n;
    size_t width;
    char *block;

    SG_TRY(read_strings(r, SG_MODEL_CLASSES, &n, &block, &width));
    out->classes = sg_calloc((size_t)n + 1, sizeof *out->classes);
    for (int64_t i = 0; out->classes && i < n; i++) {
        out->classes[i] = sg_strdup(block + (size_t)i * (width + 1));
        if (!out->classes[i]) break;
        out->n_classes++;
    }
    sg_free(block);
    if (!out->classes || out->n_classes < n)
        return sg_fail(SG_ERR_OOM, "%s: no memory for %lld classes", r->path, (long long)n);
    return SG_OK;
}

/* The table of checksums says whether an older file lacks it. */
static sg_status read_text(const reader *r, const sg_model_text *known, char **text) {
    size_t width;

    if (!known->younger || find_name(r, known->path) >= 0)
        return read_strings(r, known->path, NULL, text, &width);
    *text = sg_strdup("");
    return *text ? SG_OK : sg_fail(SG_ERR_OOM, "%s: no memory for %s", r->path, known->path);
}

static sg_status read_known(const reader *r, sg_model_file *out) {
    for (int i = 0; i < SG_MODEL_TEXTS; i++)
        SG_TRY(read_text(r, &sg_model_texts[i], (char **)((char *)out + sg_model_texts[i].file)));
    SG_TRY(read_classes(r, out));
    return read_counters(r, out);
}

/* The checksum of a data set of floats whose shape nobody has asked for. */
static sg_status verify_tensor(const reader *r, const char *name) {
    size_t bytes = 0;
    sg_status st = SG_OK;
    sg_shape shape;
    hid_t set, type;
    void *data;

    SG_TRY(open_set(r, name, H5T_FLOAT, &set, &type));
    shape = shape_of(set);
    if (H5Tequal(type, H5T_IEEE_F32LE) <= 0) st = damaged(r, name, "has numbers of another type");
    if (st == SG_OK && (shape.rank < 0 || !sg_shape_valid(&shape)))
        st = damaged(r, name, "has no shape of a tensor");
    if (st == SG_OK) bytes = (size_t)sg_shape_count(&shape) * sizeof(float);
    if (st == SG_OK && !has_bytes(r, set, bytes))
        st = damaged(r, name, "is not wholly in the file");
    data = st == SG_OK ? sg_malloc(bytes + 1) : NULL;
    if (st == SG_OK && !data)
        st = sg_fail(SG_ERR_OOM, "%s: no memory for %s: %zu bytes", r->path, name, bytes);
    if (st == SG_OK) st = read_bytes(r, name, set, H5T_IEEE_F32LE, data, bytes);
    sg_free(data);
    close_set(set, type);
    return st;
}

static sg_status verify_tensors(const reader *r) {
    for (int64_t i = 0; i < r->n; i++)
        if (!r->used[i]) SG_TRY(verify_tensor(r, r->names + (size_t)i * r->width));
    return SG_OK;
}

static sg_status read_file(const char *path, bool all, sg_model_file *out) {
    sg_model_file known = {0};
    sg_status st;
    reader r;

    SG_TRY(reader_open(path, &r));
    st = read_known(&r, &known);
    if (st == SG_OK && all) st = verify_tensors(&r);
    st = reader_close(&r, st);
    if (st == SG_OK) *out = known;
    if (st != SG_OK) sg_model_file_clear(&known);
    return st;
}

sg_status sg_model_file_read(const char *path, sg_model_file *out) {
    return read_file(path, false, out);
}

sg_status sg_model_file_verify(const char *path, sg_model_file *out) {
    return read_file(path, true, out);
}

void sg_model_file_clear(sg_model_file *file) {
    for (int i = 0; i < SG_MODEL_TEXTS; i++)
        sg_free(*(char **)((char *)file + sg_model_texts[i].file));
    for (int64_t i = 0; i < file->n_classes; i++) sg_free(file->classes[i]);
    sg_free(file->classes);
    *file = (sg_model_file){0};
}

/* --- the state -------------------------------------------------------------------------------- */

static bool starts_with(const char *text, const char *start) {
    return strncmp(text, start, strlen(start)) == 0;
}

/* A tensor of the file that the model does not know. */
static sg_status check_unused(const reader *r, bool with_optimizer) {
    for (int64_t i = 0; i < r->n; i++) {
        const char *name = r->names + (size_t)i * r->width;

        if (r->used[i]) continue;
        if (starts_with(name, SG_MODEL_PARAMETERS) || starts_with(name, SG_MODEL_STATISTICS) ||
            starts_with(name, SG_MODEL_EMA) ||
            (with_optimizer && starts_with(name, SG_MODEL_OPTIMIZER)))
            return sg_fail(SG_ERR_DATA, "%s: holds %s, which this model does not have", r->path,
                           name);
    }
    return SG_OK;
}

static sg_status load_views(const reader *r, const sg_state *state) {
    sg_state_view *views;
    sg_status st = SG_OK;
    int n;

    SG_TRY(sg_state_views_create(state, &views, &n));
    for (int i = 0; i < n && st == SG_OK; i++)
        st = read_numbers(r, views[i].path, H5T_IEEE_F32LE, &views[i].shape, views[i].data);
    sg_state_views_destroy(views, n);
    return st == SG_OK ? check_unused(r, state->n_moments > 0 || state->rows_sum) : st;
}

static void copy_floats(float *to, const float *from, int64_t n) {
    if (n > 0) memcpy(to, from, (size_t)n * sizeof(float));
}

static void copy_state(sg_state *to, const sg_state *from) {
    size_t values = (size_t)from->table->n_values * sizeof(float);
    size_t moments = (size_t)from->table->n_params * sizeof(float);

    memcpy(to->values, from->values, values);
    memcpy(to->ema, from->ema, values);
    for (int i = 0; i < to->n_moments; i++) memcpy(to->moment[i], from->moment[i], moments);
    copy_floats(to->rows, from->rows, from->table->n_rows);
    copy_floats(to->rows_sum, from->rows_sum, sg_table_rows_sum(from->table, from->rule));
}

sg_status sg_model_file_load(const char *path, sg_state *state) {
    const sg_state_options options = {.n_moments = state->n_moments, .rule = state->rule};
    sg_model_file known = {0};
    sg_state *fresh = NULL;
    sg_status st;
    reader r;

    SG_TRY(reader_open(path, &r));
    st = read_counters(&r, &known);
    if (st == SG_OK) st = sg_state_create_with(state->table, &options, &fresh);
    if (st == SG_OK) st = load_views(&r, fresh);
    st = reader_close(&r, st);
    if (st == SG_OK) {
        copy_state(state, fresh);
        state->step = known.step;
        state->samples = known.samples;
        state->seed = known.seed;
    }
    sg_state_destroy(fresh);
    return st;
}

/* Whether the file has such a data set of that shape; a damaged one counts, and fails when read. */
static bool is_fitting(const reader *r, const char *name, const sg_shape *shape) {
    hid_t set = find_name(r, name) >= 0 ? H5Dopen2(r->file, name, H5P_DEFAULT) : H5I_INVALID_HID;
    sg_shape found = {0};

    if (set < 0) return find_name(r, name) >= 0;
    found = shape_of(set);
    H5Dclose(set);
    return sg_shape_equal(&found, shape);
}

/* A model that starts from a file. */
typedef struct {
    const reader *r;
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
    sg_status st = read_classes(s->r, &file);

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
    if (is_fitting(s->r, name, &e->shape)) {
        st = read_numbers(s->r, name, H5T_IEEE_F32LE, &e->shape, to);
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
    reader r;

    SG_TRY(reader_open(path, &r));
    st = sg_state_create(table, 0, &fresh);
    if (st == SG_OK) {
        copy_floats(fresh->values, state->values, table->n_values);
        copy_floats(fresh->rows, state->rows, table->n_rows);
        s.r = &r;
        s.fresh = fresh;
        st = load_fitting(&s);
    }
    st = reader_close(&r, st);
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
