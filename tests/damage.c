#include "damage.h"

#include <string.h>

#include <hdf5.h>

enum { kSector = 512, kPage = 4096 };

/* HDF5 keeps it to itself in its headers, but exports it: Bob Jenkins's lookup3. */
uint32_t H5_checksum_lookup3(const void *data, size_t bytes, uint32_t start);

static size_t below(damage_victim *v, size_t n) {
    return n ? (size_t)sg_random_below(v->random, (int64_t)n) : 0;
}

/* --- HDF5's structures ------------------------------------------------------------------------ */

static uint32_t load_u32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t load_u64(const uint8_t *p) { return load_u32(p) | (uint64_t)load_u32(p + 4) << 32; }

/* The end of the structure that begins there: where its checksum stands. 0: there is none. */
static size_t end_of_block(const damage_source *s, size_t begin) {
    size_t most = begin + kPage < s->size ? begin + kPage : s->size;

    for (size_t end = begin + 8; end + 4 <= most; end++)
        if (H5_checksum_lookup3(s->bytes + begin, end - begin, 0) == load_u32(s->bytes + end))
            return end;
    return 0;
}

/* A message of type 1 in an object header: type, 2 bytes of size, flags; version 2, rank, whether
 * there are limits, kind; the sizes. */
static void find_shape(damage_source *s, int block) {
    const damage_block *b = &s->block[block];

    for (size_t at = b->begin + 4; at + 16 <= b->end; at++) {
        const uint8_t *p = s->bytes + at;
        int rank = p[5];

        if (p[0] != 1 || p[4] != 2 || rank < 1 || rank > 4 || p[7] != 1) continue;
        if ((size_t)(p[1] | p[2] << 8) != (size_t)(4 + 8 * rank * (1 + p[6]))) continue;
        s->shape[s->n_shapes++] = (damage_shape){at + 8, rank, block};
        return;
    }
}

void damage_find_blocks(damage_source *s) {
    static const char *const signs[] = {"\211HDF", "OHDR", "OCHK", "FRHP", "FHDB",
                                        "FHIB",    "BTHD", "BTLF", "BTIN", "FSHD"};

    for (size_t at = 0; at + 16 < s->size; at++) {
        bool is_block = false;
        size_t end;

        for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
            is_block = is_block || memcmp(s->bytes + at, signs[i], 4) == 0;
        end = is_block && s->n_blocks < DAMAGE_BLOCKS ? end_of_block(s, at) : 0;
        if (end == 0) continue;
        s->block[s->n_blocks++] = (damage_block){at, end};
        if (memcmp(s->bytes + at, "OHDR", 4) == 0) find_shape(s, s->n_blocks - 1);
    }
}

static void set_checksum(damage_victim *v, const damage_block *b) {
    uint32_t sum = H5_checksum_lookup3(v->data + b->begin, b->end - b->begin, 0);

    for (int i = 0; i < 4; i++) v->data[b->end + (size_t)i] = (uint8_t)(sum >> 8 * i);
}

/* --- bytes ------------------------------------------------------------------------------------ */

/* Half of the time in HDF5's own structures. */
static size_t anywhere(damage_victim *v, size_t n) {
    const damage_block *b = &v->from->block[below(v, (size_t)v->from->n_blocks)];
    size_t at = below(v, 2) ? b->begin + below(v, b->end + 4 - b->begin) : below(v, v->size);

    if (v->size <= n) return 0;
    return at < v->size - n ? at : v->size - n;
}

static void change(damage_victim *v, size_t at) {
    if (at < v->size) v->data[at] ^= (uint8_t)(1 + below(v, 255));
}

static void flip(damage_victim *v) {
    if (v->size > 0) v->data[anywhere(v, 1)] ^= (uint8_t)(1 << below(v, 8));
}

static void change_many(damage_victim *v) {
    for (size_t i = 2 + below(v, 62); i > 0; i--) change(v, anywhere(v, 1));
}

static void cut_off(damage_victim *v) { v->size = below(v, v->size); }

static void append(damage_victim *v) {
    for (size_t n = 1 + below(v, v->from->size / 2); n > 0 && v->size < 2 * v->from->size; n--)
        v->data[v->size++] = (uint8_t)below(v, 256);
}

static void copy_over(damage_victim *v) {
    size_t n = 1 + below(v, 300);

    if (v->size > n) memmove(v->data + anywhere(v, n), v->data + below(v, v->size - n), n);
}

static void drop_bytes(damage_victim *v) {
    size_t n = 1 + below(v, 16), from = anywhere(v, n);

    if (v->size <= n) return;
    memmove(v->data + from, v->data + from + n, v->size - from - n);
    v->size -= n;
}

/* One that asks for trouble where it is taken for an offset, a size or a count. */
static void put_odd_number(damage_victim *v, size_t at, size_t n) {
    const uint64_t odd[] = {0,          1,          UINT64_MAX,    INT64_MAX,         UINT32_MAX,
                            1u << 31,   1ull << 40, v->from->size, v->from->size - 1, 512,
                            2048 + 117, 0x80};
    uint64_t number = odd[below(v, sizeof odd / sizeof odd[0])];

    if (at + n <= v->size) memcpy(v->data + at, &number, n);
}

