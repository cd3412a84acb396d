/* Model files: what was written is read, whatever is damaged is noticed. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <hdf5.h>
#include <malloc.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "checkpoint/model_file.h"
#include "checkpoint/state_hash.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/philox.h"
#include "core/threads.h"

typedef struct {
    const char *name;
    sg_entry_kind kind;
    sg_shape shape;
} entry;

static const entry usual[] = {
    {"stem.conv.weight", SG_ENTRY_DECAY, {4, {8, 3, 3, 3}}},
    {"stem.norm.weight", SG_ENTRY_NO_DECAY, {1, {8}}},
    {"stem.norm.mean", SG_ENTRY_STAT, {1, {8}}},
    {"head.weight", SG_ENTRY_DECAY, {2, {5, 7}}},
    {"scale", SG_ENTRY_NO_DECAY, {0, {0}}},
    {"nothing", SG_ENTRY_DECAY, {2, {0, 7}}},
};
enum { kEntries = sizeof usual / sizeof usual[0] };

static char folder[64];
static char path[96]; /* folder/model.h5 */
static sg_table *table;
static sg_state *model; /* two moments, everything random */

static char config[] = "[train]\nbatch = 16\n", history[] = "{\"step\": 5}\n", run[] = "r-1";
static char version[] = "0.1.0", numeric[] = "cpu f32 avx2", data[] = "ffee";
static char with_mask[] = "with_mask", without[] = "caf\xc3\xa9", third[] = "";
static char *class_names[] = {with_mask, without, third};
static const sg_model_about about = {.run_id = run,
                                     .version = version,
                                     .numeric_class = numeric,
                                     .data_fingerprint = data,
                                     .config = config,
                                     .history = history,
                                     .classes = class_names,
                                     .n_classes = 3,
                                     .epoch = 2};

static sg_table *make_table(const entry *entries, int n, int first) {
    sg_init init = {SG_INIT_NORMAL, 1.0f};
    sg_table *t;
    int index;

    assert_int_equal(sg_table_create(&t), SG_OK);
    for (int i = 0; i < n; i++) {
        const entry *e = &entries[(first + i) % n];

        assert_int_equal(sg_table_entry(t, e->name, e->kind, &e->shape, init, &index), SG_OK);
    }
    sg_table_freeze(t);
    return t;
}

static sg_state *make_state(const sg_table *t, int n_moments) {
    sg_state *s;

    assert_int_equal(sg_state_create(t, n_moments, &s), SG_OK);
    return s;
}

/* By name, so that it does not depend on the order in the table; padding stays zero. */
static void fill(sg_state *s) {
    float *buffer[4] = {s->values, s->ema, s->moment[0], s->moment[1]};

    for (int i = 0; i < s->table->n_entries; i++) {
        const sg_entry *e = &s->table->entry[i];
        sg_random r = sg_random_init(sg_key_name(e->name));

        for (int k = 0; k < 2 + (e->kind == SG_ENTRY_STAT ? 0 : s->n_moments); k++)
            for (int64_t j = 0; j < e->count; j++) buffer[k][e->offset + j] = sg_random_normal(&r);
    }
    s->step = 5;
    s->samples = 80;
    s->seed = UINT64_MAX - 3;
}

