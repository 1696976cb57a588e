// Reference kernels in portable C. Inner loops run over contiguous channels, so that a compiler can vectorise them.
#include "pn_kernels.h"

#include <string.h>

#include "pn_round.h"

// Channels are taken a few at a time, so that the sums need no more than this of the stack.
#define CHUNK 16

int32_t pn_dot(const int8_t *a, const int8_t *b, int n, int32_t bias) {
    for (int i = 0; i < n; i++) {
        bias += a[i] * b[i];
    }
    return bias;
}

// Where the kernel's pixels lie in a line, -1 for those outside the map.
static void positions(const pn_taps_t *t, int x0, int *at) {
    for (int k = 0; k < t->kernel; k++) {
        int x = x0 + k;
        at[k] = x < 0 || x >= t->w ? -1 : (x < t->wrap ? x : x % t->wrap) * t->step;
    }
}

static int32_t dot_outside(const pn_conv_t *c, const int8_t *weight, int32_t acc) {
    for (int i = 0; i < c->cin; i++) {
        acc += weight[i] * c->zero[i * c->zero_step];
    }
    return acc;
}

static int32_t conv_sum(const pn_conv_t *c, const int *at, bool together, const int8_t *weight, int32_t acc) {
    const pn_taps_t *in = &c->in;
    for (int ky = 0; ky < in->kernel; ky++) {
        const int8_t *row = (const int8_t *)in->rows[ky], *w = weight + ky * in->line_step;
        if (together && row != NULL) {
            acc = pn_dot(row + at[0], w, in->kernel * c->cin, acc);
            continue;
        }
        for (int kx = 0; kx < in->kernel; kx++, w += in->pixel_step) {
            acc = row == NULL || at[kx] < 0 ? dot_outside(c, w, acc) : pn_dot(row + at[kx], w, c->cin, acc);
        }
    }
    return acc;
}

void pn_conv_pixel(const pn_conv_t *c, int x0, int n, int8_t *out) {
    int at[PN_MAX_KERNEL], last = c->in.kernel - 1;
    positions(&c->in, x0, at);
    bool together = at[0] >= 0 && at[last] == at[0] + last * c->cin && c->in.pixel_step == c->cin;
    const int8_t *weight = c->weight;
    for (int i = 0; i < n; i++, weight += c->in.kernel * c->in.kernel * c->cin) {
        int32_t acc = conv_sum(c, at, together, weight, c->bias[i]);
        out[i] = pn_narrow_end(pn_narrow_q8(acc, c->shift, c->mult[i]) + c->zero_q8);
    }
}

static uint8_t wide_end(int32_t acc, int32_t mult, bool is_signed) {
    int32_t v = pn_wide(acc, mult);
    return is_signed ? (uint8_t)pn_clamp(v, -128, 127) : (uint8_t)pn_clamp(v, 0, 255);
}

void pn_expand(const pn_expand_t *e, const int8_t *in, int step, int pixels, uint8_t *out) {
    for (int x = 0; x < pixels; x++, in += step) {
        for (int c = 0; c < e->group; c++) {
            *out++ = wide_end(pn_dot(in, e->weight + c * e->cin, e->cin, e->bias[c]), e->mult[c], e->is_signed);
        }
    }
}

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

static void depthwise_chunk(const pn_depthwise_t *d, const int *at, int from, int n, int32_t *acc) {
    const pn_taps_t *in = &d->in;
    for (int ky = 0; ky < in->kernel; ky++) {
        const int8_t *weight = d->weight + from + ky * in->line_step;
        for (int kx = 0; kx < in->kernel; kx++, weight += in->pixel_step) {
            if (in->rows[ky] != NULL && at[kx] >= 0) {
                depthwise_tap(in->rows[ky] + at[kx] + from, d->in_signed, weight, n, acc);
            } else if (d->zero != 0) {
                depthwise_outside(d->zero, weight, n, acc);
            }
        }
    }
}

void pn_depthwise_pixel(const pn_depthwise_t *d, int x0, uint8_t *out) {
    int at[PN_MAX_KERNEL];
    int32_t acc[CHUNK];
    positions(&d->in, x0, at);
    for (int from = 0; from < d->group; from += CHUNK) {
        int n = d->group - from < CHUNK ? d->group - from : CHUNK;
        memcpy(acc, d->bias + from, (size_t)n * sizeof(acc[0]));
        depthwise_chunk(d, at, from, n, acc);
        for (int i = 0; i < n; i++) {
            *out++ = wide_end(acc[i], d->mult[from + i], d->out_signed);
        }
    }
}

// acc[0..n-1] += values * weights of `group` channels, outputs from..from+n-1
static void project(const pn_project_t *p, const uint8_t *d, int first, int group, int from, int n, int32_t *acc) {
    const int8_t *weight = p->weight + (size_t)first * p->cout + from;
    for (int c = 0; c < group; c++, weight += p->cout) {
        int32_t v = p->is_signed ? (int8_t)d[c] : d[c];
        for (int i = 0; i < n; i++) {
            acc[i] += v * weight[i];
        }
    }
}

static int8_t project_end(const pn_project_t *p, int32_t acc, int c, const int8_t *x) {
    int32_t residual = x == NULL ? 0 : p->res_mult * x[c];
    return pn_narrow_end(pn_narrow_q8(acc, p->shift, p->mult[c]) + p->zero_q8 + residual);
}

void pn_project_pixel(const pn_project_t *p, const uint8_t *d, const int8_t *x, int8_t *out) {
    int32_t acc[CHUNK];
    for (int from = 0; from < p->cout; from += CHUNK) {
        int n = p->cout - from < CHUNK ? p->cout - from : CHUNK;
        memcpy(acc, p->bias + from, (size_t)n * sizeof(acc[0]));
        project(p, d, 0, p->cexp, from, n, acc);
        for (int i = 0; i < n; i++) {
            out[from + i] = project_end(p, acc[i], from + i, x);
        }
    }
}

void pn_project_add(const pn_project_t *p, const uint8_t *d, int first, int group, int32_t *acc) {
    project(p, d, first, group, 0, p->cout, acc);
}

void pn_project_end(const pn_project_t *p, const int32_t *acc, const int8_t *x, int8_t *out) {
    for (int c = 0; c < p->cout; c++) {
        out[c] = project_end(p, acc[c], c, x);
    }
}

void pn_pool_add(const int8_t *in, int n, int channels, int zero, int32_t *acc) {
    for (int i = 0; i < n; i++) {
        for (int c = 0; c < channels; c++) {
            acc[c] += *in++ - zero;
        }
    }
}
