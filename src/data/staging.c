#include "data/staging.h"

#include "core/mem.h"
#include "data/loader_inside.h"

struct sg_staging {
    const sg_device *device;
    uint8_t *staged, *kept; /* on the device */
    void *copied;           /* event: the pinned memory of the batch put last is free */
    int64_t side;
};

static sg_status allocate(sg_staging *s, const sg_loader *loader) {
    void *block;

    SG_TRY(s->device->event_create(&s->copied));
    SG_TRY(s->device->alloc(loader->staged_bytes, "a batch's decoded pictures", &block));
    s->staged = block;
    SG_TRY(s->device->alloc(loader->kept_bytes, "decoded pictures (data.cache_mb)", &block));
    s->kept = block;
    return SG_OK;
}

sg_status sg_staging_create(const sg_loader *loader, sg_staging **out) {
    sg_staging *s = sg_calloc(1, sizeof *s);
    sg_status st;

    if (!s) return sg_fail(SG_ERR_OOM, "staging: no memory");
    s->device = loader->options.device;
    s->side = loader->options.input;
    st = allocate(s, loader);
    if (st != SG_OK) {
        sg_staging_destroy(s);
        return st;
    }
    *out = s;
    return SG_OK;
}

void sg_staging_destroy(sg_staging *staging) {
    if (!staging) return;
    if (staging->copied) (void)staging->device->event_wait(staging->copied); /* as far as it can */
    staging->device->release(staging->kept);
    staging->device->release(staging->staged);
    staging->device->event_destroy(staging->copied);
    sg_free(staging);
}

sg_status sg_staging_wait(sg_staging *staging) {
    return staging->device->event_wait(staging->copied);
}

sg_status sg_staging_put(sg_staging *staging, void *queue, const sg_batch *batch, uint8_t *image) {
    const sg_device *d = staging->device;

    SG_TRY(d->put(queue, staging->staged, batch->staged, (size_t)batch->staged_bytes));
    SG_TRY(d->event_mark(staging->copied, queue));
    for (int64_t i = 0; i < batch->n_keep; i++) {
        const sg_staged_copy *c = &batch->keep[i];

        SG_TRY(d->copy(queue, staging->kept + c->to, staging->staged + c->from, (size_t)c->bytes));
    }
    return d->augment(queue, (const sg_warp_job *)(const void *)staging->staged + batch->part.first,
                      batch->part.count, staging->kept, staging->staged, staging->side,
                      image + batch->part.first * 3 * staging->side * staging->side);
}
