/* Damaged checkpoints (damage.h): each is refused, or what counts in it has not changed, and a run
 * goes on from it or from the one before. `--count N [SEED]`: so many files instead of a few. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <hdf5.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "checkpoint/model_image.h"
#include "checkpoint_fixture.h"
#include "core/log.h"
#include "core/philox.h"
#include "cpu/cpu.h"
#include "damage.h"
#include "train/resume.h"

enum { kFew = 1000, kHistoryRoom = 1000, kIntactEvery = 10, kTextBytes = 128 };

static damage_source source; /* of the checkpoint of step 5; the older one is of step 4 */
static uint8_t *newer, *older;
static char newer_hash[SG_STATE_HASH_BYTES], older_hash[SG_STATE_HASH_BYTES];
static char numeric_class[kTextBytes];
static sg_model_about all;
static sg_config config;
static const char *const history[] = {"{\"step\":4,\"mAP50\":0.6}\n",
                                      "{\"step\":5,\"mAP50\":0.5}\n"};

/* Any bits, NaNs and infinities too. */
static void fill_floats(sg_random *r, float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = sg_random_u32(r);

        memcpy(x + i, &bits, sizeof bits);
    }
}

/* Padding stays zero. */
static void fill(int64_t step) {
    sg_random r = sg_random_init((uint64_t)step);
    float *const buffer[] = {model->values, model->ema, model->moment[0]};

    for (int i = 0; i < table->n_entries; i++) {
        const sg_entry *e = &table->entry[i];

        for (int k = 0; e->kind != SG_ENTRY_ROWS && k < 3; k++)
            fill_floats(&r, buffer[k] + e->offset, e->count);
        if (e->kind != SG_ENTRY_ROWS) continue;
        fill_floats(&r, model->rows + e->offset, e->count);
        fill_floats(&r, model->rows_sum + e->row_offset, e->shape.dim[0]);
    }
    model->step = step;
    model->samples = 16 * step;
    model->seed = 7;
}

/* As the writer makes it: (*size) bytes, the caller's. */
static uint8_t *make_file(int64_t step, const char *text, size_t *size,
                          char hash[SG_STATE_HASH_BYTES]) {
    sg_model_image *image;
    const void *bytes;
    uint8_t *copy;

    fill(step);
    assert_int_equal(
        sg_model_image_create("x", &all, model, (sg_model_room){kHistoryRoom, 0}, &image), SG_OK);
    sg_model_image_take(image, 2, &(sg_model_growing){text, NULL});
    sg_model_image_seal(image);
    bytes = sg_model_image_bytes(image, size);
    copy = malloc(*size);
    memcpy(copy, bytes, *size);
    sg_model_image_destroy(image);
    assert_int_equal(sg_state_sha256(model, hash), SG_OK);
    return copy;
}

