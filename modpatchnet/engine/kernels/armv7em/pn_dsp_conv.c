// Dense convolutions on the kernels of pn_dsp.h: windows side by side are what the depthwise values are to a
// projection.
#include "engine/kernels/pn_conv.h"

#if PN_DSP

#include "engine/kernels/armv7em/pn_dsp.h"

// How windows that are whole in the lines, which are all there, can be widened from where they lie: words of each line
// (0: not so), or nine bytes of each, a picture's under 3x3.
typedef struct {
    uint32_t words;
    bool nine;
} inside_t;

static inside_t inside_of(const pn_conv_t *c) {
    const pn_taps_t *in = &c->in;
    uint32_t values = (uint32_t)(in->pixels * c->cin);
    bool together = in->step == c->cin && in->pixel_step == c->cin;
    for (int l = 0; l < in->lines; l++) {
        together = together && in->rows[l] != NULL;
    }
    inside_t i = { together && values % 4 == 0 ? values / 4 : 0,
        together && c->cin == 3 && values == 9 && in->lines == 3 };
    return i;
}

// The place of output pixel `at`.
static int16_t *place(const pn_conv_t *c, uint32_t quads, uint32_t at) {
    return (int16_t *)(void *)(c->work + at / 2 * quads * 16 + at % 2 * 4);
}

// Widens windows one by one, `pixels` from pixel `at` on. `room` is for a window.
static void each(const pn_conv_t *c, uint32_t quads, int x0, uint32_t at, uint32_t pixels, int8_t *room) {
    for (; pixels > 0; pixels--, at++, x0 += c->stride) {
        pn_widen_t w = { pn_conv_windows(c, x0, 1, room).at, 0, quads, place(c, quads, at), 1, 0, 0 };
        pn_dsp_widen(&w);
    }
}

// Those that are whole in the lines, line by line, two pixels at a time.
static void by_lines(const pn_conv_t *c, uint32_t words, uint32_t quads, int x0, uint32_t at, uint32_t pixels) {
    for (uint32_t n; pixels > 0; pixels -= n, at += n, x0 += (int)n * c->stride) {
        n = at % 2 == 0 && pixels > 1 ? 2 : 1;
        pn_widen_t w = { NULL, c->stride * c->cin, words, place(c, quads, at), n == 1, n == 2, 0 };
        for (int l = 0; l < c->in.lines; l++, w.x += 8 * words) {
            w.in = (const int8_t *)c->in.rows[l] + x0 * c->cin;
            pn_dsp_widen(&w);
        }
    }
}

static void by_nine(const pn_conv_t *c, int x0, uint32_t at, uint32_t pixels) {
    const uint8_t *lines[3];
    for (int l = 0; l < 3; l++) {
        lines[l] = c->in.rows[l] + 3 * x0;
    }
    pn_dsp_windows9(lines, 3 * c->stride, (int16_t *)(void *)c->work, at, pixels);
}

// Those that lie in the lines as they are, and at the lines' ends one by one.
static void widen_inside(const pn_conv_t *c, inside_t inside, uint32_t quads, int x0, uint32_t pixels, int8_t *room) {
    int before = x0 < 0 ? (c->stride - 1 - x0) / c->stride : 0, most = c->in.w - c->in.pixels - x0;
    uint32_t from = (uint32_t)before, to = most < 0 ? 0 : (uint32_t)(most / c->stride) + 1;
    to = to < pixels ? to : pixels;
    from = from < to ? from : to;
    each(c, quads, x0, 0, from, room);
    if (inside.nine && from < to) {
        by_nine(c, x0 + (int)from * c->stride, from, to - from);
    } else {
        by_lines(c, inside.words, quads, x0 + (int)from * c->stride, from, to - from);
    }
    each(c, quads, x0 + (int)to * c->stride, to, pixels - to, room);
}

// Widens the windows of `pixels` output pixels.
static void widen(const pn_conv_t *c, int x0, uint32_t pixels, uint32_t quads) {
    uint32_t pairs = (pixels + 1) / 2;
    int8_t *behind = (int8_t *)c->work + 16 * quads * pairs;
    inside_t inside = inside_of(c);
    if (c->in.lines > 1 && (inside.words > 0 || inside.nine)) {
        widen_inside(c, inside, quads, x0, pixels, behind);
        return;
    }
    // so far behind that none is written over before it is widened
    pn_windows_t windows = pn_conv_windows(c, x0, pixels, behind - 8 * quads * pairs + 4 * quads);
    pn_widen_t w = { windows.at, windows.step, quads, (int16_t *)(void *)c->work, 0, pixels / 2, pixels & 1 };
    pn_dsp_widen(&w);
}

void pn_conv_pixels(const pn_conv_t *c, int x0, uint32_t pixels, int8_t *out, int step) {
    uint32_t quads = pn_window_quads(c);
    uint32_t pairs = (uint32_t)c->cout / 2;
    if (c->pairs == NULL) {
        pn_conv_dots(c, pn_conv_windows(c, x0, pixels, (int8_t *)c->work), pixels, out, step);
        return;
    }
    widen(c, x0, pixels, quads);
    pn_tiles_t t = {
        .quads = quads,
        .w = c->pairs,
        .gap = 16,
        .bm = (const int32_t *)(const void *)(c->pairs + 8 * quads),
        .next = pn_pair_bytes(quads),
        .d = c->work,
        .out = out,
        .out_step = step,
        .x = c->x,
        .x_step = c->x_step,
        .res_mult = c->res_mult,
        .zero_q8 = c->zero_q8,
        .full = pixels / 2,
        .tail = pixels & 1,
        .couts = pairs,
        .shift = (uint32_t)c->shift,
    };
    if (pairs > 0) {
        pn_dsp_project(&t);
    }
    if (c->cout & 1) { // the last one is made together with the one before, once more
        t.w += pairs * t.next;
        t.bm += pairs * t.next / 4;
        t.out += c->cout - 2;
        t.x += t.x != NULL ? c->cout - 2 : 0;
        t.couts = 1;
        pn_dsp_project(&t);
    }
}

#endif
