/* usage: checkpoint FOLDER [MEGABYTES] [ROUNDS]
 *
 * What the parts of a checkpoint cost: the copy that training waits for, the checksums, write with
 * fsync and rename, and the processor time of all. Medians and the largest, milliseconds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/writer.h"
#include "graph/state.h"

enum { kMost = 1000, kTensors = 80, kParts = 4 };

static void must(sg_status st) {
    if (st == SG_OK) return;
    fprintf(stderr, "checkpoint: %s\n", sg_last_error());
    exit(1);
}

/* Parameters, averages and two moments: four buffers of floats. */
static sg_state *make_state(sg_table **table, int64_t bytes) {
    const int64_t count = bytes / (int64_t)sizeof(float) / 4 / kTensors;
    const sg_init init = {SG_INIT_NORMAL, 1.0f};
    const sg_shape shape = sg_shape_1(count);
    sg_state *state;

    must(sg_table_create(table));
    for (int i = 0; i < kTensors; i++) {
        char name[32];
        int index;

        snprintf(name, sizeof name, "tensor%02d", i);
        must(sg_table_entry(*table, name, SG_ENTRY_DECAY, &shape, init, &index));
    }
    sg_table_freeze(*table);
    must(sg_state_create(*table, 2, &state));
    sg_state_init(state, 1);
    return state;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    static const char *const names[kParts] = {"copy of the state", "checksums",
                                              "write, fsync, rename", "processor, all three"};
    static double part[kParts][kMost];
    double megabytes = argc > 2 ? atof(argv[2]) : 20.0;
    int rounds = argc > 3 ? atoi(argv[3]) : 50;
    sg_model_about about = {.run_id = "bench"};
    sg_writer_options options = {.run_dir = argc > 1 ? argv[1] : ".", .about = &about, .keep = {2}};
    sg_writer_stats before = {0}, after;
    sg_writer *writer;
    sg_table *table;
    sg_state *state = make_state(&table, (int64_t)(1e6 * megabytes));

    if (argc < 2 || rounds < 1 || rounds > kMost) {
        fprintf(stderr, "usage: checkpoint FOLDER [MEGABYTES] [ROUNDS, up to %d]\n", kMost);
        return 64;
    }
    options.state = state;
    must(sg_writer_create(&options, &writer));
    for (int i = -1; i < rounds; i++) { /* the first waits until the file is laid out */
        sg_offer offer = {.history = "", .must = true};

        state->step++;
        must(sg_writer_offer(writer, &offer));
        must(sg_writer_flush(writer));
        after = sg_writer_report(writer);
        if (i >= 0) {
            part[0][i] = after.take_seconds - before.take_seconds;
            part[1][i] = after.seal_seconds - before.seal_seconds;
            part[2][i] = after.write_seconds - before.write_seconds;
            part[3][i] = part[0][i] + after.cpu_seconds - before.cpu_seconds;
        }
        before = after;
    }
    printf("a checkpoint of %.1f MB, %d times\n", megabytes, rounds);
    for (int k = 0; k < kParts; k++) {
        qsort(part[k], (size_t)rounds, sizeof(double), ascending);
        printf("  %-22s %7.2f ms  (at most %.2f)\n", names[k], 1e3 * part[k][rounds / 2],
               1e3 * part[k][rounds - 1]);
    }
    sg_writer_destroy(writer);
    sg_state_destroy(state);
    sg_table_destroy(table);
    return 0;
}
