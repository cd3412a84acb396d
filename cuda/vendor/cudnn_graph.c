/* Tensors are told to cuDNN as (N, C, H, W) with the strides of N H W C; filters alike. Attributes
 * and their types are those of cudnn_graph_v9.h and of the backend API's reference. */
#include "cudnn_graph.h"

cudnnBackendDescriptor_t sg_cudnn_make(sg_cudnn_bag *bag, cudnnBackendDescriptorType_t type) {
    cudnnBackendDescriptor_t d = NULL;

    if (bag->status != CUDNN_STATUS_SUCCESS) return NULL;
    if (bag->n == kMaxDescriptors) {
        bag->status = CUDNN_STATUS_INTERNAL_ERROR;
        return NULL;
    }
    bag->status = cudnnBackendCreateDescriptor(type, &d);
    if (bag->status == CUDNN_STATUS_SUCCESS) bag->list[bag->n++] = d;
    return d;
}

void sg_cudnn_set(sg_cudnn_bag *bag, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                  cudnnBackendAttributeType_t type, int64_t count, const void *values) {
    if (bag->status == CUDNN_STATUS_SUCCESS)
        bag->status = cudnnBackendSetAttribute(d, name, type, count, values);
}

int64_t sg_cudnn_get(sg_cudnn_bag *bag, cudnnBackendDescriptor_t d,
                     cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                     int64_t count, void *values) {
    int64_t n = 0;

    if (bag->status == CUDNN_STATUS_SUCCESS)
        bag->status = cudnnBackendGetAttribute(d, name, type, count, &n, values);
    return bag->status == CUDNN_STATUS_SUCCESS ? n : 0;
}

void sg_cudnn_finalize(sg_cudnn_bag *bag, cudnnBackendDescriptor_t d) {
    if (bag->status == CUDNN_STATUS_SUCCESS) bag->status = cudnnBackendFinalize(d);
}

void sg_cudnn_clear(sg_cudnn_bag *bag) {
    while (bag->n > 0) (void)cudnnBackendDestroyDescriptor(bag->list[--bag->n]);
}

/* --- the graph -------------------------------------------------------------------------------- */

typedef struct {
    sg_cudnn_bag *bag;
    cudnnBackendDescriptor_t op[3];
    int n_op;
    int64_t uid; /* of the next tensor that is not in memory */
} builder;

typedef struct {
    int64_t dim[4];
} sizes;

