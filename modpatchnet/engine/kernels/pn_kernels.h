// Kernels: what is computed for one pixel or a line of pixels, on plain arrays. They know nothing of models, plans or
// blobs. Reference C; these functions define the numbers, and pn_dsp_sums.c has the last two for processors with DSP
// instructions. The channels of a pixel lie together; `cin`, `cexp`, `cout` count channels.
#ifndef PN_KERNELS_H
#define PN_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Whether the kernels of armv7em/ take the place of portable C.
#if defined(__ARM_FEATURE_DSP) && __ARM_ARCH_PROFILE == 'M' && !defined(PN_PORTABLE)
#define PN_DSP 1
#else
#define PN_DSP 0
#endif

#define PN_MAX_KERNEL 15 // lines, and pixels of a line
#define PN_MAX_FAST_KERNEL 7

// Weights of two output channels that a number of 16 bits stands for (FORMAT.md, Weights in pairs).
typedef struct {
    int32_t a, b;
} pn_two_t;
static inline pn_two_t pn_two(const uint8_t *p) {
    int32_t a = (int8_t)p[0], v = p[0] + 256 * (int8_t)p[1];
    pn_two_t two = { a, (v - a) / 256 };
    return two;
}

// Bytes of a pair of outputs: the numbers of so many fours of inputs, two biases, two multipliers.
static inline uint32_t pn_pair_bytes(uint32_t quads) {
    return 16 + 8 * quads;
}

// What a kernel of `lines` x `pixels` reads: lines of `w` pixels (rows, or columns of the picture), and the weights'
// order that goes with them.
//   rows: as many lines, NULL for one outside the map
//   step: bytes from one pixel of a line to the next
//   line_step, pixel_step: bytes from the weights of one tap to those of the tap on the next line, and at the next
//     pixel
typedef struct {
    const uint8_t *rows[PN_MAX_KERNEL];
    int w, step;
    int lines, pixels, line_step, pixel_step;
} pn_taps_t;

// The expansion of `pixels` pixels, channels 0..group-1 of the pointers given.
//   in: cin int8 a pixel, `step` bytes from one to the next;  weight: int8[group][cin]
//   out: group values a pixel, 0..255 or, `is_signed`, -128..127
typedef struct {
    const int8_t *weight;
    const int32_t *bias, *mult;
    int cin, group, shift;
    bool is_signed;
} pn_expand_t;
void pn_expand(const pn_expand_t *e, const int8_t *in, int step, int pixels, uint8_t *out);

// One pixel of the depthwise convolution for `group` channels.
//   x0: the kernel's first pixel, may lie outside;  lines hold values of `group` channels or more a pixel
//   zero: the value outside the map;  weight: a tap's channels together
//   in_signed: input is -128..127, else 0..255;  out: group values, 0..255 or, `out_signed`, -128..127
typedef struct {
    pn_taps_t in;
    const int8_t *weight;
    const int32_t *bias, *mult;
    int group, shift;
    int8_t zero;
    bool in_signed, out_signed;
} pn_depthwise_t;
void pn_depthwise_pixel(const pn_depthwise_t *d, int x0, uint8_t *out);

// The projection.
//   weight: int8[cexp][cout];  bias, mult: int32[cout];  zero_q8 = 256 * zero_out + 128 - res_mult * zero_in
typedef struct {
    const int8_t *weight;
    const int32_t *bias, *mult;
    int32_t zero_q8;
    int cexp, cout, shift, res_mult;
    bool is_signed;
} pn_project_t;

// One pixel, out = narrow(bias + weight * d, res_mult * (x - zero_in)). d: cexp values; x: cout int8, or NULL (no
// residual).
void pn_project_pixel(const pn_project_t *p, const uint8_t *d, const int8_t *x, int8_t *out);

// Adds values of channels first..first+group-1 to a pixel's int32 acc[cout].
void pn_project_add(const pn_project_t *p, const uint8_t *d, int first, int group, int32_t *acc);

// Turns a pixel's sums, bias included, into int8.
void pn_project_end(const pn_project_t *p, const int32_t *acc, const int8_t *x, int8_t *out);

// Pooling of a pixel's window: the mean of (in - zero_in) over all that it has, or the largest value inside the map.
typedef struct {
    pn_taps_t in; // line_step and pixel_step do not matter
    int channels;
    bool mean;
    int8_t zero_in;
    int32_t zero_q8, mult;
    int shift;
} pn_pool_t;
// x0: the kernel's first pixel, may lie outside
void pn_pool_pixel(const pn_pool_t *p, int x0, int8_t *out);

// Turns sums of all channels into means.
void pn_pool_end(const pn_pool_t *p, const int32_t *acc, int8_t *out);

// most[c] = the largest of most[c] and of in[c] of n pixels
void pn_pool_most(const int8_t *in, int n, int channels, int8_t *most);

// Values rounded to the nearest multiple of 16 (upwards in the middle, at most 112), two in a byte, the first one below:
// 2 * `bytes` of them, and such a line as int8 again.
void pn_to_int4(const int8_t *in, int bytes, int8_t *out);
void pn_from_int4(const int8_t *in, int bytes, int8_t *out);

// acc[c] += sum over n pixels of (in[c] - zero)
void pn_pool_add(const int8_t *in, int n, int channels, int zero, int32_t *acc);

// bias + dot product of n int8 pairs
int32_t pn_dot(const int8_t *a, const int8_t *b, int n, int32_t bias);

// acc[i] += in[i] * weight[i] for `n` channels;  in: 0..255 or, `is_signed`, -128..127
void pn_add_products(const uint8_t *in, bool is_signed, const int8_t *weight, int n, int32_t *acc);

// acc[i] += sum over `count` values of in[c] * weight[c * step + i], for `n` outputs;  in as above
void pn_add_rows(const uint8_t *in, bool is_signed, int count, const int8_t *weight, int step, int n, int32_t *acc);

// sums[i] += dot product of n int8 and the n at w + i * step, for each output i
void pn_dots(const int8_t *x, const int8_t *w, int n, int step, int outputs, int32_t *sums);

#endif
