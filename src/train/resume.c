#define _GNU_SOURCE
#include "train/resume.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoint/folder.h"
#include "checkpoint/mend.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "cpu/cpu.h"
#include "data/fingerprint.h"
#include "spotgrad.h"

enum { kErrorBytes = 1024 };

/* --- finding ---------------------------------------------------------------------------------- */

/* A run of which nothing whole is left does not start over by itself. */
static sg_status refuse_if_damaged(const char *dir) {
    sg_checkpoint_list list;
    int n;

    SG_TRY(sg_checkpoints_damaged(dir, &list));
    n = list.n;
    sg_checkpoint_list_clear(&list);
    if (n == 0) return SG_OK;
    return sg_fail(SG_ERR_DATA, "%s: none of its %d checkpoints is whole; --fresh starts over", dir,
                   n);
}

/* What cannot be read may well be whole: it is neither set aside nor forgotten. Missing is what a
 * link leads to. */
static sg_status pass_over(sg_status st, bool last) {
    if ((st != SG_ERR_IO && st != SG_ERR_MISSING) || last) return st;
    sg_log(SG_LOG_WARN, "%s; looking for an older checkpoint", sg_last_error());
    return SG_OK;
}

/* All but the tensors; those can be read at least, whatever they are. */
static sg_status read_known(const char *path, sg_model_file *out) {
    sg_model_file file;
    sg_status st;

    SG_TRY(sg_model_file_read(path, &file));
    st = sg_file_try(path);
    if (st == SG_OK)
        *out = file;
    else
        sg_model_file_clear(&file);
    return st;
}

/* Another worker has deleted it. A link to nowhere is there, and so is what may not be looked at.
 */
static bool is_gone(const char *path) {
    struct stat info;

    return lstat(path, &info) != 0 && errno == ENOENT;
}

/* The newest checkpoint that can be read, its tensors not yet verified. Another worker of the run
 * may write there, and delete what is old: *vanished, it did. */
static sg_status look_for_newest(const char *dir, sg_resume *out, bool *vanished) {
    sg_checkpoint_list list;
    sg_status st = SG_OK;

    *vanished = false;
    SG_TRY(sg_checkpoints_find(dir, &list));
    for (int i = 0; i < list.n && st == SG_OK && !out->path; i++) {
        st = read_known(list.item[i].path, &out->file);
        if (st == SG_OK) {
            out->path = sg_strdup(list.item[i].path);
            if (!out->path) st = sg_fail(SG_ERR_OOM, "%s: no memory", dir);
        } else if (st != SG_ERR_OOM && is_gone(list.item[i].path)) {
            *vanished = true;
            st = SG_OK;
        } else if (st == SG_ERR_DATA) {
            st = sg_checkpoint_set_aside(dir, list.item[i].path);
        } else {
            st = pass_over(st, i == list.n - 1);
        }
    }
    sg_checkpoint_list_clear(&list);
    return st;
}

static sg_status find_newest(const char *dir, sg_resume *out) {
    bool vanished = true;

    while (vanished && !out->path) SG_TRY(look_for_newest(dir, out, &vanished));
    return out->path ? SG_OK : refuse_if_damaged(dir);
}

/* What is here, if there is anything. */
typedef struct {
    int64_t step;
    char *run_id; /* owned; NULL */
} known;

static sg_status newest_here(const char *dir, known *out) {
    sg_checkpoint_list list;
    sg_status st = SG_OK;

    *out = (known){-1, NULL};
    SG_TRY(sg_checkpoints_find(dir, &list));
    for (int i = 0; i < list.n && out->step < 0; i++) {
        sg_model_file file;

        if (sg_model_file_read(list.item[i].path, &file) != SG_OK) continue;
        out->step = file.step;
        out->run_id = sg_strdup(file.run_id);
        if (!out->run_id) st = sg_fail(SG_ERR_OOM, "%s: no memory", dir);
        sg_model_file_clear(&file);
    }
    sg_checkpoint_list_clear(&list);
    return st;
}

static sg_status verify(const char *path, void *context) {
    const known *here = context;
    sg_model_file file;
    sg_status st = sg_model_file_verify(path, &file);

    if (st != SG_OK) return st;
    if (here->run_id && strcmp(file.run_id, here->run_id) != 0)
        st = sg_fail(SG_ERR_DATA, "%s: is of another run, %s", path, file.run_id);
    sg_model_file_clear(&file);
    return st;
}

static sg_status fetch_newer(sg_store *store, const char *dir, known *here) {
    char *folder = sg_path_join(dir, SG_CHECKPOINT_FOLDER), *path = NULL;
    sg_status st;

    if (!folder) return sg_fail(SG_ERR_OOM, "%s: no memory", dir);
    st = sg_make_dirs(folder);
    if (st == SG_OK) st = sg_store_fetch_newest(store, folder, here->step, verify, here, &path);
    if (st == SG_OK && path) sg_log(SG_LOG_INFO, "fetched %s from %s", path, sg_store_url(store));
    sg_free(path);
    sg_free(folder);
    return st;
}

