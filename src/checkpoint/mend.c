#define _GNU_SOURCE
#include "checkpoint/mend.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint/folder.h"
#include "checkpoint/model_file.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"

static void drop_name(const char *run_dir, const char *link, const char *damaged) {
    char *name = sg_path_join(run_dir, link);

    if (name && sg_same_file(name, damaged)) unlink(name);
    sg_free(name);
}

sg_status sg_checkpoint_set_aside(const char *run_dir, const char *path) {
    char *name = sg_str_printf("%s" SG_CHECKPOINT_DAMAGED, path);
    sg_status st = SG_OK;

    if (!name) return sg_fail(SG_ERR_OOM, "%s: no memory for its name", path);
    if (rename(path, name) == 0) {
        sg_log(SG_LOG_WARN, "%s; kept as %s", sg_last_error(), name);
        drop_name(run_dir, SG_CHECKPOINT_LAST, name);
        drop_name(run_dir, SG_CHECKPOINT_BEST, name);
    } else {
        st = sg_fail(SG_ERR_IO, "%s; cannot be renamed to %s: %s", sg_last_error(), name,
                     strerror(errno));
    }
    sg_free(name);
    return st;
}

static bool is_of_step(const char *path, int64_t step) {
    sg_model_file file = {0};
    bool is = sg_model_file_read(path, &file) == SG_OK && file.step == step;

    sg_model_file_clear(&file);
    return is;
}

/* A link, or where there are none, and it is not there already, a copy. */
static sg_status name_it(const char *path, const char *name, int64_t step) {
    uint8_t *bytes;
    size_t size;
    sg_status st;

    if (sg_same_file(path, name)) return SG_OK;
    if (sg_checkpoint_link(path, name) == SG_OK || is_of_step(name, step)) return SG_OK;
    SG_TRY(sg_file_read(path, 0, &bytes, &size));
    st = sg_file_write(name, bytes, size);
    sg_free(bytes);
    return st;
}

static void mend(const char *run_dir, const char *path, const char *link, int64_t step) {
    char *name = sg_path_join(run_dir, link);
    sg_status st = name ? name_it(path, name, step) : sg_fail(SG_ERR_OOM, "%s: no memory", run_dir);

    if (st != SG_OK) sg_log(SG_LOG_WARN, "%s", sg_last_error());
    sg_free(name);
}

void sg_checkpoint_mend(const char *run_dir, const char *newest, int64_t newest_step,
                        int64_t best_step) {
    char *best = best_step >= 0 ? sg_checkpoint_path(run_dir, best_step) : NULL;

    mend(run_dir, newest, SG_CHECKPOINT_LAST, newest_step);
    if (best && sg_file_exists(best)) mend(run_dir, best, SG_CHECKPOINT_BEST, best_step);
    sg_free(best);
}
