/* Which way up a picture is: EXIF's orientation, the same in a JPEG's APP1 and in a PNG's eXIf. */
#include <string.h>

#include "data/codec.h"

enum { kHeaderBytes = 8, kTagOrientation = 0x0112, kTypeShort = 3, kEntryBytes = 12 };

static unsigned exif_number(const uint8_t *p, int bytes, int big) {
    unsigned value = 0;

    for (int i = 0; i < bytes; i++) value |= (unsigned)p[i] << 8 * (big ? bytes - 1 - i : i);
    return value;
}

int sg_exif_orientation(const uint8_t *tiff, size_t bytes) {
    size_t at, entries;
    int big;

    if (bytes < kHeaderBytes) return 1;
    big = tiff[0] == 'M';
    if (memcmp(tiff, big ? "MM" : "II", 2) != 0 || exif_number(tiff + 2, 2, big) != 42) return 1;
    at = exif_number(tiff + 4, 4, big);
    if (at > bytes - 2) return 1;
    entries = exif_number(tiff + at, 2, big);
    at += 2;
    for (size_t i = 0; i < entries && at + kEntryBytes <= bytes; i++, at += kEntryBytes) {
        unsigned value = exif_number(tiff + at + 8, 2, big);

        if (exif_number(tiff + at, 2, big) != kTagOrientation) continue;
        if (exif_number(tiff + at + 2, 2, big) != kTypeShort) return 1;
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

sg_placement sg_placement_of(int orientation, int64_t W, int64_t H) {
    switch (orientation) {
    case 2:
        return (sg_placement){W - 1, -1, W};
    case 3:
        return (sg_placement){W * H - 1, -1, -W};
    case 4:
        return (sg_placement){W * (H - 1), 1, -W};
    case 5: /* from here on a row of the result has H pixels */
        return (sg_placement){0, H, 1};
    case 6:
        return (sg_placement){H - 1, H, -1};
    case 7:
        return (sg_placement){W * H - 1, -H, -1};
    case 8:
        return (sg_placement){H * (W - 1), -H, 1};
    default:
        return (sg_placement){0, 1, W};
    }
}

void sg_place_row(const sg_placement *p, int64_t y, const uint8_t *row, int64_t W, uint8_t *rgb) {
    uint8_t *to = rgb + (p->origin + y * p->step_y) * 3;

    if (p->step_x == 1) {
        memcpy(to, row, (size_t)W * 3);
        return;
    }
    for (int64_t x = 0; x < W; x++) memcpy(to + x * p->step_x * 3, row + 3 * x, 3);
}