/* A store that does not answer is a warning where there is something to go on from; where there is
 * nothing, all might be computed a second time. */
static sg_status fetch(sg_store *store, const char *dir) {
    known here;
    sg_status st = newest_here(dir, &here);

    if (st == SG_OK) st = fetch_newer(store, dir, &here);
    if (st != SG_OK && st != SG_ERR_OOM && here.step >= 0) {
        sg_log(SG_LOG_WARN, "%s; goes on from step %lld, which is here", sg_last_error(),
               (long long)here.step);
        st = SG_OK;
    }
    sg_free(here.run_id);
    return st;
}

sg_status sg_resume_find(const sg_config *config, sg_store *store, sg_resume *out) {
    sg_resume resume = {0};
    sg_status st = store ? fetch(store, config->run.dir) : SG_OK;

    if (st == SG_OK) st = find_newest(config->run.dir, &resume);
    if (st == SG_OK)
        *out = resume;
    else
        sg_resume_clear(&resume);
    return st;
}

void sg_resume_clear(sg_resume *resume) {
    sg_model_file_clear(&resume->file);
    sg_free(resume->path);
    *resume = (sg_resume){0};
}

/* --- going on --------------------------------------------------------------------------------- */

/* Which part is not what it was; NULL: all is. Files from before 2026-11-29 tell of data.train
 * alone. */
static const char *changed_part(const char *before, const char *now) {
    size_t train = SG_FINGERPRINT_BYTES - 1;

    if (strncmp(before, now, train) != 0) return "data.train";
    return strlen(before) == train || strcmp(before, now) == 0 ? NULL : "data.val";
}

sg_status sg_resume_check(const sg_resume *resume, const sg_config *config,
                          const char *fingerprint) {
    const sg_model_file *file = &resume->file;
    const char *part = changed_part(file->data_fingerprint, fingerprint);
    sg_config before;
    char *names = NULL;

    if (part)
        return sg_fail(SG_ERR_CONFIG,
                       "%s: the run began with another %s than %s now holds; --fresh starts over",
                       resume->path, part, config->data.root);
    SG_TRY(sg_config_parse(resume->path, file->config, strlen(file->config), NULL, 0, &before));
    SG_TRY(sg_config_diff(&before, config, &names));
    if (!names) return SG_OK;
    sg_fail(SG_ERR_CONFIG,
            "%s: the run began with other values of %s; --fresh starts over, "
            "another run.dir keeps both",
            resume->path, names);
    sg_free(names);
    return SG_ERR_CONFIG;
}

static sg_status check_same_class(const sg_resume *resume, const sg_config *config,
                                  const char *here) {
    const sg_model_file *file = &resume->file;

    if (sg_cpu_same_class(file->numeric_class, here)) return SG_OK;
    if (config->run.exact)
        return sg_fail(SG_ERR_UNAVAILABLE,
                       "%s: was computed on \"%s\", here is \"%s\": the same bits cannot be "
                       "promised; run.exact=false goes on all the same",
                       resume->path, file->numeric_class, here);
    sg_log(SG_LOG_WARN, "%s: goes on from \"%s\" on \"%s\": not to the same bits", resume->path,
           file->numeric_class, here);
    return SG_OK;
}

/* Whole, and yet not to be loaded by this version: another one has another model for the same keys.
 * The last error then says so, else it stays what it was. */
static bool is_of_another_version(const sg_resume *resume) {
    const char *version = resume->file.version;
    char text[kErrorBytes];
    sg_model_file file = {0};
    bool whole;

    if (strcmp(version, SPOTGRAD_VERSION) == 0) return false;
    snprintf(text, sizeof text, "%s", sg_last_error());
    whole = sg_model_file_verify(resume->path, &file) == SG_OK;
    sg_model_file_clear(&file);
    (void)sg_fail(SG_ERR_DATA, "%s%s%s", text, whole ? "; it was written by version " : "",
                  whole ? version : "");
    return whole;
}

sg_status sg_resume_load(const sg_resume *resume, const sg_config *config, const char *here,
                         sg_state *state, bool *again) {
    sg_status st;

    *again = false;
    SG_TRY(check_same_class(resume, config, here));
    st = sg_model_file_load(resume->path, state);
    *again = st != SG_OK && st != SG_ERR_OOM && is_gone(resume->path);
    if (*again || st != SG_ERR_DATA || is_of_another_version(resume)) return st;
    SG_TRY(sg_checkpoint_set_aside(config->run.dir, resume->path));
    *again = true;
    return sg_fail(st, "%s: is damaged", resume->path);
}
