/* The detector's own ops on lists of anchors: boxes two anchors at a time, the focal loss eight
 * logits at a time.
 *
 * The assigner and the CIoU ops stay with their reference kernels, by measurement: they look at the
 * few anchors near a truth, one after the other and in double, and take 0.2 % of a training step.
 */
#include <math.h>
#include <stdio.h>

#include "cpu/backend_cpu.h"
#include "cpu/simd.h"
#include "ops/detect.h"

/* --- box_decode, box_decode_dx ---------------------------------------------------------------- */

/* `n` floats (4 or 8: one anchor or two) of x, y, log w, log h; cell: the centres' (x, y, 0, 0). */
SG_INLINE void decode8(const float *raw, float *box, int n, __m256 cell, __m256 stride) {
    const float side = 0.5f * SG_BOX_UNIT; /* strides from the centre to a border */
    const __m256 half = _mm256_setr_ps(-side, -side, side, side, -side, -side, side, side);
    __m256 r = vec_load_some(raw, n), centre, size;

    centre = _mm256_mul_ps(_mm256_add_ps(cell, r), stride);
    size = _mm256_max_ps(_mm256_set1_ps(SG_RAW_SIZE_MIN), r); /* the second operand for a NaN */
    size = _mm256_min_ps(_mm256_set1_ps(SG_RAW_SIZE_MAX), size);
    size = _mm256_mul_ps(vec_exp(size), stride);
    centre = _mm256_permute_ps(centre, 0x44);                  /* x y x y */
    size = _mm256_mul_ps(_mm256_permute_ps(size, 0xEE), half); /* -w/2 -h/2 w/2 h/2 */
    vec_store_some(box, n, _mm256_add_ps(centre, size));
}

static sg_status box_decode_run(const sg_args *a) {
    const sg_anchors *anchors = a->node->attr;
    const float *raw = a->in[0];
    float *box = a->out[0];

    for (int64_t n = 0; n < a->node->out[0].shape.dim[0]; n++) {
        for (int i = 0; i < anchors->levels; i++) {
            const __m256 stride = _mm256_set1_ps((float)anchors->stride[i]);
            int64_t W = anchors->width[i];

            for (int64_t row = 0; row < anchors->height[i]; row++, raw += 4 * W, box += 4 * W) {
                float y = (float)row + 0.5f;

                for (int64_t col = 0; col < W; col += 2) {
                    float x = (float)col + 0.5f;
                    __m256 cell = _mm256_setr_ps(x, y, 0.0f, 0.0f, x + 1.0f, y, 0.0f, 0.0f);

                    decode8(raw + 4 * col, box + 4 * col, W - col < 2 ? 4 : 8, cell, stride);
                }
            }
        }
    }
    return SG_OK;
}

SG_INLINE void decode_dx8(const float *raw, const float *dy, float *dx, int n, __m256 stride) {
    const __m256 zero = _mm256_setzero_ps(), half = _mm256_set1_ps(0.5f * SG_BOX_UNIT);
    __m256 r = vec_load_some(raw, n), d = vec_load_some(dy, n);
    __m256 other = _mm256_permute_ps(d, 0x4E); /* xmax ymax xmin ymin */
    __m256 centre = _mm256_mul_ps(stride, _mm256_add_ps(d, other)), size, silent;

    size = _mm256_mul_ps(_mm256_mul_ps(half, vec_exp(r)), stride);
    size = _mm256_mul_ps(size, _mm256_sub_ps(d, other)); /* lanes 2 and 3: max - min */
    silent =
        _mm256_and_ps(_mm256_cmp_ps(d, zero, _CMP_EQ_OQ), _mm256_cmp_ps(other, zero, _CMP_EQ_OQ));
    silent = _mm256_or_ps(silent, _mm256_cmp_ps(r, _mm256_set1_ps(SG_RAW_SIZE_MIN), _CMP_LT_OQ));
    silent = _mm256_or_ps(silent, _mm256_cmp_ps(r, _mm256_set1_ps(SG_RAW_SIZE_MAX), _CMP_GT_OQ));
    size = _mm256_andnot_ps(silent, size);
    vec_store_some(dx, n, _mm256_blend_ps(centre, size, 0xCC));
}

