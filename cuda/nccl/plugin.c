/* NCCL's functions, and the few of CUDA that go with them, as src/dist/nccl_plugin.h has them: a
 * plug-in of its own, for a program that trains on one GPU needs no NCCL. */
#include "dist/nccl_plugin.h"

#include <cuda_runtime_api.h>
#include <nccl.h>
#include <string.h>

#include "spotgrad.h"

/* communicators that do not block, and comm_finalize */
_Static_assert(NCCL_VERSION_CODE >= NCCL_VERSION(2, 14, 3), "NCCL is older than 2.14.3");
_Static_assert((int)SG_NCCL_OK == (int)ncclSuccess, "ncclSuccess");
_Static_assert((int)SG_NCCL_ERR_CUDA == (int)ncclUnhandledCudaError, "ncclUnhandledCudaError");
_Static_assert((int)SG_NCCL_ERR_SYSTEM == (int)ncclSystemError, "ncclSystemError");
_Static_assert((int)SG_NCCL_ERR_INTERNAL == (int)ncclInternalError, "ncclInternalError");
_Static_assert((int)SG_NCCL_ERR_ARGUMENT == (int)ncclInvalidArgument, "ncclInvalidArgument");
_Static_assert((int)SG_NCCL_ERR_USAGE == (int)ncclInvalidUsage, "ncclInvalidUsage");
_Static_assert((int)SG_NCCL_ERR_REMOTE == (int)ncclRemoteError, "ncclRemoteError");
_Static_assert((int)SG_NCCL_IN_PROGRESS == (int)ncclInProgress, "ncclInProgress");
_Static_assert(sizeof(sg_nccl_id) == sizeof(ncclUniqueId), "ncclUniqueId");
_Static_assert(sizeof(sg_nccl_gpu) == sizeof(cudaUUID_t), "cudaUUID_t");

static int get_version(int *version) { return (int)ncclGetVersion(version); }

static int get_id(sg_nccl_id *id) {
    ncclUniqueId own;
    ncclResult_t result = ncclGetUniqueId(&own);

    if (result == ncclSuccess) memcpy(id, &own, sizeof own);
    return (int)result;
}

static int comm_init(void **comm, int size, const sg_nccl_id *id, int rank) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclComm_t made = NULL;
    ncclUniqueId own;
    ncclResult_t result;

    memcpy(&own, id, sizeof own);
    config.blocking = 0;
    result = ncclCommInitRankConfig(&made, size, own, rank, &config);
    *comm = made;
    return (int)result;
}

static int comm_error(void *comm, int *result) {
    ncclResult_t own = ncclSuccess, asked = ncclCommGetAsyncError(comm, &own);

    *result = (int)own;
    return (int)asked;
}

static int comm_finalize(void *comm) { return (int)ncclCommFinalize(comm); }
static int comm_destroy(void *comm) { return (int)ncclCommDestroy(comm); }
static int comm_abort(void *comm) { return (int)ncclCommAbort(comm); }
static int group_start(void) { return (int)ncclGroupStart(); }
static int group_end(void) { return (int)ncclGroupEnd(); }

static int send(const void *data, size_t bytes, int peer, void *comm, void *queue) {
    return (int)ncclSend(data, bytes, ncclUint8, peer, comm, queue);
}

static int receive(void *data, size_t bytes, int peer, void *comm, void *queue) {
    return (int)ncclRecv(data, bytes, ncclUint8, peer, comm, queue);
}

static const char *text(int result) { return ncclGetErrorString((ncclResult_t)result); }

static int told(cudaError_t error, const char **why) {
    if (error == cudaSuccess) return SG_NCCL_OK;
    cudaGetLastError(); /* it is not left to whoever asks next */
    *why = cudaGetErrorString(error);
    return SG_NCCL_ERR_CUDA;
}

static int gpu_use(int ordinal, const char **why) { return told(cudaSetDevice(ordinal), why); }

static int gpu_name(int ordinal, sg_nccl_gpu *gpu, const char **why) {
    struct cudaDeviceProp about;
    int result = told(cudaGetDeviceProperties(&about, ordinal), why);

    if (result == SG_NCCL_OK) memcpy(gpu, &about.uuid, sizeof *gpu);
    return result;
}

static int queue_create(void **queue, const char **why) {
    cudaStream_t made = NULL;
    int result = told(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), why);

    *queue = made;
    return result;
}

static int queue_ask(void *queue, const char **why) {
    cudaError_t error = cudaStreamQuery(queue);

    if (error != cudaErrorNotReady) return told(error, why);
    cudaGetLastError();
    return SG_NCCL_IN_PROGRESS;
}

static void queue_destroy(void *queue) { cudaStreamDestroy(queue); }

const sg_nccl_plugin sg_nccl_functions = {
    .version = SG_NCCL_VERSION,
    .get_version = get_version,
    .get_id = get_id,
    .comm_init = comm_init,
    .comm_error = comm_error,
    .comm_finalize = comm_finalize,
    .comm_destroy = comm_destroy,
    .comm_abort = comm_abort,
    .group_start = group_start,
    .group_end = group_end,
    .send = send,
    .receive = receive,
    .text = text,
    .gpu_use = gpu_use,
    .gpu_name = gpu_name,
    .queue_create = queue_create,
    .queue_ask = queue_ask,
    .queue_destroy = queue_destroy,
};
