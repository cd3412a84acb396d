/* The device table of the backend (graph/device.h): thin over the CUDA runtime. */
#include <stdio.h>

#include "backend_cuda.h"
#include "detect_nms.h"
#include "launch.h"

/* --- errors ----------------------------------------------------------------------------------- */

/* A device that is gone does not come back within this process: the status says so, for the trainer
 * still has the last snapshot to save. */
static bool is_lost(cudaError_t error) {
    return error == cudaErrorDevicesUnavailable || error == cudaErrorECCUncorrectable ||
           error == cudaErrorLaunchFailure || error == cudaErrorHardwareStackError ||
           error == cudaErrorNoDevice;
}

extern "C" sg_status sg_cuda_check(int code, const char *what) {
    cudaError_t error = (cudaError_t)code;

    if (error == cudaSuccess) return SG_OK;
    (void)cudaGetLastError(); /* not to be found again by the next launch */
    if (is_lost(error))
        return sg_fail(SG_ERR_UNAVAILABLE, "%s: the device is lost: %s", what,
                       cudaGetErrorString(error));
    return sg_fail(error == cudaErrorMemoryAllocation ? SG_ERR_OOM : SG_ERR_CUDA, "%s: %s", what,
                   cudaGetErrorString(error));
}

/* A lost device gives its error to whatever is asked of it. */
extern "C" sg_status sg_cuda_check_device(const char *what) {
    size_t free_bytes, total;

    return sg_cuda_check(cudaMemGetInfo(&free_bytes, &total), what);
}

static sg_status no_memory(size_t bytes, const char *what) {
    size_t free_bytes = 0, total = 0;

    (void)cudaGetLastError();
    (void)cudaMemGetInfo(&free_bytes, &total);
    return sg_fail(SG_ERR_OOM, "no device memory for %s: %.0f MiB asked for, %.0f of %.0f MiB free",
                   what, (double)bytes / 1048576.0, (double)free_bytes / 1048576.0,
                   (double)total / 1048576.0);
}

/* --- memory ----------------------------------------------------------------------------------- */

static sg_status device_alloc(size_t bytes, const char *what, void **out) {
    void *block = NULL;
    cudaError_t error = cudaMalloc(&block, bytes + 1); /* nothing is something too */

    if (error == cudaErrorMemoryAllocation) return no_memory(bytes, what);
    SG_TRY(sg_cuda_check(error, what));
    error = cudaMemset(block, 0, bytes + 1);
    /* which the device does when it likes, in no order with streams that do not block */
    if (error == cudaSuccess) error = cudaStreamSynchronize(NULL);
    if (error == cudaSuccess)
        *out = block;
    else
        (void)cudaFree(block);
    return sg_cuda_check(error, what);
}

static void device_release(void *block) { (void)cudaFree(block); }

static sg_status device_alloc_host(size_t bytes, const char *what, void **out) {
    void *block = NULL;
    cudaError_t error = cudaMallocHost(&block, bytes + 1);

    if (error == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        return sg_fail(SG_ERR_OOM, "no pinned memory for %s, %zu bytes; see ulimit -l", what,
                       bytes);
    }
    SG_TRY(sg_cuda_check(error, what));
    memset(block, 0, bytes + 1);
    *out = block;
    return SG_OK;
}

static void device_release_host(void *block) { (void)cudaFreeHost(block); }

static sg_status device_memory(size_t *free_bytes, size_t *total_bytes) {
    return sg_cuda_check(cudaMemGetInfo(free_bytes, total_bytes), "asking for free memory");
}

/* --- queues ----------------------------------------------------------------------------------- */

static sg_status device_queue_create(void **queue) {
    cudaStream_t stream;

    SG_TRY(sg_cuda_check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream"));
    *queue = stream;
    return SG_OK;
}

static sg_status device_wait(void *queue) {
    return sg_cuda_check(cudaStreamSynchronize((cudaStream_t)queue), "waiting for the device");
}

static void device_queue_destroy(void *queue) {
    if (!queue) return;
    (void)cudaStreamSynchronize((cudaStream_t)queue);
    (void)cudaStreamDestroy((cudaStream_t)queue);
}

static sg_status device_put(void *queue, void *device, const void *host, size_t bytes) {
    return sg_cuda_check(
        cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, (cudaStream_t)queue),
        "a copy to the device");
}

static sg_status device_get(void *queue, void *host, const void *device, size_t bytes) {
    return sg_cuda_check(
        cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, (cudaStream_t)queue),
        "a copy from the device");
}

