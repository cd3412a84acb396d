/* The two kinds of memory behind one name: without a device it is the host's. */
#include "graph/device.h"

#include "core/mem.h"

sg_status sg_block_alloc(const sg_device *device, size_t bytes, const char *what, void **out) {
    if (device) return device->alloc(bytes, what, out);
    *out = sg_malloc(bytes);
    return *out ? SG_OK : sg_fail(SG_ERR_OOM, "no memory for %s, %zu bytes", what, bytes);
}

void sg_block_release(const sg_device *device, void *block) {
    if (device)
        device->release(block);
    else
        sg_free(block);
}
