/* `train --list`: the checkpoints of a run's folder, a line each. */
#define _GNU_SOURCE
#include "cli/cli.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "checkpoint/folder.h"
#include "checkpoint/model_file.h"
#include "core/file.h"
#include "core/mem.h"
#include "train/history.h"

enum { kTimeBytes = 32, kScoreBytes = 16, kNameBytes = 512 };

static bool same_file(const char *folder, const char *name, const struct stat *info) {
    char *path = sg_path_join(folder, name);
    struct stat other;
    bool same = path && stat(path, &other) == 0 && other.st_ino == info->st_ino &&
                other.st_dev == info->st_dev;

    sg_free(path);
    return same;
}

/* The score of the evaluation at this very step, or "-". */
static void score_text(const sg_model_file *file, char text[kScoreBytes]) {
    sg_history history = {0};
    bool has = sg_history_set(&history, file->history) == SG_OK &&
               sg_history_last_step(&history) == file->step && !isnan(history.last_score);

    snprintf(text, kScoreBytes, has ? "%.3f" : "-", has ? history.last_score : 0.0);
    sg_history_clear(&history);
}

/* Whether the file is whole. */
static bool print_file(const char *run_dir, const char *path) {
    char when[kTimeBytes] = "-", score[kScoreBytes] = "-", name[kNameBytes];
    const char *slash = strrchr(path, '/');
    struct stat info = {0};
    sg_model_file file = {0};
    bool there = stat(path, &info) == 0;
    sg_status st = sg_model_file_verify(path, &file);
    struct tm local;

    if (there && localtime_r(&info.st_mtime, &local))
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &local);
    cli_visible(slash ? slash + 1 : path, name, sizeof name);
    if (st != SG_OK) { /* what cannot be read may well be whole */
        cli_print("%9s %6s  %-19s %8.1f %7s  %s  %s\n", "-", "-", when, 1e-6 * (double)info.st_size,
                  "-", st == SG_ERR_DATA ? "damaged" : "unread ", sg_last_error());
        return false;
    }
    score_text(&file, score);
    cli_print(
        "%9lld %6lld  %-19s %8.1f %7s  whole    %s%s%s\n", (long long)file.step,
        (long long)file.epoch, when, 1e-6 * (double)info.st_size, score, name,
        strcmp(name, "last.h5") != 0 && same_file(run_dir, "last.h5", &info) ? ", last.h5" : "",
        strcmp(name, "best.h5") != 0 && same_file(run_dir, "best.h5", &info) ? ", best.h5" : "");
    sg_model_file_clear(&file);
    return true;
}

int cli_list(const sg_config *config) {
    const char *dir = config->run.dir;
    sg_checkpoint_list list = {0}, damaged = {0};
    sg_status st = sg_checkpoints_find(dir, &list);
    int whole = 0;

    if (st == SG_OK) st = sg_checkpoints_damaged(dir, &damaged);
    if (st != SG_OK) die(st, NULL);
    if (list.n + damaged.n == 0)
        die(sg_fail(SG_ERR_MISSING, "%s: holds no checkpoint; run.dir=FOLDER names another", dir),
            NULL);
    cli_print("%9s %6s  %-19s %8s %7s  %-7s  %s\n", "step", "epoch", "written", "MB", "score",
              "state", "file");
    for (int i = 0; i < list.n; i++) whole += print_file(dir, list.item[i].path);
    for (int i = 0; i < damaged.n; i++) whole += print_file(dir, damaged.item[i].path);
    cli_print("%s: %d of %d whole\n", dir, whole, list.n + damaged.n);
    sg_checkpoint_list_clear(&list);
    sg_checkpoint_list_clear(&damaged);
    return whole > 0 ? CLI_DONE : CLI_BAD_DATA;
}
