// Dense convolutions on the kernels of pn_dsp.h: windows side by side are what the depthwise values are to a
// projection.
#include "engine/kernels/pn_conv.h"

#if PN_DSP

#include "engine/kernels/armv7em/pn_dsp.h"

// Whether windows inside the lines are widened from where they lie: a picture's, three channels under 3x3.
static bool by_nine(const pn_conv_t *c) {
    const pn_taps_t *in = &c->in;
    bool together = in->step == 3 && in->pixel_step == 3;
    return c->cin == 3 && in->lines == 3 && in->pixels == 3 && together && in->rows[0] && in->rows[1] && in->rows[2];
}

// Widens the windows of `pixels` output pixels, the first one of them pixel `at` of those that are made. `room` is for
// a window.
static void each(const pn_conv_t *c, int x0, uint32_t at, uint32_t pixels, int8_t *room) {
    for (; pixels > 0; pixels--, at++, x0 += c->stride) {
        uint8_t *x = c->work + at / 2 * 112 + at % 2 * 4;
        pn_windows_t window = pn_conv_windows(c, x0, 1, room);
        pn_widen_t w = { window.at, 0, 7, (int16_t *)(void *)x, 1, 0, 0 };
        pn_dsp_widen(&w);
    }
}

// Those that lie in the lines as they are, and at the lines' ends one by one.
static void nines(const pn_conv_t *c, int x0, uint32_t pixels, int8_t *room) {
    int before = x0 < 0 ? (c->stride - 1 - x0) / c->stride : 0, last = (c->in.w - 3 - x0) / c->stride;
    uint32_t from = (uint32_t)before, to = c->in.w - 3 < x0 ? 0 : (uint32_t)last + 1;
    to = to < pixels ? to : pixels;
    from = from < to ? from : to;
    each(c, x0, 0, from, room);
    if (from < to) {
        const uint8_t *lines[3];
        for (int l = 0; l < 3; l++) {
            lines[l] = c->in.rows[l] + 3 * (x0 + (int)from * c->stride);
        }
        pn_dsp_windows9(lines, 3 * c->stride, (int16_t *)(void *)c->work, from, to - from);
    }
    each(c, x0 + (int)to * c->stride, to, pixels - to, room);
}

void pn_conv_pixels(const pn_conv_t *c, int x0, uint32_t pixels, int8_t *out, int step) {
    uint32_t row = (uint32_t)(c->in.lines * c->in.pixels * c->cin), quads = (row + 3) / 4, pairs = (pixels + 1) / 2;
    uint8_t *unpacked = c->work + 16 * quads * pairs;
    if (c->cout > 1 && by_nine(c)) {
        nines(c, x0, pixels, (int8_t *)unpacked);
    } else {
        // one window into the room for weights, so that none is written over before it is widened
        pn_windows_t windows = pn_conv_windows(c, x0, pixels, (int8_t *)unpacked - 8 * quads * pairs + 4 * quads);
        if (c->cout == 1) {
            pn_conv_dots(c, windows, pixels, out, step);
            return;
        }
        pn_widen_t w = { windows.at, windows.step, quads, (int16_t *)(void *)c->work, 0, pixels / 2, pixels & 1 };
        pn_dsp_widen(&w);
    }
    pn_tiles_t t = {
        .unpacked = unpacked,
        .quads = quads,
        .w = (const uint8_t *)c->weight,
        .bm = c->bias,
        .d = c->work,
        .out = out,
        .out_step = step,
        .x = c->x,
        .x_step = c->x_step,
        .res_mult = c->res_mult,
        .zero_q8 = c->zero_q8,
        .full = pixels / 2,
        .tail = pixels & 1,
        .couts = (uint32_t)c->cout / 2,
        .shift = (uint32_t)c->shift,
        .row = row,
        .mult = (uint32_t)((const uint8_t *)c->mult - (const uint8_t *)c->bias),
        .next = 8,
    };
    pn_dsp_dense(&t);
    if (c->cout & 1) { // the last one is made together with the one before, once more
        uint32_t before = (uint32_t)c->cout - 2;
        t.w += before * row;
        t.bm += before;
        t.out += before;
        t.x += t.x != NULL ? before : 0;
        t.couts = 1;
        pn_dsp_dense(&t);
    }
}

#endif
