/* For tests of where workers meet: a place of its own for each test, and what is asked of it.
 * Included once by a test program. */
#ifndef SG_TESTS_RENDEZVOUS_FIXTURE_H
#define SG_TESTS_RENDEZVOUS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/threads.h"
#include "dist/rendezvous_kind.h"

static const char *etcd; /* NULL: folders */
static char folder[64], url[256];
static int places;

static const char kAnna[] = "00000000000000aa", kBert[] = "00000000000000bb",
                  kCarl[] = "00000000000000cc";

static atomic_int warnings;
static char warning[2048];

static inline void sink(sg_log_level level, const char *line) {
    if (level != SG_LOG_WARN) return;
    snprintf(warning, sizeof warning, "%s", line);
    atomic_fetch_add(&warnings, 1);
}

/* --- help ------------------------------------------------------------------------------------- */

/* A place of its own for each test. */
static inline int new_place(void **state) {
    (void)state;
    places++;
    atomic_store(&warnings, 0);
    if (etcd) {
        snprintf(url, sizeof url, "%s/test-%ld-%d", etcd, (long)getpid(), places);
        return 0;
    }
    snprintf(folder, sizeof folder, "/tmp/spotgrad-rendezvous-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(url, sizeof url, "file://%s", folder);
    return 0;
}

static inline int remove_place(void **state) {
    char command[128];

    (void)state;
    if (etcd) return 0;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static inline sg_rendezvous *open_here(void) {
    sg_rendezvous *r = NULL;
    sg_status st = sg_rendezvous_open(url, &r);

    if (st != SG_OK) fail_msg("%s", sg_last_error());
    return r;
}

static inline bool propose(sg_rendezvous *r, int64_t epoch, const char *text) {
    bool won = false;
    sg_status st = sg_rendezvous_propose(r, epoch, text, &won);

    if (st != SG_OK) fail_msg("%s", sg_last_error());
    return won;
}

static inline void expect_newest(sg_rendezvous *r, int64_t epoch, const char *text) {
    int64_t found = -1;
    char *told = NULL;

    assert_int_equal(sg_rendezvous_newest(r, &found, &told), SG_OK);
    assert_int_equal(found, epoch);
    if (text) assert_string_equal(told, text);
    if (!text) assert_null(told);
    sg_free(told);
}

/* The ids of who is there, as "aa bb": the last two digits. *silent (may be NULL): of the last. */
static inline const char *who(sg_rendezvous *r, double *silent) {
    static char text[256];
    sg_announced *list = NULL;
    size_t used = 0;
    int n = -1;

    text[0] = '\0';
    if (sg_rendezvous_members(r, &list, &n) != SG_OK) fail_msg("%s", sg_last_error());
    for (int i = 0; i < n; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i ? " " : "",
                                 list[i].id + 14);
    if (silent) *silent = n > 0 ? list[n - 1].silent : -1.0;
    sg_announced_free(list, n);
    return text;
}

/* "aa! bb": whose sign of life was heard. */
static inline const char *heard(sg_rendezvous *r) {
    static char text[256];
    sg_announced *list;
    size_t used = 0;
    int n;

    text[0] = '\0';
    assert_int_equal(sg_rendezvous_members(r, &list, &n), SG_OK);
    for (int i = 0; i < n; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s%s", i ? " " : "",
                                 list[i].id + 14, list[i].heard ? "!" : "");
    sg_announced_free(list, n);
    return text;
}

static inline void await(sg_rendezvous *r, const char *members, double seconds) {
    double end = sg_now() + seconds;

    while (strcmp(who(r, NULL), members) != 0) {
        if (sg_now() > end)
            fail_msg("after %.1f s: '%s', not '%s'", seconds, who(r, NULL), members);
        usleep(50000);
    }
}

static inline void expect_failure(sg_status st, sg_status code, const char *text) {
    if (st != code || !strstr(sg_last_error(), text))
        fail_msg("status %d instead of %d, or no '%s' in: %s", st, code, text, sg_last_error());
}

/* How many epochs are in the folder. */
static inline int count_files(const char *start) {
    DIR *d = opendir(folder);
    struct dirent *entry;
    int n = 0;

    while ((entry = readdir(d))) n += strncmp(entry->d_name, start, strlen(start)) == 0;
    closedir(d);
    return n;
}

typedef struct {
    sg_rendezvous *r;
    int what; /* 0: an epoch; 1: a member comes; 2: it goes */
    double when;
} deed;

static inline void *do_later(void *context) {
    deed *d = context;
    sg_status st = SG_OK;
    bool won = true;

    usleep(320000);
    d->when = sg_now();
    if (d->what == 0) st = sg_rendezvous_propose(d->r, 1, "one", &won);
    if (d->what == 1) st = sg_rendezvous_announce(d->r, kBert, "bert");
    if (d->what == 2) st = sg_rendezvous_withdraw(d->r);
    return st == SG_OK && won ? NULL : d;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, new_place, remove_place)

#endif
