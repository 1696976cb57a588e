// Windows of dense convolutions, and the portable implementation.
#include "engine/kernels/pn_conv.h"

#include <string.h>

#include "engine/kernels/pn_round.h"
#include "engine/kernels/pn_sse2.h"

// memcpy for a few bytes, without a call: words, the last one of which may begin within the one before.
static inline void copy(int8_t *to, const int8_t *from, int n) {
    const int8_t *last = from + n - 4;
    if (n < 4) {
        while (n-- > 0) {
            *to++ = *from++;
        }
        return;
    }
    memcpy(to + n - 4, last, 4);
    for (; from < last; to += 4, from += 4) {
        memcpy(to, from, 4);
    }
}

static void outside(const pn_conv_t *c, int8_t *to) {
    for (int i = 0; i < c->cin; i++) {
        to[i] = c->zero[i * c->zero_step];
    }
}

// A line of a window that is not together in the map, pixel by pixel.
static void pixels(const pn_conv_t *c, const int8_t *row, int x, int8_t *to) {
    const pn_taps_t *in = &c->in;
    for (int p = 0; p < in->pixels; p++, x++, to += in->pixel_step) {
        if (row != NULL && x >= 0 && x < in->w) {
            copy(to, row + x * in->step, c->cin);
        } else {
            outside(c, to);
        }
    }
}

// One window whose first pixel is `x0`.
static void window(const pn_conv_t *c, int x0, int8_t *to) {
    const pn_taps_t *in = &c->in;
    bool together = x0 >= 0 && x0 + in->pixels <= in->w && in->step == c->cin && in->pixel_step == c->cin;
    for (int l = 0, n = in->pixels * c->cin; l < in->lines; l++, to += in->line_step) {
        const int8_t *row = (const int8_t *)in->rows[l];
        if (together && row != NULL) {
            copy(to, row + x0 * c->cin, n);
        } else {
            pixels(c, row, x0, to);
        }
    }
}

pn_windows_t pn_conv_windows(const pn_conv_t *c, int x0, uint32_t pixels, int8_t *room) {
    if (c->in.lines * c->in.pixels == 1 && c->cin % 4 == 0) {
        pn_windows_t inside = { (const int8_t *)c->in.rows[0] + x0 * c->in.step, c->stride * c->in.step };
        return inside;
    }
    pn_windows_t brought = { room, 4 * (int)pn_window_quads(c) };
    for (; pixels > 0; pixels--, x0 += c->stride, room += brought.step) {
        window(c, x0, room);
    }
    return brought;
}

static int8_t end(const pn_conv_t *c, int32_t acc, int32_t mult, const int8_t *x) {
    int32_t added = x == NULL ? 0 : c->res_mult * *x;
    return pn_narrow_end(pn_narrow_q8(acc, c->shift, mult) + c->zero_q8 + added);
}

void pn_conv_dots(const pn_conv_t *c, pn_windows_t windows, uint32_t pixels, int8_t *out, int step) {
    int n = c->in.lines * c->in.pixels * c->cin;
    const int8_t *x = c->x;
    for (; pixels > 0; pixels--, windows.at += windows.step, out += step) {
        const int8_t *weight = c->weight;
        for (int i = 0; i < c->cout; i++, weight += n) {
            out[i] = end(c, pn_dot(windows.at, weight, n, c->bias[i]), c->mult[i], x == NULL ? NULL : x + i);
        }
        x = x == NULL ? NULL : x + c->x_step;
    }
}

#if !PN_DSP

#if defined(__SSE2__)
// Eight values, four of which may be zeros, as 16-bit ones in the order of their weights.
static void widen(const int8_t *in, uint32_t quads, int16_t *to) {
    for (; quads > 0; quads -= quads > 1 ? 2 : 1, in += 8, to += 8) {
        __m128i v = pn_signed(quads > 1 ? pn_load8(in) : pn_load4(in));
        v = _mm_shufflehi_epi16(_mm_shufflelo_epi16(v, 0xd8), 0xd8);
        if (quads > 1) {
            pn_store(to, v);
        } else {
            pn_store8(to, v);
        }
    }
}

