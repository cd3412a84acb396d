/* Dropout: ops/dropout.c. Four neighbouring elements share the four words of a Philox counter, and
 * a thread takes four such groups, so that its key, which costs as much as a group's words, is made
 * once for 16 elements. The step's part of the key is read from the step block in device memory:
 * all arguments of the kernel are the same in every step. */
#include "channels.h"
#include "philox.h"

enum { kEach = 4 };

typedef struct {
    int64_t count;
    uint32_t threshold;
    float scale;
} dropout_state;

/* V elements at once, 4 or 1; y may be x. */
template <typename T, int V>
__global__ void dropout_kernel(const T *x, const int32_t *step_key, T *y, int64_t count,
                               uint64_t place, uint32_t threshold, float scale) {
    int64_t first = (int64_t)blockIdx.x * kThreads * kEach + threadIdx.x;
    uint64_t key = dropout_key(step_key, place);

    for (int e = 0; e < kEach; e++) {
        int64_t group = first + e * kThreads, i = group * kPack;
        philox4 r;

        if (i >= count) return;
        r = philox(key, (uint64_t)group);
        if (V == kPack && i + kPack <= count) {
            floats<kPack> v = load<kPack>(x + i);

            for (int k = 0; k < kPack; k++) v.v[k] = r.word[k] >= threshold ? scale * v.v[k] : 0.0f;
            store(y + i, v);
            continue;
        }
        for (int k = 0; k < kPack; k++) {
            if (i + k >= count) continue;
            y[i + k] = from_float<T>(r.word[k] >= threshold ? scale * to_float(x[i + k]) : 0.0f);
        }
    }
}

template <typename T, int V> static sg_status launch(const sg_args *a) {
    const dropout_state *s = static_cast<const dropout_state *>(a->state);
    const sg_dropout_attr *attr = static_cast<const sg_dropout_attr *>(a->node->attr);

    SG_LAUNCH((dropout_kernel<T, V>), blocks_for(s->count, kThreads * kEach * kPack), kThreads, 0,
              (cudaStream_t)a->queue, static_cast<const T *>(a->in[0]),
              static_cast<const int32_t *>(a->in[1]), static_cast<T *>(a->out[0]), s->count,
              sg_dropout_place(attr, a->info->shard), s->threshold, s->scale);
    return sg_cuda_launched(a);
}

/* What comes from outside a program may begin anywhere. */
template <typename T> static sg_status dropout_run(const sg_args *a) {
    const dropout_state *s = static_cast<const dropout_state *>(a->state);
    uintptr_t ends = reinterpret_cast<uintptr_t>(a->in[0]) | reinterpret_cast<uintptr_t>(a->out[0]);

    if (s->count == 0) return SG_OK;
    return ends % (kPack * sizeof(T)) == 0 ? launch<T, kPack>(a) : launch<T, 1>(a);
}

/* In the order of PLAIN, where an element's place is its index. */
extern "C" sg_status sg_cuda_select_dropout(sg_cuda *, const sg_node *node, const sg_layout have[],
                                            sg_kernel_plan *plan) {
    const sg_dropout_attr *attr = static_cast<const sg_dropout_attr *>(node->attr);
    bool half = sg_cuda_is_bf16(sg_cuda_common_layout(node, have));
    dropout_state s = {sg_cuda_dims_of(&node->out[0]).count, sg_dropout_threshold(attr),
                       sg_dropout_scale(attr)};

    sg_cuda_plan(plan, node, half ? dropout_run<bf16> : dropout_run<float>,
                 half ? SG_CUDA_PLAIN_BF16 : SG_CUDA_PLAIN);
    plan->inplace[0] = 0;
    return sg_cuda_plan_state(plan, &s, sizeof s);
}
