// A bottleneck, all three convolutions line by line in the layout of a Cortex-M7 (FORMAT.md, Fast schedules). Two
// implementations of the same integers: on the kernels of armv7em/ where the processor has them, else portable C.
#ifndef PN_FAST_H
#define PN_FAST_H

#include "engine/kernels/pn_kernels.h"

// Pixels that are shifted by it have 16 bits.
#define PN_FAST_SHIFT 8

// A bottleneck's shapes, its arrays in the order of FORMAT.md, one line's geometry, and the memory to work in.
//   arrays: of the group that begins with channel `first`, and of those behind it
//   kernel: 3, 5 or 7, without an expansion 3;  cin = cexp without one
//   group: expanded channels at a time, a multiple of 4 (cexp: no sums are kept)
//   in, out: pixels of an input and of an output line, none of the input's behind what the kernel reaches
//   pad: pixels that the kernel reaches before the input line, less than the kernel
//   shift, shift_expand, shift_depthwise: of the projection's sums and, at most PN_FAST_SHIFT, of the others
//   sums24: what groups add to is kept in 24 bits
//   as_bytes: pixels are read as they lie; there is an expansion of fours of channels
//   sweep: a group goes through all lines of a chunk before the next one begins (mode 6), which has `lines` of them;
//     else (mode 5) lines is 1.
//   line: of the chunk, whose sums are meant
//   zero_in: without an expansion, the value outside the map
//   wide, work: at multiples of 4. Mode 5: `wide` stays as it is from line to line. Mode 6: `work` does so, during a
//     chunk
typedef struct {
    const uint8_t *arrays;
    const int32_t *narrow; // of the projection: bias, bias, mult, mult for each pair of outputs
    int32_t zero_q8, res_mult;
    uint16_t cin, cexp, cout, group, first;
    uint16_t in, out, lines, line;
    uint8_t kernel, stride, pad, shift, shift_expand, shift_depthwise;
    int8_t zero_in;
    bool expands, as_bytes, sweep, sums24;
    uint8_t *wide, *work;
} pn_fast_t;

// Bytes of `wide` and `work`, and where the parts of `work` begin. `line`: bytes of a line of 16-bit pixels, `kept` of
// an expanded channel's lines, `keep` of all that are kept, which are at `kept_at` in mode 6. h begins at the next
// multiple of 8: the kernels tell channels apart by a bit of an address. It holds `words` of an expanded line,
// those before its first pixel's included.
// `acc`: sums, acc_line bytes of a line of the chunk. For kernels above 3: `sums` begin, sum_count sums of a channel,
// row_words words of 4 pixels in a row of it.
typedef struct {
    uint32_t line, kept, keep, wide;
    uint32_t h, words, dbuf, acc, acc_line;
    uint64_t sums, kept_at, work; // a plan not yet checked may ask for anything
    uint32_t sum_count, row_words;
} pn_fast_area_t;
pn_fast_area_t pn_fast_area(const pn_fast_t *f);

// Pairs of pixels of a line of 16-bit pixels. The first one is half outside the map behind an odd pad; whole pairs that
// lie before it are not among them.
static inline uint32_t pn_fast_words(const pn_fast_t *f) {
    return (f->pad % 2u + f->in + 1u) / 2;
}

static inline uint32_t pn_fast_quads(const pn_fast_t *f) {
    return (f->cin + 3u) / 4;
}

// The input lines that an output line reads anew: with an expansion those before are kept as expanded lines.
static inline uint32_t pn_fast_lines(const pn_fast_t *f) {
    return f->expands ? f->stride : f->kernel;
}

// With an expansion, the lines of a map that are taken in before its first output line: `pad` lines are before them
// under the kernel.
static inline uint32_t pn_fast_ahead(uint32_t kernel, uint32_t stride, uint32_t pad) {
    return kernel > stride + pad ? kernel - stride - pad : 0;
}

// Whether the expansion's weights are kept in registers: 8 input channels under 3x3.
static inline bool pn_fast_eight(const pn_fast_t *f) {
    return f->cin == 8 && f->kernel == 3 && f->expands && !f->as_bytes;
}

// Whether input lines are yet to be widened for the channels that begin with `from`: in mode 6 each group does it
// anew.
static inline bool pn_fast_widens(const pn_fast_t *f, uint32_t from) {
    return f->expands && !f->as_bytes && (from == 0 || f->sweep);
}

// Bytes of the arrays: `narrow`, then of each group its expansion, projection and depthwise convolution, `each` for
// every channel. Of these `pair` for two channels of the expansion, `channel` and `project` for a channel of the
// others.
typedef struct {
    uint32_t narrow, each, pair, channel, project;
} pn_fast_arrays_t;
pn_fast_arrays_t pn_fast_arrays(const pn_fast_t *f);

// Channels of the group that begins with `from`.
static inline uint32_t pn_fast_group(const pn_fast_t *f, uint32_t from) {
    return f->cexp - from < f->group ? (uint32_t)f->cexp - from : f->group;
}

// The arrays of `n` channels that begin with `from`.
typedef struct {
    const uint8_t *expand, *project, *depthwise;
} pn_fast_weights_t;
static inline pn_fast_weights_t pn_fast_weights(const pn_fast_t *f, const pn_fast_arrays_t *bytes, uint32_t from,
    uint32_t n) {
    const uint8_t *p = f->arrays + (from - f->first) * bytes->each, *project = p + n / 2 * bytes->pair;
    pn_fast_weights_t w = { p, project, project + n * bytes->project };
    return w;
}

// Where kept lines lie.
static inline uint8_t *pn_fast_kept(const pn_fast_t *f, const pn_fast_area_t *a) {
    return f->sweep ? f->work + a->kept_at : f->wide;
}

// A line of int8 pixels, `step` bytes from one to the next. at NULL: outside the map.
typedef struct {
    int8_t *at;
    int step;
} pn_pixels_t;

// With an expansion, before the first line of a strip (mode 5) or of a group in a chunk (mode 6), and then those input
// lines, `y` in order, that the kernel reaches before the lines that are new: all but those above the map, at NULL one
// below it. Channels from..to-1, whole groups: the first ones first, until all are done.
void pn_fast_begin(const pn_fast_t *f);
void pn_fast_take(const pn_fast_t *f, pn_pixels_t in, uint32_t y, uint32_t from, uint32_t to);

// One output line, of which `top` is the kernel's first input line (negative for the first ones).
//   in: with an expansion the last `stride` of its input lines, else all
//   residual: the input line at the same place, or at NULL
typedef struct {
    pn_pixels_t in[PN_MAX_FAST_KERNEL], out, residual;
    int top;
} pn_fast_lines_t;
// Channels from..to-1, as above; with the last ones the line is written.
void pn_fast_line(const pn_fast_t *f, const pn_fast_lines_t *l, uint32_t from, uint32_t to);

#endif
