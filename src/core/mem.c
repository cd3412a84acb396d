#define _GNU_SOURCE
#include "core/mem.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static atomic_long fail_countdown; /* 0: off */
static atomic_long live_blocks;

long sg_mem_fail_at(long n) { return atomic_exchange(&fail_countdown, n); }

long sg_mem_live(void) { return atomic_load(&live_blocks); }

static int must_fail(void) {
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) == 0) return 0;
    return atomic_fetch_sub(&fail_countdown, 1) == 1;
}

static const size_t kHugePage = (size_t)2 << 20;

/* `bytes` is a multiple of `align`. */
static void *allocate(size_t align, size_t bytes) {
    void *block;

    if (must_fail()) return NULL;
    block = aligned_alloc(align, bytes);
    if (block) atomic_fetch_add_explicit(&live_blocks, 1, memory_order_relaxed);
    return block;
}

void *sg_malloc(size_t bytes) {
    if (bytes > SIZE_MAX - SG_ALIGN) return NULL;
    return allocate(SG_ALIGN, sg_align_up(bytes > 0 ? bytes : 1));
}

void *sg_calloc(size_t count, size_t size) {
    void *block;

    if (size && count > SIZE_MAX / size) return NULL;
    block = sg_malloc(count * size);
    if (block) memset(block, 0, count * size);
    return block;
}

void *sg_calloc_large(size_t bytes) {
    size_t whole = (bytes + kHugePage - 1) / kHugePage * kHugePage;
    void *block;

    if (bytes < kHugePage || whole < bytes) return sg_calloc(1, bytes);
    block = allocate(kHugePage, whole);
    if (!block) return NULL;
    (void)madvise(block, whole, MADV_HUGEPAGE); /* a wish: without it all is slower and the same */
    return memset(block, 0, bytes);
}

void *sg_realloc(void *block, size_t old_bytes, size_t new_bytes) {
    void *larger = sg_malloc(new_bytes);

    if (!larger) return NULL;
    if (block) memcpy(larger, block, old_bytes < new_bytes ? old_bytes : new_bytes);
    sg_free(block);
    return larger;
}

void sg_free(void *block) {
    if (block) atomic_fetch_sub_explicit(&live_blocks, 1, memory_order_relaxed);
    free(block);
}

char *sg_strdup(const char *s) {
    size_t bytes = strlen(s) + 1;
    char *copy = sg_malloc(bytes);

    return copy ? memcpy(copy, s, bytes) : NULL;
}

char *sg_str_vprintf(const char *fmt, va_list args) {
    va_list again;
    char *text = NULL;
    int length;

    va_copy(again, args);
    length = vsnprintf(NULL, 0, fmt, args);
    if (length >= 0) text = sg_malloc((size_t)length + 1);
    if (text) vsnprintf(text, (size_t)length + 1, fmt, again);
    va_end(again);
    return text;
}

char *sg_str_printf(const char *fmt, ...) {
    va_list args;
    char *text;

    va_start(args, fmt);
    text = sg_str_vprintf(fmt, args);
    va_end(args);
    return text;
}