static void odd_number(damage_victim *v) {
    size_t n = (size_t)1 << below(v, 4);

    put_odd_number(v, anywhere(v, n), n);
}

/* --- blocks of a disk ------------------------------------------------------------------------- */

/* Not written, or written elsewhere. */
static void lose(damage_victim *v, size_t unit) {
    size_t at = below(v, v->size / unit + 1) * unit;
    size_t n = v->size - at < unit ? v->size - at : unit;

    memset(v->data + at, below(v, 2) ? 0 : 0xff, n);
}

static void lose_sector(damage_victim *v) { lose(v, kSector); }
static void lose_page(damage_victim *v) { lose(v, kPage); }

static void swap(damage_victim *v, size_t unit) {
    uint8_t kept[kPage];
    size_t n = v->size / unit, a = below(v, n) * unit, b = below(v, n) * unit;

    if (n == 0) return;
    memcpy(kept, v->data + a, unit);
    memcpy(v->data + a, v->data + b, unit);
    memcpy(v->data + b, kept, unit);
}

static void swap_sectors(damage_victim *v) { swap(v, kSector); }
static void swap_pages(damage_victim *v) { swap(v, kPage); }

/* Some of them are those of an older file. */
static void mix(damage_victim *v, size_t unit) {
    size_t one_in = 1 + below(v, 16);

    for (size_t at = 0; at < v->size && at < v->from->size; at += unit) {
        size_t n = v->from->size - at < unit ? v->from->size - at : unit;

        if (n > v->size - at) n = v->size - at;
        if (below(v, one_in) == 0) memcpy(v->data + at, v->from->older + at, n);
    }
}

static void mix_sectors(damage_victim *v) { mix(v, kSector); }
static void mix_pages(damage_victim *v) { mix(v, kPage); }

/* A write in place that stopped at some byte: behind it an older file. */
static void stop_half_way(damage_victim *v) {
    size_t at = below(v, v->size);

    if (v->size <= v->from->size) memcpy(v->data + at, v->from->older + at, v->size - at);
}

/* --- HDF5's structures, harmed ---------------------------------------------------------------- */

static const damage_block *some_block(damage_victim *v) {
    return &v->from->block[below(v, (size_t)v->from->n_blocks)];
}

static void change_superblock(damage_victim *v) {
    const damage_block *b = &v->from->block[0];

    change(v, b->begin + below(v, b->end + 4 - b->begin));
}

static void change_header(damage_victim *v) {
    const damage_block *b = some_block(v);

    for (size_t i = 1 + below(v, 4); i > 0; i--) change(v, b->begin + below(v, b->end - b->begin));
}

static void change_checksum(damage_victim *v) { change(v, some_block(v)->end + below(v, 4)); }

/* The shape alone: what else may be forged in HDF5's structures its own library does not survive.
 */
static void forge_shape(damage_victim *v) {
    const damage_shape *s = &v->from->shape[below(v, (size_t)v->from->n_shapes)];
    size_t at = s->at + 8 * below(v, (size_t)s->n), other = s->at + 8 * below(v, (size_t)s->n);
    uint64_t a = load_u64(v->data + at), b = load_u64(v->data + other);

    switch (at == other ? 0 : below(v, 3)) {
    case 0:
        put_odd_number(v, at, 8);
        break;
    case 1:
        memcpy(v->data + at, &b, 8);
        memcpy(v->data + other, &a, 8);
        break;
    default:
        a *= b;
        b = 1;
        memcpy(v->data + at, &a, 8);
        memcpy(v->data + other, &b, 8);
    }
    set_checksum(v, &v->from->block[s->block]);
}

const damage_kind damage_kinds[DAMAGE_KINDS] = {
    {"one bit flipped", flip, false},
    {"2 to 63 bytes changed", change_many, false},
    {"cut off at any byte", cut_off, false},
    {"bytes appended", append, false},
    {"bytes copied elsewhere", copy_over, false},
    {"bytes dropped", drop_bytes, false},
    {"an offset, size or count replaced", odd_number, false},
    {"a sector of 512 lost", lose_sector, false},
    {"a page of 4096 lost", lose_page, false},
    {"two sectors swapped", swap_sectors, false},
    {"two pages swapped", swap_pages, false},
    {"sectors of an older file", mix_sectors, false},
    {"pages of an older file", mix_pages, false},
    {"an older file from a byte on", stop_half_way, false},
    {"superblock", change_superblock, false},
    {"header of HDF5", change_header, false},
    {"checksum of HDF5", change_checksum, false},
    {"another shape, its checksum right", forge_shape, true},
};

void damage_do(damage_victim *v, const damage_kind *kind) {
    memcpy(v->data, v->from->bytes, v->from->size);
    v->size = v->from->size;
    kind->harm(v);
    if (below(v, 4) == 0) {
        const damage_kind *other = &damage_kinds[below(v, DAMAGE_KINDS)];

        if (!other->forged) other->harm(v);
    }
}
