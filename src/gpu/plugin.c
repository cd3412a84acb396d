#define _GNU_SOURCE
#include "gpu/plugin.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include "gpu/libraries.h"
#include "spotgrad.h"

enum { kPathBytes = 4096 };

const char *sg_precision_name(sg_precision precision) {
    static const char *const names[] = {"fp32", "tf32", "bf16"};

    return names[precision];
}

static sg_status find(char *path, size_t bytes) {
    static const char name[] = "/libspotgrad_cuda.so";

    SG_TRY(sg_program_folder(path, bytes - sizeof name));
    strcat(path, name);
    if (access(path, R_OK) != 0)
        return sg_fail(SG_ERR_MISSING,
                       "%s is not there: it is built where nvcc, cuBLASLt and "
                       "cuDNN are found (make cuda)",
                       path);
    return SG_OK;
}

sg_status sg_plugin_load(char *path, size_t bytes, const sg_plugin **out) {
    char own[kPathBytes], why[512];
    const sg_plugin *plugin;
    void *library;

    if (!path) bytes = sizeof own;
    path = path ? path : own;
    SG_TRY(find(path, bytes));
    library = sg_library_open(path, why, sizeof why);
    if (!library) return sg_fail(SG_ERR_UNAVAILABLE, "cannot be loaded: %s", why);
    plugin = dlsym(library, SG_PLUGIN_SYMBOL);
    if (!plugin || strcmp(plugin->version, SG_PLUGIN_VERSION) != 0) {
        /* the text is in the library: it is closed after it was told */
        sg_status st = sg_fail(SG_ERR_UNAVAILABLE,
                               "%s is of version %s, this program of %s: build both again (make)",
                               path, plugin ? plugin->version : "unknown", SG_PLUGIN_VERSION);

        dlclose(library);
        return st;
    }
    *out = plugin;
    return SG_OK;
}
