/* Reading, which trusts nothing: HDF5 checks its own structures, then the mark vouches for the
 * table of checksums and the table for every data set, before any of it is used. */
#define _GNU_SOURCE
#include "checkpoint/model_file_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "core/file.h"
#include "core/mem.h"

enum {
    kMaxSets = 1 << 20,
    kMaxNames = 256 << 20, /* bytes of a list of names */
    kMaxText = 256 << 20,  /* bytes of a text */
};

sg_status sg_model_damaged(const sg_model_reader *r, const char *name, const char *what) {
    return sg_fail(SG_ERR_DATA, "%s: the data set %s %s", r->path, name, what);
}

/* --- a single data set ------------------------------------------------------------------------ */

/* Contiguous, of the given class of type. */
static sg_status open_set(const sg_model_reader *r, const char *name, H5T_class_t wanted,
                          hid_t *set, hid_t *type) {
    htri_t exists = H5Lexists(r->file, name, H5P_DEFAULT);
    hid_t creation;
    bool plain;

    if (exists == 0) return sg_model_damaged(r, name, "is missing");
    *set = exists > 0 ? H5Dopen2(r->file, name, H5P_DEFAULT) : H5I_INVALID_HID;
    if (*set < 0) return sg_model_damaged(r, name, "is missing or damaged: HDF5 cannot open it");
    *type = H5Dget_type(*set);
    creation = H5Dget_create_plist(*set);
    plain = creation >= 0 && H5Pget_layout(creation) == H5D_CONTIGUOUS &&
            H5Pget_external_count(creation) == 0;
    if (creation >= 0) H5Pclose(creation);
    if (plain && *type >= 0 && H5Tget_class(*type) == wanted) return SG_OK;
    if (*type >= 0) H5Tclose(*type);
    H5Dclose(*set);
    return sg_model_damaged(r, name, "is not of the kind that this program writes");
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
static bool has_bytes(const sg_model_reader *r, hid_t set, size_t bytes) {
    haddr_t offset = bytes > 0 ? H5Dget_offset(set) : 0;

    return H5Dget_storage_size(set) == bytes && bytes <= r->size && offset <= r->size - bytes;
}

int64_t sg_model_find_name(const sg_model_reader *r, const char *name) {
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
static sg_status read_bytes(const sg_model_reader *r, const char *name, hid_t set, hid_t type,
                            void *data, size_t bytes) {
    uint32_t crc;
    int64_t at;

    if (bytes > 0 && H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        return sg_model_damaged(r, name, "cannot be read: the file is cut off or damaged");
    if (!r->crc) return SG_OK;
    at = sg_model_find_name(r, name);
    if (at < 0) return sg_model_damaged(r, name, "has no checksum");
    crc = sg_crc32c(0, data, bytes);
    if (crc != r->crc[at])
        return sg_fail(SG_ERR_DATA, "%s: the data set %s is damaged: its CRC32C is %08x, not %08x",
                       r->path, name, (unsigned)crc, (unsigned)r->crc[at]);
    r->used[at] = true;
    return SG_OK;
}

sg_status sg_model_read_numbers(const sg_model_reader *r, const char *name, hid_t wanted,
                                const sg_shape *shape, void *data) {
    size_t bytes = (size_t)sg_shape_count(shape) * H5Tget_size(wanted);
    char has[96], wants[96];
    sg_status st = SG_OK;
    sg_shape found;
    hid_t set, type;

    SG_TRY(open_set(r, name, H5Tget_class(wanted), &set, &type));
    found = shape_of(set);
    if (H5Tequal(type, wanted) <= 0) st = sg_model_damaged(r, name, "has numbers of another type");
    if (st == SG_OK && found.rank < 0) st = sg_model_damaged(r, name, "has too many dimensions");
    if (st == SG_OK && !sg_shape_equal(&found, shape))
        st = sg_fail(SG_ERR_DATA, "%s: the data set %s has the shape %s where this model has %s",
                     r->path, name, sg_shape_text(&found, has, sizeof has),
                     sg_shape_text(shape, wants, sizeof wants));
    if (st == SG_OK) st = read_bytes(r, name, set, wanted, data, bytes);
    close_set(set, type);
    return st;
}

sg_status sg_model_read_strings(const sg_model_reader *r, const char *name, int64_t *count,
                                char **block, size_t *width) {
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
        st = sg_model_damaged(r, name, "is no text, or too long a one");
    if (st == SG_OK) n = sg_shape_count(&shape);
    if (st == SG_OK && !has_bytes(r, set, (size_t)n * *width))
        st = sg_model_damaged(r, name, "is not wholly in the file");
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

static sg_status check_format(const sg_model_reader *r) {
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

/* The table, checked against the mark; sorted names are what sg_model_find_name needs. */
static sg_status read_table(sg_model_reader *r) {
    const sg_shape scalar = sg_shape_0();
    uint32_t complete = 0, crc = 0, *table;
    sg_status st;
    size_t width;
    sg_shape shape;

    SG_TRY(sg_model_read_strings(r, SG_MODEL_NAMES, &r->n, &r->names, &width));
    r->width = width + 1;
    shape = sg_shape_1(r->n);
    table = sg_malloc((size_t)r->n * sizeof *table);
    r->used = sg_calloc((size_t)r->n + 1, sizeof *r->used);
    if (!table || !r->used) {
        sg_free(table);
        return sg_fail(SG_ERR_OOM, "%s: no memory for its checksums", r->path);
    }
    st = sg_model_read_numbers(r, SG_MODEL_CHECKSUMS, H5T_STD_U32LE, &shape, table);
    if (st == SG_OK)
        st = sg_model_read_numbers(r, SG_MODEL_COMPLETE, H5T_STD_U32LE, &scalar, &complete);
    r->crc = table; /* from now on every data set must have its checksum */
    if (st != SG_OK) return st;
    for (int64_t i = 0; i < r->n; i++) crc = sg_crc32c(crc, r->names + (size_t)i * r->width, width);
    if (sg_crc32c(crc, table, (size_t)r->n * sizeof *table) != complete)
        return sg_fail(SG_ERR_DATA, "%s: is not complete: its mark does not fit its checksums",
                       r->path);
    for (int64_t i = 1; i < r->n; i++)
        if (strcmp(r->names + (size_t)(i - 1) * r->width, r->names + (size_t)i * r->width) >= 0)
            return sg_model_damaged(r, SG_MODEL_NAMES, "is not sorted");
    return SG_OK;
}

sg_status sg_model_close(sg_model_reader *r, sg_status st) {
    if (r->file >= 0) H5Fclose(r->file);
    sg_free(r->names);
    sg_free(r->crc);
    sg_free(r->used);
    if (st == SG_ERR_DATA) SG_TRY(sg_file_try(r->path));
    return st;
}

static sg_status open_hdf5(sg_model_reader *r) {
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

sg_status sg_model_open(const char *path, sg_model_reader *r) {
    sg_status st;

    *r = (sg_model_reader){.path = path, .file = -1};
    sg_hdf5_quiet();
    st = check_file(path, &r->size);
    if (st == SG_OK) st = open_hdf5(r);
    if (st == SG_OK) st = check_format(r);
    if (st == SG_OK) st = read_table(r);
    return st == SG_OK ? SG_OK : sg_model_close(r, st);
}

bool sg_model_has(const sg_model_reader *r, const char *name, const sg_shape *shape) {
    hid_t set =
        sg_model_find_name(r, name) >= 0 ? H5Dopen2(r->file, name, H5P_DEFAULT) : H5I_INVALID_HID;
    sg_shape found = {0};

    if (set < 0) return sg_model_find_name(r, name) >= 0;
    found = shape_of(set);
    H5Dclose(set);
    return sg_shape_equal(&found, shape);
}

/* The checksum of a data set of floats whose shape nobody has asked for. */
static sg_status verify_tensor(const sg_model_reader *r, const char *name) {
    size_t bytes = 0;
    sg_status st = SG_OK;
    sg_shape shape;
    hid_t set, type;
    void *data;

    SG_TRY(open_set(r, name, H5T_FLOAT, &set, &type));
    shape = shape_of(set);
    if (H5Tequal(type, H5T_IEEE_F32LE) <= 0)
        st = sg_model_damaged(r, name, "has numbers of another type");
    if (st == SG_OK && (shape.rank < 0 || !sg_shape_valid(&shape)))
        st = sg_model_damaged(r, name, "has no shape of a tensor");
    if (st == SG_OK) bytes = (size_t)sg_shape_count(&shape) * sizeof(float);
    if (st == SG_OK && !has_bytes(r, set, bytes))
        st = sg_model_damaged(r, name, "is not wholly in the file");
    data = st == SG_OK ? sg_malloc(bytes + 1) : NULL;
    if (st == SG_OK && !data)
        st = sg_fail(SG_ERR_OOM, "%s: no memory for %s: %zu bytes", r->path, name, bytes);
    if (st == SG_OK) st = read_bytes(r, name, set, H5T_IEEE_F32LE, data, bytes);
    sg_free(data);
    close_set(set, type);
    return st;
}

sg_status sg_model_verify_rest(const sg_model_reader *r) {
    for (int64_t i = 0; i < r->n; i++)
        if (!r->used[i]) SG_TRY(verify_tensor(r, r->names + (size_t)i * r->width));
    return SG_OK;
}