static cudnnBackendDescriptor_t tensor(sg_cudnn_bag *bag, int64_t uid, sizes s,
                                       cudnnDataType_t dtype, bool is_virtual) {
    cudnnBackendDescriptor_t d = sg_cudnn_make(bag, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    int64_t C = s.dim[1], H = s.dim[2], W = s.dim[3], alignment = 16;
    int64_t strides[4] = {H * W * C, 1, W * C, C};

    sg_cudnn_set(bag, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
    sg_cudnn_set(bag, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &dtype);
    sg_cudnn_set(bag, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    sg_cudnn_set(bag, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, s.dim);
    sg_cudnn_set(bag, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides);
    sg_cudnn_set(bag, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
    sg_cudnn_finalize(bag, d);
    return d;
}

static cudnnBackendDescriptor_t convolution(sg_cudnn_bag *bag, const sg_vendor_conv *c) {
    cudnnBackendDescriptor_t d = sg_cudnn_make(bag, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    int64_t spatial = 2, pads[2] = {c->pad, c->pad}, strides[2] = {c->stride, c->stride};
    int64_t dilations[2] = {1, 1};
    cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;

    sg_cudnn_set(bag, d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &spatial);
    sg_cudnn_set(bag, d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    sg_cudnn_set(bag, d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    sg_cudnn_set(bag, d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pads);
    sg_cudnn_set(bag, d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, pads);
    sg_cudnn_set(bag, d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilations);
    sg_cudnn_set(bag, d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, strides);
    sg_cudnn_finalize(bag, d);
    return d;
}

/* What the three passes' descriptors are called. */
typedef struct {
    cudnnBackendDescriptorType_t op;
    cudnnBackendAttributeName_t conv, x, w, y, alpha, beta;
} pass_names;

static const pass_names kPasses[] = {
    [SG_CONV_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    [SG_CONV_DX] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    [SG_CONV_DW] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

static void append_conv(builder *b, const sg_vendor_conv *c, cudnnBackendDescriptor_t x,
                        cudnnBackendDescriptor_t w, cudnnBackendDescriptor_t y) {
    const pass_names *p = &kPasses[c->pass];
    cudnnBackendDescriptor_t conv = convolution(b->bag, c);
    cudnnBackendDescriptor_t d = sg_cudnn_make(b->bag, p->op);
    float alpha = 1.0f, beta = 0.0f;

    sg_cudnn_set(b->bag, d, p->conv, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &conv);
    sg_cudnn_set(b->bag, d, p->x, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &x);
    sg_cudnn_set(b->bag, d, p->w, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &w);
    sg_cudnn_set(b->bag, d, p->y, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &y);
    sg_cudnn_set(b->bag, d, p->alpha, CUDNN_TYPE_FLOAT, 1, &alpha);
    sg_cudnn_set(b->bag, d, p->beta, CUDNN_TYPE_FLOAT, 1, &beta);
    sg_cudnn_finalize(b->bag, d);
    b->op[b->n_op++] = d;
}

/* y = x mode b; b is NULL for an activation. */
static void append_pointwise(builder *b, cudnnPointwiseMode_t mode, cudnnBackendDescriptor_t x,
                             cudnnBackendDescriptor_t bias, cudnnBackendDescriptor_t y) {
    cudnnBackendDescriptor_t f = sg_cudnn_make(b->bag, CUDNN_BACKEND_POINTWISE_DESCRIPTOR), d;
    cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    double beta = 1.0;

    sg_cudnn_set(b->bag, f, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    sg_cudnn_set(b->bag, f, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    if (mode == CUDNN_POINTWISE_SWISH_FWD)
        sg_cudnn_set(b->bag, f, CUDNN_ATTR_POINTWISE_SWISH_BETA, CUDNN_TYPE_DOUBLE, 1, &beta);
    sg_cudnn_finalize(b->bag, f);
    d = sg_cudnn_make(b->bag, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    sg_cudnn_set(b->bag, d, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR,
                 CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &f);
    sg_cudnn_set(b->bag, d, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                 &x);
    if (bias)
        sg_cudnn_set(b->bag, d, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                     1, &bias);
    sg_cudnn_set(b->bag, d, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                 &y);
    sg_cudnn_finalize(b->bag, d);
    b->op[b->n_op++] = d;
}

/* The result of the next operation: in memory if it is the last one. */
static cudnnBackendDescriptor_t result(builder *b, sizes s, cudnnDataType_t dtype, bool last) {
    if (last) return tensor(b->bag, kUidOut, s, dtype, false);
    return tensor(b->bag, b->uid++, s, CUDNN_DATA_FLOAT, true);
}

static void build(builder *b, const sg_vendor_conv *c, bool fused) {
    sizes x = {{c->N, c->C, c->H, c->W}}, y = {{c->N, c->OC, c->OH, c->OW}};
    sizes w = {{c->OC, c->C / c->groups, c->KH, c->KW}}, channels = {{1, c->OC, 1, 1}};
    cudnnDataType_t dtype = c->precision == SG_CUDA_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    bool bias = fused && c->bias, act = fused && c->act != SG_ACT_NONE;
    cudnnBackendDescriptor_t dx, dw, dy, sum;

    if (c->pass == SG_CONV_DX) {
        dw = tensor(b->bag, kUidIn, w, dtype, false);
        dy = tensor(b->bag, kUidIn + 1, y, dtype, false);
        append_conv(b, c, tensor(b->bag, kUidOut, x, dtype, false), dw, dy);
        return;
    }
    dx = tensor(b->bag, kUidIn, x, dtype, false);
    if (c->pass == SG_CONV_DW) {
        dy = tensor(b->bag, kUidIn + 1, y, dtype, false);
        append_conv(b, c, dx, tensor(b->bag, kUidOut, w, dtype, false), dy);
        return;
    }
    dw = tensor(b->bag, kUidIn + 1, w, dtype, false);
    dy = result(b, y, dtype, !bias && !act);
    append_conv(b, c, dx, dw, dy);
    if (bias) {
        sum = result(b, y, dtype, !act);
        append_pointwise(b, CUDNN_POINTWISE_ADD, dy,
                         tensor(b->bag, kUidIn + 2, channels, CUDNN_DATA_FLOAT, false), sum);
        dy = sum;
    }
    if (act)
        append_pointwise(
            b, c->act == SG_ACT_RELU ? CUDNN_POINTWISE_RELU_FWD : CUDNN_POINTWISE_SWISH_FWD, dy,
            NULL, result(b, y, dtype, true));
}

cudnnBackendDescriptor_t sg_cudnn_graph(sg_cudnn_bag *bag, cudnnHandle_t handle,
                                        const sg_vendor_conv *conv, bool fused) {
    builder b = {.bag = bag, .uid = kUidOut + 1};
    cudnnBackendDescriptor_t graph;

    build(&b, conv, fused);
    graph = sg_cudnn_make(bag, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    sg_cudnn_set(bag, graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, b.n_op,
                 b.op);
    if (handle)
        sg_cudnn_set(bag, graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    sg_cudnn_finalize(bag, graph);
    return bag->status == CUDNN_STATUS_SUCCESS ? graph : NULL;
}
