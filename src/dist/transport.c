#define _GNU_SOURCE
#include "dist/transport_inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/threads.h"

static const double kForever = 1e9; /* seconds */

sg_status sg_transport_check(const sg_transport_options *o) {
    if (o->size < 2 || o->size > SG_TRANSPORT_MEMBERS || o->rank < 0 || o->rank >= o->size)
        return sg_fail(SG_ERR_ARG, "a transport of %d members (2 to %d) for member %d", o->size,
                       SG_TRANSPORT_MEMBERS, o->rank);
    if (!o->introduction.say || !o->introduction.hear)
        return sg_fail(SG_ERR_ARG, "a transport needs to be introduced: say and hear");
    return SG_OK;
}

sg_status sg_transport_check_messages(const sg_transfer *message, int n, int rank, int size) {
    for (int i = 0; i < n; i++) {
        const sg_transfer *m = &message[i];

        if (m->peer < 0 || m->peer >= size || m->peer == rank)
            return sg_fail(SG_ERR_ARG, "message %d of %d is %s member %d: member %d of %d has %s",
                           i, n, m->receive ? "from" : "to", m->peer, rank, size,
                           m->peer == rank ? "no use for it" : "no such peer");
        if (!m->data && m->bytes > 0)
            return sg_fail(SG_ERR_ARG, "message %d of %d has %zu bytes and no data", i, n,
                           m->bytes);
    }
    return SG_OK;
}

double sg_transport_deadline(double seconds) {
    /* NaN and what is negative are over at once */
    double wait = seconds > 0.0 ? seconds : 0.0;

    return sg_now() + (wait < kForever ? wait : kForever);
}

/* The first line of a file; false: it cannot be read. */
static bool read_line(const char *path, char *line, int bytes) {
    FILE *file = fopen(path, "re");
    bool read = file && fgets(line, bytes, file);

    if (file) fclose(file);
    if (read) line[strcspn(line, "\n")] = '\0';
    return read && line[0] != '\0';
}

/* Shared memory is found through /proc, so it takes the same kernel, the same /proc (one for each
 * namespace of processes), and a user who may look into the other's: the same one, in the same
 * namespace of users. */
void sg_transport_here(char here[SG_TRANSPORT_HERE_BYTES]) {
    char boot[64];
    struct stat pids, users, proc;
    uint64_t nobody[2] = {0, 0};

    if (read_line("/proc/sys/kernel/random/boot_id", boot, sizeof boot) &&
        stat("/proc/self/ns/pid", &pids) == 0 && stat("/proc/self/ns/user", &users) == 0 &&
        stat("/proc/self", &proc) == 0) {
        snprintf(here, SG_TRANSPORT_HERE_BYTES,
                 "%s pids %" PRIuMAX " users %" PRIuMAX " proc %" PRIuMAX " uid %" PRIuMAX, boot,
                 (uintmax_t)pids.st_ino, (uintmax_t)users.st_ino, (uintmax_t)proc.st_dev,
                 (uintmax_t)geteuid());
        return;
    }
    /* a place of its own */
    if (getrandom(nobody, sizeof nobody, 0) != (ssize_t)sizeof nobody)
        nobody[0] = (uint64_t)getpid();
    snprintf(here, SG_TRANSPORT_HERE_BYTES, "alone %016" PRIx64 "%016" PRIx64, nobody[0],
             nobody[1]);
}
