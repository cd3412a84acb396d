/* A place outside this machine where checkpoints are kept: a folder (of a file system that other
 * nodes see too, such as NFS or EFS) or a prefix in a bucket of an S3 service.
 *
 * Objects have a name without '/', and are there whole or not at all. All of a run's objects lie
 * under one URL, and nothing else should: whoever shares it between two runs has them delete each
 * other's files (the uploader keeps the few with the greatest steps, whoever wrote them), and a
 * node with an empty disk fetches the greatest step, which may be the other run's. Nothing here
 * detects that: put the run's name into the URL.
 *
 * A store belongs to one thread at a time; only sg_store_cancel may come from another. */
#ifndef SG_CHECKPOINT_STORE_H
#define SG_CHECKPOINT_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "checkpoint/folder.h"
#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sg_store sg_store;

enum { SG_STORE_NAME = 128 }; /* bytes of a name, with its NUL */

typedef struct {
    char name[SG_STORE_NAME];
    int64_t bytes;
} sg_store_entry;

/* "": *out is NULL. "s3://bucket[/prefix]": nothing is sent; region and endpoint come from the
 * environment (AWS_REGION, AWS_ENDPOINT_URL, ...: docs/stores.md), credentials are asked for at the
 * first use. Anything else is a folder, made if absent. SG_ERR_CONFIG: what is wrong with the URL
 * or the environment; SG_ERR_IO: the folder; SG_ERR_OOM. */
sg_status sg_store_open(const char *url, sg_store **out) SG_CHECKED;
void sg_store_close(sg_store *store);
const char *sg_store_url(const sg_store *store);

/* All below: SG_ERR_UNAVAILABLE (no answer or a refusal: one line with URL, HTTP status, and the
 * service's code and message), SG_ERR_IO (folder or local file), SG_ERR_MISSING (no such object or
 * local file), SG_ERR_ARG (the name), SG_ERR_DATA (an answer that is none of S3's),
 * SG_ERR_INTERRUPTED (sg_store_cancel), SG_ERR_OOM. An S3 service that is busy or out of reach is
 * asked four times within some seconds. */

/* Copy the file `path` to the object `name`, replacing it. */
sg_status sg_store_put(sg_store *store, const char *name, const char *path) SG_CHECKED;
/* As sg_store_put, from an open file, from its beginning whatever its place. It may have been
 * deleted since. */
sg_status sg_store_put_open(sg_store *store, const char *name, int file) SG_CHECKED;
/* Copy the object to the local file `path`, which is there whole afterwards or as it was before. */
sg_status sg_store_get(sg_store *store, const char *name, const char *path) SG_CHECKED;
/* All objects, in no order; *entries is the caller's (sg_free; NULL where there are none). Names
 * with a leading '.', or that do not fit into an entry, are nobody's of ours and left out. */
sg_status sg_store_list(sg_store *store, sg_store_entry **entries, int *n) SG_CHECKED;
/* No error if it is not there. */
sg_status sg_store_remove(sg_store *store, const char *name) SG_CHECKED;

/* What kind of failure the last one was: equal numbers are the same trouble (HTTP status, errno,
 * libcurl's number), whichever object it met. */
int sg_store_failure(const sg_store *store);
/* From any thread: what is under way ends soon with SG_ERR_INTERRUPTED, and so does all after. */
void sg_store_cancel(sg_store *store);

/* The checkpoints in the store (sg_step_name), newest first; *entries is the caller's (sg_free). */
sg_status sg_store_newest(sg_store *store, sg_store_entry **entries, int *n) SG_CHECKED;
/* Remove them, but for the `keep` newest and that of the step `spared` (-1: none). */
sg_status sg_store_trim(sg_store *store, int keep, int64_t spared) SG_CHECKED;
/* Remove all that is a run's: the checkpoints and best.h5. */
sg_status sg_store_forget(sg_store *store) SG_CHECKED;

/* SG_OK: the file is whole. Otherwise the text says what is wrong with it. */
typedef sg_status (*sg_store_verify)(const char *path, void *context);
/* Fetch the newest checkpoint with a step above `above` (-1: any) into `folder`, which is there,
 * under its name in the store. One that `verify` does not find whole is warned of and left in the
 * store, and the next newest is tried; a file with the final name has always been verified. *path
 * (the caller's, sg_free) is NULL when the store has none, or none whole: then the run begins anew.
 * On failure it may have one: who begins anew then, computes again what exists. */
sg_status sg_store_fetch_newest(sg_store *store, const char *folder, int64_t above,
                                sg_store_verify verify, void *context, char **path) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
