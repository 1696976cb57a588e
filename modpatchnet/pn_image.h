// Reading a picture at the network's resolution (FORMAT.md, From camera to input).
#ifndef PN_IMAGE_H
#define PN_IMAGE_H

#include "patchnet.h"

// Checks format and region, then cuts the region to the aspect of width x height if `crop`. PN_OK, PN_ERR_PIXFMT, PN_ERR_ROI.
int pn_image_prepare(pn_image_t *image, uint32_t height, uint32_t width, bool crop);

// Samples columns x0..x0+n-1 of row y of the picture averaged down (or up) to height x width.
// out: n * channels int8, value - 128.
void pn_image_row(const pn_image_t *image, uint32_t height, uint32_t width, int channels, uint32_t y, uint32_t x0,
    uint32_t n, int8_t *out);

#endif
