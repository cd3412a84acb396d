/* How blocks lie on a picture, and the second stage of sums over its pixels: channels.h. */
#include "channels.h"

/* Columns of a block: few, so that there are blocks enough, and few parts for a thread. */
enum { kSumBlocks = 1024, kColumns = 2 };

/* Rows of the last axis of (N, T, C) are a matrix. */
static sg_cuda_dims dims_of(const sg_value *v) {
    sg_cuda_dims d = sg_cuda_dims_of(v);

    if (v->shape.rank == 3) d = {d.N * d.C, d.H, 1, 1, 1, d.count};
    return d;
}

sg_cuda_pixels sg_cuda_pixels_of(const sg_value *v, sg_layout layout, int64_t each, int64_t most) {
    sg_cuda_dims d = dims_of(v);
    sg_cuda_pixels p = {};
    int64_t rows, lanes;
    sg_cuda_chunks c;

    p.M = d.N * d.HW;
    p.C = d.C;
    p.HW = d.HW;
    p.inner = sg_cuda_is_nhwc(layout) || d.HW == 1;
    /* only what is made inside a program, as all but PLAIN is, is sure to be aligned */
    p.packed = layout != SG_CUDA_PLAIN && (sg_cuda_is_nhwc(layout) || sg_cuda_is_matrix(v)) &&
               d.C % kPack == 0;
    lanes = p.packed ? d.C / kPack : d.C;
    p.lanes = p.inner ? lanes_for(lanes, kMaxLanes) : 1;
    p.tiles = ceil_div(lanes, p.lanes);
    rows = kThreads / p.lanes;
    c = chunks_of(p.M, rows * each, rows * each, grid_side(most));
    p.chunk = c.each;
    p.chunks = c.n;
    return p;
}

int64_t sg_cuda_sum_chunks(const sg_value *v) {
    int64_t tiles = ceil_div(dims_of(v).C, kMaxLanes * kPack);

    return tiles < kSumBlocks ? kSumBlocks / (tiles > 0 ? tiles : 1) : 1;
}

/* A lane a column, the block's rows side by side. Of a single column all 256 threads add. */
__global__ void add_parts_kernel(const float *part, int64_t chunks, int64_t columns, int64_t C,
                                 float *out, float *more) {
    SG_SHARED(double, shared, kThreads);
    int64_t c = first_channel<1>(), step = blockDim.y;
    double sum[1] = {0.0};

    for (int64_t i = threadIdx.y; i < chunks && c < columns; i += kGroup * step) {
        float v[kGroup] = {};

        for (int e = 0; e < kGroup; e++)
            if (i + e * step < chunks) v[e] = part[(i + e * step) * columns + c];
        for (int e = 0; e < kGroup; e++) sum[0] += (double)v[e];
    }
    add_rows(shared, sum);
    if (threadIdx.y > 0 || c >= columns) return;
    if (c < C)
        out[c] = (float)sum[0];
    else
        more[c - C] = (float)sum[0];
}

sg_status sg_cuda_add_parts(const sg_args *a, const float *part, int64_t chunks, int64_t columns,
                            int64_t C, float *out, float *more) {
    int lanes = lanes_for(columns, kColumns);

    if (columns == 0) return SG_OK;
    SG_LAUNCH(add_parts_kernel, blocks_for(columns, lanes),
              dim3((unsigned)lanes, (unsigned)(kThreads / lanes)), 0, (cudaStream_t)a->queue, part,
              chunks, columns, C, out, more);
    return sg_cuda_launched(a);
}
