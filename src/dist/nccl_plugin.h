/* What the plug-in around NCCL, libspotgrad_nccl.so, shows of itself: NCCL's functions, and the few
 * of CUDA that go with them, one to one, without a thought of its own. What is thought stands in
 * transport_nccl.c, and the tests put a stand-in here. C11 and C++17.
 *
 * All results are NCCL's numbers. Communicators do not block: a function may return
 * SG_NCCL_IN_PROGRESS, and comm_error then tells what became of it. */
#ifndef SG_DIST_NCCL_PLUGIN_H
#define SG_DIST_NCCL_PLUGIN_H

#include <stddef.h>

#include "dist/transport.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SG_NCCL_OK,
    SG_NCCL_ERR_CUDA,
    SG_NCCL_ERR_SYSTEM,
    SG_NCCL_ERR_INTERNAL,
    SG_NCCL_ERR_ARGUMENT,
    SG_NCCL_ERR_USAGE,
    SG_NCCL_ERR_REMOTE,
    SG_NCCL_IN_PROGRESS,
};

/* What rank 0 tells all others, and what tells GPUs apart. */
typedef struct {
    char byte[128];
} sg_nccl_id;
typedef struct {
    char byte[16];
} sg_nccl_gpu;

typedef struct sg_nccl_plugin {
    const char *version; /* SG_NCCL_VERSION where it was built; first of all, for ever */

    int (*get_version)(int *version); /* of the library that was found: 22809 */
    int (*get_id)(sg_nccl_id *id);
    int (*comm_init)(void **comm, int size, const sg_nccl_id *id, int rank);
    int (*comm_error)(void *comm, int *result); /* ncclCommGetAsyncError */
    int (*comm_finalize)(void *comm);
    int (*comm_destroy)(void *comm);
    int (*comm_abort)(void *comm); /* frees it too; may be called during another call */
    int (*group_start)(void);
    int (*group_end)(void);
    int (*send)(const void *data, size_t bytes, int peer, void *comm, void *queue);
    int (*receive)(void *data, size_t bytes, int peer, void *comm, void *queue);
    const char *(*text)(int result);

    /* CUDA's: SG_NCCL_OK, or SG_NCCL_ERR_CUDA and a text of CUDA's, kept for ever. */
    int (*gpu_use)(int ordinal, const char **why); /* in this thread from now on */
    int (*gpu_name)(int ordinal, sg_nccl_gpu *gpu, const char **why);
    int (*queue_create)(void **queue, const char **why);
    int (*queue_ask)(void *queue, const char **why); /* SG_NCCL_IN_PROGRESS: it has work */
    void (*queue_destroy)(void *queue);
} sg_nccl_plugin;

/* The program's version and that of this interface: transport.h and what it includes. */
#define SG_NCCL_VERSION SPOTGRAD_VERSION " (nccl interface 1)"
#define SG_NCCL_SYMBOL  "sg_nccl_functions"

#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
extern const sg_nccl_plugin sg_nccl_functions;

#ifdef __cplusplus
}
#endif
#endif
