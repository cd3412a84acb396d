/* The folder of a run of several workers on one machine, the place where they meet, and what each
 * of them is told. */
#define _GNU_SOURCE
#include "cli/supervise.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint/folder.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/threads.h"
#include "dist/rendezvous.h"
#include "train/run.h"

enum { kTries = 3 };

static const char kMemory[] = "/dev/shm";

static noreturn void no_memory(void) { die(sg_fail(SG_ERR_OOM, "no memory"), NULL); }

/* --- the run's folder ------------------------------------------------------------------------- */

/* One supervisor a folder, to its end. Nothing is swept beside a run of another kind, nor forgotten
 * beside any; what comes in between then and the workers' start keeps them out. */
static void prepare_folder(const sg_config *c, bool fresh) {
    sg_status st = sg_make_dirs(c->run.dir);
    int lock, held;

    if (st == SG_OK) st = sg_checkpoints_lock(c->run.dir, "supervisor.lock", false, &held);
    if (st == SG_OK) st = sg_checkpoints_lock(c->run.dir, "lock", !fresh, &lock);
    if (st != SG_OK) die(st, NULL);
    sg_checkpoints_sweep(c->run.dir);
    if (fresh) st = sg_run_forget(c);
    if (st != SG_OK) die(st, NULL);
    close(lock);
}

/* --- the place to meet ------------------------------------------------------------------------ */

/* Hold the folder, to the end of this process: others may write there too, so it must be one of
 * this user's, and nobody's now. Negative: it cannot be had. */
static int hold(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat held, named;

    if (fd < 0) return fd;
    /* whoever held it may have removed it meanwhile */
    if (fstat(fd, &held) == 0 && held.st_uid == geteuid() && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
        lstat(path, &named) == 0 && named.st_dev == held.st_dev && named.st_ino == held.st_ino)
        return fd;
    close(fd);
    return -1;
}

/* One in memory, named after the run's folder: the disk may be full, or far away. NULL: there is
 * none. */
static char *place_in_memory(const char *dir) {
    struct stat info;
    char *path;

    if (stat(dir, &info) != 0) return NULL;
    path = sg_str_printf("%s/spotgrad-%u-%llx-%llx", kMemory, (unsigned)geteuid(),
                         (unsigned long long)info.st_dev, (unsigned long long)info.st_ino);
    if (!path) no_memory();
    for (int i = 0; i < kTries; i++)
        if ((mkdir(path, S_IRWXU) == 0 || errno == EEXIST) && hold(path) >= 0) return path;
    sg_free(path);
    return NULL;
}

/* A place whose supervisor was killed, with nobody to train in its folder since: while it can be
 * held nobody meets there. */
static void remove_if_left(const char *name) {
    unsigned long long device, number;
    unsigned user;
    int end = 0, fd;
    char *path;

    if (sscanf(name, "spotgrad-%u-%llx-%llx%n", &user, &device, &number, &end) != 3 || name[end] ||
        user != (unsigned)geteuid())
        return;
    path = sg_path_join(kMemory, name);
    fd = path ? hold(path) : -1;
    if (fd >= 0) {
        if (sg_rendezvous_empty(path) == SG_OK) rmdir(path);
        close(fd);
    }
    sg_free(path);
}

static void remove_left(void) {
    DIR *memory = opendir(kMemory);
    struct dirent *entry;

    if (!memory) return;
    while ((entry = readdir(memory))) remove_if_left(entry->d_name);
    closedir(memory);
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
    char *place;
    sg_status st;

    remove_left();
    place = place_in_memory(dir);
    if (!place) place = place_on_disk(dir);
    st = sg_rendezvous_empty(place); /* of those who were killed with their supervisor */
    if (st != SG_OK) die(st, NULL);
    return place;
}

/* --- what they are told ----------------------------------------------------------------------- */

/* What a worker has of the processors, where the configuration does not say. */
static int64_t share(int64_t given, int n) {
    int each = sg_cpu_count() / n;

    return given > 0 ? given : each > 0 ? each : 1;
}

/* The configuration as it is now: its file may be a pipe, which is read already, or another one
 * when a worker is started again. In a file without a name, which workers inherit; its path. */
static char *hold_config(const sg_config *c) {
    int fd = memfd_create("spotgrad-config", 0);
    char *text = NULL, *path = sg_str_printf("/proc/self/fd/%d", fd);
    sg_status st = sg_config_write(c, &text);

    if (st != SG_OK) die(st, NULL);
    if (!path) no_memory();
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        die(sg_fail(SG_ERR_UNAVAILABLE, "cannot keep the configuration: %s", strerror(errno)),
            NULL);
    sg_free(text);
    return path;
}

/* They find each other here, and nobody else. */
static void meet_in(sg_config *c, const char *place, int n) {
    char *store = sg_str_printf("distributed.store=file://%s", place);
    sg_status st = store ? sg_config_set(c, store) : sg_fail(SG_ERR_OOM, "no memory");

    if (st == SG_OK) st = sg_config_set(c, "distributed.interface=127.0.0.1");
    if (st != SG_OK) die(st, NULL);
    c->distributed.max_workers = n;
    sg_free(store);
}

void cli_team_prepare(cli_team *team, const sg_config *config, int n, bool fresh) {
    sg_config theirs = *config;

    prepare_folder(config, fresh);
    theirs.train.threads = share(config->train.threads, n);
    theirs.data.threads = share(config->data.threads, n);
    *team = (cli_team){.threads = theirs.train.threads, .data_threads = theirs.data.threads};
    if (!config->distributed.store[0]) team->place = make_place(config->run.dir);
    if (team->place) meet_in(&theirs, team->place, n);
    team->config = hold_config(&theirs);
}

void cli_team_clear(cli_team *team) {
    if (team->place && sg_rendezvous_empty(team->place) == SG_OK) rmdir(team->place);
    sg_free(team->place);
    sg_free(team->config);
    team->place = team->config = NULL;
}
