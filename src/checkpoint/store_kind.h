/* What a kind of store consists of. Private to store*.c and s3*.c. */
#ifndef SG_CHECKPOINT_STORE_KIND_H
#define SG_CHECKPOINT_STORE_KIND_H

#include <stdatomic.h>
#include <stddef.h>

#include "checkpoint/store.h"

/* Names have been checked by store.c; `file` is at its beginning and `bytes` long. */
typedef struct {
    size_t bytes; /* of its own structure; all zero, but for its first member, when it is opened */
    sg_status (*open)(sg_store *store, const char *url);
    sg_status (*put)(sg_store *store, const char *name, int file, int64_t bytes);
    /* into the open, empty file */
    sg_status (*get)(sg_store *store, const char *name, int file);
    sg_status (*list)(sg_store *store, sg_store_entry **entries, int *n);
    sg_status (*remove)(sg_store *store, const char *name);
    void (*cancel)(sg_store *store); /* NULL: the flag is looked at */
    void (*close)(sg_store *store);  /* what open has made, also if that failed; NULL: nothing */
} sg_store_kind;

extern const sg_store_kind sg_store_folder, sg_store_s3;

/* The first member of every kind's own structure. */
struct sg_store {
    const sg_store_kind *kind;
    char *url; /* owned; no '/' at its end */
    int failure;
    atomic_bool cancelled;
};

/* sg_fail that keeps the kind of failure, too. */
#define SG_STORE_FAIL(store, kind_of_failure, code, ...)                                           \
    ((store)->failure = (kind_of_failure), sg_fail(code, __VA_ARGS__))

/* Whether a name that was found can be one of ours. */
bool sg_store_is_name(const char *name);
/* Append to an array of *n entries that has room for *capacity. SG_ERR_OOM. */
sg_status sg_store_append(sg_store_entry **entries, int *n, int *capacity, const char *name,
                          int64_t bytes) SG_CHECKED;
/* Read up to `bytes` from `offset` on; fewer only at the file's end. -1: errno. */
int64_t sg_read_at(int file, void *to, size_t bytes, int64_t offset);

#endif
