/* usage: transport [ROUNDS]
 *
 * What an exchange among members of one machine costs, by kind of transport: each sends to the next
 * one and receives from the one before, 64 bytes (latency) and 5 MB (a detector's gradients), and
 * how long it takes until all are connected. Processes, as in a run; beside them what a plain copy
 * of as much takes in one. Medians of all members and rounds, the smallest and the 90th percentile,
 * microseconds. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/threads.h"
#include "dist/transport.h"
#include "gpu/libraries.h"

enum { kMembers = 4, kMost = 2000, kLarge = 5 << 20, kSmall = 64, kSizes = 2 };

typedef sg_status (*create_fn)(const sg_transport_options *options, sg_transport **out);

/* Shared by all members; what they say to each other is in it. */
typedef struct {
    struct {
        atomic_size_t bytes;
        uint8_t data[SG_INTRODUCTION_BYTES];
    } said[kMembers];
    double connect[kMembers], seconds[kSizes][kMembers][kMost];
} board;

typedef struct {
    board *board;
    int rank;
} speaker;

static void must(sg_status st) {
    if (st == SG_OK) return;
    fprintf(stderr, "transport: %s\n", sg_last_error());
    exit(1);
}

static sg_status say(void *context, const void *data, size_t bytes) {
    speaker *s = context;

    memcpy(s->board->said[s->rank].data, data, bytes);
    atomic_store(&s->board->said[s->rank].bytes, bytes);
    return SG_OK;
}

static sg_status hear(void *context, int rank, void *data, size_t capacity, size_t *bytes,
                      double seconds) {
    speaker *s = context;
    double end = sg_now() + seconds;

    while ((*bytes = atomic_load(&s->board->said[rank].bytes)) == 0) {
        if (sg_now() > end) return sg_fail(SG_ERR_UNAVAILABLE, "member %d says nothing", rank);
        usleep(50);
    }
    if (*bytes > capacity) return sg_fail(SG_ERR_DATA, "member %d says too much", rank);
    memcpy(data, s->board->said[rank].data, *bytes);
    return SG_OK;
}

static void be_member(create_fn create, board *b, int rank, int size, int rounds) {
    static const size_t bytes[kSizes] = {kSmall, kLarge};
    speaker s = {b, rank};
    sg_transport_options options = {.rank = rank, .size = size, .epoch = 1, .seconds = 20.0};
    uint8_t *out = sg_calloc(1, kLarge), *in = sg_calloc(1, kLarge);
    double before = sg_now();
    sg_transport *t;

    options.interface = "127.0.0.1";
    options.introduction = (sg_introduction){&s, say, hear, NULL};
    must(create(&options, &t));
    b->connect[rank] = sg_now() - before;
    for (int k = 0; k < kSizes; k++)
        for (int i = -5; i < rounds; i++) {
            sg_transfer both[2] = {{(rank + 1) % size, false, out, bytes[k]},
                                   {(rank + size - 1) % size, true, in, bytes[k]}};

            before = sg_now();
            must(sg_transport_exchange(t, both, 2, 20.0));
            if (i >= 0) b->seconds[k][rank][i] = sg_now() - before;
        }
    sg_transport_destroy(t);
    sg_free(out);
    sg_free(in);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print(const char *what, double *seconds, int n, double bytes) {
    qsort(seconds, (size_t)n, sizeof *seconds, ascending);
    printf("%-28s %10.1f %10.1f %10.1f", what, seconds[0] * 1e6, seconds[n / 2] * 1e6,
           seconds[n * 9 / 10] * 1e6);
    if (bytes > 0.0) printf(" %8.2f GB/s", bytes / seconds[n / 2] / 1e9);
    printf("\n");
}

static void measure(const char *name, create_fn create, int size, int rounds) {
    board *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    static double all[kMembers * kMost];
    char what[64];
    int status;

    if (b == MAP_FAILED) exit(1);
    fflush(stdout);
    for (int k = 0; k < size; k++)
        if (fork() == 0) {
            be_member(create, b, k, size, rounds);
            _exit(0);
        }
    for (int k = 0; k < size; k++)
        if (wait(&status) < 0 || status != 0) exit(1);
    snprintf(what, sizeof what, "%s, %d members: connect", name, size);
    print(what, b->connect, size, 0.0);
    for (int k = 0; k < kSizes; k++) {
        for (int m = 0; m < size; m++)
            memcpy(all + (ptrdiff_t)m * rounds, b->seconds[k][m], sizeof(double) * (size_t)rounds);
        snprintf(what, sizeof what, "%s, %d members: %s", name, size, k ? "5 MB" : "64 bytes");
        print(what, all, size * rounds, k ? kLarge : 0.0);
    }
    munmap(b, sizeof *b);
}

static void measure_copy(int rounds) {
    uint8_t *out = sg_calloc(1, kLarge), *in = sg_calloc(1, kLarge);
    static double seconds[kMost];

    if (!out || !in) exit(1);
    memset(out, 1, kLarge);
    for (int i = -5; i < rounds; i++) {
        double before = sg_now();

        out[0] = (uint8_t)i;
        memcpy(in, out, kLarge);
        __asm__ volatile("" : : "r"(in) : "memory");
        if (i >= 0) seconds[i] = sg_now() - before;
    }
    print("one copy of 5 MB", seconds, rounds, kLarge);
    sg_free(out);
    sg_free(in);
}

static bool has_gloo(void) {
    char path[4096];

    must(sg_program_folder(path, sizeof path - 32));
    strcat(path, "/libspotgrad_gloo.so");
    return sg_file_exists(path);
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 300;

    if (rounds < 1 || rounds > kMost) {
        fprintf(stderr, "usage: transport [ROUNDS, up to %d]\n", kMost);
        return 64;
    }
    printf("%-28s %10s %10s %10s\n", "microseconds", "least", "median", "p90");
    measure_copy(rounds);
    for (int size = 2; size <= kMembers; size += 2) {
        measure("shm", sg_transport_shm_create, size, rounds);
        if (has_gloo()) measure("gloo", sg_transport_gloo_create, size, rounds);
    }
    if (!has_gloo()) printf("gloo: libspotgrad_gloo.so is not beside this program\n");
    return 0;
}
