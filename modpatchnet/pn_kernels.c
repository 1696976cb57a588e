// Reference kernels in portable C. Inner loops run over contiguous channels, so that a compiler can vectorise them.
#include "pn_kernels.h"

#include <string.h>

#include "pn_round.h"

int32_t pn_dot(const int8_t *a, const int8_t *b, int n, int32_t bias) {
    for (int i = 0; i < n; i++) {
        bias += a[i] * b[i];
    }
    return bias;
}

// sum of weight * zero over `taps` pixels outside the map
static int32_t dot_outside(const pn_conv_t *c, const int8_t *weight, int taps) {
    int32_t acc = 0;
    for (int t = 0; t < taps; t++) {
        for (int i = 0; i < c->cin; i++) {
            acc += weight[t * c->cin + i] * c->zero[i * c->zero_step];
        }
    }
    return acc;
}

// One row of the kernel at input column x0: pixels left and right of the map, and those inside in one stretch.
static int32_t conv_taps(const pn_conv_t *c, const int8_t *row, const int8_t *weight, int x0, int32_t acc) {
    if (row == NULL) {
        return acc + dot_outside(c, weight, c->kernel);
    }
    int left = x0 < 0 ? -x0 : 0;
    int inside = (x0 + c->kernel < c->w ? x0 + c->kernel : c->w) - (x0 + left);
    acc = pn_dot(row + (x0 + left) * c->cin, weight + left * c->cin, inside * c->cin, acc);
    if (inside == c->kernel) {
        return acc;
    }
    acc += dot_outside(c, weight, left);
    return acc + dot_outside(c, weight + (left + inside) * c->cin, c->kernel - left - inside);
}

void pn_conv_row(const pn_conv_t *c, int8_t *out) {
    int row_bytes = c->kernel * c->cin;
    for (int x = 0; x < c->ow; x++) {
        int x0 = x * c->stride - c->kernel / 2;
        const int8_t *weight = c->weight;
        for (int n = 0; n < c->cout; n++) {
            int32_t acc = c->bias[n];
            for (int k = 0; k < c->kernel; k++, weight += row_bytes) {
                acc = conv_taps(c, c->rows[k], weight, x0, acc);
            }
            *out++ = pn_narrow_end(pn_narrow_q8(acc, c->shift, c->mult[n]) + c->zero_q8);
        }
    }
}

static uint8_t wide_end(int32_t acc, int32_t mult, bool is_signed) {
    int32_t v = pn_wide(acc, mult);
    return is_signed ? (uint8_t)pn_clamp(v, -128, 127) : (uint8_t)pn_clamp(v, 0, 255);
}

void pn_expand_row(const int8_t *in, int w, int cin, const int8_t *weight, const int32_t *bias, const int32_t *mult,
    int group, bool is_signed, uint8_t *out) {
    for (int x = 0; x < w; x++, in += cin) {
        for (int c = 0; c < group; c++) {
            *out++ = wide_end(pn_dot(in, weight + c * cin, cin, bias[c]), mult[c], is_signed);
        }
    }
}

// Channels are taken a few at a time, so that the sums need no more than this of the stack.
#define CHUNK 16

static void depthwise_tap(const uint8_t *in, bool is_signed, const int8_t *weight, int n, int32_t *acc) {
    if (is_signed) {
        for (int i = 0; i < n; i++) {
            acc[i] += (int8_t)in[i] * weight[i];
        }
    } else {
        for (int i = 0; i < n; i++) {
            acc[i] += in[i] * weight[i];
        }
    }
}

static void depthwise_outside(int zero, const int8_t *weight, int n, int32_t *acc) {
    for (int i = 0; i < n; i++) {
        acc[i] += zero * weight[i];
    }
}

static void depthwise_chunk(const pn_depthwise_t *d, int x0, int from, int n, int32_t *acc) {
    const int8_t *weight = d->weight + from;
    for (int ky = 0; ky < d->kernel; ky++) {
        const uint8_t *row = d->rows[ky];
        for (int kx = 0; kx < d->kernel; kx++, weight += d->weight_step) {
            int x = x0 + kx;
            if (row != NULL && x >= 0 && x < d->w) {
                depthwise_tap(row + x * d->step + from, d->in_signed, weight, n, acc);
            } else if (d->zero != 0) {
                depthwise_outside(d->zero, weight, n, acc);
            }
        }
    }
}

void pn_depthwise_pixel(const pn_depthwise_t *d, int x0, uint8_t *out) {
    int32_t acc[CHUNK];
    for (int from = 0; from < d->group; from += CHUNK) {
        int n = d->group - from < CHUNK ? d->group - from : CHUNK;
        memcpy(acc, d->bias + from, (size_t)n * sizeof(acc[0]));
        depthwise_chunk(d, x0, from, n, acc);
        for (int i = 0; i < n; i++) {
            *out++ = wide_end(acc[i], d->mult[from + i], d->out_signed);
        }
    }
}

void pn_project_add(const uint8_t *d, bool is_signed, const int8_t *weight, int group, int cout, int32_t *acc) {
    for (int c = 0; c < group; c++, weight += cout) {
        int32_t v = is_signed ? (int8_t)d[c] : d[c];
        for (int n = 0; n < cout; n++) {
            acc[n] += v * weight[n];
        }
    }
}

void pn_project_end(const int32_t *acc, const int32_t *mult, int shift, int32_t zero_q8, const int8_t *x, int res_mult,
    int n, int cout, int8_t *out) {
    for (int i = 0; i < n; i++) {
        for (int c = 0; c < cout; c++) {
            int32_t q8 = pn_narrow_q8(*acc++, shift, mult[c]) + zero_q8;
            if (x != NULL) {
                q8 += res_mult * *x++;
            }
            *out++ = pn_narrow_end(q8);
        }
    }
}

void pn_pool_add(const int8_t *in, int n, int channels, int zero, int32_t *acc) {
    for (int i = 0; i < n; i++) {
        for (int c = 0; c < channels; c++) {
            acc[c] += *in++ - zero;
        }
    }
}
