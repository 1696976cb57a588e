// Fast kernels for Cortex-M4/M7 (ARMv7E-M with the DSP extension): the bottleneck as lines, byte for byte what
// pn_kernels.h computes.
#ifndef PN_DSP_H
#define PN_DSP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The pieces of pn_dsp_pairs, in the order of their addresses in pn_dsp_pairs.c.
enum {
    // the depthwise convolution
    PN_DW_PRIME, // none: the expanded line becomes the newest kept one
    PN_DW3_ROLL, // two kept lines and a new one, stride 1
    PN_DW3_ROLL2, // one kept line and two new ones, stride 2
    PN_DW3_LINES, // three new lines, stride 1
    PN_DW3_LINES2, // the same, stride 2
    PN_DW3_SHIFTED, // one of those four with a shift
    PN_DW_ROWS, // 5x5 and 7x7, a row of the kernel after the other
    // the expansion
    PN_EXP_TILE, // any number of input channels
    PN_EXP_BYTES, // the same, pixels as they lie
    PN_EXP8, // 8 input channels
    PN_PLAIN, // none
    PN_FRONT, // zeros before the lines of 3x3, then one of those four
};

// What PN_DW_ROWS needs besides. A row holds a byte a pixel, the pixels before the first one that the kernel reaches
// included.
//   src: where each of the kernel's rows lies, from `kept` on; -1: nowhere, it is zero;  dst: where the new lines go
//   sums: of two channels, sum_bytes each, a multiple of 16, with stride 2 of 8;  row_words: of a row, 4 pixels each
//   fresh: rows that are used before the new lines are packed;  lines: new lines;  kernel: 0: they are but packed
//   weights: bytes of a channel's weights;  channel: bytes of `kept` from a channel to the next
typedef struct {
    uint32_t src[7], dst[7];
    uint8_t *sums;
    uint32_t sum_bytes, row_words, kernel, fresh, lines, weights, channel;
} pn_rows_t;
#define PN_NO_ROW 0xffffffffu

// pn_dsp_pairs: expansion and depthwise convolution of one output line, a pair of channels at a time. Its frame, in
// this order.
//   pixel: PN_EXP_BYTES: bytes from a pixel to the next
//   own, xrow, hrow: room that the call itself needs
//   quads: input channels / 4, rounded up (0: no expansion), at most 127
//   rows..rows_end: input lines of 16-bit pixels as pn_dsp_widen makes them, NULL for one outside the map.  PN_PLAIN, PN_EXP_BYTES:
//     of int8 pixels
//   ew, dw: weights of the first pair (FORMAT.md, Fast schedules);  record: bytes of a pair's of the expansion
//      PN_PLAIN: ew: the pair's place in a pixel;  record: 2
//   kept: kept lines, 8 bits a value, of one channel after the other.  PN_PLAIN: bytes from a pixel to the next
//   dbuf: depthwise values, 16 bits: for each pair of output pixels `pitch` bytes, in each for four channels {p0, p1,
//     p0, p1}
//   pairs: of channels
//   h: expanded lines of the pair: for each word (two pixels) `stride` bytes, a word of each channel for each line
//      PN_DW_ROWS: 2 * row_words of them, zero where no pixel lies
//   words: of a line, padding included;  head, full, tail: a single pixel first, pairs of pixels,
//     a single one last.  PN_PLAIN: head 2: a word of padding first
//   dwfn, expfn: of the enumeration, stepfn, linefn: those that they go on with;  slot: bytes of h from one output
//     pixel to the next;  out_pairs: pairs of output pixels
//   next: PN_EXP_BYTES: bytes from behind a pixel to the next pixel but one
//   zeros: bytes of h before a line's first word.  PN_PLAIN: the value outside the map, twice;  more: for PN_DW_ROWS,
//     else NULL
//   shift_expand, shift_depthwise: of the sums; PN_EXP8's pixels are shifted already; the latter for PN_DW3_SHIFTED and
//     PN_DW_ROWS
typedef struct {
    uint32_t pixel, own[2], quads;
    uint32_t xrow, hrow;
    const void *const *rows, *const *rows_end;
    const uint8_t *ew, *dw;
    uint8_t *kept, *dbuf;
    uint32_t pitch, pairs;
    uint8_t *h;
    uint32_t stride, words, head, full, tail, dwfn, stepfn, expfn, linefn, slot, out_pairs, next, zeros, record;
    const pn_rows_t *more;
    uint32_t shift_expand, shift_depthwise;
} pn_pairs_t;
void pn_dsp_pairs(const pn_pairs_t *p);

// Widens a line of int8 pixels for pn_dsp_pairs.
typedef struct {
    const int8_t *in;
    int32_t step;
    uint32_t quads;
    int16_t *x;
    uint32_t head, full, tail;
} pn_widen_t;
void pn_dsp_widen(const pn_widen_t *w);
// the same, pixel after pixel (8 channels)
void pn_dsp_widen8(const int8_t *in, int32_t step, uint32_t pixels, int16_t *x);
// Windows of three lines of 9 bytes, widened as lines for the tiles are: pn_dsp_windows9 for `pixels` output pixels.
//   lines: of the first one's window;  step: bytes to the next one's
//   x: of output pixel 0;  from: the first one's number
void pn_dsp_windows9(const uint8_t *const *lines, int32_t step, int16_t *x, uint32_t from, uint32_t pixels);
// Multiplies `eights` times 8 of these values by 2^shift, 1..8.
void pn_dsp_shift(int16_t *x, uint32_t eights, uint32_t shift);

// The second half of a bottleneck's line: the projection; or all of a dense convolution. Its frame, in this order.
//   b, own, own_too: room that the calls need
//   quads: channels of the group / 4
//   w: weights of the group, `gap` bytes between those of a pair of outputs and the next one's
//   bm: biases and multipliers of the first pair of outputs, `next` bytes before those of the next one
//   d: depthwise values as pn_dsp_pairs leaves them, or windows as pn_dsp_widen does
//   out, out_step: the output line;  x, x_step: the residual's, or NULL;  zero_q8, res_mult, shift: see pn_project_t
//   full, tail: pairs of output pixels, and whether a single one follows;  couts: pairs of outputs
//   acc: sums, int32[couts][full + tail][4], for groups, or three bytes each;  first: the group that begins with the biases
typedef struct {
    uint32_t b[4], own[4], quads;
    const uint8_t *w;
    const int32_t *bm;
    const uint8_t *d;
    int8_t *out;
    int32_t out_step;
    const int8_t *x;
    int32_t x_step;
    int32_t res_mult, zero_q8;
    uint32_t full, tail, couts, shift;
    int32_t *acc;
    uint32_t first, gap, next, own_too;
} pn_tiles_t;
// All channels at once; or, where pairs lie without gaps, group by group of at most 256 channels: add, and after the last
// one end. The last two are for sums of three bytes.
void pn_dsp_project(const pn_tiles_t *t);
void pn_dsp_project_add(const pn_tiles_t *t);
void pn_dsp_project_end(const pn_tiles_t *t);
void pn_dsp_project_add24(const pn_tiles_t *t);
void pn_dsp_project_end24(const pn_tiles_t *t);

#endif
