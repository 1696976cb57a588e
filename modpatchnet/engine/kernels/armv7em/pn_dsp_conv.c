// Dense convolutions on the kernels of pn_dsp.h: windows side by side are what the depthwise values are to a
// projection.
#include "engine/kernels/pn_conv.h"

#if PN_DSP

#include "engine/kernels/armv7em/pn_dsp.h"

void pn_conv_pixels(const pn_conv_t *c, int x0, uint32_t pixels, int8_t *out, int step) {
    uint32_t row = (uint32_t)(c->in.lines * c->in.pixels * c->cin), quads = (row + 3) / 4, pairs = (pixels + 1) / 2;
    uint8_t *unpacked = c->work + 16 * quads * pairs;
    // one window into the room for weights, so that none is written over before it is widened
    pn_windows_t windows = pn_conv_windows(c, x0, pixels, (int8_t *)unpacked - 8 * quads * pairs + 4 * quads);
    if (c->cout == 1) {
        pn_conv_dots(c, windows, pixels, out, step);
        return;
    }
    pn_widen_t w = { windows.at, windows.step, quads, (int16_t *)(void *)c->work, 0, pixels / 2, pixels & 1 };
    pn_dsp_widen(&w);
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
    pn_dsp_project(&t);
    if (c->cout & 1) { // the last one is made together with the one before, once more
        uint32_t before = (uint32_t)c->cout - 2;
        t.w += before * row;
        t.bm += before;
        t.out += before;
        t.x += t.x != NULL ? before : 0;
        t.couts = 1;
        pn_dsp_project(&t);
    }
}

#endif
