/* The folder of a run of several workers on one machine, the place where they meet, and what each
 * of them is told. */
#define _GNU_SOURCE
#include "cli/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint/folder.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/threads.h"
#include "dist/rendezvous.h"
#include "train/run.h"

enum { kMostAdded = 12 }; /* arguments */

static noreturn void no_memory(void) { die(sg_fail(SG_ERR_OOM, "no memory"), NULL); }

/* --- the run's folder ------------------------------------------------------------------------- */

/* One supervisor a folder; workers keep runs of other kinds out. */
static void take_lock(const char *dir) {
    char *path = sg_path_join(dir, "supervisor.lock");
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;

    if (fd < 0)
        die(sg_fail(SG_ERR_IO, "%s/supervisor.lock: cannot create: %s", dir, strerror(errno)),
            NULL);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) /* held until the end */
        die(sg_fail(SG_ERR_UNAVAILABLE,
                    "%s: another process trains in this folder; choose another run.dir", dir),
            NULL);
    sg_free(path);
}

static void prepare_folder(const sg_config *c, bool fresh) {
    sg_status st = sg_make_dirs(c->run.dir);

    if (st != SG_OK) die(st, NULL);
    take_lock(c->run.dir);
    if (fresh) st = sg_run_check_fresh(c);
    if (st != SG_OK) die(st, NULL);
    sg_checkpoints_sweep(c->run.dir);
    if (fresh) st = sg_checkpoints_forget(c->run.dir);
    if (st != SG_OK) die(st, NULL);
}

/* --- the place to meet ------------------------------------------------------------------------ */

/* One in memory, named after the run's folder: the disk may be full, or far away. Others may write
 * to /dev/shm too: what is there by that name must be a folder of this user's, and nobody's now.
 * NULL: there is none. */
static char *place_in_memory(const char *dir) {
    struct stat info;
    char *path;
    int fd = -1;

    if (stat(dir, &info) != 0) return NULL;
    path = sg_str_printf("/dev/shm/spotgrad-%u-%llx-%llx", (unsigned)geteuid(),
                         (unsigned long long)info.st_dev, (unsigned long long)info.st_ino);
    if (!path) no_memory();
    if (mkdir(path, S_IRWXU) == 0 || errno == EEXIST)
        fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &info) == 0 && info.st_uid == geteuid() &&
        flock(fd, LOCK_EX | LOCK_NB) == 0)
        return path; /* locked to the end */
    if (fd >= 0) close(fd);
    sg_free(path);
    return NULL;
}

static char *place_on_disk(const char *dir) {
    char whole[PATH_MAX], *folder = sg_path_join(dir, "group");
    sg_status st;

    if (!folder) no_memory();
    st = sg_make_dirs(folder);
    if (st != SG_OK) die(st, NULL);
    if (!realpath(folder, whole))
        die(sg_fail(SG_ERR_IO, "%s: cannot be found: %s", folder, strerror(errno)), NULL);
    sg_free(folder);
    folder = sg_strdup(whole);
    if (!folder) no_memory();
    return folder;
}

/* Without distributed.store the workers are all here. */
static char *make_place(const char *dir) {
    char *place = place_in_memory(dir);
    sg_status st;

    if (!place) place = place_on_disk(dir);
    st = sg_rendezvous_empty(place); /* of those who were killed with their supervisor */
    if (st != SG_OK) die(st, NULL);
    return place;
}

/* --- arguments -------------------------------------------------------------------------------- */

/* What a worker has of the processors, where the configuration does not say. */
static int64_t share(int64_t given, int n) {
    int each = sg_cpu_count() / n;

    return given > 0 ? given : each > 0 ? each : 1;
}

static const char *setting(const char *key, int64_t value) {
    char *text = sg_str_printf("%s=%lld", key, (long long)value);

    if (!text) no_memory();
    return text;
}

static const char *told(const char *start, const char *text) {
    char *whole = sg_str_printf("%s%s", start, text);

    if (!whole) no_memory();
    return whole;
}

/* What the supervisor was given, and what it adds. */
static const char **make_arguments(const cli_team *team, const char *config, int n,
                                   const cli_arguments *given) {
    const char **list = sg_calloc((size_t)given->n_overrides + kMostAdded, sizeof *list);
    int k = 0;

    if (!list) no_memory();
    list[k++] = "spotgrad";
    list[k++] = "train";
    if (config) {
        list[k++] = "--config";
        list[k++] = config;
    }
    for (int i = 0; i < given->n_overrides; i++) list[k++] = given->overrides[i];
    list[k++] = setting("train.threads", team->threads);
    list[k++] = setting("data.threads", team->data_threads);
    if (!team->place) return list;
    list[k++] = told("distributed.store=file://", team->place);
    list[k++] = "distributed.interface=127.0.0.1";
    list[k++] = setting("distributed.max_workers", n);
    return list;
}

void cli_team_prepare(cli_team *team, const sg_config *config, const char *file, int n, bool fresh,
                      const cli_arguments *arguments) {
    prepare_folder(config, fresh);
    *team = (cli_team){.threads = share(config->train.threads, n),
                       .data_threads = share(config->data.threads, n)};
    if (!config->distributed.store[0]) team->place = make_place(config->run.dir);
    team->arguments = make_arguments(team, file, n, arguments);
}

void cli_team_clear(cli_team *team) {
    if (team->place && sg_rendezvous_empty(team->place) == SG_OK) rmdir(team->place);
    sg_free(team->place);
    team->place = NULL;
}