static int set_up(void **state) {
    (void)state;
    /* in memory where that can be: hundreds of files are written and synced */
    strcpy(folder, "/dev/shm/spotgrad-model-XXXXXX");
    if (!mkdtemp(folder)) strcpy(folder, "/tmp/spotgrad-model-XXXXXX");
    if (strncmp(folder, "/tmp", 4) == 0 && !mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/model.h5", folder);
    table = make_table(usual, kEntries, 0);
    model = make_state(table, 2);
    fill(model);
    return 0;
}

static int tear_down(void **state) {
    char command[96];

    (void)state;
    sg_state_destroy(model);
    sg_table_destroy(table);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static void write_model(void) { assert_int_equal(sg_model_file_write(path, &about, model), SG_OK); }

static void expect_failure(sg_status got, sg_status want, const char *text) {
    assert_int_equal(got, want);
    if (!strstr(sg_last_error(), text) || strchr(sg_last_error(), '\n'))
        fail_msg("\"%s\" does not say \"%s\" in one line", sg_last_error(), text);
}

/* Load into a fresh state; it must stay as it is on failure. */
static sg_status load(const char *from, const sg_table *t, int n_moments, char hex[65]) {
    sg_state *s = make_state(t, n_moments);
    char before[SG_STATE_HASH_BYTES];
    sg_status st;

    assert_int_equal(sg_state_sha256(s, before), SG_OK);
    st = sg_model_file_load(from, s);
    assert_int_equal(sg_state_sha256(s, hex), SG_OK);
    if (st != SG_OK) assert_string_equal(hex, before);
    sg_state_destroy(s);
    return st;
}

static void test_round_trip(void **state) {
    sg_state *s = make_state(table, 2);
    size_t values = (size_t)table->n_values * sizeof(float);
    size_t params = (size_t)table->n_params * sizeof(float);
    sg_model_file got;

    (void)state;
    write_model();
    assert_int_equal(sg_model_file_read(path, &got), SG_OK);
    assert_string_equal(got.run_id, run);
    assert_string_equal(got.version, version);
    assert_string_equal(got.numeric_class, numeric);
    assert_string_equal(got.data_fingerprint, data);
    assert_string_equal(got.config, config);
    assert_string_equal(got.history, history);
    assert_int_equal(got.n_classes, 3);
    for (int i = 0; i < 3; i++) assert_string_equal(got.classes[i], class_names[i]);
    assert_int_equal(got.epoch, 2);
    assert_int_equal(got.step, 5);
    assert_int_equal(got.samples, 80);
    assert_true(got.seed == UINT64_MAX - 3);
    sg_model_file_clear(&got);
    assert_null(got.config);

    assert_int_equal(sg_model_file_load(path, s), SG_OK);
    assert_memory_equal(s->values, model->values, values);
    assert_memory_equal(s->ema, model->ema, values);
    assert_memory_equal(s->moment[0], model->moment[0], params);
    assert_memory_equal(s->moment[1], model->moment[1], params);
    assert_int_equal(s->step, 5);
    assert_int_equal(s->samples, 80);
    assert_true(s->seed == UINT64_MAX - 3);
    sg_state_destroy(s);
}

static void test_nothing_said(void **state) {
    static const sg_model_about nothing;
    sg_state *s = make_state(table, 0);
    sg_model_file got;

    (void)state;
    assert_int_equal(sg_model_file_write(path, &nothing, s), SG_OK);
    assert_int_equal(sg_model_file_read(path, &got), SG_OK);
    assert_string_equal(got.config, "");
    assert_string_equal(got.run_id, "");
    assert_int_equal(got.n_classes, 0);
    assert_int_equal(got.step, 0);
    sg_model_file_clear(&got);
    assert_int_equal(sg_model_file_load(path, s), SG_OK);
    sg_state_destroy(s);
}

/* Whatever lay in the memory that HDF5 works in, the bytes are the same. */
static void test_same_bytes(void **state) {
    uint8_t *first, *second;
    size_t size, size2;

    (void)state;
    write_model();
    assert_int_equal(sg_file_read(path, 0, &first, &size), SG_OK);
    for (time_t written = time(NULL); time(NULL) == written;) usleep(20000); /* no time in it */
    for (int perturb = 1; perturb < 4; perturb++) {
        mallopt(M_PERTURB, perturb * 0x55);
        write_model();
        mallopt(M_PERTURB, 0);
        assert_int_equal(sg_file_read(path, 0, &second, &size2), SG_OK);
        assert_int_equal(size, size2);
        assert_memory_equal(first, second, size);
        sg_free(second);
    }
    sg_free(first);
}

/* Other numbers, same places: what a writer that patches relies on. */
static void test_same_places(void **state) {
    sg_state *other = make_state(table, 2);
    uint8_t *first, *second;
    size_t size, size2, differ = 0;

    (void)state;
    fill(other);
    other->step = 6;
    other->values[0] = 17.0f;
    write_model();
    assert_int_equal(sg_file_read(path, 0, &first, &size), SG_OK);
    assert_int_equal(sg_model_file_write(path, &about, other), SG_OK);
    assert_int_equal(sg_file_read(path, 0, &second, &size2), SG_OK);
    assert_int_equal(size, size2);
    for (size_t i = 0; i < size; i++) differ += first[i] != second[i];
    assert_in_range(differ, 4, 1 + 4 + 4 + 4 + 4); /* step, value, their checksums, the mark */
    sg_free(first);
    sg_free(second);
    sg_state_destroy(other);
}

static void test_other_models(void **state) {
    entry other[kEntries];
    sg_table *t = make_table(usual, kEntries, 3);
    char hex[65], want[65];

    (void)state;
    write_model();
    assert_int_equal(sg_state_sha256(model, want), SG_OK);
    assert_int_equal(load(path, t, 2, hex), SG_OK); /* the order of a table means nothing */
    assert_string_equal(hex, want);
    assert_int_equal(load(path, t, 0, hex), SG_OK); /* inference takes any optimizer */
    expect_failure(load(path, t, 1, hex), SG_ERR_DATA,
                   "holds /optimizer/moment2/head.weight, which");
    sg_table_destroy(t);

    t = make_table(usual, 3, 0);
    expect_failure(load(path, t, 0, hex), SG_ERR_DATA, "holds /ema/head.weight, which this model");
    sg_table_destroy(t);

    memcpy(other, usual, sizeof other);
    other[3].shape.dim[0] = 6;
    t = make_table(other, kEntries, 0);
    expect_failure(load(path, t, 2, hex), SG_ERR_DATA,
                   "/ema/head.weight has the shape (5, 7) where this model has (6, 7)");
    sg_table_destroy(t);

    memcpy(other, usual, sizeof other);
    other[3].name = "head.w";
    t = make_table(other, kEntries, 0);
    expect_failure(load(path, t, 2, hex), SG_ERR_DATA,
                   "model.h5: the data set /ema/head.w is missing");
    sg_table_destroy(t);
}

/* Change a whole file with HDF5's own means: overwrite a data set (4 bytes a number) or delete it.
 */
static void tamper(const char *name, hid_t type, const void *numbers) {
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), set;

    assert_true(file >= 0);
    if (!numbers) {
        assert_true(H5Ldelete(file, name, H5P_DEFAULT) >= 0);
    } else {
        set = H5Dopen2(file, name, H5P_DEFAULT);
        assert_true(set >= 0);
        assert_true(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers) >= 0);
        assert_true(H5Dclose(set) >= 0);
    }
    assert_true(H5Fclose(file) >= 0);
}