static sg_status box_decode_dx_run(const sg_args *a) {
    const sg_anchors *anchors = a->node->attr;
    const float *raw = a->in[0], *dy = a->in[1];
    float *dx = a->out[0];

    for (int64_t n = 0; n < a->node->out[0].shape.dim[0]; n++) {
        for (int i = 0; i < anchors->levels; i++) {
            const __m256 stride = _mm256_set1_ps((float)anchors->stride[i]);
            int64_t cells = anchors->height[i] * anchors->width[i];

            for (int64_t p = 0; p < cells; p += 2)
                decode_dx8(raw + 4 * p, dy + 4 * p, dx + 4 * p, cells - p < 2 ? 4 : 8, stride);
            raw += 4 * cells;
            dy += 4 * cells;
            dx += 4 * cells;
        }
    }
    return SG_OK;
}

/* --- quality_focal_loss ----------------------------------------------------------------------- */

typedef struct {
    int64_t count;
    float beta;
} focal_state;

/* log(1 + e), 0 <= e <= 1: Cephes' logf of u = 1 + e, corrected for the rounding of u. */
SG_INLINE __m256 log1p8(__m256 e) {
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256 u = _mm256_add_ps(one, e), lost = _mm256_sub_ps(e, _mm256_sub_ps(u, one)), x, z, p;
    __m256 above = _mm256_cmp_ps(u, _mm256_set1_ps(1.41421356f), _CMP_GT_OQ);

    x = _mm256_blendv_ps(u, _mm256_mul_ps(u, _mm256_set1_ps(0.5f)), above);
    x = _mm256_sub_ps(x, one);
    z = _mm256_mul_ps(x, x);
    p = _mm256_set1_ps(7.0376836292e-2f);
    p = _mm256_fmadd_ps(p, x, _mm256_set1_ps(-1.1514610310e-1f));
    p = _mm256_fmadd_ps(p, x, _mm256_set1_ps(1.1676998740e-1f));
    p = _mm256_fmadd_ps(p, x, _mm256_set1_ps(-1.2420140846e-1f));
    p = _mm256_fmadd_ps(p, x, _mm256_set1_ps(1.4249322787e-1f));
    p = _mm256_fmadd_ps(p, x, _mm256_set1_ps(-1.6668057665e-1f));
    p = _mm256_fmadd_ps(p, x, _mm256_set1_ps(2.0000714765e-1f));
    p = _mm256_fmadd_ps(p, x, _mm256_set1_ps(-2.4999993993e-1f));
    p = _mm256_fmadd_ps(p, x, _mm256_set1_ps(3.3333331174e-1f));
    p = _mm256_mul_ps(_mm256_mul_ps(p, x), z);
    p = _mm256_fnmadd_ps(_mm256_set1_ps(0.5f), z, p);
    p = _mm256_add_ps(_mm256_add_ps(x, p), lost);
    return _mm256_add_ps(p, _mm256_and_ps(above, _mm256_set1_ps(0.693147181f)));
}

SG_INLINE __m256 abs8(__m256 x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }

/* |d|^power; the usual powers without pow. */
SG_INLINE __m256 power8(__m256 d, float power) {
    float v[8];

    d = abs8(d);
    if (power == 0.0f) return _mm256_set1_ps(1.0f);
    if (power == 1.0f) return d;
    if (power == 2.0f) return _mm256_mul_ps(d, d);
    _mm256_storeu_ps(v, d);
    for (int i = 0; i < 8; i++) v[i] = powf(v[i], power);
    return _mm256_loadu_ps(v);
}

typedef struct {
    __m256 s, bce; /* sigmoid, cross-entropy */
} logits8;

SG_INLINE logits8 logits_of(__m256 z, __m256 t) {
    const __m256 one = _mm256_set1_ps(1.0f), zero = _mm256_setzero_ps();
    __m256 e = vec_exp_minus(abs8(z));
    __m256 above = _mm256_blendv_ps(e, one, _mm256_cmp_ps(z, zero, _CMP_GE_OQ));
    logits8 l;

    l.s = _mm256_div_ps(above, _mm256_add_ps(one, e));
    l.bce = _mm256_add_ps(_mm256_sub_ps(vec_relu(z), _mm256_mul_ps(z, t)), log1p8(e));
    return l;
}

static sg_status quality_focal_loss_run(const sg_args *a) {
    const focal_state *s = a->state;
    const float *z = a->in[0], *t = a->in[1];
    dvec sum = dvec_zero();

    for (int64_t i = 0; i < s->count; i += 8) {
        int n = s->count - i < 8 ? (int)(s->count - i) : 8;
        __m256 target = vec_load_some(t + i, n), loss;
        logits8 l = logits_of(vec_load_some(z + i, n), target);

        loss = _mm256_mul_ps(power8(_mm256_sub_ps(l.s, target), s->beta), l.bce);
        dvec_add(&sum, _mm256_and_ps(loss, _mm256_castsi256_ps(mask8(n))));
    }
    *(float *)a->out[0] = (float)dvec_total(sum);
    return SG_OK;
}

