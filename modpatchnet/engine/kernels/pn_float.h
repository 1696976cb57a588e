// Kernels of float32 networks (FORMAT.md, Float32): plain C, one for every machine. Each sum is made in one order, a
// product rounded before it is added, so that answers are equal wherever float is IEEE's binary32: compile pn_float.c
// with -ffp-contract=off (sources.mk). The channels of a pixel lie together.
#ifndef PN_FLOAT_H
#define PN_FLOAT_H

#include "engine/kernels/pn_kernels.h"

#ifndef PN_NO_FLOAT32

// A kernel of `height` x `width` over lines of floats, or of a picture's int8 values (`in8`).
//   in: rows, w, step, lines and pixels alone matter
//   columns: lines are columns of the map; sums go by its rows in any case
//   zero: of int8 values, `zero_step` apart from channel to channel (0: one for all), or NULL
typedef struct {
    pn_taps_t in;
    bool columns;
    const int8_t *zero;
    int zero_step;
    int cin;
} pn_window_f_t;

// out[o] = bias[o] + sum of weight * x for `cout` outputs. weight: float[cout][height][width][cin]; x0: the kernel's
// first pixel, may lie outside
void pn_float_conv(const pn_window_f_t *k, int x0, const float *bias, const float *weight, int cout, float *out);

// sums[i] += dot product of x and the n weights at w + i * row, for each output i. Of int8 values in pixels of `cin`
// channels, x - zero[c * zero_step].
void pn_float_dots(const float *x, const float *w, uint32_t n, uint32_t row, uint32_t outputs, float *sums);
void pn_float_dots8(const pn_window_f_t *k, const int8_t *x, const float *w, uint32_t n, uint32_t row, uint32_t outputs,
    float *sums);

// out[c] = bias[c] + sum of weight * x over the kernel, for `group` channels of lines that hold as many.
// weight: a tap's channels together, `cexp` from tap to tap
void pn_float_depthwise(const pn_window_f_t *k, int x0, const float *bias, const float *weight, int group, int cexp,
    float *out);

// sums[o] += d[c] * weight[c][o], channel by channel. weight: float[n][cout]
void pn_float_project(const float *d, const float *weight, int n, int cout, float *sums);

// v[i] += x[i]; v[i] = v[i] clamped to 0..most
void pn_float_add(const float *x, uint32_t n, float *v);
void pn_float_relu(float most, uint32_t n, float *v);

// A block's projection shortcut: v[o] += (bias[o] + weight * x), the sum in brackets made first. weight: float[cout][cin]
void pn_float_shortcut(const float *x, const float *bias, const float *weight, uint32_t cin, uint32_t cout, float *v);

// Of a pixel's window its mean, or the largest value inside the map.
void pn_float_pool(const pn_window_f_t *k, int x0, bool mean, float *out);

// most[c] = the largest of most[c] and of x[c] of n pixels, or sums[c] += x[c] of them all.
void pn_float_most(const float *x, uint32_t pixels, uint32_t channels, float *most);
void pn_float_sum(const float *x, uint32_t pixels, uint32_t channels, float *sums);

// out[i] = x[i] / n
void pn_float_mean(const float *x, uint32_t channels, uint32_t n, float *out);

// Minus infinity.
float pn_float_lowest(void);

// A logit as an integer, in steps of ln 2 / 2^15: what Scores begins with.
int32_t pn_float_steps(float logit);

#endif

#endif
