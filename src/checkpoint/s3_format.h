/* What S3 wants to read and what it writes: queries in canonical form, and XML. */
#ifndef SG_CHECKPOINT_S3_FORMAT_H
#define SG_CHECKPOINT_S3_FORMAT_H

#include <stdbool.h>
#include <stddef.h>

#include "checkpoint/store.h"

#ifdef __cplusplus
extern "C" {
#endif

/* RFC 3986: all but letters, digits and "-._~" become %XX; '/' too, unless it is kept. The
 * caller's; NULL: no memory. */
char *sg_s3_encode(const char *text, bool keep_slash);

typedef struct {
    const char *name, *value; /* plain text; value "" for one without, which is written "name=" */
} sg_s3_pair;
/* "a=1&b=", encoded and sorted by name, as it is signed. The caller's; NULL: no memory. */
char *sg_s3_query(const sg_s3_pair *pairs, int n);

/* The text of the first element `name` of a document, without the space around it, cut to fit; ""
 * where it has none. SG_ERR_DATA when the document is damaged, or has a document type. */
sg_status sg_s3_text(const char *xml, size_t size, const char *name, char *to,
                     size_t room) SG_CHECKED;

enum { SG_S3_TOKEN = 2048 };

typedef struct {
    sg_store_entry *entries; /* the caller's (sg_free), whatever became of the call */
    int n, capacity;
    char next[SG_S3_TOKEN]; /* continuation token; "": that was all */
} sg_s3_list;
/* Add a page of ListObjectsV2 to `list`, without the keys' `prefix`. SG_ERR_DATA, SG_ERR_OOM. */
sg_status sg_s3_list_page(const char *xml, size_t size, const char *prefix,
                          sg_s3_list *list) SG_CHECKED;

/* Parts of "s3://bucket/a/b": bucket "bucket", prefix "a/b/" ("" without one). SG_ERR_CONFIG. */
enum { SG_S3_BUCKET = 64 };
sg_status sg_s3_parse_url(const char *url, char bucket[SG_S3_BUCKET], char **prefix) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
