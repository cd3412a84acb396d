/* A convolution as a graph of cuDNN's backend API, and the engines that it offers for it. */
#ifndef SG_CUDA_CUDNN_GRAPH_H
#define SG_CUDA_CUDNN_GRAPH_H

#include "internal.h"

/* Descriptors that are destroyed together, last one first. After the first failure nothing more is
 * done, and `status` tells. */
enum { kMaxDescriptors = 64 };
typedef struct {
    cudnnBackendDescriptor_t list[kMaxDescriptors];
    int n;
    cudnnStatus_t status;
} sg_cudnn_bag;

cudnnBackendDescriptor_t sg_cudnn_make(sg_cudnn_bag *bag, cudnnBackendDescriptorType_t type);
void sg_cudnn_set(sg_cudnn_bag *bag, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                  cudnnBackendAttributeType_t type, int64_t count, const void *values);
/* How many there are; the first `count` of them go to `values`. */
int64_t sg_cudnn_get(sg_cudnn_bag *bag, cudnnBackendDescriptor_t d,
                     cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                     int64_t count, void *values);
void sg_cudnn_finalize(sg_cudnn_bag *bag, cudnnBackendDescriptor_t d);
void sg_cudnn_clear(sg_cudnn_bag *bag);

enum { kUidIn = 1, kUidOut = 4 }; /* in[i] is kUidIn + i; what is not in memory follows kUidOut */

/* The graph of `conv`, with bias and activation in it if `fused`. NULL after a failure. `handle`
 * may be NULL where a device is only described. */
cudnnBackendDescriptor_t sg_cudnn_graph(sg_cudnn_bag *bag, cudnnHandle_t handle,
                                        const sg_vendor_conv *conv, bool fused);

#endif
