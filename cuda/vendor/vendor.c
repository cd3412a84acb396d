/* The handles, and what the two libraries' plans have in common. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"

static const size_t kWorkspace = (size_t)256 << 20;
enum { kTimedRuns = 7 };

static sg_status describe_device(const char *json, cudnnBackendDescriptor_t *out) {
    cudnnStatus_t st = cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, out);

    if (st == CUDNN_STATUS_SUCCESS)
        st = cudnnBackendSetAttribute(*out, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                                      CUDNN_TYPE_CHAR, (int64_t)strlen(json) + 1, json);
    if (st == CUDNN_STATUS_SUCCESS) st = cudnnBackendFinalize(*out);
    if (st == CUDNN_STATUS_SUCCESS) return SG_OK;
    return sg_fail(SG_ERR_ARG, "cudnn: not a description of a device: %s", cudnnGetErrorString(st));
}

sg_status sg_cuda_vendor_create(const sg_cuda_vendor_options *options, sg_cuda_vendor **out) {
    static const sg_cuda_vendor_options defaults = {.timed = false};
    sg_cuda_vendor *v = sg_calloc(1, sizeof *v);
    sg_status st;

    if (!v) return sg_fail(SG_ERR_OOM, "cuda: no memory for the libraries' handles");
    if (!options) options = &defaults;
    v->timed = options->timed && !options->device;
    v->compiled = options->compiled;
    v->workspace = options->workspace ? options->workspace : kWorkspace;
    st = sg_plan_table_create(options->plans, &v->table);
    if (st == SG_OK && options->device) st = describe_device(options->device, &v->device);
    if (st != SG_OK) {
        sg_cuda_vendor_destroy(v);
        return st;
    }
    *out = v;
    return SG_OK;
}

void sg_cuda_vendor_destroy(sg_cuda_vendor *v) {
    if (!v) return;
    if (v->device) (void)cudnnBackendDestroyDescriptor(v->device);
    if (v->cudnn) (void)cudnnDestroy(v->cudnn);
    if (v->blas) (void)cublasLtDestroy(v->blas);
    if (v->queue) (void)cudaStreamDestroy(v->queue);
    sg_plan_table_destroy(v->table);
    sg_free(v);
}

char *sg_cuda_vendor_plans(const sg_cuda_vendor *v) { return sg_plan_table_text(v->table); }

void sg_cuda_vendor_describe(char *text, size_t bytes) {
    size_t cudnn = cudnnGetVersion(), blas = cublasLtGetVersion();

    snprintf(text, bytes, "cuDNN %zu.%zu.%zu cuBLASLt %zu.%zu.%zu", cudnn / 10000,
             cudnn / 100 % 100, cudnn % 100, blas / 10000, blas / 100 % 100, blas % 100);
}

void sg_vendor_plan_destroy(sg_vendor_plan *plan) {
    if (plan) plan->release(plan);
}

size_t sg_vendor_plan_scratch(const sg_vendor_plan *plan) { return plan->scratch; }

bool sg_vendor_plan_fused(const sg_vendor_plan *plan) { return plan->fused; }

const char *sg_vendor_plan_label(const sg_vendor_plan *plan) { return plan->label; }

sg_status sg_vendor_plan_run(const sg_vendor_plan *plan, const void *const in[], void *const out[],
                             void *scratch, void *queue) {
    sg_status st = plan->run(plan, in, out, scratch, queue);

    /* of a lost device the libraries say no more than that something went wrong */
    if (st == SG_ERR_CUDA) SG_TRY(sg_cuda_check_device(plan->label));
    return st;
}

sg_status sg_vendor_zero(void *out, size_t bytes, void *queue) {
    return sg_cuda_check(cudaMemsetAsync(out, 0, bytes, queue), "filling with zeros");
}

/* --- timing ----------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

typedef struct {
    void *block[6]; /* in, out, scratch */
    cudaEvent_t begin, end;
} bench;

/* Small numbers that are not zero (0x3c3c is 0.0115 in bf16, 0x3c3c3c3c in f32): zeros need less
 * power and flatter. */
static sg_status bench_create(bench *b, const sg_vendor_plan *plan, const size_t in_bytes[3],
                              const size_t out_bytes[2]) {
    size_t bytes[6] = {in_bytes[0],  in_bytes[1],  in_bytes[2],
                       out_bytes[0], out_bytes[1], plan->scratch};

    for (int i = 0; i < 6; i++) {
        if (bytes[i] == 0) continue;
        SG_TRY(sg_cuda_check(cudaMalloc(&b->block[i], bytes[i]), "memory for timing a kernel"));
        SG_TRY(sg_cuda_check(cudaMemset(b->block[i], 0x3c, bytes[i]), "timing a kernel"));
    }
    SG_TRY(sg_cuda_check(cudaEventCreate(&b->begin), "timing a kernel"));
    return sg_cuda_check(cudaEventCreate(&b->end), "timing a kernel");
}

static void bench_clear(bench *b) {
    for (int i = 0; i < 6; i++) (void)cudaFree(b->block[i]);
    if (b->begin) (void)cudaEventDestroy(b->begin);
    if (b->end) (void)cudaEventDestroy(b->end);
}

static sg_status bench_run(bench *b, const sg_vendor_plan *plan, cudaStream_t queue, float *ms) {
    const void *in[3] = {b->block[0], b->block[1], b->block[2]};

    SG_TRY(sg_cuda_check(cudaEventRecord(b->begin, queue), "timing a kernel"));
    SG_TRY(sg_vendor_plan_run(plan, in, &b->block[3], b->block[5], queue));
    SG_TRY(sg_cuda_check(cudaEventRecord(b->end, queue), "timing a kernel"));
    SG_TRY(sg_cuda_check(cudaEventSynchronize(b->end), "timing a kernel"));
    return sg_cuda_check(cudaEventElapsedTime(ms, b->begin, b->end), "timing a kernel");
}

sg_status sg_vendor_time(sg_cuda_vendor *v, const sg_vendor_plan *plan, const size_t in_bytes[3],
                         const size_t out_bytes[2], double *seconds) {
    bench b = {{NULL}, NULL, NULL};
    float ms[kTimedRuns], warm;
    sg_status st = SG_OK;

    if (!v->queue)
        SG_TRY(sg_cuda_check(cudaStreamCreateWithFlags(&v->queue, cudaStreamNonBlocking),
                             "a stream for timing"));
    st = bench_create(&b, plan, in_bytes, out_bytes);
    if (st == SG_OK) st = sg_cuda_check(cudaDeviceSynchronize(), "timing a kernel");
    if (st == SG_OK) st = bench_run(&b, plan, v->queue, &warm);
    for (int i = 0; i < kTimedRuns && st == SG_OK; i++) st = bench_run(&b, plan, v->queue, &ms[i]);
    bench_clear(&b);
    if (st != SG_OK) return st;
    qsort(ms, kTimedRuns, sizeof *ms, by_value);
    *seconds = (double)ms[kTimedRuns / 2] * 1e-3;
    return SG_OK;
}
