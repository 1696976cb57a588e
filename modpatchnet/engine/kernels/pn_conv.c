// Windows of dense convolutions, and the portable implementation.
#include "engine/kernels/pn_conv.h"

#include <string.h>

#include "engine/kernels/pn_round.h"

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
    int taps = c->in.lines * c->in.pixels;
    if (taps == 1 && c->cin % 4 == 0) {
        pn_windows_t inside = { (const int8_t *)c->in.rows[0] + x0 * c->in.step, c->stride * c->in.step };
        return inside;
    }
    pn_windows_t brought = { room, 4 * (int)pn_conv_quads((uint32_t)taps, (uint32_t)c->cin) };
    for (; pixels > 0; pixels--, x0 += c->stride, room += brought.step) {
        window(c, x0, room);
    }
    return brought;
}

void pn_conv_dots(const pn_conv_t *c, pn_windows_t windows, uint32_t pixels, int8_t *out, int step) {
    int n = c->in.lines * c->in.pixels * c->cin;
    const int8_t *x = c->x;
    int32_t sums[4];
    for (; pixels > 0; pixels--, windows.at += windows.step, out += step) {
        const int8_t *weight = c->weight;
        for (int i = 0; i < c->cout; i++, weight += n) {
            int32_t acc, added = x == NULL ? 0 : c->res_mult * x[i];
            if (PN_DSP) { // which has kernels of its own for more than one output
                acc = pn_dot(windows.at, weight, n, c->bias[i]);
            } else {
                if (i % 4 == 0) {
                    int some = c->cout - i < 4 ? c->cout - i : 4;
                    memcpy(sums, c->bias + i, (size_t)some * sizeof(sums[0]));
                    pn_dots(windows.at, weight, n, n, some, sums);
                }
                acc = sums[i % 4];
            }
            out[i] = pn_narrow_end(pn_narrow_q8(acc, c->shift, c->mult[i]) + c->zero_q8 + added);
        }
        x = x == NULL ? NULL : x + c->x_step;
    }
}

#if !PN_DSP

void pn_conv_pixels(const pn_conv_t *c, int x0, uint32_t pixels, int8_t *out, int step) {
    pn_conv_dots(c, pn_conv_windows(c, x0, pixels, (int8_t *)c->work), pixels, out, step);
}

#endif
