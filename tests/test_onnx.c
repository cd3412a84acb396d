/* The writer of ONNX models and the interpreter that reads them back; the detector's ways in and
 * out. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "core/philox.h"
#include "data/letterbox.h"
#include "nn/detect_decode.h"
#include "onnx/boxes.h"
#include "onnx/convert.h"
#include "onnx/quantize.h"
#include "onnx/run.h"
#include "ops/ops.h"

static sg_onnx *begin(void) {
    sg_onnx *m;

    assert_int_equal(sg_onnx_create(&m), SG_OK);
    sg_onnx_scope(m, "test");
    return m;
}

/* One run of a model that then goes. */
static void run(sg_onnx *m, const sg_onnx_array *in, int n_in, sg_onnx_array *out, int n_out) {
    uint8_t *bytes;
    size_t size;

    assert_int_equal(sg_onnx_pack(m, &bytes, &size), SG_OK);
    if (sg_onnx_run(bytes, size, in, n_in, out, n_out) != SG_OK) fail_msg("%s", sg_last_error());
    sg_free(bytes);
    sg_onnx_destroy(m);
}

static sg_onnx_array floats(const char *name, int rank, const int64_t *dim, const float *data) {
    sg_onnx_array a;

    assert_int_equal(sg_onnx_array_init(&a, name, SG_ONNX_FLOAT, rank, dim), SG_OK);
    memcpy(a.data, data, sg_onnx_array_bytes(&a));
    return a;
}

static bool holds(const uint8_t *bytes, size_t size, const char *text) {
    size_t n = strlen(text);

    for (size_t i = 0; i + n <= size; i++)
        if (memcmp(bytes + i, text, n) == 0) return true;
    return false;
}

/* --- the writer ------------------------------------------------------------------------------- */

/* y = relu(x W + b), with all that a node may have. */
static sg_onnx *small_model(void) {
    static const float W[6] = {1, -2, 3, 4, 5, -6}, b[3] = {0.5f, 0, -0.5f};
    sg_onnx *m = begin();
    const char *x = sg_onnx_input(m, "x", SG_ONNX_FLOAT, "batch %d", 2), *y;
    const char *w = sg_onnx_tensor(m, "w", SG_ONNX_FLOAT, 2, (const int64_t[]){2, 3}, W);
    const char *bias = sg_onnx_tensor(m, "b", SG_ONNX_FLOAT, 1, (const int64_t[]){3}, b);

    y = sg_onnx_node(m, "Gemm", SG_ONNX_IN(x, w, bias),
                     SG_ONNX_WITH(sg_onnx_attr_int("transB", 0)));
    sg_onnx_output(m, "y", SG_ONNX_OP(m, "Relu", y), SG_ONNX_FLOAT, "batch 3");
    sg_onnx_about_f(m, "answer", "%d", 42);
    return m;
}

static void test_by_hand(void **state) {
    static const float x[4] = {1, 1, 2, -1}, want[6] = {5.5f, 3, 0, 0, 0, 11.5f};
    sg_onnx_array in = floats("x", 2, (const int64_t[]){2, 2}, x), out;

    (void)state;
    run(small_model(), &in, 1, &out, 1);
    assert_string_equal(out.name, "y");
    assert_int_equal(out.dim[0], 2);
    assert_int_equal(out.dim[1], 3);
    for (int i = 0; i < 6; i++) assert_true(((const float *)out.data)[i] == want[i]);
    sg_onnx_array_clear(&in);
    sg_onnx_array_clear(&out);
}

