#include "train/compute.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "cpu/cpu.h"

enum { kReasonBytes = 512, kBf16Major = 8 }; /* Ampere has tf32 and bf16 */

static bool starts_with(const char *text, const char *start) {
    return text && strncmp(text, start, strlen(start)) == 0;
}

static bool is_auto(const char *choice) { return strcmp(choice, "auto") == 0; }

/* --- precision -------------------------------------------------------------------------------- */

/* False: `text` is none. */
static bool parse_precision(const char *text, sg_precision *out) {
    for (int p = SG_PRECISION_FP32; p <= SG_PRECISION_BF16; p++) {
        if (strcmp(text, sg_precision_name((sg_precision)p)) != 0) continue;
        *out = (sg_precision)p;
        return true;
    }
    return false;
}

/* Of the run that is gone on with, the last word of its class; else the fastest. */
static sg_precision automatic(const char *began, const sg_gpu *gpu) {
    const char *last = starts_with(began, "cuda") ? strrchr(began, ' ') : NULL;
    sg_precision precision;

    if (last && parse_precision(last + 1, &precision)) return precision;
    return gpu->major >= kBf16Major ? SG_PRECISION_BF16 : SG_PRECISION_FP32;
}

static sg_status choose_precision(const sg_compute_options *o, const sg_gpu *gpu,
                                  sg_precision *out) {
    if (is_auto(o->precision)) {
        *out = automatic(o->began, gpu);
        return SG_OK;
    }
    if (!parse_precision(o->precision, out))
        return sg_fail(SG_ERR_CONFIG, "train.precision: '%s' is none", o->precision);
    if (*out == SG_PRECISION_FP32 || gpu->major >= kBf16Major) return SG_OK;
    return sg_fail(SG_ERR_CONFIG,
                   "train.precision=%s: %s has compute capability %d.%d, which lacks it; fp32 is "
                   "what it can",
                   o->precision, gpu->name, gpu->major, gpu->minor);
}

static sg_status check_cpu_precision(const sg_compute_options *o) {
    if (is_auto(o->precision) || strcmp(o->precision, "fp32") == 0) return SG_OK;
    return sg_fail(SG_ERR_CONFIG,
                   "train.precision=%s: a CPU computes in fp32 here; leave it out, or see `train "
                   "--devices` for why no GPU is used",
                   o->precision);
}

/* --- the device ------------------------------------------------------------------------------- */

/* A GPU that the driver tells of. */
typedef struct {
    int ordinal, driver; /* the driver's, as in sg_gpu_list */
    sg_gpu gpu;
} found_gpu;

static sg_status find_gpu(const char *device, found_gpu *out) {
    sg_gpu_list list;
    int ordinal;

    SG_TRY(sg_gpu_find(&list));
    ordinal = starts_with(device, "cuda:") ? atoi(device + strlen("cuda:")) : 0;
    if (ordinal >= list.n)
        return sg_fail(SG_ERR_UNAVAILABLE, "there is no GPU %d: the driver sees %d, from 0 on",
                       ordinal, list.n);
    *out = (found_gpu){ordinal, list.driver, list.gpu[ordinal]};
    return SG_OK;
}

static sg_status open_gpu(const sg_compute_options *o, const found_gpu *found, sg_compute *out) {
    sg_plugin_options options = {
        .ordinal = found->ordinal, .plans = o->plans, .plans_class = o->began, .timed = o->timed};
    sg_compute c = {.ordinal = found->ordinal, .gpu = found->gpu};

    SG_TRY(choose_precision(o, &found->gpu, &options.precision));
    SG_TRY(sg_plugin_load(NULL, 0, &c.plugin));
    SG_TRY(sg_plugin_check_driver(c.plugin, found->driver));
    SG_TRY(c.plugin->open(&options));
    *out = c;
    if (is_auto(o->precision))
        sg_log(SG_LOG_INFO, "train.precision=auto: %s on this GPU%s",
               sg_precision_name(options.precision),
               options.precision == SG_PRECISION_BF16 ? ", weights and their updates in fp32" : "");
    return SG_OK;
}

/* What stands in the way of the device that was named; the last error's text. */
static sg_status unavailable(const char *device, sg_status st) {
    char reason[kReasonBytes];

    if (st == SG_ERR_CONFIG || st == SG_ERR_DATA || st == SG_ERR_OOM) return st;
    snprintf(reason, sizeof reason, "%s", sg_last_error());
    return sg_fail(SG_ERR_UNAVAILABLE, "run.device=%s: %s", device, reason);
}

/* A GPU that is full is one that somebody means to use: a run that went to the CPU for it would
 * stay there for good, many times slower. */
static sg_status full(void) {
    char reason[kReasonBytes];

    snprintf(reason, sizeof reason, "%s", sg_last_error());
    return sg_fail(
        SG_ERR_OOM,
        "run.device=auto: there is a GPU, but not enough memory: %s; stop what uses it, or "
        "say run.device=cpu",
        reason);
}

/* A run that began on a CPU stays there: the bits of a GPU are others. */
static sg_status open_automatic(const sg_compute_options *o, sg_compute *out) {
    found_gpu gpu;
    bool silent;
    sg_status st;

    if (starts_with(o->began, "cpu")) return check_cpu_precision(o);
    st = find_gpu(o->device, &gpu);
    silent = st == SG_ERR_MISSING; /* no driver: an ordinary machine */
    if (st == SG_OK) st = open_gpu(o, &gpu, out);
    if (st == SG_OK || st == SG_ERR_CONFIG || st == SG_ERR_DATA) return st;
    if (st == SG_ERR_OOM) return full();
    if (!silent)
        sg_log(SG_LOG_INFO, "run.device=auto: the CPU, as the GPU cannot be used: %s",
               sg_last_error());
    return check_cpu_precision(o);
}

sg_status sg_compute_open(const sg_compute_options *o, sg_compute *out) {
    found_gpu gpu;
    sg_status st;

    *out = (sg_compute){0};
    if (strcmp(o->device, "cpu") == 0) return check_cpu_precision(o);
    if (is_auto(o->device)) return open_automatic(o, out);
    st = find_gpu(o->device, &gpu);
    if (st == SG_OK) st = open_gpu(o, &gpu, out);
    return st == SG_OK ? SG_OK : unavailable(o->device, st);
}

void sg_compute_close(sg_compute *c) {
    if (c->plugin) c->plugin->close();
    *c = (sg_compute){0};
}

sg_status sg_compute_try(const sg_compute *c) {
    return c->plugin ? c->plugin->try_libraries() : SG_OK;
}

const sg_backend *sg_compute_backend(const sg_compute *c) {
    return c->plugin ? c->plugin->backend : &sg_backend_cpu;
}

void sg_compute_class(const sg_compute *c, char *text, size_t bytes) {
    if (c->plugin)
        c->plugin->describe(text, bytes);
    else
        sg_cpu_class(text, bytes);
}

sg_status sg_compute_plans(const sg_compute *c, char **out) {
    *out = c->plugin ? c->plugin->plans() : sg_strdup("");
    return *out ? SG_OK : sg_fail(SG_ERR_OOM, "no memory for the plans of kernels");
}

void sg_compute_name(const sg_compute *c, char *text, size_t bytes) {
    if (c->plugin)
        snprintf(text, bytes, "cuda:%d, %s", c->ordinal, c->gpu.name);
    else
        snprintf(text, bytes, "cpu");
}
