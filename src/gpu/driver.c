#define _GNU_SOURCE
#include "gpu/driver.h"

#include <dlfcn.h>
#include <string.h>

#include "gpu/libraries.h"

/* What is called of libcuda, declared here so that no header of NVIDIA's is needed: the driver API
 * is stable, cuda.h of any version from 3.2 on has these. */
enum { kDone = 0, kNoDevice = 100, kMultiprocessors = 16, kMajor = 75, kMinor = 76 };

typedef struct {
    int (*init)(unsigned flags);
    int (*version)(int *version);
    int (*count)(int *count);
    int (*device)(int *device, int ordinal);
    int (*name)(char *name, int bytes, int device);
    int (*attribute)(int *value, int attribute, int device);
    int (*memory)(size_t *bytes, int device);
    int (*error_text)(int error, const char **text);
} driver;

static int load(void *library, const char *name, void *function) {
    void *address = dlsym(library, name);

    memcpy(function, &address, sizeof address);
    return address != NULL;
}

static sg_status load_all(void *library, driver *d) {
    int whole = load(library, "cuInit", &d->init);

    whole = load(library, "cuDriverGetVersion", &d->version) && whole;
    whole = load(library, "cuDeviceGetCount", &d->count) && whole;
    whole = load(library, "cuDeviceGet", &d->device) && whole;
    whole = load(library, "cuDeviceGetName", &d->name) && whole;
    whole = load(library, "cuDeviceGetAttribute", &d->attribute) && whole;
    whole = load(library, "cuDeviceTotalMem_v2", &d->memory) && whole;
    whole = load(library, "cuGetErrorString", &d->error_text) && whole;
    return whole ? SG_OK
                 : sg_fail(SG_ERR_UNAVAILABLE, "libcuda.so.1 is not NVIDIA's driver: it lacks "
                                               "functions that every version has");
}

static sg_status check(const driver *d, int error, const char *what) {
    const char *text = NULL;

    if (error == kDone) return SG_OK;
    if (error == kNoDevice) return sg_fail(SG_ERR_UNAVAILABLE, "the driver sees no GPU");
    if (d->error_text(error, &text) != kDone || !text) text = "unknown error";
    return sg_fail(SG_ERR_UNAVAILABLE, "the driver's %s failed: %s (%d)", what, text, error);
}

static sg_status ask_gpu(const driver *d, int ordinal, sg_gpu *gpu) {
    int device;

    SG_TRY(check(d, d->device(&device, ordinal), "cuDeviceGet"));
    SG_TRY(check(d, d->name(gpu->name, sizeof gpu->name, device), "cuDeviceGetName"));
    gpu->name[sizeof gpu->name - 1] = '\0';
    SG_TRY(check(d, d->attribute(&gpu->major, kMajor, device), "cuDeviceGetAttribute"));
    SG_TRY(check(d, d->attribute(&gpu->minor, kMinor, device), "cuDeviceGetAttribute"));
    SG_TRY(check(d, d->attribute(&gpu->multiprocessors, kMultiprocessors, device),
                 "cuDeviceGetAttribute"));
    return check(d, d->memory(&gpu->bytes, device), "cuDeviceTotalMem");
}

static sg_status ask(const driver *d, sg_gpu_list *out) {
    int count = 0;

    SG_TRY(check(d, d->init(0), "cuInit"));
    SG_TRY(check(d, d->version(&out->driver), "cuDriverGetVersion"));
    SG_TRY(check(d, d->count(&count), "cuDeviceGetCount"));
    if (count < 1) return check(d, kNoDevice, "cuDeviceGetCount");
    out->n = count < SG_MAX_GPUS ? count : SG_MAX_GPUS;
    for (int i = 0; i < out->n; i++) SG_TRY(ask_gpu(d, i, &out->gpu[i]));
    return SG_OK;
}

sg_status sg_gpu_find(sg_gpu_list *out) {
    char why[512];
    void *library = sg_library_open("libcuda.so.1", why, sizeof why);
    driver d;

    memset(out, 0, sizeof *out);
    if (!library) return sg_fail(SG_ERR_MISSING, "no NVIDIA driver on this machine (%s)", why);
    SG_TRY(load_all(library, &d));
    return ask(&d, out); /* the library stays: it does not bear being unloaded */
}
