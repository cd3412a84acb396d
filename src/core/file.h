/* Files: read whole, write whole or not at all, make folders. */
#ifndef SG_CORE_FILE_H
#define SG_CORE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The whole file, with a NUL after its last byte (not counted in *size). *data is the caller's
 * (sg_free). SG_ERR_MISSING when there is no such file, SG_ERR_IO, SG_ERR_OOM; SG_ERR_DATA when it
 * is a folder, or larger than `limit` bytes (0: no limit). */
sg_status sg_file_read(const char *path, size_t limit, uint8_t **data, size_t *size) SG_CHECKED;

/* Reads it to its end and keeps nothing. SG_ERR_IO: there is a byte that cannot be read. */
sg_status sg_file_try(const char *path) SG_CHECKED;

/* `path` holds afterwards the whole old file or the whole new one: written without a name, fsync,
 * then named, fsync of the folder. When the process is ended on the way nothing is left of it, but
 * between the two system calls that replace a file; and where the file system has no nameless
 * files: there it has a temporary name in the same folder (core/temporary.h), which stays. */
sg_status sg_file_write(const char *path, const void *data, size_t size) SG_CHECKED;

/* Whether a file of that name can be made, which leaves nothing: SG_ERR_IO, before long work. */
sg_status sg_file_try_write(const char *path) SG_CHECKED;

/* The same under a temporary name, for `data` that begins at a multiple of 4096 and may be read up
 * to the next one behind its end: past the page cache (O_DIRECT) where the file system can, which
 * saves a copy. */
sg_status sg_file_write_pages(const char *path, const void *data, size_t size) SG_CHECKED;

/* fsync `temporary`, rename it to `path`, fsync the folder. */
sg_status sg_file_publish(const char *temporary, const char *path) SG_CHECKED;

/* fsync a folder, so that the names in it are durable. */
sg_status sg_sync_folder(const char *path) SG_CHECKED;

/* mkdir -p, and the names of new folders are durable. */
sg_status sg_make_dirs(const char *path) SG_CHECKED;

bool sg_file_exists(const char *path);
bool sg_is_dir(const char *path);
bool sg_same_file(const char *a, const char *b); /* two names of one file */

/* SG_ERR_DATA when `path` is a folder; a pipe, a device or a socket, of which reading might never
 * end. What is missing is left to whoever opens it. */
sg_status sg_file_check(const char *path) SG_CHECKED;

/* "folder/name", the caller's; NULL when there is no memory. An absolute name is returned as is. */
char *sg_path_join(const char *folder, const char *name);

#ifdef __cplusplus
}
#endif
#endif
