// Reading a picture at the network's resolution (FORMAT.md, From camera to input).
#ifndef PN_IMAGE_H
#define PN_IMAGE_H

#include "patchnet.h"

// Checks format and region, then cuts the region to the aspect of width x height if `crop`. PN_OK, PN_ERR_PIXFMT,
// PN_ERR_ROI.
int pn_image_prepare(pn_image_t *image, uint32_t height, uint32_t width, bool crop);

// Samples `n` pixels of the picture averaged down (or up) to height x width: (y, x) and those right of it, or, `down`,
// below it. out: n * channels int8, value - 128.
typedef struct {
    uint32_t height, width;
    int channels;
    uint32_t y, x, n;
    bool down;
} pn_sample_t;
void pn_image_sample(const pn_image_t *image, const pn_sample_t *s, int8_t *out);

// The first of these pixels, of a raw input of h x w pixels.
void pn_raw_sample(const int8_t *in, uint32_t h, uint32_t w, const pn_sample_t *s, int8_t *out);

#endif
