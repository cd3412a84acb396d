/* How fast one thread of the loader fills batches; part of `make bench`.
 *
 *   build/release/bench/loader ROOT [MOSAIC]     ROOT as data.root of configs/mask.ini
 *
 * Inputs of 416 in batches of 16, augmented as configs/mask.ini says: whole, as CPUs need them,
 * with every picture decoded anew and with all of them cached; then raw, as a device needs them,
 * with the pictures cached, and with all of them kept on the device. What stands in for pinned
 * memory is ordinary memory. Processor time, and the best of several epochs, for others use the
 * machine too. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/mem.h"
#include "data/loader.h"

enum { kEpochs = 7, kInput = 416, kBatch = 16 };

static void must(sg_status st) {
    if (st == SG_OK) return;
    fprintf(stderr, "loader: %s\n", sg_last_error());
    exit(1);
}

static sg_status alloc_host(size_t bytes, const char *what, void **out) {
    *out = sg_calloc(1, bytes);
    return *out ? SG_OK : sg_fail(SG_ERR_OOM, "no memory for %s", what);
}

static const sg_device host_memory = {.alloc_host = alloc_host, .release_host = sg_free};

/* `warm` epochs are not counted. */
static void measure(const sg_dataset *data, const sg_loader_options *o, int warm,
                    const char *what) {
    int64_t batches = (data->n + kBatch - 1) / kBatch;
    double best = 0.0, bytes = 0.0;
    sg_loader *loader;
    sg_batch batch;

    must(sg_loader_create(data, o, &loader));
    for (int epoch = 0; epoch < warm + kEpochs; epoch++) {
        clock_t start = clock();
        double rate;

        for (int64_t i = 0; i < batches; i++) {
            must(sg_loader_next(loader, &batch));
            if (epoch >= warm) bytes += (double)batch.staged_bytes;
        }
        rate = (double)(batches * kBatch) * CLOCKS_PER_SEC / (double)(clock() - start);
        if (epoch >= warm && rate > best) best = rate;
    }
    sg_loader_destroy(loader);
    printf("%9.0f img/s %7.3f ms %8.4f MB to a device, %s\n", best, 1e3 / best,
           1e-6 * bytes / (double)(kEpochs * batches * kBatch), what);
}

int main(int argc, char **argv) {
    sg_augment_options augment = sg_augment_defaults();
    sg_loader_options o = sg_loader_defaults();
    sg_dataset *data;

    if (argc < 2) {
        fprintf(stderr, "usage: loader ROOT [MOSAIC]\n");
        return 64;
    }
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    augment.mosaic = argc > 2 ? (float)atof(argv[2]) : 0.7f;
    o.batch = kBatch;
    o.input = kInput;
    o.augment = &augment;
    o.prefetch = 1;
    must(sg_dataset_read_voc(argv[1], "train.txt", NULL, &data));
    printf("%lld pictures, one thread, %d x %d, mosaics %.0f %%\n", (long long)data->n, kInput,
           kInput, 100.0 * (double)augment.mosaic);
    o.cache_bytes = 0;
    measure(data, &o, 0, "whole, decoded");
    o.cache_bytes = (int64_t)1 << 34;
    measure(data, &o, 3, "whole, from the cache");
    o.device = &host_memory;
    measure(data, &o, 3, "raw, from the cache");
    o.kept_bytes = (int64_t)1 << 34;
    measure(data, &o, 3, "raw, kept on the device");
    sg_dataset_destroy(data);
    return 0;
}
