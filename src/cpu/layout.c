/* Conversions between layouts: PLAIN <-> BLOCKED by transposes, filters by oneDNN.
 *
 * A filter whose channels are not multiples of kBlock is padded with zeros on the way to its
 * private format, and cropped on the way back, in scratch memory. Both are small. */
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "cpu/backend_cpu.h"
#include "cpu/simd.h"

static void pack_blocks(const float *x, float *y, int64_t N, int64_t C, int64_t HW) {
    for (int64_t n = 0; n < N; n++, x += C * HW) {
        for (int64_t c0 = 0; c0 < C; c0 += kBlock, y += kBlock * HW) {
            int channels = C - c0 < kBlock ? (int)(C - c0) : kBlock;
            const float *xc = x + c0 * HW;
            int64_t p = 0;

            for (; p + kBlock <= HW; p += kBlock) {
                vec r[kBlock];

                for (int c = 0; c < kBlock; c++)
                    r[c] = c < channels ? vec_load(xc + c * HW + p) : vec_zero();
                vec_transpose(r);
                for (int i = 0; i < kBlock; i++) vec_store(y + (p + i) * kBlock, r[i]);
            }
            for (; p < HW; p++)
                for (int c = 0; c < kBlock; c++)
                    y[p * kBlock + c] = c < channels ? xc[c * HW + p] : 0.0f;
        }
    }
}

static void unpack_blocks(const float *x, float *y, int64_t N, int64_t C, int64_t HW) {
    for (int64_t n = 0; n < N; n++, y += C * HW) {
        for (int64_t c0 = 0; c0 < C; c0 += kBlock, x += kBlock * HW) {
            int channels = C - c0 < kBlock ? (int)(C - c0) : kBlock;
            float *yc = y + c0 * HW;
            int64_t p = 0;

            for (; p + kBlock <= HW; p += kBlock) {
                vec r[kBlock];

                for (int i = 0; i < kBlock; i++) r[i] = vec_load(x + (p + i) * kBlock);
                vec_transpose(r);
                for (int c = 0; c < channels; c++) vec_store(yc + c * HW + p, r[c]);
            }
            for (; p < HW; p++)
                for (int c = 0; c < channels; c++) yc[c * HW + p] = x[p * kBlock + c];
        }
    }
}

/* --- kernels ---------------------------------------------------------------------------------- */

typedef struct {
    size_t bytes; /* of a copy */
    int64_t N, C, HW;
} move_state;

static sg_status copy(const sg_args *a) {
    const move_state *s = a->state;

    if (a->in[0] != a->out[0]) memcpy(a->out[0], a->in[0], s->bytes);
    return SG_OK;
}

static sg_status pack(const sg_args *a) {
    const move_state *s = a->state;

    pack_blocks(a->in[0], a->out[0], s->N, s->C, s->HW);
    return SG_OK;
}

static sg_status unpack(const sg_args *a) {
    const move_state *s = a->state;

    unpack_blocks(a->in[0], a->out[0], s->N, s->C, s->HW);
    return SG_OK;
}

typedef struct {
    sg_dnnl_op *op;       /* owned */
    bool pad;             /* PLAIN -> private; else private -> PLAIN */
    int64_t OC, IC, taps; /* the value's: taps = KH * KW */
    int64_t OCP, ICP;     /* padded; equal: no scratch */
    size_t op_scratch;
} filter_state;

static void filter_release(void *state) {
    filter_state *s = state;

    if (s) sg_dnnl_op_destroy(s->op);
    sg_free(s);
}

static bool padded(const filter_state *s) { return s->OC != s->OCP || s->IC != s->ICP; }

