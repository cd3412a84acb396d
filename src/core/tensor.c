#include "core/tensor.h"

#include <stdio.h>

static sg_shape make(int rank, int64_t a, int64_t b, int64_t c, int64_t d) {
    sg_shape shape = {rank, {a, b, c, d}};

    return shape;
}

sg_shape sg_shape_0(void) { return make(0, 0, 0, 0, 0); }
sg_shape sg_shape_1(int64_t a) { return make(1, a, 0, 0, 0); }
sg_shape sg_shape_2(int64_t a, int64_t b) { return make(2, a, b, 0, 0); }
sg_shape sg_shape_3(int64_t a, int64_t b, int64_t c) { return make(3, a, b, c, 0); }
sg_shape sg_shape_4(int64_t a, int64_t b, int64_t c, int64_t d) { return make(4, a, b, c, d); }

int64_t sg_shape_count(const sg_shape *shape) {
    int64_t count = 1;

    for (int i = 0; i < shape->rank; i++) count *= shape->dim[i];
    return count;
}

bool sg_shape_valid(const sg_shape *shape) {
    const int64_t most = (int64_t)1 << 40;
    int64_t count = 1;

    if (shape->rank < 0 || shape->rank > SG_MAX_RANK) return false;
    for (int i = 0; i < shape->rank; i++) {
        int64_t dim = shape->dim[i];

        /* an empty tensor's other dimensions must fit, too: sizes of rows are computed from them */
        if (dim < 0 || (dim > 0 && count > most / dim)) return false;
        if (dim > 0) count *= dim;
    }
    return true;
}

bool sg_shape_equal(const sg_shape *a, const sg_shape *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++) {
        if (a->dim[i] != b->dim[i]) return false;
    }
    return true;
}

char *sg_shape_text(const sg_shape *shape, char *text, size_t bytes) {
    size_t used = 0;

    if (bytes == 0) return text;
    text[0] = '\0';
    for (int i = 0; i <= shape->rank && used < bytes; i++) {
        int n;

        if (i == shape->rank)
            n = snprintf(text + used, bytes - used, i == 0 ? "()" : ")");
        else
            n = snprintf(text + used, bytes - used, "%s%lld", i == 0 ? "(" : ", ",
                         (long long)shape->dim[i]);
        if (n > 0) used += (size_t)n;
    }
    return text;
}

size_t sg_dtype_size(sg_dtype dtype) {
    static const size_t sizes[SG_DTYPE_COUNT] = {4, 2, 4, 1};

    return sizes[dtype];
}

const char *sg_dtype_name(sg_dtype dtype) {
    static const char *const names[SG_DTYPE_COUNT] = {"f32", "bf16", "i32", "u8"};

    return names[dtype];
}