/* Another head: what fits is the file's EMA, the rest stays. */
static void test_fitting(void **state) {
    entry other[kEntries];
    char before[65], after[65];
    const sg_entry *stem = &table->entry[0];
    sg_fitting got = {.tensors = -1};
    int head;
    float was[6];
    sg_table *t;
    sg_state *s;

    (void)state;
    write_model();
    memcpy(other, usual, sizeof other);
    other[3].shape.dim[0] = 6;
    other[5].name = "something";
    t = make_table(other, kEntries, 2);
    s = make_state(t, 1);
    fill(s);
    head = sg_table_find(t, "head.weight");
    s->values[t->entry[head].offset] = 42.0f;
    s->ema[t->entry[head].offset] = 43.0f;
    memcpy(was, s->moment[0], sizeof was);
    assert_int_equal(sg_model_file_load_fitting(path, s, NULL, &got), SG_OK);
    assert_int_equal(got.tensors, 4);
    assert_memory_equal(s->values + t->entry[sg_table_find(t, stem->name)].offset,
                        model->ema + stem->offset, (size_t)stem->count * sizeof(float));
    assert_true(s->values[t->entry[head].offset] == 42.0f);
    assert_memory_equal(s->values, s->ema, (size_t)t->n_values * sizeof(float));
    assert_memory_equal(was, s->moment[0], sizeof was);
    assert_int_equal(s->samples, 80);

    assert_int_equal(sg_state_sha256(s, before), SG_OK);
    tamper("/ema/stem.norm.mean", H5T_NATIVE_FLOAT, (const float[8]){0});
    expect_failure(sg_model_file_load_fitting(path, s, NULL, &got), SG_ERR_DATA,
                   "/ema/stem.norm.mean is damaged");
    assert_int_equal(sg_state_sha256(s, after), SG_OK);
    assert_string_equal(before, after);
    sg_state_destroy(s);
    sg_table_destroy(t);

    other[0].name = "other";
    t = make_table(other, 1, 0);
    s = make_state(t, 0);
    expect_failure(sg_model_file_load_fitting(path, s, NULL, &got), SG_ERR_DATA,
                   "has nothing that fits");
    sg_state_destroy(s);
    sg_table_destroy(t);
}

/* Element k of entry i, times a sign. */
static float value_of(int i, int64_t k) { return (float)(100 * (i + 1) + k); }

static void fill_all(sg_state *s, float sign) {
    for (int i = 0; i < s->table->n_entries; i++) {
        const sg_entry *e = &s->table->entry[i];

        for (int64_t k = 0; k < e->count; k++) {
            float x = sign * value_of(i, k);

            if (e->kind == SG_ENTRY_ROWS)
                s->rows[e->offset + k] = x;
            else
                s->values[e->offset + k] = s->ema[e->offset + k] = x;
        }
    }
}

