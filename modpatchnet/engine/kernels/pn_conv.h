// Dense convolutions, a few output pixels of a line at a time. Two implementations of the same integers: on the kernels
// of armv7em/ where the processor has them, else portable C.
#ifndef PN_CONV_H
#define PN_CONV_H

#include "engine/kernels/pn_kernels.h"

// What a convolution makes of an output pixel's *window*: the inputs under its kernel, in the order of an output's
// weights.
//   in: lines hold cin int8 a pixel
//   zero: value outside the map, one for each channel (`zero_step` 1) or one for all (`zero_step` 0)
//   pairs: each two outputs' weights, biases and multipliers (FORMAT.md, Weights in pairs), of an odd cout the last two
//     outputs' once more, where it is 1 also those of the one before it; NULL: there are, instead,
//   weight: int8, as many an output channel;  bias, mult: int32[cout]
//   zero_q8 = 256 * zero_out + 128
//   x: what is added to the first pixel, cout int8, `x_step` bytes to the next one's, times res_mult (zero_q8 then has
//     -res_mult * its zero point); NULL: nothing
//   work: pn_conv_bytes for as many pixels, at a multiple of 4: windows of 16-bit values, and one as it is brought
typedef struct {
    pn_taps_t in;
    const int8_t *zero;
    const uint8_t *pairs;
    const int8_t *weight;
    const int32_t *bias, *mult;
    int32_t zero_q8;
    int zero_step, cin, cout, stride, shift;
    const int8_t *x;
    int x_step, res_mult;
    uint8_t *work;
} pn_conv_t;

// Quads of a window: fours of its values, the last one perhaps in part.
static inline uint32_t pn_conv_quads(uint32_t taps, uint32_t cin) {
    return (taps * cin + 3) / 4;
}

static inline uint32_t pn_window_quads(const pn_conv_t *c) {
    return pn_conv_quads((uint32_t)(c->in.lines * c->in.pixels), (uint32_t)c->cin);
}

// Bytes of `work` for `pixels` output pixels, an even number.
static inline uint32_t pn_conv_bytes(uint32_t quads, uint32_t pixels) {
    return 8 * quads * pixels + 4 * quads;
}

// `pixels` output pixels, at most as many as `work` is for.
//   x0: the first kernel's first pixel, may lie outside 0..w-1
//   out: cout int8 a pixel, `step` bytes from one to the next
void pn_conv_pixels(const pn_conv_t *c, int x0, uint32_t pixels, int8_t *out, int step);

// The parts of which both implementations are made.

// Where windows lie: the first, and bytes from one to the next.
typedef struct {
    const int8_t *at;
    int step;
} pn_windows_t;

// The windows of `pixels` output pixels, brought to `room` unless a kernel of one pixel has them in the map itself, in
// whole quads.
pn_windows_t pn_conv_windows(const pn_conv_t *c, int x0, uint32_t pixels, int8_t *room);

// All outputs of pixels whose windows are there, a dot product each.
void pn_conv_dots(const pn_conv_t *c, pn_windows_t windows, uint32_t pixels, int8_t *out, int step);

#endif
