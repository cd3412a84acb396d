/* Host memory. Everything that the library allocates comes from here, so that a test can make the
 * n-th allocation fail. Blocks are aligned to 64 bytes (a cache line, two AVX registers). */
#ifndef SG_CORE_MEM_H
#define SG_CORE_MEM_H

#include <stdarg.h>
#include <stddef.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SG_ALIGN = 64 };

/* NULL when there is no memory; sg_malloc(0) gives a block that may be freed. The caller reports.
 */
void *sg_malloc(size_t bytes);
void *sg_calloc(size_t count, size_t size); /* zeroed; NULL on overflow too */
/* The same, of one size, for what is large and read here and there: in huge pages where the system
 * gives such, so that an access needs no walk through tables of pages. */
void *sg_calloc_large(size_t bytes);
/* Grow or shrink `block` of `old_bytes`; the old block stays valid on failure. */
void *sg_realloc(void *block, size_t old_bytes, size_t new_bytes);
void sg_free(void *block); /* NULL is fine */

/* Strings on the same allocator; NULL when there is no memory. */
char *sg_strdup(const char *s);
char *sg_str_printf(const char *fmt, ...) SG_PRINTF(1, 2);
char *sg_str_vprintf(const char *fmt, va_list args) SG_PRINTF(1, 0);

/* For tests: the n-th allocation from now (1 = the next one) fails, once; 0 switches it off.
 * Returns how far off the last such failure still was, 0 if it has been, or none was asked for. */
long sg_mem_fail_at(long n);
/* Blocks allocated and not yet freed. */
long sg_mem_live(void);

/* Round up to a multiple of SG_ALIGN. */
static inline size_t sg_align_up(size_t bytes) {
    return (bytes + SG_ALIGN - 1) / SG_ALIGN * SG_ALIGN;
}

#ifdef __cplusplus
}
#endif
#endif
