// A bottleneck with expansion, fused line by line in the layout of a Cortex-M7 (FORMAT.md, Fast schedules). Two implementations of the
// same integers: on the kernels of dsp/ where the processor has them, else portable C.
#ifndef PN_FUSED_H
#define PN_FUSED_H

#include "pn_kernels.h"

// A bottleneck's shapes, its arrays in the order of FORMAT.md, one line's geometry, and the memory to work in.
//   group: expanded channels at a time, a multiple of 4 (cexp: no sums are kept)
//   in, out: pixels of an input and of an output line;  pad: 1 if the kernel reaches one pixel before the input line, else 0
//   wide16: weights of 16 bits;  rolling: expanded lines are kept from line to line (mode 5), else widened ones (mode 6)
//   wide, work: at multiples of 4; `wide` stays as it is from line to line
typedef struct {
    const uint8_t *expand, *depthwise, *project;
    const int32_t *scale; // of the projection: bias, bias, mult, mult for each pair of outputs
    int32_t zero_q8, res_mult;
    uint16_t cin, cexp, cout, group;
    uint16_t in, out;
    uint8_t stride, pad, shift;
    bool wide16, rolling;
    uint8_t *wide, *work;
} pn_fused_t;

// Bytes of `wide` and `work`, and where the parts of `work` begin. `line`: bytes of a line of 16-bit pixels, `kept` of an expanded channel's lines.
// h begins at the next multiple of h_align: the kernels tell channels apart by a bit of an address.
typedef struct {
    uint32_t line, kept, wide;
    uint32_t h, h_align, dbuf, acc, stage, work;
} pn_fused_area_t;
pn_fused_area_t pn_fused_area(const pn_fused_t *f);

// Pairs of pixels of a line of 16-bit pixels, and the input lines that an output line reads anew at most.
static inline uint32_t pn_fused_words(const pn_fused_t *f) {
    return (f->pad + f->in + 1u) / 2;
}

static inline uint32_t pn_fused_lines(const pn_fused_t *f) {
    return f->rolling ? f->stride : 3u;
}

// Bytes of the arrays, one behind the other.
typedef struct {
    uint32_t expand, depthwise, project, scale;
} pn_fused_arrays_t;
pn_fused_arrays_t pn_fused_arrays(uint32_t cin, uint32_t cexp, uint32_t cout, bool wide16);

// A line of int8 pixels, `step` bytes from one to the next. at NULL: outside the map.
typedef struct {
    int8_t *at;
    int step;
} pn_pixels_t;

// Rolling, before a strip's first output line. first: input line 0.
void pn_fused_begin(const pn_fused_t *f, pn_pixels_t first);

// One output line, of which `top` is the kernel's first input line (-1 for output line 0).
//   in: rolling: the last `stride` of its three input lines; else all three, those before in[fresh] being widened already
//   residual: the input line at the same place, or at NULL
void pn_fused_line(const pn_fused_t *f, const pn_pixels_t *in, int top, uint32_t fresh, pn_pixels_t out, pn_pixels_t residual);

#endif
