/* Element types and shapes. */
#ifndef SG_CORE_TENSOR_H
#define SG_CORE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { SG_F32, SG_BF16, SG_I32, SG_U8, SG_DTYPE_COUNT } sg_dtype;

enum { SG_MAX_RANK = 4 };

/* Row-major: the last dimension is contiguous. Rank 0 is a scalar. */
typedef struct {
    int rank;
    int64_t dim[SG_MAX_RANK]; /* the rest is 0 */
} sg_shape;

sg_shape sg_shape_0(void);
sg_shape sg_shape_1(int64_t a);
sg_shape sg_shape_2(int64_t a, int64_t b);
sg_shape sg_shape_3(int64_t a, int64_t b, int64_t c);
sg_shape sg_shape_4(int64_t a, int64_t b, int64_t c, int64_t d);

int64_t sg_shape_count(const sg_shape *shape); /* elements; 1 for a scalar */
/* A rank of 0 to SG_MAX_RANK, no negative dimension, at most 2^40 elements. */
bool sg_shape_valid(const sg_shape *shape);
bool sg_shape_equal(const sg_shape *a, const sg_shape *b);
/* "(2, 3, 32, 32)" into `text`, cut to `bytes`; returns text. */
char *sg_shape_text(const sg_shape *shape, char *text, size_t bytes);

size_t sg_dtype_size(sg_dtype dtype);
const char *sg_dtype_name(sg_dtype dtype); /* "f32" */

#ifdef __cplusplus
}
#endif
#endif