static sg_status filter_move(const sg_args *a) {
    const filter_state *s = a->state;
    float *plain = (float *)((char *)a->scratch + s->op_scratch);
    const void *in[1] = {a->in[0]};
    size_t row = (size_t)(s->IC * s->taps), row_padded = (size_t)(s->ICP * s->taps);

    if (!padded(s)) return sg_dnnl_op_run(s->op, in, a->out[0], a->scratch);
    if (s->pad) {
        memset(plain, 0, (size_t)s->OCP * row_padded * sizeof(float));
        for (int64_t o = 0; o < s->OC; o++)
            memcpy(plain + (size_t)o * row_padded, (const float *)a->in[0] + (size_t)o * row,
                   row * sizeof(float));
        in[0] = plain;
        return sg_dnnl_op_run(s->op, in, a->out[0], a->scratch);
    }
    SG_TRY(sg_dnnl_op_run(s->op, in, plain, a->scratch));
    for (int64_t o = 0; o < s->OC; o++)
        memcpy((float *)a->out[0] + (size_t)o * row, plain + (size_t)o * row_padded,
               row * sizeof(float));
    return SG_OK;
}

static sg_status convert_filter(sg_cpu *cpu, const sg_value *v, sg_layout from, sg_layout to,
                                sg_kernel_plan *plan) {
    sg_layout format = from >= SG_LAYOUT_PRIVATE ? from : to;
    sg_shape shape = sg_dnnl_filter_shape(cpu->dnnl, format - SG_LAYOUT_PRIVATE);
    filter_state *s;
    sg_status st;

    if (v->shape.rank != 4 || (from != SG_LAYOUT_PLAIN && from < SG_LAYOUT_PRIVATE) ||
        (to != SG_LAYOUT_PLAIN && to < SG_LAYOUT_PRIVATE))
        return sg_fail(SG_ERR_UNSUPPORTED, "%s (cpu): no conversion from layout %d to %d",
                       v->node->name, from, to);
    s = sg_calloc(1, sizeof *s);
    if (!s) return sg_fail(SG_ERR_OOM, "cpu: no memory for a conversion");
    st = sg_dnnl_reorder_create(
        cpu->dnnl, from == SG_LAYOUT_PLAIN ? SG_DNNL_PLAIN : from - SG_LAYOUT_PRIVATE,
        to == SG_LAYOUT_PLAIN ? SG_DNNL_PLAIN : to - SG_LAYOUT_PRIVATE, &s->op);
    if (st != SG_OK) {
        sg_free(s);
        return st;
    }
    s->pad = from == SG_LAYOUT_PLAIN;
    s->OC = v->shape.dim[0];
    s->IC = v->shape.dim[1];
    s->taps = v->shape.dim[2] * v->shape.dim[3];
    s->OCP = shape.dim[0];
    s->ICP = shape.dim[1];
    if (from != SG_LAYOUT_PLAIN && to != SG_LAYOUT_PLAIN) { /* private to private: no crop */
        s->OC = s->OCP;
        s->IC = s->ICP;
    }
    s->op_scratch = sg_dnnl_op_scratch(s->op);
    plan->run = filter_move;
    plan->state = s;
    plan->release = filter_release;
    plan->scratch = s->op_scratch;
    if (padded(s)) plan->scratch += (size_t)(s->OCP * s->ICP * s->taps) * sizeof(float);
    snprintf(plan->label, sizeof plan->label, "onednn %s", sg_dnnl_op_label(s->op));
    return SG_OK;
}

sg_status SG_BLOCKED(sg_cpu_convert)(void *context, const sg_value *v, sg_layout from, sg_layout to,
                                     sg_kernel_plan *plan) {
    sg_cpu_dims d = sg_cpu_dims_of(v, kBlock);
    move_state s = {0, d.N, d.C, d.HW};

    plan->in[0] = from;
    plan->out[0] = to;
    snprintf(plan->label, sizeof plan->label, "cpu");
    if (from == to) {
        s.bytes = sg_backend_cpu.bytes(context, v, from);
        plan->run = copy;
    } else if (from == SG_LAYOUT_PLAIN && to == SG_LAYOUT_BLOCKED) {
        plan->run = pack;
    } else if (from == SG_LAYOUT_BLOCKED && to == SG_LAYOUT_PLAIN) {
        plan->run = unpack;
    } else {
        return convert_filter(context, v, from, to, plan);
    }
    return sg_cpu_plan_state(plan, &s, sizeof s);
}
