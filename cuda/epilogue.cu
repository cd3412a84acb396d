/* Bias and activation over the output of a convolution or a product, in place but for the sum,
 * where it is kept: each is read and written once, so that memory is all that counts; blocks lie as
 * channels.h says. */
#include "epilogue.h"

#include "activation.h"
#include "channels.h"

enum { kEach = 4 }; /* pixels of a thread, so that several loads are under way */

typedef struct {
    sg_cuda_pixels p;
    const float *b; /* (C) or NULL */
    void *z;        /* or NULL */
    sg_act act;
    const sg_args *a;
} epilogue;

/* z may be NULL. */
template <typename T, int V, bool Inner>
__global__ void epilogue_kernel(const float *b, T *z, T *y, sg_cuda_pixels p, sg_act act) {
    int64_t c = first_channel<V>(), end = chunk_end(p);
    floats<V> bias = {};

    if (c >= p.C) return;
    if (b) bias = load_channels<V>(b, c);
    for (int64_t m = chunk_start(p) + threadIdx.y; m < end; m += blockDim.y) {
        int64_t at = place<Inner>(p, m, c);
        floats<V> v = load<V>((z ? z : y) + at);

        for (int k = 0; k < V; k++) v.v[k] += bias.v[k];
        if (z && b) store(z + at, v);
        for (int k = 0; k < V; k++) v.v[k] = act_value(act, v.v[k]);
        store(y + at, v);
    }
}

template <typename T, int V, bool Inner> static sg_status launch(const epilogue *e) {
    SG_LAUNCH((epilogue_kernel<T, V, Inner>), grid_of(e->p), block_of(e->p), 0,
              (cudaStream_t)e->a->queue, e->b, static_cast<T *>(e->z),
              static_cast<T *>(e->a->out[0]), e->p, e->act);
    return sg_cuda_launched(e->a);
}

extern "C" sg_status sg_cuda_epilogue(const sg_args *a, sg_layout layout, const float *b, void *z,
                                      sg_act act) {
    epilogue e = {sg_cuda_pixels_of(&a->node->out[0], layout, kEach, INT64_MAX), b, z, act, a};

    if (e.p.M * e.p.C == 0) return SG_OK;
    return sg_cuda_is_bf16(layout) ? SG_BY_CHANNELS(e.p, bf16, launch, &e)
                                   : SG_BY_CHANNELS(e.p, float, launch, &e);
}