static sg_status quality_focal_loss_dx_run(const sg_args *a) {
    const focal_state *s = a->state;
    const __m256 one = _mm256_set1_ps(1.0f), sign = _mm256_set1_ps(-0.0f);
    const __m256 dloss = _mm256_set1_ps(*(const float *)a->in[2]);
    const __m256 beta = _mm256_set1_ps(s->beta);
    const float *z = a->in[0], *t = a->in[1];
    float *dz = a->out[0];

    for (int64_t i = 0; i < s->count; i += 8) {
        int n = s->count - i < 8 ? (int)(s->count - i) : 8;
        __m256 target = vec_load_some(t + i, n), d, slope, pull;
        logits8 l = logits_of(vec_load_some(z + i, n), target);

        d = _mm256_sub_ps(l.s, target);
        slope = _mm256_mul_ps(power8(d, s->beta), d);
        if (s->beta > 0.0f) {
            /* beta |d|^(beta - 1) sign(d) s (1 - s) bce, 0 at d = 0 */
            pull = _mm256_mul_ps(beta, power8(d, s->beta - 1.0f));
            pull = _mm256_or_ps(pull, _mm256_and_ps(d, sign));
            pull = _mm256_mul_ps(_mm256_mul_ps(pull, l.s),
                                 _mm256_mul_ps(_mm256_sub_ps(one, l.s), l.bce));
            slope = _mm256_add_ps(
                slope, _mm256_and_ps(pull, _mm256_cmp_ps(d, _mm256_setzero_ps(), _CMP_NEQ_UQ)));
        }
        vec_store_some(dz + i, n, _mm256_mul_ps(dloss, slope));
    }
    return SG_OK;
}

/* --- selection -------------------------------------------------------------------------------- */

static sg_status select_focal(const sg_node *node, const sg_layout have[], sg_kernel run,
                              sg_kernel_plan *plan) {
    sg_layout layout = SG_LAYOUT_PLAIN; /* padding would count: s is 0.5 at 0 */
    focal_state s = {sg_shape_count(&node->in[0]->shape),
                     ((const sg_focal_attr *)node->attr)->beta};

    (void)have;
    sg_cpu_plan(plan, node, run, layout);
    return sg_cpu_plan_state(plan, &s, sizeof s);
}

sg_status sg_cpu_select_quality_focal_loss(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                                           sg_kernel_plan *plan) {
    (void)cpu;
    return select_focal(node, have, quality_focal_loss_run, plan);
}

sg_status sg_cpu_select_quality_focal_loss_dx(sg_cpu *cpu, const sg_node *node,
                                              const sg_layout have[], sg_kernel_plan *plan) {
    (void)cpu;
    plan->inplace[0] = 0;
    return select_focal(node, have, quality_focal_loss_dx_run, plan);
}

sg_status sg_cpu_select_box_decode(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                                   sg_kernel_plan *plan) {
    (void)cpu;
    (void)have;
    sg_cpu_plan(plan, node, box_decode_run, SG_LAYOUT_PLAIN);
    plan->inplace[0] = 0;
    return SG_OK;
}

sg_status sg_cpu_select_box_decode_dx(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                                      sg_kernel_plan *plan) {
    (void)cpu;
    (void)have;
    sg_cpu_plan(plan, node, box_decode_dx_run, SG_LAYOUT_PLAIN);
    plan->inplace[0] = 1;
    return SG_OK;
}

/* See the top of the file. */
static sg_status select_sparse(const sg_node *node, sg_kernel_plan *plan) {
    SG_TRY(sg_select_reference(node, plan));
    snprintf(plan->label, sizeof plan->label, "cpu");
    return SG_OK;
}

#define SPARSE(name)                                                                               \
    sg_status sg_cpu_select_##name(sg_cpu *cpu, const sg_node *node, const sg_layout have[],       \
                                   sg_kernel_plan *plan) {                                         \
        (void)cpu;                                                                                 \
        (void)have;                                                                                \
        return select_sparse(node, plan);                                                          \
    }

SPARSE(detect_assign)
SPARSE(ciou_alpha)
SPARSE(ciou_loss)
SPARSE(ciou_loss_dx)
