// Reference kernels in portable C. Inner loops run over contiguous channels, so that a compiler can vectorise them.
#include "engine/kernels/pn_kernels.h"

#include <string.h>

#include "engine/kernels/pn_round.h"
#include "engine/kernels/pn_sse2.h"

// Channels are taken a few at a time, so that the sums need no more than this of the stack.
#define CHUNK 16

// Where the kernel's pixels lie in a line, -1 for those outside the map.
static void positions(const pn_taps_t *t, int x0, int *at) {
    for (int k = 0; k < t->pixels; k++) {
        int x = x0 + k;
        at[k] = x < 0 || x >= t->w ? -1 : x * t->step;
    }
}

static uint8_t wide_end(int32_t acc, int shift, int32_t mult, bool is_signed) {
    int32_t v = pn_wide(acc, shift, mult);
    return is_signed ? (uint8_t)pn_clamp(v, -128, 127) : (uint8_t)pn_clamp(v, 0, 255);
}

void pn_expand(const pn_expand_t *e, const int8_t *in, int step, int pixels, uint8_t *out) {
    int32_t acc[CHUNK];
    for (int x = 0; x < pixels; x++, in += step) {
        for (int from = 0; from < e->group; from += CHUNK) {
            int n = e->group - from < CHUNK ? e->group - from : CHUNK;
            memcpy(acc, e->bias + from, (size_t)n * sizeof(acc[0]));
            pn_dots(in, e->weight + from * e->cin, e->cin, e->cin, n, acc);
            for (int i = 0; i < n; i++) {
                *out++ = wide_end(acc[i], e->shift, e->mult[from + i], e->is_signed);
            }
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
    for (int ky = 0; ky < in->lines; ky++) {
        const int8_t *weight = d->weight + from + ky * in->line_step;
        for (int kx = 0; kx < in->pixels; kx++, weight += in->pixel_step) {
            if (in->rows[ky] != NULL && at[kx] >= 0) {
                pn_add_products(in->rows[ky] + at[kx] + from, d->in_signed, weight, n, acc);
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
            *out++ = wide_end(acc[i], d->shift, d->mult[from + i], d->out_signed);
        }
    }
}

// acc[0..n-1] += values * weights of `group` channels, outputs from..from+n-1
static void project(const pn_project_t *p, const uint8_t *d, int first, int group, int from, int n, int32_t *acc) {
    pn_add_rows(d, p->is_signed, group, p->weight + (size_t)first * (size_t)p->cout + from, p->cout, n, acc);
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

// acc or most of channels from..from+n-1 takes in what of the window lies inside.
static void pool_chunk(const pn_pool_t *p, const int *at, int from, int n, int32_t *acc) {
    for (int ky = 0; ky < p->in.lines; ky++) {
        for (int kx = 0; kx < p->in.pixels && p->in.rows[ky] != NULL; kx++) {
            const int8_t *in = (const int8_t *)p->in.rows[ky] + at[kx] + from;
            for (int i = 0; i < n && at[kx] >= 0; i++) {
                acc[i] = p->mean ? acc[i] + in[i] - p->zero_in : acc[i] > in[i] ? acc[i] : in[i];
            }
        }
    }
}

void pn_pool_pixel(const pn_pool_t *p, int x0, int8_t *out) {
    int at[PN_MAX_KERNEL];
    int32_t acc[CHUNK];
    positions(&p->in, x0, at);
    for (int from = 0; from < p->channels; from += CHUNK) {
        int n = p->channels - from < CHUNK ? p->channels - from : CHUNK;
        for (int i = 0; i < n; i++) {
            acc[i] = p->mean ? 0 : INT8_MIN;
        }
        pool_chunk(p, at, from, n, acc);
        for (int i = 0; i < n; i++) {
            *out++ = p->mean ? pn_narrow_end(pn_narrow_q8(acc[i], p->shift, p->mult) + p->zero_q8) : (int8_t)acc[i];
        }
    }
}

void pn_pool_end(const pn_pool_t *p, const int32_t *acc, int8_t *out) {
    for (int c = 0; c < p->channels; c++) {
        out[c] = pn_narrow_end(pn_narrow_q8(acc[c], p->shift, p->mult) + p->zero_q8);
    }
}

void pn_to_int4(const int8_t *in, int bytes, int8_t *out) {
    for (int i = 0; i < bytes; i++, in += 2) {
        int low = in[0] + 8, high = in[1] + 8;
        low = low > INT8_MAX ? INT8_MAX : low;
        high = high > INT8_MAX ? INT8_MAX : high;
        out[i] = (int8_t)((low >> 4 & 15) | (high & ~15));
    }
}

void pn_from_int4(const int8_t *in, int bytes, int8_t *out) {
    for (int i = 0; i < bytes; i++, out += 2) {
        uint8_t both = (uint8_t)in[i];
        out[0] = (int8_t)(uint8_t)(both << 4);
        out[1] = (int8_t)(both & 0xf0);
    }
}

void pn_pool_most(const int8_t *in, int n, int channels, int8_t *most) {
    for (int i = 0; i < n; i++) {
        for (int c = 0; c < channels; c++, in++) {
            most[c] = most[c] > *in ? most[c] : *in;
        }
    }
}

#if !PN_DSP

void pn_pool_add(const int8_t *restrict in, int n, int channels, int zero, int32_t *restrict acc) {
    for (int i = 0; i < n; i++) {
        for (int c = 0; c < channels; c++) {
            acc[c] += *in++ - zero;
        }
    }
}

void pn_add_products(const uint8_t *in, bool is_signed, const int8_t *weight, int n, int32_t *acc) {
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

void pn_add_rows(const uint8_t *in, bool is_signed, int count, const int8_t *weight, int step, int n, int32_t *acc) {
    for (int c = 0; c < count; c++, weight += step) {
        int32_t v = is_signed ? (int8_t)in[c] : in[c];
        for (int i = 0; i < n; i++) {
            acc[i] += v * weight[i];
        }
    }
}

#if defined(__SSE2__) // compilers widen to 32 bits
static inline __m128i eight(const int8_t *p) {
    return pn_signed(pn_load8(p));
}

// The last eight of `n` values, without those that whole eights before them have.
static inline __m128i last_of(const int8_t *p, int n) {
    static const int16_t behind[16] = { 0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1 };
    return _mm_and_si128(eight(p + n - 8), pn_load(behind + n % 8));
}

// Those of `outputs` that are whole fours, of eight values or more. Returns how many.
static int dots_in_fours(const int8_t *x, const int8_t *w, int n, int step, int outputs, int32_t *sums) {
    int i = 0;
    for (; i + 4 <= outputs && n >= 8; i += 4, w += 4 * step) {
        __m128i four[4], values = n % 8 ? last_of(x, n) : _mm_setzero_si128();
        for (int k = 0; k < 4; k++) {
            four[k] = _mm_madd_epi16(values, eight(w + k * step + n - 8));
        }
        for (int at = 0; at + 8 <= n; at += 8) {
            values = eight(x + at);
            for (int k = 0; k < 4; k++) {
                four[k] = pn_madd(four[k], values, eight(w + k * step + at));
            }
        }
        pn_add_lanes(four[0], four[1], four[2], four[3], sums + i);
    }
    return i;
}
#endif

int32_t pn_dot(const int8_t *a, const int8_t *b, int n, int32_t bias) {
#if defined(__SSE2__)
    __m128i sums = _mm_setzero_si128();
    for (; n >= 8; n -= 8, a += 8, b += 8) {
        sums = pn_madd(sums, eight(a), eight(b));
    }
    sums = _mm_add_epi32(sums, _mm_srli_si128(sums, 8));
    bias += _mm_cvtsi128_si32(sums) + _mm_cvtsi128_si32(_mm_srli_si128(sums, 4));
#endif
    for (int i = 0; i < n; i++) {
        bias += a[i] * b[i];
    }
    return bias;
}

void pn_dots(const int8_t *x, const int8_t *w, int n, int step, int outputs, int32_t *sums) {
    int i = 0;
#if defined(__SSE2__)
    i = dots_in_fours(x, w, n, step, outputs, sums);
    w += i * step;
#endif
    for (; i < outputs; i++, w += step) {
        sums[i] = pn_dot(x, w, n, sums[i]);
    }
}

#endif
