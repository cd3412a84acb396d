/* CRC32C (Castagnoli; RFC 3720, appendix B.4): the checksum of data sets in files. */
#ifndef SG_CORE_CRC32C_H
#define SG_CORE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The checksum of what gave `crc` (0: nothing yet) followed by `size` bytes. Uses the SSE4.2
 * instruction where the processor has it. */
uint32_t sg_crc32c(uint32_t crc, const void *data, size_t size);

/* The same from a table, on any processor. */
uint32_t sg_crc32c_table(uint32_t crc, const void *data, size_t size);

#ifdef __cplusplus
}
#endif
#endif
