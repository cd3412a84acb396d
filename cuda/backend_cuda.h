/* Inside the CUDA backend: its context, its layouts, and what its launchers share. C11 and C++17.
 */
#ifndef SG_CUDA_BACKEND_CUDA_H
#define SG_CUDA_BACKEND_CUDA_H

#include "graph/backend.h"
#include "ops/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Layouts: the order of the elements, and whether they are f32 or bf16.
 *
 *   pictures, f32 of four dimensions        N C H W or N H W C, each in f32 and in bf16: all four
 *   matrices, f32 of two or three (rows of  row-major, in f32 or in bf16: PLAIN and PLAIN_BF16
 *   features, batches of sequences)
 *   all else                                PLAIN, in the dtype that it has
 *
 * SG_LAYOUT_BLOCKED, channels innermost, is N H W C in f32. bf16 is for what is many: parameters,
 * their gradients, losses and statistics stay f32. */
enum {
    SG_CUDA_PLAIN = SG_LAYOUT_PLAIN,
    SG_CUDA_NHWC = SG_LAYOUT_BLOCKED,
    SG_CUDA_PLAIN_BF16 = SG_LAYOUT_PRIVATE,
    SG_CUDA_NHWC_BF16
};

typedef enum { SG_CUDA_FP32, SG_CUDA_TF32, SG_CUDA_BF16 } sg_cuda_precision;

typedef struct sg_cuda_vendor sg_cuda_vendor; /* handles of cuDNN and cuBLASLt: vendor.h */

typedef struct {
    sg_cuda_precision precision;
    sg_cuda_vendor *vendor;
    bool owns_vendor; /* else it is borrowed */
} sg_cuda;

/* A value as kernels see it, absent dimensions 1. */
typedef struct {
    int64_t N, C, H, W, HW, count; /* HW = H W, count = N C H W */
} sg_cuda_dims;

sg_cuda_dims sg_cuda_dims_of(const sg_value *v);

/* f32 of four dimensions, which may be kept in all four layouts; f32 of two or three, which may be
 * kept in PLAIN_BF16. */
bool sg_cuda_is_picture(const sg_value *v);
bool sg_cuda_is_matrix(const sg_value *v);
/* Whether its elements are bf16; the same layout otherwise, in f32. */
bool sg_cuda_is_bf16(sg_layout layout);
/* Whether channels are innermost. */
bool sg_cuda_is_nhwc(sg_layout layout);
/* Where a kernel works in `layout`, the layout of `v`: for a picture that, for a matrix PLAIN or
 * PLAIN_BF16 with the same elements, for all else PLAIN. */
sg_layout sg_cuda_layout_of(const sg_value *v, sg_layout layout);
/* The layout in which the first picture or matrix that is not PLAIN arrives; PLAIN if there is
 * none. */
sg_layout sg_cuda_common_layout(const sg_node *node, const sg_layout have[]);
/* In which matrix products take and give their matrices. */
sg_layout sg_cuda_product_layout(const sg_cuda *cuda);
/* Fill `plan`: this kernel, label "cuda", and every value in its sg_cuda_layout_of `layout`. A
 * kernel with a value that is f32 whatever the others are puts PLAIN there afterwards. */
void sg_cuda_plan(sg_kernel_plan *plan, const sg_node *node, sg_kernel run, sg_layout layout);
/* A copy of `state` that the step owns and sg_free releases. */
sg_status sg_cuda_plan_state(sg_kernel_plan *plan, const void *state, size_t bytes) SG_CHECKED;

/* After each launch: what sg_cuda_check says, with the name of the node. With SG_CUDA_SYNC=1 in the
 * environment it waits for the kernel, so that the guilty one is named. */
sg_status sg_cuda_launched(const sg_args *a) SG_CHECKED;

/* device.cu: SG_OK for cudaSuccess; SG_ERR_UNAVAILABLE once the device is lost, SG_ERR_OOM where it
 * has no memory left, else SG_ERR_CUDA. */
sg_status sg_cuda_check(int error, const char *what) SG_CHECKED;
/* After a failure that is not CUDA's own text: SG_OK, unless the device is lost or else at fault.
 */
sg_status sg_cuda_check_device(const char *what) SG_CHECKED;
extern const sg_device sg_cuda_device;
/* The CUDA that this was compiled with: 13000. */
int sg_cuda_version(void);
/* Take that GPU, and see whether our kernels run on it. */
sg_status sg_cuda_start(int ordinal) SG_CHECKED;
/* "cuda sm_90 132 MP" */
void sg_cuda_describe_device(char *text, size_t bytes);
/* sg_backend's: the GPU is chosen anew in each thread. */
void sg_cuda_enter_thread(void);

/* shards.cu: sg_device's add_shards. */
sg_status sg_cuda_add_shards(void *queue, float *const grads[], int n, int64_t floats,
                             float *step) SG_CHECKED;

/* augment.cu: sg_device's augment. */
sg_status sg_cuda_augment(void *queue, const struct sg_warp_job *jobs, int64_t n,
                          const uint8_t *kept, const uint8_t *staged, int64_t side,
                          uint8_t *image) SG_CHECKED;

/* layout.cu: output 0 of `a`, pictures of few channels that `to` has innermost, becomes
 * factor x + shift, x the bytes of input 0, N C H W. */
enum { SG_CUDA_COLOURS = 4 };
sg_status sg_cuda_colours(const sg_args *a, sg_layout to, float factor, float shift) SG_CHECKED;

/* layout.cu: as sg_backend's. */
sg_status sg_cuda_convert(void *context, const sg_value *v, sg_layout from, sg_layout to,
                          sg_kernel_plan *plan) SG_CHECKED;

/* `have` as in sg_backend; the plan comes zeroed. */
typedef sg_status (*sg_cuda_select)(sg_cuda *cuda, const sg_node *node, const sg_layout have[],
                                    sg_kernel_plan *plan);
#define SG_CUDA(name)                                                                              \
    sg_status sg_cuda_select_##name(sg_cuda *cuda, const sg_node *node, const sg_layout have[],    \
                                    sg_kernel_plan *plan) SG_CHECKED;
#include "kernels.def"
#undef SG_CUDA

/* What programs that are opened from now on use: a process has one device, and one of these. The
 * vendor's handles must outlive the programs; NULL: each program has its own. At first fp32 and
 * NULL. */
void sg_cuda_use(sg_cuda_precision precision, sg_cuda_vendor *vendor);

extern const sg_backend sg_backend_cuda;

#ifdef __cplusplus
}
#endif
#endif
