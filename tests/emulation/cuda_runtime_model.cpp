#include "emulation/cuda_runtime_model.h"
#include "emulation/emulation.h"

#include <stdlib.h>
#include <string.h>
#include <vector>

typedef std::vector<std::function<void()>> recording;

struct CUstream_st {
    bool records;
    recording recorded;
};
struct CUgraph_st {
    recording work;
};
struct CUgraphExec_st {
    recording work;
};

void sg_emulated::put(cudaStream_t stream, std::function<void()> work) {
    if (stream && stream->records)
        stream->recorded.push_back(work);
    else
        work();
}

extern "C" void sg_emulation_put(void *queue, void (*work)(const void *arguments),
                                 const void *arguments, size_t bytes) {
    const char *first = static_cast<const char *>(arguments);
    std::vector<char> kept(first, first + bytes);

    sg_emulated::put(static_cast<cudaStream_t>(queue), [=] { work(kept.data()); });
}

bool sg_emulation_is_on(void) { return true; }

/* --- memory ----------------------------------------------------------------------------------- */

static cudaError_t allocate(void **block, size_t bytes) {
    *block = malloc(bytes);
    if (!*block) return cudaErrorMemoryAllocation;
    memset(*block, 0xff, bytes);
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **block, size_t bytes) { return allocate(block, bytes); }
cudaError_t cudaMallocHost(void **block, size_t bytes) { return allocate(block, bytes); }

cudaError_t cudaFree(void *block) {
    free(block);
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *block) { return cudaFree(block); }

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    *free_bytes = *total = 0;
    return cudaSuccess;
}

cudaError_t cudaMemset(void *to, int byte, size_t bytes) {
    memset(to, byte, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t stream) {
    sg_emulated::put(stream, [=] { memset(to, byte, bytes); });
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
    sg_emulated::put(stream, [=] { memcpy(to, from, bytes); });
    return cudaSuccess;
}

/* --- streams: nothing is ever under way ------------------------------------------------------- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
    *stream = new CUstream_st();
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    delete stream;
    return cudaSuccess;
}

/* As on a GPU, it may not be waited for while it is recorded. */
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    return stream && stream->records ? cudaErrorIllegalState : cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
    *event = nullptr;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }

/* --- graphs ----------------------------------------------------------------------------------- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    if (!stream || stream->records) return cudaErrorIllegalState;
    stream->records = true;
    stream->recorded.clear();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    if (!stream || !stream->records) return cudaErrorIllegalState;
    stream->records = false;
    *graph = new CUgraph_st{std::move(stream->recorded)};
    stream->recorded.clear();
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
    *exec = new CUgraphExec_st{graph->work};
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    for (const auto &work : exec->work) sg_emulated::put(stream, work);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    delete exec;
    return cudaSuccess;
}

/* --- the device ------------------------------------------------------------------------------- */

cudaError_t cudaSetDevice(int) { return cudaSuccess; }

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr, int) {
    *value = 0;
    return cudaSuccess;
}
