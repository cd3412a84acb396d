/* Ways in which a model file comes to harm. */
#ifndef TESTS_DAMAGE_H
#define TESTS_DAMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/philox.h"

/* Bytes [begin, end) of a structure of HDF5, and behind them their checksum, 4 bytes. */
typedef struct {
    size_t begin, end;
} damage_block;

/* The sizes in a data set's shape: (n) numbers of 8 bytes from `at`, in that block. */
typedef struct {
    size_t at;
    int n, block;
} damage_shape;

enum { DAMAGE_BLOCKS = 256 };

/* What is harmed; the bytes are the caller's. */
typedef struct {
    const uint8_t *bytes, *older; /* (size): two files of the same layout */
    size_t size;
    damage_block block[DAMAGE_BLOCKS]; /* the superblock is the first */
    int n_blocks;
    damage_shape shape[DAMAGE_BLOCKS];
    int n_shapes;
} damage_source;

typedef struct {
    const damage_source *from;
    uint8_t *data; /* (2 from->size) */
    size_t size;
    sg_random *random;
} damage_victim;

/* Finds HDF5's structures in the bytes. */
void damage_find_blocks(damage_source *source);

typedef struct {
    const char *name;
    void (*harm)(damage_victim *v);
    bool forged; /* HDF5's checksums are right: no accident, but another file */
} damage_kind;

enum { DAMAGE_KINDS = 18 };
extern const damage_kind damage_kinds[DAMAGE_KINDS];

/* A copy of the source's bytes, harmed in that way, and every fourth time in another one too that
 * is not forged. */
void damage_do(damage_victim *v, const damage_kind *kind);

#endif
