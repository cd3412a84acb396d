/* oneDNN, wrapped: the only header and source that name its types, so that its version 3 is a
 * change of one file.
 *
 * A sg_dnnl_op is a primitive that is ready to run from any number of threads at a time: it keeps
 * no memory of its own (scratchpad mode "user"). oneDNN's order of summation depends on the number
 * of threads, so that number is fixed when an op is created and imposed again when it runs. */
#ifndef SG_CPU_DNNL_H
#define SG_CPU_DNNL_H

#include "core/status.h"
#include "core/tensor.h"

/* An engine and the formats that filters were given; one a program. */
typedef struct sg_dnnl sg_dnnl;
typedef struct sg_dnnl_op sg_dnnl_op;

/* Cap the instruction set at AVX2, if oneDNN has not been used yet in this process. */
void sg_dnnl_cap_avx2(void);
/* Whether oneDNN may use AVX-512 (F, BW, VL, DQ); settles the instruction set of this process. */
bool sg_dnnl_has_avx512(void);
void sg_dnnl_version(char *text, size_t bytes); /* "2.6.3" */

/* c = op(a) op(b), row-major, on this thread: (M, K) x (K, N) -> (M, N); a flag transposes that
 * operand first. */
sg_status sg_dnnl_matmul(const float *a, const float *b, float *c, int64_t M, int64_t N, int64_t K,
                         bool transpose_a, bool transpose_b) SG_CHECKED;

/* Fewer threads inside an op where OpenMP gives fewer (OMP_THREAD_LIMIT). */
sg_status sg_dnnl_open(int op_threads, sg_dnnl **out) SG_CHECKED;
void sg_dnnl_close(sg_dnnl *d);

typedef enum {
    SG_DNNL_FORWARD, /* x, w, b -> y */
    SG_DNNL_DATA,    /* w, dy -> dx */
    SG_DNNL_WEIGHTS  /* x, dy -> dw */
} sg_dnnl_pass;

/* Channels are counted as they lie in memory: padded to a multiple of `block` where blocked. */
typedef struct {
    sg_dnnl_pass pass;
    int64_t N, IC, IH, IW, OC, OH, OW, KH, KW, stride, pad, groups;
    bool bias, relu;       /* forward only */
    bool plain_x, plain_y; /* nchw instead of nChw8c or nChw16c */
    int block;             /* 8 or 16 */
} sg_dnnl_conv;

/* *filter: the number, in `d`, of the format that this convolution wants its filter in (or gives
 * the filter's gradient in). *out is the caller's and must not outlive `d`. */
sg_status sg_dnnl_conv_create(sg_dnnl *d, const sg_dnnl_conv *conv, sg_dnnl_op **out,
                              int *filter) SG_CHECKED;

/* The filter's dimensions in that format, padded, without the split into groups: (OC, IC / groups,
 * KH, KW); and its bytes. */
sg_shape sg_dnnl_filter_shape(const sg_dnnl *d, int format);
size_t sg_dnnl_filter_bytes(const sg_dnnl *d, int format);

enum { SG_DNNL_PLAIN = -1 };
/* A filter from one format to another, in[0] -> out. One of the two may be SG_DNNL_PLAIN: row-major
 * with padded dimensions. SG_ERR_UNSUPPORTED when the padded dimensions differ. */
sg_status sg_dnnl_reorder_create(sg_dnnl *d, int from, int to, sg_dnnl_op **out) SG_CHECKED;

void sg_dnnl_op_destroy(sg_dnnl_op *op);
size_t sg_dnnl_op_scratch(const sg_dnnl_op *op);    /* bytes, aligned to 64 */
const char *sg_dnnl_op_label(const sg_dnnl_op *op); /* "jit:avx2" */
/* in[]: as listed at sg_dnnl_pass, without the bias where there is none. SG_ERR_UNSUPPORTED: an op
 * of several threads inside a parallel region of OpenMP, which would have but one. */
sg_status sg_dnnl_op_run(const sg_dnnl_op *op, const void *const in[], void *out,
                         void *scratch) SG_CHECKED;

#endif
