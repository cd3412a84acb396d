/* INI text, read strictly: what a file says is either taken as written or refused with its line.
 *
 *   [section]                  A name is letters, digits, `_`, `-`, starting with a letter.
 *   key = value   # comment    `#` and `;` start a comment at the start of a line or after white
 *   other = "a # b"            space. A value in double quotes keeps everything; inside, \" and \\.
 *
 * A section may be opened again; a key given twice in a section is refused. LF and CRLF end lines,
 * a UTF-8 byte order mark is skipped, NUL and other control characters are refused. */
#ifndef SG_CORE_INI_H
#define SG_CORE_INI_H

#include <stddef.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { /* what is larger is no configuration */
       SG_INI_MAX_BYTES = 1 << 20,
       SG_INI_MAX_KEYS = 4096, /* each is compared with those before it */
};

typedef struct {
    const char *section, *key, *value; /* borrowed from the sg_ini */
    int line;                          /* counts from 1 */
} sg_ini_entry;

typedef struct {
    char *text;            /* owned; the entries' strings */
    sg_ini_entry *entries; /* owned; in the order of the file */
    int count, capacity;
} sg_ini;

/* `name` stands in messages, as in "mask.ini:14: ...". `*out` is cleared with sg_ini_clear.
 * SG_ERR_CONFIG: not INI, a key twice, a NUL byte, too large or too many keys. SG_ERR_OOM. */
sg_status sg_ini_parse(const char *name, const char *text, size_t size, sg_ini *out) SG_CHECKED;

/* The same from a file; SG_ERR_CONFIG for a folder, too, SG_ERR_MISSING and SG_ERR_IO. */
sg_status sg_ini_read(const char *path, sg_ini *out) SG_CHECKED;

void sg_ini_clear(sg_ini *ini); /* a zeroed struct is fine */

#ifdef __cplusplus
}
#endif
#endif