typedef struct {
    __m128i xa, xb, ya, yb;
} four_t;

static inline void add_products(four_t *f, __m128i x, __m128i y, __m128i both) {
    __m128i a = pn_first_of(both), b = pn_second_of(both);
    f->xa = pn_madd(f->xa, x, a);
    f->xb = pn_madd(f->xb, x, b);
    f->ya = pn_madd(f->ya, y, a);
    f->yb = pn_madd(f->yb, y, b);
}

// Adds the products of two pixels' windows with two outputs' weights to sums: x's a and b, y's a and b.
static void pair_sums(const int16_t *x, const int16_t *y, const uint8_t *w, uint32_t quads, int32_t *sums) {
    __m128i zero = _mm_setzero_si128();
    four_t f = { zero, zero, zero, zero };
    for (; quads > 1; quads -= 2, x += 8, y += 8, w += 16) {
        add_products(&f, pn_load(x), pn_load(y), pn_load(w));
    }
    if (quads > 0) {
        add_products(&f, pn_load8(x), pn_load8(y), pn_load8(w));
    }
    pn_add_lanes(f.xa, f.xb, f.ya, f.yb, sums);
}
#else
// Values as 16-bit ones in the order of their weights.
static void widen(const int8_t *in, uint32_t quads, int16_t *to) {
    for (; quads > 0; quads--, in += 4, to += 4) {
        to[0] = in[0];
        to[1] = in[2];
        to[2] = in[1];
        to[3] = in[3];
    }
}

// Adds the products of two pixels' windows with two outputs' weights to sums: x's a and b, y's a and b.
static void pair_sums(const int16_t *x, const int16_t *y, const uint8_t *w, uint32_t quads, int32_t *sums) {
    for (uint32_t i = 0; i < 4 * quads; i++, w += 2) {
        pn_two_t two = pn_two(w);
        sums[0] += x[i] * two.a;
        sums[1] += x[i] * two.b;
        sums[2] += y[i] * two.a;
        sums[3] += y[i] * two.b;
    }
}
#endif

// Outputs `at` and at + 1, whose arrays `pair` is, of pixels whose windows are there.
static void pair_pixels(const pn_conv_t *c, const uint8_t *pair, int at, uint32_t pixels, int8_t *out, int step) {
    uint32_t quads = pn_window_quads(c);
    const int32_t *bias = (const int32_t *)(const void *)(pair + 8 * quads), *mult = bias + 2;
    const int16_t *x = (const int16_t *)(const void *)c->work;
    const int8_t *added = c->x == NULL ? NULL : c->x + at;
    out += at;
    for (uint32_t n; pixels > 0; pixels -= n, x += 8 * quads) {
        int32_t sums[4] = { bias[0], bias[1], bias[0], bias[1] };
        n = pixels > 1 ? 2 : 1;
        pair_sums(x, n > 1 ? x + 4 * quads : x, pair, quads, sums);
        for (uint32_t k = 0; k < 2 * n; k += 2, out += step) {
            out[0] = end(c, sums[k], mult[0], added);
            out[1] = end(c, sums[k + 1], mult[1], added == NULL ? NULL : added + 1);
            added = added == NULL ? NULL : added + c->x_step;
        }
    }
}

void pn_conv_pixels(const pn_conv_t *c, int x0, uint32_t pixels, int8_t *out, int step) {
    uint32_t quads = pn_window_quads(c);
    int16_t *x = (int16_t *)(void *)c->work;
    int8_t *room = (int8_t *)(x + 4 * quads * pixels);
    if (c->pairs == NULL) {
        pn_conv_dots(c, pn_conv_windows(c, x0, pixels, (int8_t *)c->work), pixels, out, step);
        return;
    }
    for (uint32_t i = 0; i < pixels; i++) {
        widen(pn_conv_windows(c, x0 + (int)i * c->stride, 1, room).at, quads, x + 4 * quads * i);
    }
    const uint8_t *pair = c->pairs;
    for (int at = 0; at < c->cout; at += 2, pair += pn_pair_bytes(quads)) {
        pair_pixels(c, pair, at + 1 < c->cout ? at : at - 1, pixels, out, step);
    }
}

#endif
