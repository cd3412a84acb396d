/* Bias and activation over the output of a convolution or a product, in place but for the sum,
 * where it is kept: each is read and written once, so that memory is all that counts; blocks lie as
 * channels.h says. */
#include "epilogue.h"

#include "activation.h"
#include "channels.h"

typedef struct {
    sg_cuda_pixels p;
    const float *b; /* (C) or NULL */
    void *z;        /* or NULL */
    sg_act act;
    const sg_args *a;
} epilogue;

/* z may be NULL. */
template <typename T, int V, bool Inner, sg_act Act>
__global__ void __launch_bounds__(kThreads, kResident)
    epilogue_kernel(const float *b, T *z, T *y, sg_cuda_pixels p) {
    int64_t c = first_channel<V>();
    floats<V> bias = {};

    if (c >= p.C) return;
    if (b) bias = load_channels<V>(b, c);
    by_pixels<kGroup>(p, [&](auto at) {
        auto v = load_pixels<V, Inner>(z ? z : y, p, at, c);

        for (int i = 0; i < v.n; i++) v.v[i] += bias.v[i % V];
        if (z && b) store_pixels<V, Inner>(z, p, at, c, v);
        for (int i = 0; i < v.n; i++) v.v[i] = act_value(Act, v.v[i]);
        store_pixels<V, Inner>(y, p, at, c, v);
    });
}

template <typename T, int V, bool Inner, sg_act Act> static sg_status launch_as(const epilogue *e) {
    SG_LAUNCH((epilogue_kernel<T, V, Inner, Act>), grid_of(e->p), block_of(e->p), 0,
              (cudaStream_t)e->a->queue, e->b, static_cast<T *>(e->z),
              static_cast<T *>(e->a->out[0]), e->p);
    return sg_cuda_launched(e->a);
}

template <typename T, int V, bool Inner> static sg_status launch(const epilogue *e) {
    if (e->act == SG_ACT_GELU) return launch_as<T, V, Inner, SG_ACT_GELU>(e);
    return SG_BY_ACT(e->act, launch_as, T, V, Inner, e);
}

extern "C" sg_status sg_cuda_epilogue(const sg_args *a, sg_layout layout, const float *b, void *z,
                                      sg_act act) {
    epilogue e = {sg_cuda_pixels_of(&a->node->out[0], layout, kGroup, INT64_MAX), b, z, act, a};

    if (e.p.M * e.p.C == 0) return SG_OK;
    return sg_cuda_is_bf16(layout) ? SG_BY_CHANNELS(e.p, bf16, launch, &e)
                                   : SG_BY_CHANNELS(e.p, float, launch, &e);
}
