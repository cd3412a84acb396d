/* The first half of cleaning a message: from bytes to code points. Private to data/. */
#ifndef SG_DATA_TEXT_POINTS_H
#define SG_DATA_TEXT_POINTS_H

#include <stdbool.h>

#include "data/text_clean.h"

/* Fills text->points (n_points) and `invalid`: escapes and entities resolved, NFKD, nothing
 * invisible in it, white space as U+0020. Behind them is room for as many again. SG_ERR_OOM. */
sg_status sg_text_points(const char *message, size_t bytes, sg_text *text) SG_CHECKED;

/* Of what kind a code point is. A MARK belongs to the letter before it; REGIONAL are the letters
 * that flags are spelled with. */
typedef enum {
    SG_POINT_SPACE,
    SG_POINT_LETTER,
    SG_POINT_MARK,
    SG_POINT_DIGIT,
    SG_POINT_SYMBOL,
    SG_POINT_EMOJI,
    SG_POINT_REGIONAL,
} sg_point_kind;

sg_point_kind sg_point_kind_of(int32_t point);

/* Compose in place what neighbours compose; how many are left. */
size_t sg_points_compose(int32_t *points, size_t n);

/* Matches `word` (lower case ASCII) at points[i] without regard to case. */
bool sg_points_match(const int32_t *points, size_t i, size_t n, const char *word);

/* An emoticon that begins at points[i]: its canonical spelling goes into `out` (8 bytes), its end
 * is returned; 0 when there is none. */
size_t sg_points_emoticon(const int32_t *points, size_t i, size_t n, char *out);

#endif