static sg_status device_copy(void *queue, void *to, const void *from, size_t bytes) {
    return sg_cuda_check(
        cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, (cudaStream_t)queue),
        "a copy within the device");
}

/* --- events ----------------------------------------------------------------------------------- */

/* The host sleeps while it waits: its processors read the next batches. */
static sg_status device_event_create(void **event) {
    cudaEvent_t fresh;
    unsigned flags = cudaEventDisableTiming | cudaEventBlockingSync;

    SG_TRY(sg_cuda_check(cudaEventCreateWithFlags(&fresh, flags), "an event"));
    *event = fresh;
    return SG_OK;
}

static void device_event_destroy(void *event) {
    if (event) (void)cudaEventDestroy((cudaEvent_t)event);
}

static sg_status device_event_mark(void *event, void *queue) {
    return sg_cuda_check(cudaEventRecord((cudaEvent_t)event, (cudaStream_t)queue),
                         "marking an event");
}

static sg_status device_event_wait(void *event) {
    return sg_cuda_check(cudaEventSynchronize((cudaEvent_t)event), "waiting for the device");
}

static sg_status device_event_follow(void *queue, void *event) {
    return sg_cuda_check(cudaStreamWaitEvent((cudaStream_t)queue, (cudaEvent_t)event, 0),
                         "waiting for another stream");
}

/* --- recordings: CUDA Graphs ------------------------------------------------------------------ */

static sg_status device_record(void *queue) {
    return sg_cuda_check(
        cudaStreamBeginCapture((cudaStream_t)queue, cudaStreamCaptureModeThreadLocal),
        "recording a step");
}

static sg_status device_record_end(void *queue, void **recording) {
    cudaGraphExec_t exec;
    cudaGraph_t graph;
    cudaError_t error = cudaStreamEndCapture((cudaStream_t)queue, &graph);

    SG_TRY(sg_cuda_check(error, "recording a step"));
    error = cudaGraphInstantiate(&exec, graph, 0);
    (void)cudaGraphDestroy(graph);
    SG_TRY(sg_cuda_check(error, "preparing a recorded step"));
    *recording = exec;
    return SG_OK;
}

static sg_status device_replay(void *queue, void *recording) {
    return sg_cuda_check(cudaGraphLaunch((cudaGraphExec_t)recording, (cudaStream_t)queue),
                         "a recorded step");
}

static void device_recording_destroy(void *recording) {
    if (recording) (void)cudaGraphExecDestroy((cudaGraphExec_t)recording);
}

/* --- the device that a process uses ----------------------------------------------------------- */

extern "C" int sg_cuda_version() { return CUDART_VERSION; }

static int chosen;

extern "C" void sg_cuda_enter_thread(void) { (void)cudaSetDevice(chosen); }

/* A kernel of ours, run: a GPU that this plug-in has no machine code for says so now. */
static sg_status try_out(void *queue) {
    float *grads[1], *step;
    void *block = NULL;
    sg_status st;

    SG_TRY(sg_cuda_device.alloc((1 + SG_STEP_SLOTS) * sizeof(float), "a first kernel", &block));
    grads[0] = static_cast<float *>(block);
    step = grads[0] + 1;
    st = sg_cuda_add_shards(queue, grads, 1, 1, step);
    if (st == SG_OK) st = sg_cuda_device.wait(queue);
    sg_cuda_device.release(block);
    return st;
}

extern "C" sg_status sg_cuda_start(int ordinal) {
    void *queue = NULL;
    sg_status st;

    SG_TRY(sg_cuda_check(cudaSetDevice(ordinal), "choosing the GPU"));
    chosen = ordinal;
    SG_TRY(sg_cuda_device.queue_create(&queue));
    st = try_out(queue);
    sg_cuda_device.queue_destroy(queue);
    return st;
}

extern "C" void sg_cuda_describe_device(char *text, size_t bytes) {
    int major = 0, minor = 0, multiprocessors = 0;

    (void)cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, chosen);
    (void)cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, chosen);
    (void)cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, chosen);
    snprintf(text, bytes, "cuda sm_%d%d %d MP", major, minor, multiprocessors);
}

extern "C" const sg_device sg_cuda_device = {
    device_alloc,         device_release,      device_alloc_host,    device_release_host,
    device_memory,        device_queue_create, device_queue_destroy, device_wait,
    device_put,           device_get,          device_copy,          device_event_create,
    device_event_destroy, device_event_mark,   device_event_wait,    device_event_follow,
    device_record,        device_record_end,   device_replay,        device_recording_destroy,
    sg_cuda_add_shards,   sg_cuda_augment,     sg_cuda_nms,          sg_cuda_nms_scratch,
};