static void put(const char *path, const void *data, size_t n) {
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* --- a disk that cannot be read --------------------------------------------------------------- */

/* HDF5's and our own reading comes here: of that file the byte at that offset cannot be read. */
static ino_t bad_file;
static off_t bad_byte;

static bool is_bad(int fd, off_t offset, size_t n) {
    struct stat info;

    if (bad_file == 0 || fstat(fd, &info) != 0 || info.st_ino != bad_file) return false;
    if (bad_byte < offset || bad_byte >= offset + (off_t)n) return false;
    errno = EIO;
    return true;
}

ssize_t pread(int fd, void *data, size_t n, off_t offset) {
    return is_bad(fd, offset, n) ? -1 : syscall(SYS_pread64, fd, data, n, offset);
}

ssize_t read(int fd, void *data, size_t n) {
    return is_bad(fd, lseek(fd, 0, SEEK_CUR), n) ? -1 : syscall(SYS_read, fd, data, n);
}

/* --- two files -------------------------------------------------------------------------------- */

static int begin_with(void **state, int n_entries) {
    size_t size;

    if (fixture_begin(state) != 0) return -1;
    sg_state_destroy(model);
    sg_table_destroy(table);
    fixture_model(n_entries);
    sg_cpu_class(numeric_class, sizeof numeric_class);
    all = about;
    all.numeric_class = numeric_class;
    older = make_file(4, history[0], &size, older_hash);
    newer = make_file(5, history[1], &source.size, newer_hash);
    assert_int_equal(size, source.size);
    source.bytes = newer;
    source.older = older;
    damage_find_blocks(&source);
    make_folder(SG_CHECKPOINT_FOLDER);
    put(at_step(4), older, size);
    sg_config_default(&config);
    snprintf(config.run.dir, sizeof config.run.dir, "%s", folder);
    return 0;
}

static int begin_small(void **state) { return begin_with(state, 1); }
static int begin_large(void **state) { return begin_with(state, 14); }

static int end(void **state) {
    bad_file = 0;
    free(newer);
    free(older);
    source = (damage_source){0};
    return fixture_end(state);
}

/* --- every byte ------------------------------------------------------------------------------- */

/* Flips a bit of each byte of a data set in turn; verifying must find it. */
static herr_t flip_all(hid_t group, const char *name, const H5L_info_t *info, void *count) {
    hid_t object = H5Oopen(group, name, H5P_DEFAULT);
    haddr_t offset;
    hsize_t n;

    (void)info;
    if (H5Iget_type(object) == H5I_DATASET && H5Dget_storage_size(object) > 0) {
        offset = H5Dget_offset(object);
        n = H5Dget_storage_size(object);
        for (size_t i = 0; i < n; i++) {
            uint8_t *byte = &newer[offset + i], bit = (uint8_t)(1 << i % 8);

            *byte ^= bit;
            put(at("flipped.h5"), newer, source.size);
            *byte ^= bit;
            if (step_in(at("flipped.h5")) != -2) fail_msg("byte %zu of %s: not found", i, name);
            ++*(size_t *)count;
        }
    }
    H5Oclose(object);
    return 0;
}

static void test_every_byte_of_every_data_set(void **state) {
    size_t count = 0;
    hid_t file;

    (void)state;
    put(at("whole.h5"), newer, source.size);
    file = H5Fopen(at("whole.h5"), H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(file >= 0);
    assert_true(H5Lvisit(file, H5_INDEX_NAME, H5_ITER_INC, flip_all, &count) >= 0);
    assert_true(H5Fclose(file) >= 0);
    assert_true(count > 420 + kHistoryRoom); /* values, EMA and moment, and the history */
}

/* --- one file --------------------------------------------------------------------------------- */

/* Which of the two files was found in one: never a mixture of them. */
typedef enum { NEITHER, NEWER, OLDER } which;

/* What was made of one. */
typedef struct {
    which whole;  /* verified */
    which loaded; /* all of its state */
} outcome;

static which same_contents(const sg_model_file *file, uint32_t number) {
    bool same = strcmp(file->run_id, all.run_id) == 0 && strcmp(file->config, all.config) == 0 &&
                strcmp(file->version, all.version) == 0 &&
                strcmp(file->numeric_class, numeric_class) == 0 &&
                strcmp(file->data_fingerprint, all.data_fingerprint) == 0 && file->n_classes == 1 &&
                strcmp(file->classes[0], fixture_class) == 0 && file->epoch == 2 && file->seed == 7;

    if (same && file->step == 5 && file->samples == 80 && strcmp(file->history, history[1]) == 0)
        return NEWER;
    if (same && file->step == 4 && file->samples == 64 && strcmp(file->history, history[0]) == 0)
        return OLDER;
    fail_msg("file %u: other contents", (unsigned)number);
    return NEITHER;
}

static which same_state(const sg_state *state, uint32_t number) {
    char hash[SG_STATE_HASH_BYTES];

    assert_int_equal(sg_state_sha256(state, hash), SG_OK);
    if (strcmp(hash, newer_hash) == 0 && state->step == 5) return NEWER;
    if (strcmp(hash, older_hash) == 0 && state->step == 4) return OLDER;
    fail_msg("file %u: another state", (unsigned)number);
    return NEITHER;
}

static void expect_refused(sg_status st, uint32_t number) {
    if (st != SG_ERR_DATA || strchr(sg_last_error(), '\n'))
        fail_msg("file %u: status %d: %s", (unsigned)number, (int)st, sg_last_error());
}

static which read_it(sg_status (*read)(const char *path, sg_model_file *out), uint32_t number) {
    sg_model_file file;
    sg_status st = read(at_step(5), &file);
    which found = NEITHER;

    if (st != SG_OK) {
        expect_refused(st, number);
    } else {
        found = same_contents(&file, number);
        sg_model_file_clear(&file);
    }
    return found;
}

static which load_it(sg_state *into, uint32_t number) {
    sg_status st;

    into->values[0] = 42.0f;
    into->step = 17;
    st = sg_model_file_load(at_step(5), into);
    if (st == SG_OK) return same_state(into, number);
    expect_refused(st, number);
    if (!(into->values[0] == 42.0f) || into->step != 17)
        fail_msg("file %u: half loaded", (unsigned)number);
    return NEITHER;
}

/* As a run does; a damaged file is set aside then. The state that it goes on from. */
static which go_on(sg_state *into, uint32_t number) {
    bool again;

    do {
        sg_resume resume;

        assert_int_equal(sg_resume_find(&config, NULL, &resume), SG_OK);
        if (sg_resume_load(&resume, &config, numeric_class, into, &again) != SG_OK && !again)
            fail_msg("file %u: %s", (unsigned)number, sg_last_error());
        sg_resume_clear(&resume);
    } while (again);
    return same_state(into, number);
}

static outcome look_at(sg_state *into, bool forged, uint32_t number) {
    outcome o = {.whole = read_it(sg_model_file_verify, number)};
    which known = o.whole ? o.whole : read_it(sg_model_file_read, number);
    bool good;

    o.loaded = load_it(into, number);
    /* one whose shapes are others is a whole file of another model */
    if (o.whole && o.loaded != o.whole && !(forged && !o.loaded))
        fail_msg("file %u: called whole, not loaded: %s", (unsigned)number, sg_last_error());
    if (known && o.loaded) assert_int_equal(known, o.loaded);
    good = known && o.loaded;
    assert_int_equal(go_on(into, number), good ? o.loaded : OLDER);
    assert_int_equal(sg_file_exists(at_step(5)), good);
    return o;
}

/* A disk's error is not the file's: it keeps its name, and a run goes on from the one before. */
static void test_unreadable(void **state) {
    int failed = 0, sectors = 0;
    struct stat info;
    sg_state *into;

    (void)state;
    assert_int_equal(sg_state_create_with(table, &fixture_state, &into), SG_OK);
    put(at_step(5), newer, source.size);
    assert_int_equal(stat(at_step(5), &info), 0);
    bad_file = info.st_ino;
    for (bad_byte = 0; bad_byte < info.st_size; bad_byte += 512, sectors++) {
        sg_model_file file;
        sg_status st = sg_model_file_verify(at_step(5), &file);

        if (st == SG_OK) sg_model_file_clear(&file);
        if (st != SG_OK) assert_int_equal(st, SG_ERR_IO);
        if (st != SG_OK) assert_non_null(strstr(sg_last_error(), "cannot read: Input/output"));
        failed += st != SG_OK;
        assert_int_equal(go_on(into, 0), OLDER);
        assert_true(sg_file_exists(at_step(5)));
    }
    assert_true(failed > sectors / 2);
    bad_file = 0;
    assert_int_equal(go_on(into, 0), NEWER);
    sg_state_destroy(into);
}

/* --- many ------------------------------------------------------------------------------------- */

typedef struct {
    uint32_t files, whole[3];
} tally;

static uint32_t files = kFew;
static uint64_t first_seed = 1;

static uint32_t damage_many(uint32_t count, tally sum[DAMAGE_KINDS]) {
    damage_victim v = {.from = &source, .data = malloc(2 * source.size)};
    uint32_t intact = 0;
    sg_state *into;

    assert_int_equal(sg_state_create_with(table, &fixture_state, &into), SG_OK);
    for (uint32_t i = 0; i < count; i++) {
        const damage_kind *kind = &damage_kinds[i % DAMAGE_KINDS];
        sg_random random = sg_random_init(sg_key_mix(first_seed, i));
        outcome o;

        v.random = &random;
        damage_do(&v, kind);
        put(at_step(5), v.data, v.size);
        o = look_at(into, kind->forged, i);
        sum[i % DAMAGE_KINDS].files++;
        sum[i % DAMAGE_KINDS].whole[o.whole]++;
        if (i % kIntactEvery != 0) continue;
        put(at_step(5), newer, source.size);
        o = look_at(into, false, i);
        if (o.whole != NEWER || o.loaded != NEWER)
            fail_msg("intact file %u: %s", (unsigned)i, sg_last_error());
        intact++;
    }
    sg_state_destroy(into);
    free(v.data);
    return intact;
}

static void print_row(const char *name, const tally *t) {
    print_message("%-42s %8u %8u %9u %9u\n", name, (unsigned)t->files, (unsigned)t->whole[NEITHER],
                  (unsigned)t->whole[NEWER], (unsigned)t->whole[OLDER]);
}

static void damage_and_report(const char *name, uint32_t count) {
    tally sum[DAMAGE_KINDS] = {0}, total = {0};
    long live = sg_mem_live();
    uint32_t intact;

    sg_log_set(SG_LOG_ERROR, NULL); /* each file that is set aside is a warning */
    intact = damage_many(count, sum);
    assert_int_equal(sg_mem_live(), live);
    assert_int_equal(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
    print_message("%-42s %8s %8s %9s %9s\n", name, "files", "refused", "untouched", "the older");
    for (int k = 0; k < DAMAGE_KINDS; k++) {
        print_row(damage_kinds[k].name, &sum[k]);
        total.files += sum[k].files;
        for (int w = 0; w < 3; w++) total.whole[w] += sum[k].whole[w];
    }
    print_row("all", &total);
    print_message("%u intact ones among them: all whole, all loaded\n", (unsigned)intact);
    assert_in_range(total.whole[NEITHER], count / 2, count - 1);
}

static void test_small(void **state) {
    (void)state;
    damage_and_report("one tensor", files / 2);
}

static void test_large(void **state) {
    (void)state;
    assert_true(source.n_blocks > 40 && source.n_shapes > 30);
    damage_and_report("14 tensors, groups as of a real model", files - files / 2);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_byte_of_every_data_set, begin_small, end),
        cmocka_unit_test_setup_teardown(test_unreadable, begin_small, end),
        cmocka_unit_test_setup_teardown(test_small, begin_small, end),
        cmocka_unit_test_setup_teardown(test_large, begin_large, end),
    };

    if (argc >= 3 && strcmp(argv[1], "--count") == 0) files = (uint32_t)strtoul(argv[2], NULL, 10);
    if (argc >= 4) first_seed = strtoull(argv[3], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
