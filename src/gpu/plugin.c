#define _GNU_SOURCE
#include "gpu/plugin.h"

#include <dlfcn.h>
#include <stdio.h>
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

/* The first driver of each CUDA: NVIDIA's release notes, "CUDA Toolkit and Minimum Required Driver
 * Version for CUDA Minor Version Compatibility". */
static const struct { int major, branch; } kDrivers[] = {{11, 450}, {12, 525}, {13, 580}};

/* A driver serves all of CUDA that has its major number, and what is older. */
sg_status sg_plugin_check_driver(const sg_plugin *plugin, int driver) {
    int needed = plugin->cuda(), major = needed / 1000;
    char wanted[64] = "a newer driver";

    if (driver / 1000 >= major) return SG_OK;
    for (size_t i = 0; i < sizeof kDrivers / sizeof *kDrivers; i++)
        if (kDrivers[i].major == major)
            snprintf(wanted, sizeof wanted, "driver %d or later", kDrivers[i].branch);
    return sg_fail(SG_ERR_UNAVAILABLE,
                   "the driver serves CUDA %d.%d, the plug-in needs %d.%d: %s, or another build",
                   driver / 1000, driver % 1000 / 10, major, needed % 1000 / 10, wanted);
}
