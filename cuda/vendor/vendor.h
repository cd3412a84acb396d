/* What NVIDIA's libraries do in the CUDA backend: convolutions (cuDNN) and matrix products
 * (cuBLASLt). C11 and C++17. Under the tests' emulation tests/emulation/vendor.c stands in.
 *
 * A plan is one operation with the kernel that was chosen for it. The choice decides the bits of
 * the result, so it is text in a table, by a key that says all that the choice depends on
 * (plan_table.h): a run keeps the table in its checkpoint and hands it back, and nothing that is in
 * it is chosen anew. Only kernels that always give the same bits are chosen from.
 *
 * One thread at a time calls these functions. */
#ifndef SG_CUDA_VENDOR_H
#define SG_CUDA_VENDOR_H

#include "backend_cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const char *plans; /* a table as sg_cuda_vendor_plans gave it, or NULL; copied */
    /* Choose by timing on the device, which two runs may see differently; else the libraries' first
     * proposal, which depends on device and versions alone. */
    bool timed;
    /* Convolution kernels that cuDNN compiles when it plans them may be chosen too: the only ones
     * with SiLU in them, but each takes about a second at every start. */
    bool compiled;
    size_t workspace; /* bytes that a kernel may ask for; 0: 256 MiB */
    /* NULL, or cuDNN's description of a device in JSON: convolutions are then planned for it, with
     * no GPU here and nothing that can be run. For tests. */
    const char *device;
} sg_cuda_vendor_options;

/* The handles of the libraries are made when they are first needed. `options` may be NULL.
 * SG_ERR_DATA: `plans` is damaged. */
sg_status sg_cuda_vendor_create(const sg_cuda_vendor_options *options,
                                sg_cuda_vendor **out) SG_CHECKED;
/* After the last of its plans; NULL is fine. */
void sg_cuda_vendor_destroy(sg_cuda_vendor *vendor);
/* All plans so far and those that were given, as text: the caller's, for sg_free. NULL: no memory.
 */
char *sg_cuda_vendor_plans(const sg_cuda_vendor *vendor);
/* "cuDNN 9.19.0 cuBLASLt 13.1.0": of the libraries that are loaded. */
void sg_cuda_vendor_describe(char *text, size_t bytes);

typedef enum { SG_CONV_FORWARD, SG_CONV_DX, SG_CONV_DW } sg_conv_pass;

/* x (N, H, W, C), w (OC, KH, KW, C / groups), y (N, OH, OW, OC), all packed, none empty. At
 * SG_CUDA_BF16 they are bf16, dw too (cuDNN 9.19 has no engine from bf16 to an f32 dw); else f32.
 * Sums are in f32. */
typedef struct {
    sg_conv_pass pass;
    sg_cuda_precision precision;
    int64_t N, C, H, W, OC, KH, KW, OH, OW, stride, pad, groups;
    bool bias; /* forward: (OC), f32, is added */
    sg_act act;
} sg_vendor_conv;

/* What is done with a product P in the same kernel. */
typedef enum {
    SG_EPILOGUE_NONE,  /* Y = P */
    SG_EPILOGUE_ACT,   /* Y = act(Z), Z = P + b, b (N) is in[2] or, without `bias`, none */
    SG_EPILOGUE_SLOPE, /* Y = P act'(Z), Z (M, N) is in[2] */
    SG_EPILOGUE_SUMS,  /* Y = P, and out[1] (M) the sums of op(A) over K */
    SG_EPILOGUE_COUNT
} sg_vendor_epilogue;

/* P (M, N) = op(A) op(B), row-major, op(A) (M, K), op(B) (K, N), op: transposed where flagged;
 * M, N, K > 0. At SG_CUDA_BF16 A and B are bf16, and so are Y, Z and b unless `f32_out`; else all
 * is f32. Sums are in f32. */
typedef struct {
    sg_cuda_precision precision;
    int64_t M, N, K;
    bool transpose_a, transpose_b;
    bool f32_out;
    sg_vendor_epilogue epilogue;
    bool bias, keep_z; /* SG_EPILOGUE_ACT; keep_z: out[1] is Z */
    sg_act act;
} sg_vendor_matmul;

typedef struct sg_vendor_plan sg_vendor_plan;

/* `*out` is the caller's. SG_ERR_UNSUPPORTED: no kernel gives the same bits each time;
 * SG_ERR_UNAVAILABLE: what the table says cannot be had here. */
sg_status sg_vendor_plan_conv(sg_cuda_vendor *vendor, const sg_vendor_conv *conv,
                              sg_vendor_plan **out) SG_CHECKED;
sg_status sg_vendor_plan_matmul(sg_cuda_vendor *vendor, const sg_vendor_matmul *matmul,
                                sg_vendor_plan **out) SG_CHECKED;
void sg_vendor_plan_destroy(sg_vendor_plan *plan); /* NULL is fine */

size_t sg_vendor_plan_scratch(const sg_vendor_plan *plan);
/* Whether bias and activation, or the epilogue, are part of it; where they are not out[0] is the
 * bare result, and the caller does the rest. */
bool sg_vendor_plan_fused(const sg_vendor_plan *plan);
/* "cudnn 58": the library and its kernel. */
const char *sg_vendor_plan_label(const sg_vendor_plan *plan);
/* Put it on `queue`. in: as the op's (x w b, w dy, x dy, A B and what the epilogue reads), aligned
 * to 16 bytes as is out; what the plan does not need is not looked at. */
sg_status sg_vendor_plan_run(const sg_vendor_plan *plan, const void *const in[], void *const out[],
                             void *scratch, void *queue) SG_CHECKED;
/* Put zeros there. */
sg_status sg_vendor_zero(void *out, size_t bytes, void *queue) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
