#include "png_mutator.h"

#include <stdbool.h>
#include <string.h>

#include <zlib.h>

enum {
    kSignature = 8,
    kFrame = 12, /* length, type and CRC of a chunk */
    kMostRows = 1 << 16,
    kMostPacked = 1 << 16,
    kGrowth = 64, /* bytes of rows that a mutation may add */
};

static uint32_t read_number(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void write_number(uint8_t *p, uint32_t value) {
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* Bytes of the whole chunk at `at`; 0: none that ends within the file. */
static size_t chunk_size(const uint8_t *data, size_t size, size_t at) {
    if (size < kFrame || at > size - kFrame || read_number(data + at) > size - kFrame - at)
        return 0;
    return read_number(data + at) + kFrame;
}

/* What a PNG starts with, and every chunk's CRC. */
static void mend(uint8_t *data, size_t size) {
    static const uint8_t kStart[] = "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"; /* 13 bytes of IHDR */
    size_t n;

    if (size >= sizeof kStart - 1) memcpy(data, kStart, sizeof kStart - 1);
    for (size_t at = kSignature; (n = chunk_size(data, size, at)) > 0; at += n)
        write_number(data + at + n - 4, (uint32_t)crc32(0, data + at + 4, (uInt)(n - 8)));
}

static bool is_idat(const uint8_t *chunk) { return memcmp(chunk + 4, "IDAT", 4) == 0; }

/* The first run of IDAT chunks is [*from, *to); their contents go to `packed`. */
static size_t gather(const uint8_t *data, size_t size, size_t *from, size_t *to, uint8_t *packed) {
    size_t at = kSignature, n, bytes = 0;

    while ((n = chunk_size(data, size, at)) > 0 && !is_idat(data + at)) at += n;
    for (*from = at; (n = chunk_size(data, size, at)) > 0 && is_idat(data + at); at += n) {
        if (n - kFrame > kMostPacked - bytes) break;
        memcpy(packed + bytes, data + at + 8, n - kFrame);
        bytes += n - kFrame;
    }
    *to = at;
    return bytes;
}

/* As many rows as can be unpacked; a damaged stream gives those before the damage. */
static size_t unpack(const uint8_t *packed, size_t bytes, uint8_t *rows) {
    z_stream z = {.next_in = (Bytef *)(uintptr_t)packed,
                  .avail_in = (uInt)bytes,
                  .next_out = rows,
                  .avail_out = kMostRows};

    if (inflateInit(&z) != Z_OK) return 0;
    (void)inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return kMostRows - z.avail_out;
}

/* False, and nothing changed, where there are no rows or no room. */
static bool mutate_rows(uint8_t *data, size_t *size, size_t max_size, png_mutation mutate) {
    static uint8_t rows[kMostRows], packed[kMostPacked], rest[kMostPacked];
    size_t from, to, bytes = gather(data, *size, &from, &to, packed);
    size_t n = bytes ? unpack(packed, bytes, rows) : 0;
    uLongf length = kMostPacked;

    if (n == 0 || *size - to > sizeof rest) return false;
    n = mutate(rows, n, n + kGrowth < kMostRows ? n + kGrowth : kMostRows);
    if (compress2(packed, &length, rows, n, 1) != Z_OK) return false;
    if (from + kFrame + length + (*size - to) > max_size) return false;
    memcpy(rest, data + to, *size - to);
    write_number(data + from, (uint32_t)length);
    memcpy(data + from + 4, "IDAT", 4);
    memcpy(data + from + 8, packed, length);
    memcpy(data + from + kFrame + length, rest, *size - to);
    *size = from + kFrame + length + (*size - to);
    return true;
}

size_t png_mutate(uint8_t *data, size_t size, size_t max_size, unsigned seed, png_mutation mutate) {
    if (seed % 2 != 0 || !mutate_rows(data, &size, max_size, mutate))
        size = mutate(data, size, max_size);
    if (seed / 2 % 16 != 0) mend(data, size);
    return size;
}
