/* A part of every global batch: the rows that one of several workers computes. */
#ifndef SG_DATA_PART_H
#define SG_DATA_PART_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Rows first .. first + count - 1 of the batch's B; 0 <= first, 1 <= count, first + count <= B.
 * Where a pointer to one may be NULL it means the whole batch. */
typedef struct {
    int64_t first, count;
} sg_part;

#ifdef __cplusplus
}
#endif
#endif