/* Of test_fitting_classes' model; of the usual one "head.weight" has no element a class. */
static int class_axis(const char *parameter) {
    return strcmp(parameter, "votes") == 0 ? 1 : strncmp(parameter, "class.", 6) == 0 ? 0 : -1;
}

/* What tells classes apart is taken by their names, or not at all. */
static void test_fitting_classes(void **state) {
    static const entry entries[] = {{"stem", SG_ENTRY_DECAY, {1, {3}}},
                                    {"class.weight", SG_ENTRY_DECAY, {4, {3, 2, 1, 1}}},
                                    {"class.bias", SG_ENTRY_NO_DECAY, {1, {3}}},
                                    {"votes", SG_ENTRY_ROWS, {2, {4, 3}}}};
    static char fourth[] = "fourth";
    static const struct {
        char *const name[4];
        int n, classes, from[3]; /* of the file; -1: none */
    } cases[] = {{{with_mask, without, third}, 3, SG_CLASSES_SAME, {0, 1, 2}},
                 {{third, with_mask, without}, 3, SG_CLASSES_REORDERED, {2, 0, 1}},
                 {{with_mask, third, without}, 3, SG_CLASSES_REORDERED, {0, 2, 1}},
                 {{with_mask, without, fourth}, 3, SG_CLASSES_OTHER, {-1, -1, -1}},
                 {{third, with_mask, fourth}, 3, SG_CLASSES_OTHER, {-1, -1, -1}},
                 {{with_mask, without}, 2, SG_CLASSES_OTHER, {-1, -1, -1}},
                 {{with_mask, without, third, fourth}, 4, SG_CLASSES_OTHER, {-1, -1, -1}},
                 {{0}, 0, SG_CLASSES_SAME, {0, 1, 2}}};
    sg_table *t = make_table(entries, 4, 0);
    sg_state *from = make_state(t, 0), *s = make_state(t, 0);

    (void)state;
    fill_all(from, 1.0f);
    assert_int_equal(sg_model_file_write(path, &about, from), SG_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sg_class_outputs classes = {cases[i].name, cases[i].n, class_axis};
        sg_fitting got;

        fill_all(s, -1.0f);
        assert_int_equal(sg_model_file_load_fitting(path, s, &classes, &got), SG_OK);
        assert_int_equal(got.classes, cases[i].classes);
        assert_int_equal(got.tensors, cases[i].from[0] < 0 ? 1 : 4);
        for (int64_t k = 0; k < 3; k++)
            assert_true(s->values[t->entry[0].offset + k] == value_of(0, k));
        for (int64_t c = 0; c < 3; c++) {
            int64_t was = cases[i].from[c] < 0 ? c : cases[i].from[c];
            float sign = cases[i].from[c] < 0 ? -1.0f : 1.0f;

            for (int64_t k = 0; k < 2; k++)
                assert_true(s->values[t->entry[1].offset + 2 * c + k] ==
                            sign * value_of(1, 2 * was + k));
            assert_true(s->values[t->entry[2].offset + c] == sign * value_of(2, was));
            for (int64_t k = 0; k < 4; k++)
                assert_true(s->rows[t->entry[3].offset + 3 * k + c] ==
                            sign * value_of(3, 3 * k + was));
        }
        assert_memory_equal(s->values, s->ema, (size_t)t->n_values * sizeof(float));
    }
    sg_state_destroy(s);
    sg_state_destroy(from);
    sg_table_destroy(t);
}

