/* Several pictures in one, for reports. */
#include <string.h>

#include "report/annotate.h"

enum { kGap = 4, kTitleRows = 12, kGround = 40 };

/* Each pixel of the result is the mean of those it stands for. */
static void shrink_into(const sg_image *in, sg_image *out, int64_t x0, int64_t y0, int64_t w,
                        int64_t h) {
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x++) {
            int64_t left = x * in->width / w, right = (x + 1) * in->width / w;
            int64_t top = y * in->height / h, bottom = (y + 1) * in->height / h;
            int64_t count = (right - left) * (bottom - top), sum[3] = {0, 0, 0};

            for (int64_t v = top; v < bottom; v++)
                for (int64_t u = left; u < right; u++)
                    for (int k = 0; k < 3; k++) sum[k] += in->rgb[(v * in->width + u) * 3 + k];
            for (int k = 0; k < 3; k++)
                out->rgb[((y0 + y) * out->width + x0 + x) * 3 + k] =
                    (uint8_t)((sum[k] + count / 2) / count);
        }
}

/* The largest size that fits, never larger than the picture, never below one pixel. */
static void fitted(const sg_image *in, int64_t cell_w, int64_t cell_h, int64_t *w, int64_t *h) {
    *w = in->width;
    *h = in->height;
    if (*w > cell_w) {
        *h = in->height * cell_w / in->width;
        *w = cell_w;
    }
    if (*h > cell_h) {
        *w = in->width * cell_h / in->height;
        *h = cell_h;
    }
    if (*w < 1) *w = 1;
    if (*h < 1) *h = 1;
}

sg_status sg_image_fit(const sg_image *image, int64_t width, int64_t height, sg_image *out) {
    int64_t w, h;

    if (width < 1 || height < 1)
        return sg_fail(SG_ERR_ARG, "fit: into %lld x %lld pixels", (long long)width,
                       (long long)height);
    fitted(image, width, height, &w, &h);
    SG_TRY(sg_image_create(w, h, out));
    shrink_into(image, out, 0, 0, w, h);
    return SG_OK;
}

static void draw_title(sg_image *sheet, int64_t x, int64_t y, int64_t width, const char *title) {
    static const uint8_t ink[3] = {235, 235, 235};
    char text[256];
    size_t fits = (size_t)(width / sg_text_width("m", 1)), n = strlen(title);

    if (fits >= sizeof text) fits = sizeof text - 1;
    if (n > fits) n = fits;
    memcpy(text, title, n);
    text[n] = '\0';
    sg_text_draw(sheet, x, y, text, 1, ink);
}

sg_status sg_image_grid(const sg_image *const *images, const char *const *titles, int64_t n,
                        int columns, int64_t cell_width, int64_t cell_height, sg_image *out) {
    int64_t title = titles ? kTitleRows : 0, rows, step_x = cell_width + kGap, step_y;
    sg_image sheet = {0};

    if (n < 1 || columns < 0 || cell_width < 1 || cell_height < 1 ||
        cell_width > SG_IMAGE_MAX_SIDE || cell_height > SG_IMAGE_MAX_SIDE)
        return sg_fail(SG_ERR_ARG, "grid: %lld pictures in cells of %lld x %lld; at least one each",
                       (long long)n, (long long)cell_width, (long long)cell_height);
    if (columns == 0)
        while ((int64_t)columns * columns < n) columns++;
    rows = (n + columns - 1) / columns;
    step_y = cell_height + title + kGap;
    if (columns * step_x + kGap > SG_IMAGE_MAX_PIXELS / (rows * step_y + kGap))
        return sg_fail(SG_ERR_UNSUPPORTED, "grid: a sheet of %lld pictures would be too large",
                       (long long)n);
    SG_TRY(sg_image_create(columns * step_x + kGap, rows * step_y + kGap, &sheet));
    memset(sheet.rgb, kGround, (size_t)(sheet.width * sheet.height * 3));
    for (int64_t i = 0; i < n; i++) {
        int64_t x = kGap + i % columns * step_x, y = kGap + i / columns * step_y, w, h;

        fitted(images[i], cell_width, cell_height, &w, &h);
        shrink_into(images[i], &sheet, x + (cell_width - w) / 2, y + (cell_height - h) / 2, w, h);
        if (titles && titles[i]) draw_title(&sheet, x, y + cell_height + 2, cell_width, titles[i]);
    }
    *out = sheet;
    return SG_OK;
}
