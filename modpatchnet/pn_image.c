// Area-averaged sampling of camera pixels in integers: exact, and the same on every machine.
#include "pn_image.h"

#include "pn_format.h"

static void pixel_rgb(const pn_image_t *image, const uint8_t *p, uint32_t *rgb) {
    if (image->format == PN_GRAYSCALE) {
        rgb[0] = rgb[1] = rgb[2] = p[0];
    } else if (image->format == PN_RGB888) {
        rgb[0] = p[0];
        rgb[1] = p[1];
        rgb[2] = p[2];
    } else {
        uint32_t v = p[0] | (uint32_t)p[1] << 8;
        uint32_t r = v >> 11, g = v >> 5 & 63, b = v & 31;
        rgb[0] = r << 3 | r >> 2;
        rgb[1] = g << 2 | g >> 4;
        rgb[2] = b << 3 | b >> 2;
    }
}

static void pixel(const pn_image_t *image, const uint8_t *p, int channels, uint32_t *v) {
    pixel_rgb(image, p, v);
    if (channels == 1 && image->format != PN_GRAYSCALE) {
        v[0] = (77 * v[0] + 150 * v[1] + 29 * v[2] + 128) >> 8;
    }
}

// The source pixels under one of `n` output pixels that share `size` source pixels: first, one past last, and
// what the overlaps of the first and of the last one are; those in between weigh n.
typedef struct {
    uint32_t from, to, first, last;
} span_t;

static span_t span(uint32_t i, uint32_t n, uint32_t size) {
    span_t s;
    uint32_t a = i * size, b = a + size;
    s.from = a / n;
    s.to = (b + n - 1) / n;
    s.first = s.to - s.from == 1 ? size : (s.from + 1) * n - a;
    s.last = s.to - s.from == 1 ? size : b - (s.to - 1) * n;
    return s;
}

static uint32_t weight(const span_t *s, uint32_t i, uint32_t n) {
    return i == s->from ? s->first : i + 1 == s->to ? s->last : n;
}

static void average(const pn_image_t *image, const pn_sample_t *s, const span_t *sy, const span_t *sx, uint32_t *sum) {
    uint32_t v[3];
    for (uint32_t y = sy->from; y < sy->to; y++) {
        uint32_t wy = weight(sy, y, s->height);
        const uint8_t *p = image->data
            + ((size_t)(image->roi_y + y - image->top) * image->w + (image->roi_x + sx->from - image->left)) * image->format;
        for (uint32_t x = sx->from; x < sx->to; x++, p += image->format) {
            uint32_t w = wy * weight(sx, x, s->width);
            pixel(image, p, s->channels, v);
            for (int c = 0; c < s->channels; c++) {
                sum[c] += w * v[c];
            }
        }
    }
}

void pn_image_sample(const pn_image_t *image, const pn_sample_t *s, int8_t *out) {
    uint32_t area = image->roi_w * image->roi_h;
    span_t sy = span(s->y, s->height, image->roi_h), sx = span(s->x, s->width, image->roi_w);
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->down) {
            sy = span(s->y + i, s->height, image->roi_h);
        } else {
            sx = span(s->x + i, s->width, image->roi_w);
        }
        uint32_t sum[3] = { area / 2, area / 2, area / 2 };
        average(image, s, &sy, &sx, sum);
        for (int c = 0; c < s->channels; c++) {
            *out++ = (int8_t)((int32_t)(sum[c] / area) - 128);
        }
    }
}

static void crop_to_aspect(pn_image_t *im, uint32_t height, uint32_t width) {
    if (im->roi_w * height > im->roi_h * width) {
        uint32_t w = im->roi_h * width / height;
        w = w ? w : 1;
        im->roi_x += (im->roi_w - w) / 2;
        im->roi_w = w;
    } else if (im->roi_w * height < im->roi_h * width) {
        uint32_t h = im->roi_w * height / width;
        h = h ? h : 1;
        im->roi_y += (im->roi_h - h) / 2;
        im->roi_h = h;
    }
}

int pn_image_prepare(pn_image_t *im, uint32_t height, uint32_t width, bool crop) {
    if (im->format != PN_GRAYSCALE && im->format != PN_RGB565 && im->format != PN_RGB888) {
        return PN_ERR_PIXFMT;
    }
    if (im->roi_w == 0 || im->roi_h == 0 || im->roi_w > PN_MAX_SIDE || im->roi_h > PN_MAX_SIDE
        || im->roi_x > im->w || im->roi_w > im->w - im->roi_x
        || im->roi_y > im->h || im->roi_h > im->h - im->roi_y) {
        return PN_ERR_ROI;
    }
    if (crop) {
        crop_to_aspect(im, height, width);
    }
    return PN_OK;
}