static void test_same_bytes(void **state) {
    uint8_t *bytes[2];
    size_t size[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        sg_onnx *m = small_model();

        assert_int_equal(sg_onnx_pack(m, &bytes[i], &size[i]), SG_OK);
        sg_onnx_destroy(m);
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    sg_free(bytes[0]);
    sg_free(bytes[1]);
}

/* A mistake is kept, whatever comes after it. */
static void test_missing_value(void **state) {
    sg_onnx *m = begin();
    const char *x = SG_ONNX_OP(m, "Relu", (const char *)NULL);
    uint8_t *bytes;
    size_t size;

    (void)state;
    assert_null(x);
    assert_null(SG_ONNX_OP(m, "Add", x, x));
    sg_onnx_output(m, "y", x, SG_ONNX_FLOAT, "1");
    assert_int_equal(sg_onnx_pack(m, &bytes, &size), SG_ERR_ARG);
    assert_string_equal(sg_last_error(), "onnx: Relu of test lacks an input");
    sg_onnx_destroy(m);
}

static void test_no_memory(void **state) {
    uint8_t *bytes = NULL;
    size_t size;
    long live = sg_mem_live();
    sg_status st = SG_ERR_OOM;

    (void)state;
    for (long n = 2; st != SG_OK; n++) { /* 1: sg_onnx_create, which begin wants to succeed */
        sg_onnx *m;

        sg_mem_fail_at(n);
        m = small_model();
        st = sg_onnx_pack(m, &bytes, &size);
        sg_mem_fail_at(0);
        sg_onnx_destroy(m);
        assert_true(st == SG_OK || st == SG_ERR_OOM);
    }
    sg_free(bytes);
    assert_int_equal(sg_mem_live(), live);
}

/* Nor to read one, nor to run it. */
static void test_no_memory_to_run(void **state) {
    static const float x[2] = {1, 2};
    sg_onnx_array in = floats("x", 2, (const int64_t[]){1, 2}, x), out;
    sg_onnx *m = small_model();
    sg_status st = SG_ERR_OOM;
    uint8_t *bytes;
    size_t size;
    long live;

    (void)state;
    assert_int_equal(sg_onnx_pack(m, &bytes, &size), SG_OK);
    live = sg_mem_live();
    for (long n = 1; st != SG_OK; n++) {
        sg_mem_fail_at(n);
        st = sg_onnx_run(bytes, size, &in, 1, &out, 1);
        sg_mem_fail_at(0);
        if (st == SG_OK) sg_onnx_array_clear(&out);
        if (st != SG_OK && st != SG_ERR_OOM) fail_msg("allocation %ld: %s", n, sg_last_error());
        assert_int_equal(sg_mem_live(), live);
    }
    sg_free(bytes);
    sg_onnx_array_clear(&in);
    sg_onnx_destroy(m);
}

/* --- the interpreter -------------------------------------------------------------------------- */

static void expect_failure(sg_onnx *m, sg_status want, const char *text) {
    static const float x[1] = {1};
    sg_onnx_array in = floats("x", 1, (const int64_t[]){1}, x), out;
    uint8_t *bytes;
    size_t size;

    assert_int_equal(sg_onnx_pack(m, &bytes, &size), SG_OK);
    assert_int_equal(sg_onnx_run(bytes, size, &in, 1, &out, 1), want);
    if (!strstr(sg_last_error(), text)) fail_msg("says: %s", sg_last_error());
    sg_free(bytes);
    sg_onnx_array_clear(&in);
    sg_onnx_destroy(m);
}

static void test_what_it_refuses(void **state) {
    sg_onnx *m = begin();
    const char *x = sg_onnx_input(m, "x", SG_ONNX_FLOAT, "1");

    (void)state;
    sg_onnx_output(m, "y", SG_ONNX_OP(m, "Tan", x), SG_ONNX_FLOAT, "1");
    expect_failure(m, SG_ERR_UNSUPPORTED, "the interpreter has no Tan");
    m = begin();
    x = sg_onnx_input(m, "z", SG_ONNX_FLOAT, "1");
    sg_onnx_output(m, "y", x, SG_ONNX_FLOAT, "1");
    expect_failure(m, SG_ERR_ARG, "the input z is not given");
    m = begin();
    x = sg_onnx_input(m, "x", SG_ONNX_FLOAT, "1");
    sg_onnx_output(m, "y", SG_ONNX_OP(m, "Relu", "nobody"), SG_ONNX_FLOAT, "1");
    expect_failure(m, SG_ERR_DATA, "reads nobody, which nothing makes before");
    m = begin();
    x = sg_onnx_input(m, "x", SG_ONNX_FLOAT, "1");
    x = SG_ONNX_OP(m, "Reshape", x, SG_ONNX_INTS(m, 2, 3));
    sg_onnx_output(m, "y", x, SG_ONNX_FLOAT, "1");
    expect_failure(m, SG_ERR_DATA, "1 elements become 6");
    m = begin();
    x = SG_ONNX_OP(m, "Relu", sg_onnx_input(m, "x", SG_ONNX_FLOAT, "1"));
    sg_onnx_scope(m, "other");
    x = SG_ONNX_OP(m, "Relu", x);
    sg_onnx_scope(m, "test");
    sg_onnx_output(m, "y", SG_ONNX_OP(m, "Relu", x), SG_ONNX_FLOAT, "1");
    expect_failure(m, SG_ERR_DATA, "two nodes are called test/Relu_0");
}

/* What only a damaged file says, and would be written or read beyond a tensor. x: (1, 1). */
static const char *same_axis(sg_onnx *m, const char *x) {
    return sg_onnx_node(m, "Transpose", SG_ONNX_IN(x),
                        SG_ONNX_WITH(sg_onnx_attr_ints("perm", 2, (const int64_t[]){0, 0})));
}

static const char *same_place(sg_onnx *m, const char *x) {
    return SG_ONNX_OP(m, "Unsqueeze", x, SG_ONNX_INTS(m, 1, 1));
}

static const char *few_starts(sg_onnx *m, const char *x) {
    return SG_ONNX_OP(m, "Slice", x, SG_ONNX_INTS(m, 0), SG_ONNX_INTS(m, 1, 1),
                      SG_ONNX_INTS(m, 0, 1));
}

static const char *few_ends(sg_onnx *m, const char *x) {
    return SG_ONNX_OP(m, "Slice", x, SG_ONNX_INTS(m, 0, 0), SG_ONNX_INTS(m, 1),
                      SG_ONNX_INTS(m, 0, 1));
}

static const char *far_start(sg_onnx *m, const char *x) {
    return sg_onnx_node(m, "Shape", SG_ONNX_IN(x),
                        SG_ONNX_WITH(sg_onnx_attr_int("start", INT64_C(1) << 32)));
}

static const char *large_window(sg_onnx *m, const char *x) {
    x = SG_ONNX_OP(m, "Unsqueeze", x, SG_ONNX_INTS(m, 0, 1));
    return sg_onnx_node(m, "MaxPool", SG_ONNX_IN(x),
                        SG_ONNX_WITH(sg_onnx_attr_ints("kernel_shape", 2, (const int64_t[]){1, 5}),
                                     sg_onnx_attr_ints("strides", 2, (const int64_t[]){1, 9})));
}

/* Boxes of one picture, scores of two. */
static const char *few_boxes(sg_onnx *m, const char *x) {
    static const float box[4] = {0, 0, 1, 1}, score[2] = {0.5f, 0.5f};
    const int64_t boxes[] = {1, 1, 4}, scores[] = {2, 1, 1};
    const char *least = sg_onnx_float(m, 0.1f);

    (void)x;
    return SG_ONNX_OP(m, "NonMaxSuppression",
                      sg_onnx_tensor(m, "boxes", SG_ONNX_FLOAT, 3, boxes, box),
                      sg_onnx_tensor(m, "scores", SG_ONNX_FLOAT, 3, scores, score),
                      SG_ONNX_INTS(m, 1), least, least);
}

static void test_what_no_export_says(void **state) {
    static const struct {
        const char *(*op)(sg_onnx *m, const char *x);
        const char *text;
    } cases[] = {{same_axis, "perm does not name each axis once"},
                 {same_place, "axis 1 is named twice"},
                 {few_starts, "as many starts and ends as axes"},
                 {few_ends, "as many starts and ends as axes"},
                 {far_start, "starts at 4294967296"},
                 {large_window, "a window larger than the picture"},
                 {few_boxes, "boxes and scores do not fit"}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sg_onnx *m = begin();
        const char *x = sg_onnx_input(m, "x", SG_ONNX_FLOAT, "1");

        x = cases[i].op(m, SG_ONNX_OP(m, "Unsqueeze", x, SG_ONNX_INTS(m, 1)));
        sg_onnx_output(m, "y", x, SG_ONNX_FLOAT, "1");
        expect_failure(m, SG_ERR_DATA, cases[i].text);
    }
}

/* Every byte of a model damaged in turn, and every length: an answer or a failure, no crash. */
static void test_damaged(void **state) {
    static const float x[2] = {1, 2};
    sg_onnx_array in = floats("x", 2, (const int64_t[]){1, 2}, x), out;
    sg_onnx *m = small_model();
    long live = sg_mem_live();
    uint8_t *bytes;
    size_t size;

    (void)state;
    assert_int_equal(sg_onnx_pack(m, &bytes, &size), SG_OK);
    for (size_t i = 0; i < size; i++) {
        uint8_t was = bytes[i];

        for (int change = 1; change < 256; change *= 4) {
            bytes[i] = was ^ (uint8_t)change;
            if (sg_onnx_run(bytes, size, &in, 1, &out, 1) == SG_OK) sg_onnx_array_clear(&out);
        }
        bytes[i] = was;
        if (sg_onnx_run(bytes, i, &in, 1, &out, 1) == SG_OK) sg_onnx_array_clear(&out);
    }
    sg_free(bytes);
    assert_int_equal(sg_mem_live(), live);
    sg_onnx_array_clear(&in);
    sg_onnx_destroy(m);
}

/* --- int8 ------------------------------------------------------------------------------------- */

enum { kChannels = 4, kSide = 6 };

static const char *draw_tensor(sg_onnx *m, const char *name, int rank, const int64_t *dim,
                               float size) {
    float data[kChannels * kChannels * 9];
    sg_random r = sg_random_init(sg_key_name(name));
    int64_t n = 1;

    for (int i = 0; i < rank; i++) n *= dim[i];
    /* filters of very different size: each has its own scale */
    for (int64_t i = 0; i < n; i++)
        data[i] = (2.0f * sg_random_float(&r) - 1.0f) * size * (i * dim[0] / n % 2 ? 0.01f : 1.0f);
    return sg_onnx_tensor(m, name, SG_ONNX_FLOAT, rank, dim, data);
}

/* A convolution under a SiLU, one added to it, a last one without. */
static sg_onnx *network(void) {
    const int64_t three[] = {kChannels, 3, 3, 3}, more[] = {kChannels, kChannels, 1, 1};
    const int64_t channels[] = {kChannels};
    sg_onnx *m = begin();
    const char *x = sg_onnx_input(m, "x", SG_ONNX_FLOAT, "n 3 %d %d", kSide, kSide), *y[2];

    for (int i = 0; i < 2; i++) {
        const char *w =
            i ? draw_tensor(m, "w1", 4, more, 1.0f) : draw_tensor(m, "w0", 4, three, 1.0f);
        const char *b = draw_tensor(m, i ? "b1" : "b0", 1, channels, 0.5f);
        const int64_t pad = !i;

        sg_onnx_scope(m, i ? "second" : "first");
        x = sg_onnx_node(
            m, "Conv", SG_ONNX_IN(x, w, b),
            SG_ONNX_WITH(sg_onnx_attr_ints("pads", 4, (const int64_t[]){pad, pad, pad, pad})));
        x = y[i] = SG_ONNX_OP(m, "Mul", x, SG_ONNX_OP(m, "Sigmoid", x));
    }
    sg_onnx_scope(m, "last");
    x = SG_ONNX_OP(m, "Add", y[0], y[1]);
    x = sg_onnx_node(
        m, "Conv",
        SG_ONNX_IN(x, draw_tensor(m, "w2", 4, more, 1.0f), draw_tensor(m, "b2", 1, channels, 0.5f)),
        SG_ONNX_WITH(sg_onnx_attr_int("group", 1)));
    sg_onnx_output(m, "y", x, SG_ONNX_FLOAT, "n %d %d %d", kChannels, kSide, kSide);
    sg_onnx_about(m, "kept", "so");
    return m;
}

static sg_onnx_array draw_input(const char *name, uint64_t key) {
    float x[2 * 3 * kSide * kSide];
    sg_random r = sg_random_init(key);

    for (size_t i = 0; i < sizeof x / sizeof x[0]; i++) x[i] = sg_random_float(&r);
    return floats(name, 4, (const int64_t[]){2, 3, kSide, kSide}, x);
}

static void check_close(const sg_onnx_array *got, const sg_onnx_array *want) {
    double top = 0.0, worst = 0.0;

    for (int64_t i = 0; i < sg_onnx_array_count(want); i++) {
        double a = (double)((const float *)got->data)[i],
               b = (double)((const float *)want->data)[i];

        assert_true(isfinite(a));
        worst = fmax(worst, fabs(a - b));
        top = fmax(top, fabs(b));
    }
    /* a few steps of 1/255 each; and not none, which would mean that nothing is quantised */
    if (!(worst <= 0.03 * top) || worst == 0.0) fail_msg("differs by %g of %g", worst, top);
}

static void test_int8(void **state) {
    sg_onnx_array seen = draw_input("x", 1), in = draw_input("x", 2), want, got;
    sg_onnx_ranges ranges, more;
    sg_onnx *m = network(), *q;
    uint8_t *bytes;
    size_t size;

    (void)state;
    assert_int_equal(sg_onnx_pack(m, &bytes, &size), SG_OK);
    assert_int_equal(sg_onnx_ranges_init(bytes, size, &ranges), SG_OK);
    assert_int_equal(sg_onnx_ranges_init(bytes, size, &more), SG_OK);
    assert_int_equal(sg_onnx_ranges_see(&ranges, bytes, size, &seen, 1), SG_OK);
    assert_int_equal(sg_onnx_ranges_see(&more, bytes, size, &in, 1), SG_OK);
    sg_onnx_ranges_join(&ranges, &more);
    assert_true(ranges.least[0] >= 0.0 && ranges.greatest[0] > 0.9 && ranges.greatest[0] < 1.0);
    assert_int_equal(sg_onnx_quantize(bytes, size, &ranges, &q), SG_OK);
    sg_free(bytes);
    run(m, &in, 1, &want, 1);
    assert_int_equal(sg_onnx_pack(q, &bytes, &size), SG_OK);
    assert_true(holds(bytes, size, "w0.quantized") && holds(bytes, size, "w1.quantized"));
    assert_false(holds(bytes, size, "w2.quantized")); /* the last one stays */
    assert_true(holds(bytes, size, "kept"));
    sg_free(bytes);
    run(q, &in, 1, &got, 1);
    check_close(&got, &want);
    sg_onnx_array_clear(&seen);
    sg_onnx_array_clear(&in);
    sg_onnx_array_clear(&want);
    sg_onnx_array_clear(&got);
    sg_onnx_ranges_clear(&ranges);
    sg_onnx_ranges_clear(&more);
}

/* Tokens (2, 5, 8) times a matrix, plus a bias. */
static sg_onnx *product(void) {
    sg_onnx *m = begin();
    const char *x = sg_onnx_input(m, "x", SG_ONNX_FLOAT, "n t 8"), *y;

    sg_onnx_scope(m, "linear");
    y = SG_ONNX_OP(m, "MatMul", x, draw_tensor(m, "w", 2, (const int64_t[]){8, 4}, 1.0f));
    y = SG_ONNX_OP(m, "Add", y, draw_tensor(m, "b", 1, (const int64_t[]){4}, 0.5f));
    sg_onnx_output(m, "y", y, SG_ONNX_FLOAT, "n t 4");
    return m;
}

static void test_int8_product(void **state) {
    float x[2 * 5 * 8];
    sg_random r = sg_random_init(3);
    sg_onnx_array in, want, got;
    sg_onnx_ranges ranges;
    sg_onnx *m = product(), *q;
    uint8_t *bytes;
    size_t size;

    (void)state;
    for (size_t i = 0; i < sizeof x / sizeof x[0]; i++) x[i] = 2.0f * sg_random_float(&r) - 1.5f;
    in = floats("x", 3, (const int64_t[]){2, 5, 8}, x);
    assert_int_equal(sg_onnx_pack(m, &bytes, &size), SG_OK);
    assert_int_equal(sg_onnx_ranges_init(bytes, size, &ranges), SG_OK);
    assert_int_equal(sg_onnx_ranges_see(&ranges, bytes, size, &in, 1), SG_OK);
    assert_int_equal(sg_onnx_quantize(bytes, size, &ranges, &q), SG_OK);
    sg_free(bytes);
    assert_int_equal(sg_onnx_pack(q, &bytes, &size), SG_OK);
    assert_true(holds(bytes, size, "w.quantized"));
    sg_free(bytes);
    run(m, &in, 1, &want, 1);
    run(q, &in, 1, &got, 1);
    check_close(&got, &want);
    sg_onnx_ranges_clear(&ranges);
    sg_onnx_array_clear(&in);
    sg_onnx_array_clear(&want);
    sg_onnx_array_clear(&got);
}

static void test_nothing_to_quantize(void **state) {
    sg_onnx *m = small_model(), *q;
    sg_onnx_ranges ranges;
    uint8_t *bytes;
    size_t size;

    (void)state;
    assert_int_equal(sg_onnx_pack(m, &bytes, &size), SG_OK);
    assert_int_equal(sg_onnx_ranges_init(bytes, size, &ranges), SG_OK);
    assert_int_equal(sg_onnx_quantize(bytes, size, &ranges, &q), SG_ERR_UNSUPPORTED);
    sg_onnx_ranges_clear(&ranges);
    sg_free(bytes);
    sg_onnx_destroy(m);
}

/* --- a picture's way in ----------------------------------------------------------------------- */

static sg_image noise(int64_t width, int64_t height) {
    sg_random r = sg_random_init(sg_key_mix((uint64_t)width, (uint64_t)height));
    sg_image image;

    assert_int_equal(sg_image_create(width, height, &image), SG_OK);
    for (int64_t i = 0; i < 3 * width * height; i++) image.rgb[i] = (uint8_t)sg_random_u32(&r);
    return image;
}

static sg_onnx_array picture(const sg_image *image) {
    const int64_t dim[] = {1, image->height, image->width, 3};
    sg_onnx_array a;

    assert_int_equal(sg_onnx_array_init(&a, "images", SG_ONNX_UINT8, 4, dim), SG_OK);
    memcpy(a.data, image->rgb, sg_onnx_array_bytes(&a));
    return a;
}

/* To the bit: larger and smaller, wide and tall, sizes that do not divide. */
static void check_letterbox(int64_t width, int64_t height, int64_t side) {
    sg_image image = noise(width, height);
    sg_onnx_array in = picture(&image), out;
    uint8_t *want = sg_malloc((size_t)(3 * side * side));
    sg_onnx *m = begin();
    sg_onnx_letterbox map;

    map = sg_onnx_letterbox_of(m, sg_onnx_input(m, "images", SG_ONNX_UINT8, "n h w 3"), side);
    sg_onnx_output(m, "pixels", map.pixels, SG_ONNX_FLOAT, "n 3 h w");
    run(m, &in, 1, &out, 1);
    assert_int_equal(sg_letterbox_image(&image, side, want, NULL), SG_OK);
    assert_int_equal(sg_onnx_array_count(&out), 3 * side * side);
    for (int64_t i = 0; i < 3 * side * side; i++)
        if (((const float *)out.data)[i] != (float)want[i])
            fail_msg("%lld x %lld into %lld, element %lld: %g, not %d", (long long)width,
                     (long long)height, (long long)side, (long long)i,
                     (double)((const float *)out.data)[i], want[i]);
    sg_free(want);
    sg_image_clear(&image);
    sg_onnx_array_clear(&in);
    sg_onnx_array_clear(&out);
}

static void test_letterbox(void **state) {
    static const int64_t sizes[][3] = {{32, 32, 32}, {64, 64, 32},  {100, 37, 64},  {37, 100, 64},
                                       {1, 1, 32},   {3, 200, 32},  {301, 299, 96}, {33, 32, 32},
                                       {31, 32, 32}, {640, 427, 64}};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        check_letterbox(sizes[i][0], sizes[i][1], sizes[i][2]);
}

/* --- boxes' way out --------------------------------------------------------------------------- */

enum { kPictures = 3, kMost = 5000 };

typedef struct {
    int64_t A, K;
    sg_nms_options nms;
    int64_t width, height, side; /* of the picture; width 0: boxes stay in input pixels */
} found_case;

/* Boxes about few places, of scores with ties, and some outside of the picture. */
static void draw_boxes(const found_case *c, float *boxes, float *scores) {
    sg_random r = sg_random_init(sg_key_mix((uint64_t)c->A, (uint64_t)c->K));

    for (int64_t a = 0; a < kPictures * c->A; a++) {
        float x = (float)sg_random_below(&r, 5) * 15.0f + 3.0f * sg_random_float(&r) - 12.0f;
        float y = (float)sg_random_below(&r, 5) * 15.0f + 3.0f * sg_random_float(&r) - 12.0f;

        boxes[4 * a] = x;
        boxes[4 * a + 1] = y;
        boxes[4 * a + 2] = x + 8.0f + 4.0f * sg_random_float(&r);
        boxes[4 * a + 3] = y + 8.0f + 4.0f * sg_random_float(&r);
        for (int64_t k = 0; k < c->K; k++) /* the last picture has nothing */
            scores[a * c->K + k] =
                a < (kPictures - 1) * c->A ? (float)sg_random_below(&r, 64) / 64.0f : 0.0f;
    }
}

static int64_t expected(const found_case *c, const float *boxes, const float *scores,
                        sg_detection *found) {
    sg_letterbox map = sg_letterbox_map(c->width, c->height, c->side);
    int64_t n = 0;

    if (c->width == 0)
        assert_int_equal(sg_nms(&c->nms, boxes, scores, c->A, c->K, found, &n), SG_OK);
    else
        assert_int_equal(sg_detect_decode(&c->nms, boxes, scores, c->A, c->K, &map, c->width,
                                          c->height, found, &n),
                         SG_OK);
    return n;
}

static void compare_found(const found_case *c, const float *rows, const float *boxes,
                          const float *scores) {
    sg_detection found[kMost];
    int64_t n = expected(c, boxes, scores, found);

    for (int64_t i = 0; i < c->nms.max_boxes; i++, rows += 6) {
        if (i >= n) {
            for (int k = 0; k < 6; k++) assert_true(rows[k] == 0.0f);
            continue;
        }
        assert_true(rows[4] == found[i].score);
        assert_true(rows[5] == (float)found[i].label);
        for (int k = 0; k < 4; k++)
            assert_true(fabs((double)rows[k] - (double)found[i].box[k]) <= 1e-4);
    }
}

static sg_onnx *found_model(const found_case *c) {
    sg_onnx *m = begin();
    const sg_onnx_nms nms = {c->A, c->K, c->nms.min_score, c->nms.max_iou, c->nms.max_boxes};
    const char *boxes = sg_onnx_input(m, "boxes", SG_ONNX_FLOAT, "n %lld 4", (long long)c->A);
    const char *scores = sg_onnx_input(m, "scores", SG_ONNX_FLOAT, "n a k"), *rows;

    rows = sg_onnx_nms_of(m, boxes, scores, &nms);
    if (c->width > 0) {
        const char *images = sg_onnx_input(m, "images", SG_ONNX_UINT8, "n h w 3");
        sg_onnx_letterbox map = sg_onnx_letterbox_of(m, images, c->side);

        rows = sg_onnx_boxes_undo(m, rows, c->nms.max_boxes, &map);
    }
    sg_onnx_output(m, "found", rows, SG_ONNX_FLOAT, "n %lld 6", (long long)c->nms.max_boxes);
    return m;
}

static void check_found(const found_case *c) {
    float *boxes = sg_malloc((size_t)(kPictures * c->A * 4) * sizeof *boxes);
    float *scores = sg_malloc((size_t)(kPictures * c->A * c->K) * sizeof *scores);
    sg_image image = noise(c->width > 0 ? c->width : 1, c->height > 0 ? c->height : 1);
    sg_onnx_array in[3], out;

    draw_boxes(c, boxes, scores);
    in[0] = floats("boxes", 3, (const int64_t[]){kPictures, c->A, 4}, boxes);
    in[1] = floats("scores", 3, (const int64_t[]){kPictures, c->A, c->K}, scores);
    in[2] = picture(&image);
    run(found_model(c), in, 3, &out, 1);
    for (int p = 0; p < kPictures; p++)
        compare_found(c, (const float *)out.data + p * c->nms.max_boxes * 6, boxes + p * c->A * 4,
                      scores + p * c->A * c->K);
    for (int i = 0; i < 3; i++) sg_onnx_array_clear(&in[i]);
    sg_onnx_array_clear(&out);
    sg_image_clear(&image);
    sg_free(boxes);
    sg_free(scores);
}

static void test_found(void **state) {
    static const found_case cases[] = {
        {200, 3, {0.25f, 0.6f, 100, 0}, 0, 0, 64},
        {200, 1, {0.1f, 0.3f, 7, 0}, 0, 0, 64},       /* more than may be kept */
        {21, 2, {0.0f, 0.5f, 100, 0}, 0, 0, 64},      /* fewer than rows */
        {200, 3, {0.25f, 0.6f, 100, 0}, 120, 90, 64}, /* some lie in the matte and go */
        {200, 3, {0.25f, 0.6f, 9, 0}, 30, 80, 64},
        {2500, 3, {0.0f, 0.9f, kMost, 0}, 0, 0, 64}, /* more candidates than are looked at */
        {1365, 3, {0.0f, 0.9f, kMost, 0}, 0, 0, 64}, /* one fewer than that */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) check_found(&cases[i]);
}

/* --- conversion ------------------------------------------------------------------------------- */

static sg_status convert_alone(sg_value *(*op)(sg_graph *g, sg_value *x), bool bind) {
    sg_onnx *m = begin();
    sg_conversion *c;
    sg_graph *g;
    sg_value *x, *y;
    const char *name;
    sg_status st;

    assert_int_equal(sg_graph_create(SG_EVAL, NULL, &g), SG_OK);
    x = sg_input(g, "x", SG_F32, sg_shape_2(2, 3));
    y = op(g, x);
    assert_int_equal(sg_graph_status(g), SG_OK);
    assert_int_equal(sg_conversion_create(m, g, NULL, NULL, &c), SG_OK);
    if (bind) sg_conversion_bind(c, x, sg_onnx_input(m, "x", SG_ONNX_FLOAT, "batch 3"));
    st = sg_convert(c, y, &name);
    sg_conversion_destroy(c);
    sg_graph_destroy(g);
    sg_onnx_destroy(m);
    return st;
}

static sg_value *without_form(sg_graph *g, sg_value *x) { return sg_relu_dx(g, x, x); }

static void test_no_form(void **state) {
    (void)state;
    assert_int_equal(convert_alone(without_form, true), SG_ERR_UNSUPPORTED);
    assert_string_equal(sg_last_error(), "export: the op relu_dx (node relu_dx) has no ONNX form");
    assert_int_equal(convert_alone(sg_relu, false), SG_ERR_ARG);
    assert_string_equal(sg_last_error(), "onnx: nothing stands for the input x");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_missing_value),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_no_memory_to_run),
        cmocka_unit_test(test_what_it_refuses),
        cmocka_unit_test(test_what_no_export_says),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_int8),
        cmocka_unit_test(test_int8_product),
        cmocka_unit_test(test_nothing_to_quantize),
        cmocka_unit_test(test_letterbox),
        cmocka_unit_test(test_found),
        cmocka_unit_test(test_no_form),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
