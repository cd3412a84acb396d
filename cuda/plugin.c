/* The plug-in's one symbol: gpu/plugin.h. */
#include "gpu/plugin.h"

#include <stdio.h>
#include <string.h>

#include "spotgrad.h"
#include "vendor/vendor.h"

static sg_cuda_vendor *vendor; /* NULL while no device is open */
static sg_precision precision;

static void plugin_describe(char *text, size_t bytes) {
    char device[64], libraries[128];

    sg_cuda_describe_device(device, sizeof device);
    sg_cuda_vendor_describe(libraries, sizeof libraries);
    snprintf(text, bytes, "%s %s %s", device, libraries, sg_precision_name(precision));
}

static sg_status plugin_open(const sg_plugin_options *o) {
    static const sg_cuda_precision ours[] = {SG_CUDA_FP32, SG_CUDA_TF32, SG_CUDA_BF16};
    sg_cuda_vendor_options options = {.timed = o->timed};
    char here[SG_PLUGIN_CLASS_BYTES];

    SG_TRY(sg_cuda_start(o->ordinal));
    precision = o->precision;
    plugin_describe(here, sizeof here);
    if (o->plans_class && strcmp(o->plans_class, here) == 0) options.plans = o->plans;
    SG_TRY(sg_cuda_vendor_create(&options, &vendor));
    sg_cuda_use(ours[precision], vendor);
    return SG_OK;
}

static void plugin_close(void) {
    sg_cuda_use(SG_CUDA_FP32, NULL);
    sg_cuda_vendor_destroy(vendor);
    vendor = NULL;
}

static char *plugin_plans(void) { return sg_cuda_vendor_plans(vendor); }

const sg_plugin sg_cuda_plugin = {
    .version = SG_PLUGIN_VERSION,
    .backend = &sg_backend_cuda,
    .open = plugin_open,
    .close = plugin_close,
    .describe = plugin_describe,
    .plans = plugin_plans,
};
