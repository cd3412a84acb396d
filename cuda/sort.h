/* Sorting positions by the id that stands there, stably, and what kernels share that gather rows by
 * such positions. */
#ifndef SG_CUDA_SORT_H
#define SG_CUDA_SORT_H

#include "channels.h"

/* A position and its id; what is padding has the id R of the table's rows, and so stands last. */
typedef struct {
    int32_t id, position;
} sg_cuda_place;

/* Bytes of scratch that sorting M positions takes, its result among them. */
size_t sg_cuda_sort_bytes(int64_t M);
/* ids (M), those outside 0 .. R - 1 padding -> *sorted (M), in `scratch`. */
sg_status sg_cuda_sort_ids(const sg_args *a, const int32_t *ids, int64_t M, int64_t R,
                           void *scratch, const sg_cuda_place **sorted) SG_CHECKED;

/* start (n + 1): each of the first n becomes the sum of those before it, the last the sum of all.
 */
sg_status sg_cuda_scan(const sg_args *a, int32_t *start, int64_t n) SG_CHECKED;

#endif