static void put_file(const char *name, const void *bytes, size_t size) {
    FILE *f = fopen(name, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void test_no_model(void **state) {
    static const char text[] = "this is a text of more than eight bytes\n";
    sg_model_file got;
    hid_t file;

    (void)state;
    unlink(path);
    expect_failure(sg_model_file_read(path, &got), SG_ERR_MISSING, "model.h5: cannot open");
    expect_failure(sg_model_file_read(folder, &got), SG_ERR_MISSING, "is a folder; name");
    expect_failure(sg_model_file_read("/dev/null", &got), SG_ERR_IO, "is not a file");
    put_file(path, text, 0);
    expect_failure(sg_model_file_read(path, &got), SG_ERR_DATA, "is empty");
    put_file(path, text, sizeof text);
    expect_failure(sg_model_file_read(path, &got), SG_ERR_DATA, "is not an HDF5 file");
    file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(file >= 0 && H5Fclose(file) >= 0);
    expect_failure(sg_model_file_read(path, &got), SG_ERR_DATA, "not a model that Spotgrad wrote");
}

static void test_tampered(void **state) {
    const float zeros[8] = {0};
    const uint32_t zero = 0;
    const int64_t seven = 7;
    sg_model_file got;
    hid_t file, version_of;
    char hex[65];

    (void)state;
    write_model();
    tamper("/parameters/stem.norm.weight", H5T_NATIVE_FLOAT, zeros);
    assert_int_equal(sg_model_file_read(path, &got), SG_OK); /* does not look at tensors */
    sg_model_file_clear(&got);
    expect_failure(load(path, table, 2, hex), SG_ERR_DATA,
                   "/parameters/stem.norm.weight is damaged: its CRC32C is ");
    write_model();
    tamper("/progress/step", H5T_NATIVE_INT64, &seven);
    expect_failure(sg_model_file_read(path, &got), SG_ERR_DATA, "/progress/step is damaged");
    write_model();
    tamper("/complete", H5T_NATIVE_UINT32, &zero);
    expect_failure(sg_model_file_read(path, &got), SG_ERR_DATA, "is not complete");
    write_model();
    tamper("/statistics/stem.norm.mean", 0, NULL);
    expect_failure(load(path, table, 2, hex), SG_ERR_DATA, "/statistics/stem.norm.mean is missing");
    write_model();
    tamper("/run/config", 0, NULL);
    expect_failure(sg_model_file_read(path, &got), SG_ERR_DATA, "/run/config is missing");
    write_model();
    tamper("/checksums", 0, NULL);
    expect_failure(sg_model_file_read(path, &got), SG_ERR_DATA, "/checksums/names is missing");

    write_model();
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    version_of = H5Aopen(file, "format_version", H5P_DEFAULT);
    assert_true(H5Awrite(version_of, H5T_NATIVE_INT64, &seven) >= 0);
    assert_true(H5Aclose(version_of) >= 0 && H5Fclose(file) >= 0);
    expect_failure(sg_model_file_read(path, &got), SG_ERR_DATA, "has the format 7");
}

static void test_cut_off(void **state) {
    uint8_t *bytes;
    char hex[65];
    size_t size;

    (void)state;
    write_model();
    assert_int_equal(sg_file_read(path, 0, &bytes, &size), SG_OK);
    for (size_t keep = 0; keep < size; keep += keep < 512 || keep + 64 > size ? 1 : 97) {
        put_file(path, bytes, keep);
        expect_failure(load(path, table, 2, hex), SG_ERR_DATA, "model.h5: ");
    }
    for (size_t from = 0; from < size; from += 512) { /* a sector that was never written */
        uint8_t kept[512];
        size_t n = size - from < sizeof kept ? size - from : sizeof kept;
        char want[65];

        memcpy(kept, bytes + from, n);
        memset(bytes + from, 0, n);
        put_file(path, bytes, size);
        memcpy(bytes + from, kept, n);
        assert_int_equal(sg_state_sha256(model, want), SG_OK);
        if (load(path, table, 2, hex) == SG_OK) assert_string_equal(hex, want);
    }
    sg_free(bytes);
}

/* Every flipped byte is noticed, or has changed nothing. */
static void test_flipped(void **state) {
    sg_random r = sg_random_init(5);
    size_t size, noticed = 0, tried = 0;
    char hex[65], want[65];
    uint8_t *bytes;

    (void)state;
    write_model();
    assert_int_equal(sg_state_sha256(model, want), SG_OK);
    assert_int_equal(sg_file_read(path, 0, &bytes, &size), SG_OK);
    for (size_t at = 0; at < size; at += 1 + (size_t)sg_random_below(&r, 15), tried++) {
        uint8_t kept = bytes[at];
        sg_model_file got;

        bytes[at] ^= (uint8_t)(1 + sg_random_below(&r, 255));
        put_file(path, bytes, size);
        bytes[at] = kept;
        if (load(path, table, 2, hex) != SG_OK) {
            noticed++;
            continue;
        }
        assert_string_equal(hex, want);
        if (sg_model_file_read(path, &got) != SG_OK) continue;
        assert_string_equal(got.config, config);
        assert_string_equal(got.classes[1], class_names[1]);
        assert_int_equal(got.step, 5);
        sg_model_file_clear(&got);
    }
    assert_true(noticed * 2 > tried);
    sg_free(bytes);
}

static int files_in_folder(void) {
    DIR *dir = opendir(folder);
    int n = 0;

    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

/* A full disk, as a limit on the size of files: the old file stays, nothing else does. */
static void test_disk_full(void **state) {
    struct rlimit old, small;
    char hex[65], want[65], other[96];
    sg_state *changed = make_state(table, 2);
    sg_status st;

    (void)state;
    write_model();
    assert_int_equal(sg_state_sha256(model, want), SG_OK);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    for (rlim_t limit = 0; limit < 16384; limit += 5000) {
        small = old;
        small.rlim_cur = limit;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        st = sg_model_file_write(path, &about, changed);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        expect_failure(st, SG_ERR_IO, "cannot write");
        assert_int_equal(files_in_folder(), 1);
        assert_int_equal(load(path, table, 2, hex), SG_OK);
        assert_string_equal(hex, want);
    }
    snprintf(other, sizeof other, "%s/none/model.h5", folder);
    expect_failure(sg_model_file_write(other, &about, changed), SG_ERR_IO, "cannot create");
    assert_int_equal(sg_model_file_write(path, &about, changed), SG_OK);
    assert_int_equal(load(path, table, 2, hex), SG_OK);
    assert_string_not_equal(hex, want);
    sg_state_destroy(changed);
}

static sg_status write_read_load(sg_state *into) {
    static char *const other_order[] = {third, without, with_mask};
    sg_class_outputs classes = {other_order, 3, class_axis};
    sg_model_file got;
    sg_fitting fitting;

    SG_TRY(sg_model_file_write(path, &about, model));
    SG_TRY(sg_model_file_read(path, &got));
    sg_model_file_clear(&got);
    SG_TRY(sg_model_file_load_fitting(path, into, &classes, &fitting));
    return sg_model_file_load(path, into);
}

static void test_out_of_memory(void **state) {
    sg_state *into = make_state(table, 2);
    long live = sg_mem_live(), n = 0;
    sg_status st;

    (void)state;
    do {
        sg_mem_fail_at(++n);
        st = write_read_load(into);
        assert_int_equal(sg_mem_live(), live);
        assert_true(st == SG_OK || st == SG_ERR_OOM);
        assert_int_equal(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
        assert_int_equal(files_in_folder(), 1);
    } while (st != SG_OK);
    sg_mem_fail_at(0);
    assert_true(n > 30);
    sg_state_destroy(into);
}

static sg_status one_of_many(void *context, int64_t item, int worker) {
    char name[96];
    sg_state *s;
    sg_status st;

    (void)context;
    (void)worker;
    snprintf(name, sizeof name, "%s/many-%d.h5", folder, (int)item);
    SG_TRY(sg_state_create(table, 2, &s));
    st = sg_model_file_write(name, &about, model);
    if (st == SG_OK) st = sg_model_file_load(name, s);
    if (st == SG_OK && memcmp(s->ema, model->ema, (size_t)table->n_values * sizeof(float)) != 0)
        st = sg_fail(SG_ERR_DATA, "%s: other numbers came back", name);
    unlink(name);
    sg_state_destroy(s);
    return st;
}

static void test_threads(void **state) {
    sg_pool *pool;

    (void)state;
    assert_int_equal(sg_pool_create(3, NULL, &pool), SG_OK);
    assert_int_equal(sg_pool_run(pool, 24, one_of_many, NULL), SG_OK);
    sg_pool_destroy(pool);
}

/* For tests/integration/model_file.py: write the model there and print its hash. */
static int write_for_others(const char *to) {
    char hex[SG_STATE_HASH_BYTES];

    table = make_table(usual, kEntries, 0);
    model = make_state(table, 2);
    fill(model);
    if (sg_model_file_write(to, &about, model) != SG_OK || sg_state_sha256(model, hex) != SG_OK) {
        fprintf(stderr, "%s\n", sg_last_error());
        return 1;
    }
    puts(hex);
    sg_state_destroy(model);
    sg_table_destroy(table);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_nothing_said),
        cmocka_unit_test(test_same_bytes),    cmocka_unit_test(test_same_places),
        cmocka_unit_test(test_other_models),  cmocka_unit_test(test_no_model),
        cmocka_unit_test(test_fitting),       cmocka_unit_test(test_fitting_classes),
        cmocka_unit_test(test_tampered),      cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_flipped),       cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_threads),
    };

    if (argc == 3 && strcmp(argv[1], "--write") == 0) return write_for_others(argv[2]);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
