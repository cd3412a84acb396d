/* The plug-in's one symbol: gpu/plugin.h. */
#include "gpu/plugin.h"

#include <stdio.h>
#include <string.h>

#include "spotgrad.h"
#include "vendor/vendor.h"

static sg_cuda_vendor *vendor; /* NULL while no device is open */
static sg_precision precision;
static const sg_cuda_precision ours[] = {SG_CUDA_FP32, SG_CUDA_TF32, SG_CUDA_BF16};

static void plugin_describe(char *text, size_t bytes) {
    char device[64], libraries[128];

    sg_cuda_describe_device(device, sizeof device);
    sg_cuda_vendor_describe(libraries, sizeof libraries);
    snprintf(text, bytes, "%s %s %s", device, libraries, sg_precision_name(precision));
}

static sg_status plugin_open(const sg_plugin_options *o) {
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

/* --- NVIDIA's libraries, tried ---------------------------------------------------------------- */

/* The largest operand is the filters. */
enum { kSide = 8, kBlock = kSide * kSide * 3 * 3 * sizeof(float) };

/* On zeros: operands, result, scratch. */
static sg_status try_plan(const sg_vendor_plan *plan) {
    const sg_device *d = &sg_cuda_device;
    void *queue = NULL, *block = NULL;
    sg_status st = d->alloc(3 * kBlock + sg_vendor_plan_scratch(plan), "a first product", &block);

    if (st == SG_OK) st = d->queue_create(&queue);
    if (st == SG_OK) {
        char *at = block;
        const void *in[3] = {at, at + kBlock, NULL};
        void *out[2] = {at + 2 * kBlock, NULL};

        st = sg_vendor_plan_run(plan, in, out, at + 3 * kBlock, queue);
    }
    if (st == SG_OK) st = d->wait(queue);
    d->queue_destroy(queue);
    d->release(block);
    return st;
}

static sg_status plugin_try_libraries(void) {
    /* x (1, 8, 8, 8) and 8 filters of 3 x 3; 8 x 8 times 8 x 8 */
    sg_vendor_conv conv = {
        SG_CONV_FORWARD, ours[precision], 1, kSide, kSide, kSide, kSide,      3, 3,
        kSide,           kSide,           1, 1,     1,     false, SG_ACT_NONE};
    sg_vendor_matmul matmul = {.precision = ours[precision], .M = kSide, .N = kSide, .K = kSide};
    sg_vendor_plan *plan = NULL;
    sg_status st = sg_vendor_plan_conv(vendor, &conv, &plan);

    if (st == SG_OK) st = try_plan(plan);
    sg_vendor_plan_destroy(plan);
    plan = NULL;
    if (st == SG_OK) st = sg_vendor_plan_matmul(vendor, &matmul, &plan);
    if (st == SG_OK) st = try_plan(plan);
    sg_vendor_plan_destroy(plan);
    return st;
}

/* --- the table -------------------------------------------------------------------------------- */

static void plugin_close(void) {
    sg_cuda_use(SG_CUDA_FP32, NULL);
    sg_cuda_vendor_destroy(vendor);
    vendor = NULL;
}

static char *plugin_plans(void) { return sg_cuda_vendor_plans(vendor); }

const sg_plugin sg_cuda_plugin = {
    .version = SG_PLUGIN_VERSION,
    .cuda = sg_cuda_version,
    .backend = &sg_backend_cuda,
    .open = plugin_open,
    .close = plugin_close,
    .try_libraries = plugin_try_libraries,
    .describe = plugin_describe,
    .plans = plugin_plans,
};
