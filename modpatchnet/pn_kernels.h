// Kernels: what is computed for one row or one pixel, on plain arrays. They know nothing of models, plans or blobs.
// Reference C; these functions define the numbers. Maps are HWC; `cin`, `cexp`, `cout` count channels.
#ifndef PN_KERNELS_H
#define PN_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PN_MAX_KERNEL 7

// One row of a dense k x k convolution.
//   rows: k input rows of w * cin int8, top to bottom; NULL for a row outside the map, which reads as `zero`
//   zero: value outside the map, one for each channel (`zero_step` 1) or one for all (`zero_step` 0)
//   weight: int8[cout][k][k][cin];  bias, mult: int32[cout];  zero_q8 = 256 * zero_out + 128
//   out: ow * cout int8
typedef struct {
    const int8_t *const *rows;
    const int8_t *zero;
    int zero_step;
    const int8_t *weight;
    const int32_t *bias, *mult;
    int32_t zero_q8;
    int w, cin, ow, cout, kernel, stride, shift;
} pn_conv_t;
void pn_conv_row(const pn_conv_t *c, int8_t *out);

// One row of the expansion, channels 0..group-1 of the pointers given.
//   in: w * cin int8;  weight: int8[group][cin];  out: w * group values, 0..255 or, `is_signed`, -128..127
void pn_expand_row(const int8_t *in, int w, int cin, const int8_t *weight, const int32_t *bias, const int32_t *mult,
    int group, bool is_signed, uint8_t *out);

// One pixel of the depthwise convolution for `group` channels.
//   rows: k input rows, NULL outside;  x0: input column of the kernel's left edge, may lie outside 0..w-1
//   step: bytes from one input pixel to the next;  zero: the value outside the map
//   weight: int8[k][k] taps, `weight_step` bytes from one tap to the next, group channels each
//   in_signed: input is -128..127, else 0..255;  out: group values, 0..255 or, `out_signed`, -128..127
typedef struct {
    const uint8_t *const *rows;
    const int8_t *weight;
    const int32_t *bias, *mult;
    int w, step, weight_step, kernel, group;
    int8_t zero;
    bool in_signed, out_signed;
} pn_depthwise_t;
void pn_depthwise_pixel(const pn_depthwise_t *d, int x0, uint8_t *out);

// Adds `group` depthwise values times int8 weight[group][cout] to int32 acc[cout].
void pn_project_add(const uint8_t *d, bool is_signed, const int8_t *weight, int group, int cout, int32_t *acc);

// Turns one row of sums into int8: out = narrow(acc, res_mult * (x - zero_in)); x may be NULL (no residual).
//   acc: int32[n * cout];  zero_q8 = 256 * zero_out + 128 - res_mult * zero_in
void pn_project_end(const int32_t *acc, const int32_t *mult, int shift, int32_t zero_q8, const int8_t *x, int res_mult,
    int n, int cout, int8_t *out);

// acc[c] += sum over n pixels of (in[c] - zero)
void pn_pool_add(const int8_t *in, int n, int channels, int zero, int32_t *acc);

// bias + dot product of n int8 pairs
int32_t pn_dot(const int8_t *a, const int8_t *b, int n, int32_t bias);

#endif
