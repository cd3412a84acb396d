/* A 5 x 7 dot font, drawn for this project; file-local to report/. */
#ifndef SG_REPORT_FONT_H
#define SG_REPORT_FONT_H

#include <stdint.h>

enum { SG_FONT_COLUMNS = 5, SG_FONT_ROWS = 7, SG_FONT_FIRST = 32, SG_FONT_LAST = 126 };

/* Glyphs of ASCII 32 .. 126. A byte is a column from the left, bit 0 its top dot; bit 7 is the dot
 * under the baseline (g, j, p, q, y and the comma). */
extern const uint8_t sg_font[SG_FONT_LAST - SG_FONT_FIRST + 1][SG_FONT_COLUMNS];

#endif
