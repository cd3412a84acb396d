/* Concatenation and slices along axis 1. In every layout that is columns of matrices: N H W rows of
 * C columns where channels are innermost, else N rows of C H W. All three ops fill a matrix from
 * parts side by side, each a run of columns of another matrix, or zeros: one kernel.
 *
 * A block is 32 lanes along a row, fewer where it is short, more where there are few rows, and a
 * thread takes four rows. It moves four elements at once where every part begins and ends at a
 * multiple of four. */
#include "channels.h"

enum { kEach = 4 };

/* Columns before .. end - 1 of y, `before` being the end of the part before. */
typedef struct {
    int64_t end;
    int64_t width, first; /* columns of x, of which `first` is the part's first */
    const void *x;        /* in[input], set at the launch; NULL: zeros */
    int input;            /* or -1: zeros */
} gather_part;

/* Columns are counted in packs of V elements. */
typedef struct {
    int64_t rows, cols; /* of y */
    gather_part part[SG_MAX_IN];
    int n, pack;
} gather;

template <typename T, int V> __global__ void gather_kernel(const gather g, pack<T, V> *y) {
    int64_t col = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, step = blockDim.y;
    int64_t offset = col;
    const pack<T, V> *x;
    int64_t width;
    int i = 0;

    if (col >= g.cols) return;
    for (; col >= g.part[i].end; i++) offset = col - g.part[i].end;
    x = static_cast<const pack<T, V> *>(g.part[i].x);
    offset += g.part[i].first;
    width = g.part[i].width;
    for (int64_t row = blockIdx.y * step * kEach + threadIdx.y; row < g.rows;
         row += gridDim.y * step * kEach) {
        pack<T, V> v[kEach] = {};

        for (int e = 0; e < kEach && x; e++)
            if (row + e * step < g.rows) v[e] = x[(row + e * step) * width + offset];
        for (int e = 0; e < kEach; e++)
            if (row + e * step < g.rows) y[(row + e * step) * g.cols + col] = v[e];
    }
}

template <typename T, int V> static sg_status launch(const sg_args *a, const gather &g) {
    unsigned lanes = (unsigned)lanes_for(g.cols, kMaxLanes), rows;
    int64_t blocks;

    while (lanes < kThreads && kThreads / lanes > g.rows && lanes < g.cols) lanes *= 2;
    rows = kThreads / lanes;
    blocks = blocks_for(g.rows, rows * kEach);
    SG_LAUNCH((gather_kernel<T, V>), dim3(blocks_for(g.cols, lanes), grid_side(blocks)),
              dim3(lanes, rows), 0, (cudaStream_t)a->queue, g,
              static_cast<pack<T, V> *>(a->out[0]));
    return sg_cuda_launched(a);
}

template <typename T> static sg_status gather_run(const sg_args *a) {
    gather g = *static_cast<const gather *>(a->state);

    if (g.rows * g.cols == 0) return SG_OK;
    for (int i = 0; i < g.n; i++)
        if (g.part[i].input >= 0) g.part[i].x = a->in[g.part[i].input];
    return g.pack == kPack ? launch<T, kPack>(a, g) : launch<T, 1>(a, g);
}

/* --- selection -------------------------------------------------------------------------------- */

typedef struct {
    gather g;
    sg_layout layout;
    int64_t inner; /* columns of a channel */
} gather_builder;

static gather_builder begin(const sg_node *node, const sg_layout have[]) {
    gather_builder b = {};
    const sg_value *y = &node->out[0];

    b.layout = sg_cuda_common_layout(node, have);
    b.inner = 1;
    for (int d = 2; d < y->shape.rank; d++) b.inner *= y->shape.dim[d];
    b.g.rows = y->shape.dim[0];
    if (sg_cuda_is_nhwc(b.layout)) {
        b.g.rows *= b.inner;
        b.inner = 1;
    }
    return b;
}

/* The next `count` channels of y: those of an input that has `width`, from `first` on; or zeros. */
static void add_part(gather_builder *b, int64_t count, int input, int64_t width, int64_t first) {
    b->g.cols += count * b->inner;
    b->g.part[b->g.n++] = {b->g.cols, width * b->inner, first * b->inner, NULL, input};
}

/* Four at once: what is made inside a program, as all but PLAIN is, is aligned; what comes from
 * outside need not be. */
static void choose_pack(gather *g, sg_layout layout) {
    bool whole = layout != SG_CUDA_PLAIN;

    for (int i = 0; i < g->n; i++) {
        const gather_part *part = &g->part[i];

        whole = whole && (part->end | part->width | part->first) % kPack == 0;
    }
    g->pack = whole ? kPack : 1;
    if (!whole) return;
    g->cols /= kPack;
    for (int i = 0; i < g->n; i++) {
        g->part[i].end /= kPack;
        g->part[i].width /= kPack;
        g->part[i].first /= kPack;
    }
}

static sg_status finish(gather_builder *b, const sg_node *node, sg_kernel_plan *plan) {
    choose_pack(&b->g, b->layout);
    sg_cuda_plan(plan, node, sg_cuda_is_bf16(b->layout) ? gather_run<bf16> : gather_run<float>,
                 b->layout);
    return sg_cuda_plan_state(plan, &b->g, sizeof b->g);
}

extern "C" sg_status sg_cuda_select_concat(sg_cuda *, const sg_node *node, const sg_layout have[],
                                           sg_kernel_plan *plan) {
    gather_builder b = begin(node, have);

    for (int i = 0; i < node->n_in; i++) {
        int64_t channels = node->in[i]->shape.dim[1];

        add_part(&b, channels, i, channels, 0);
    }
    return finish(&b, node, plan);
}

extern "C" sg_status sg_cuda_select_slice(sg_cuda *, const sg_node *node, const sg_layout have[],
                                          sg_kernel_plan *plan) {
    const sg_slice_attr *attr = static_cast<const sg_slice_attr *>(node->attr);
    gather_builder b = begin(node, have);

    add_part(&b, attr->count, 0, node->in[0]->shape.dim[1], attr->start);
    return finish(&b, node, plan);
}

extern "C" sg_status sg_cuda_select_slice_dx(sg_cuda *, const sg_node *node, const sg_layout have[],
                                             sg_kernel_plan *plan) {
    const sg_slice_attr *attr = static_cast<const sg_slice_attr *>(node->attr);
    int64_t channels = node->in[0]->shape.dim[1];
    gather_builder b = begin(node, have);

    add_part(&b, attr->start, -1, 0, 0);
    add_part(&b, channels, 0, channels, 0);
    add_part(&b, attr->total - attr->start - channels, -1, 0, 0);
    return finish(&b, node, plan);
}
