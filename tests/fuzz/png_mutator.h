/* Mutations that get past a PNG's checksums. */
#ifndef TESTS_FUZZ_PNG_MUTATOR_H
#define TESTS_FUZZ_PNG_MUTATOR_H

#include <stddef.h>
#include <stdint.h>

/* Changes `size` bytes in place into at most `max_size`, by `mutate`, and returns how many they
 * are now. */
typedef size_t (*png_mutation)(uint8_t *data, size_t size, size_t max_size);

/* One time in two the file's bytes as they are, else the rows inside its IDAT chunks, which are
 * unpacked and packed again; then, but for one time in 16, signature and CRCs are put right. */
size_t png_mutate(uint8_t *data, size_t size, size_t max_size, unsigned seed, png_mutation mutate);

#endif
