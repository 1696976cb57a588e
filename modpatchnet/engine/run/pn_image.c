// Area-averaged sampling of camera pixels in integers: exact, and the same on every machine.
#include "engine/run/pn_image.h"

#include "engine/blob/pn_format.h"

// A pixel's `channels` values, 0..255.
static inline void pixel(int format, const uint8_t *p, int channels, uint32_t *v) {
    v[0] = v[1] = v[2] = p[0];
    if (format == PN_GRAYSCALE) {
        return;
    }
    if (format == PN_RGB888) {
        v[1] = p[1];
        v[2] = p[2];
    } else {
        uint32_t rgb = p[0] | (uint32_t)p[1] << 8, r = rgb >> 11, g = rgb >> 5 & 63, b = rgb & 31;
        v[0] = r << 3 | r >> 2;
        v[1] = g << 2 | g >> 4;
        v[2] = b << 3 | b >> 2;
    }
    if (channels == 1) {
        v[0] = (77 * v[0] + 150 * v[1] + 29 * v[2] + 128) >> 8;
    }
}

static const uint8_t *source(const pn_image_t *image, uint32_t y, uint32_t x) {
    return image->data
        + ((size_t)(image->roi_y + y - image->top) * image->w + (image->roi_x + x - image->left)) * image->format;
}

// The source pixels under one of `n` output pixels that share `size` source pixels: first, one past last, and
// what the overlaps of the first and of the last one are; those in between weigh n.
typedef struct {
    uint32_t from, to, first, last;
} span_t;

static __attribute__((noinline)) span_t span(uint32_t i, uint32_t n, uint32_t size) {
    span_t s;
    uint32_t a = i * size, b = a + size;
    s.from = a / n;
    s.to = (b + n - 1) / n;
    s.first = s.to - s.from == 1 ? size : (s.from + 1) * n - a;
    s.last = s.to - s.from == 1 ? size : b - (s.to - 1) * n;
    return s;
}

// Adds source row `y`, times `wy`.
static void add_row(const pn_image_t *image, const pn_sample_t *s, const span_t *sx, uint32_t y, uint32_t wy,
    uint32_t *sum) {
    const uint8_t *p = source(image, y, sx->from);
    uint32_t v[3], w = wy * sx->first;
    for (uint32_t left = sx->to - sx->from; left > 0; left--, p += image->format) {
        pixel((int)image->format, p, s->channels, v);
        w = left == 1 ? wy * sx->last : w;
        sum[0] += w * v[0];
        sum[1] += w * v[1];
        sum[2] += w * v[2];
        w = wy * s->width;
    }
}

static void average(const pn_image_t *image, const pn_sample_t *s, const span_t *sy, const span_t *sx, int8_t *out) {
    uint32_t area = image->roi_w * image->roi_h, sum[3] = { area / 2, area / 2, area / 2 };
    for (uint32_t y = sy->from; y < sy->to; y++) {
        add_row(image, s, sx, y, y == sy->from ? sy->first : y + 1 == sy->to ? sy->last : s->height, sum);
    }
    for (int c = 0; c < s->channels; c++) {
        *out++ = (int8_t)((int32_t)(sum[c] / area) - 128);
    }
}

// Pixels as they are, `step` bytes from one to the next.
static inline void copy(const uint8_t *p, size_t step, uint32_t n, int format, int channels, int8_t *out) {
    uint32_t v[3];
    for (; n > 0; n--, p += step) {
        pixel(format, p, channels, v);
        *out++ = (int8_t)(v[0] ^ 128);
        if (channels == 3) {
            *out++ = (int8_t)(v[1] ^ 128);
            *out++ = (int8_t)(v[2] ^ 128);
        }
    }
}

// A region of just the network's size. What a camera mostly sends has a loop without questions.
static void whole(const pn_image_t *image, const pn_sample_t *s, int8_t *out) {
    const uint8_t *p = source(image, s->y, s->x);
    size_t step = image->format * (s->down ? image->w : 1u);
    if (image->format == PN_RGB565 && s->channels == 3) {
        copy(p, step, s->n, PN_RGB565, 3, out);
    } else {
        copy(p, step, s->n, image->format, s->channels, out);
    }
}

void pn_image_sample(const pn_image_t *image, const pn_sample_t *s, int8_t *out) {
    if (image->roi_h == s->height && image->roi_w == s->width) {
        whole(image, s, out);
        return;
    }
    span_t sy = span(s->y, s->height, image->roi_h), sx = span(s->x, s->width, image->roi_w);
    for (uint32_t i = 0; i < s->n; i++, out += s->channels) {
        if (s->down) {
            sy = span(s->y + i, s->height, image->roi_h);
        } else {
            sx = span(s->x + i, s->width, image->roi_w);
        }
        average(image, s, &sy, &sx, out);
    }
}

// What source pixel `i`, `n` long, has in common with `size` from `from` on.
static uint32_t overlap(uint32_t i, uint32_t n, uint32_t from, uint32_t size) {
    uint32_t first = i * n > from ? i * n : from, end = i * n + n < from + size ? i * n + n : from + size;
    return end - first;
}

// For small code, as such inputs are rare.
__attribute__((cold)) void pn_raw_sample(const int8_t *in, uint32_t h, uint32_t w, const pn_sample_t *s, int8_t *out) {
    uint32_t top = s->y * h, left = s->x * w, n = (uint32_t)s->channels;
    for (uint32_t c = 0; c < n; c++, in++) {
        uint32_t sum = h * w / 2;
        for (uint32_t y = top / s->height; y * s->height < top + h; y++) {
            for (uint32_t x = left / s->width; x * s->width < left + w; x++) {
                uint32_t both = overlap(y, s->height, top, h) * overlap(x, s->width, left, w);
                sum += both * (uint32_t)(in[(y * w + x) * n] + 128);
            }
        }
        *out++ = (int8_t)((int32_t)(sum / (h * w)) - 128);
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
    if (im->roi_w == 0 || im->roi_h == 0 || im->roi_w > PN_MAX_SIDE || im->roi_h > PN_MAX_SIDE || im->roi_x > im->w
        || im->roi_w > im->w - im->roi_x || im->roi_y > im->h || im->roi_h > im->h - im->roi_y) {
        return PN_ERR_ROI;
    }
    if (crop) {
        crop_to_aspect(im, height, width);
    }
    return PN_OK;
}
