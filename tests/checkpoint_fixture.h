/* For tests of checkpoints: a folder, and a small state in it. Included once by a test program. */
#ifndef SG_TESTS_CHECKPOINT_FIXTURE_H
#define SG_TESTS_CHECKPOINT_FIXTURE_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoint/folder.h"
#include "checkpoint/model_file.h"
#include "checkpoint/state_hash.h"
#include "core/file.h"
#include "core/mem.h"

static char folder[64]; /* RUN */
static sg_table *table;
static sg_state *model; /* one moment; its first value is its step */

static char fixture_class[] = "mask";
static char *fixture_classes[] = {fixture_class};
static const sg_model_about about = {.run_id = "r-1",
                                     .version = "0.1.0",
                                     .numeric_class = "cpu f32",
                                     .data_fingerprint = "ffee",
                                     .config = "[train]\nbatch = 16\n",
                                     .classes = fixture_classes,
                                     .n_classes = 1};

/* A path in the folder, in one of a few buffers. */
static inline const char *at(const char *name) {
    static char paths[8][128];
    static int next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static inline const char *at_step(int64_t step) {
    char name[64];

    snprintf(name, sizeof name, SG_CHECKPOINT_FOLDER "/step-%09lld.h5", (long long)step);
    return at(name);
}

static inline void set_step(int64_t step) {
    model->step = step;
    model->samples = 16 * step;
    model->values[0] = (float)step;
}

static const sg_state_options fixture_state = {.n_moments = 1, .rule = SG_ROWS_ADAGRAD_ROW};

/* One entry, or more: then their groups are laid out as those of a real model are, which HDF5 does
 * from the ninth on, and the fifth is a table of rows. */
static inline void fixture_model(int n_entries) {
    static const sg_shape shapes[] = {{2, {5, 7}}, {1, {8}}, {4, {2, 3, 3, 3}}, {0, {0}}};
    char name[32] = "head.weight";
    int index;

    assert_int_equal(sg_table_create(&table), SG_OK);
    for (int i = 0; i < n_entries; i++) {
        sg_entry_kind kind = i == 4 ? SG_ENTRY_ROWS : SG_ENTRY_DECAY;

        assert_int_equal(sg_table_entry(table, name, kind, &shapes[i % 4],
                                        (sg_init){SG_INIT_NORMAL, 1.0f}, &index),
                         SG_OK);
        snprintf(name, sizeof name, "layer%d.weight", i);
    }
    sg_table_freeze(table);
    assert_int_equal(sg_state_create_with(table, &fixture_state, &model), SG_OK);
    set_step(0);
}

/* In memory where that can be: everything is synced. */
static inline int fixture_begin(void **state) {
    (void)state;
    strcpy(folder, "/dev/shm/spotgrad-checkpoint-XXXXXX");
    if (!mkdtemp(folder)) strcpy(folder, "/tmp/spotgrad-checkpoint-XXXXXX");
    if (strncmp(folder, "/tmp", 4) == 0 && !mkdtemp(folder)) return -1;
    fixture_model(1);
    return 0;
}

static inline int fixture_end(void **state) {
    char command[96];

    (void)state;
    sg_state_destroy(model);
    sg_table_destroy(table);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static inline void make_folder(const char *name) {
    assert_int_equal(sg_make_dirs(at(name)), SG_OK);
}

static inline void write_text(const char *path, const char *text) {
    assert_int_equal(sg_file_write(path, text, strlen(text)), SG_OK);
}

/* The step of a whole file, -1 when it is not there, -2 when it is damaged. */
static inline int64_t step_in(const char *path) {
    sg_model_file file;
    sg_status st = sg_model_file_verify(path, &file);
    int64_t step;

    if (st != SG_OK) return st == SG_ERR_MISSING ? -1 : -2;
    step = file.step;
    sg_model_file_clear(&file);
    return step;
}

/* Names in a folder, sorted, with a space after each. */
static inline const char *names_in(const char *name) {
    static char text[1024];
    struct dirent **entry;
    int n = scandir(at(name), &entry, NULL, alphasort);

    text[0] = '\0';
    for (int i = 0; i < n; i++) {
        size_t used = strlen(text);

        if (entry[i]->d_name[0] != '.')
            snprintf(text + used, sizeof text - used, "%s ", entry[i]->d_name);
        free(entry[i]);
    }
    if (n >= 0) free(entry);
    return text;
}

#endif
