// Blocks: two dense convolutions around which the input goes. A part of pn_stage.c.
#ifndef PN_STAGE_BLOCK_H
#define PN_STAGE_BLOCK_H

// A block's convolutions; the arrays of each lie behind those before.
enum { BLOCK_FIRST, BLOCK_SECOND, BLOCK_SHORTCUT };

static void block_conv(const pn_model_t *m, const pn_stage_t *s, int which, pn_conv_t *c) {
    const uint8_t *p = pn_array(m, pn_weight_off(m, s)), *param = pn_stage_param(m, s);
    int shift_at = PN_PARAM_SHIFT_1, zero_at = PN_PARAM_ZERO_MID;
    c->in.lines = s->along.kernel;
    c->in.pixels = s->across.kernel;
    c->cin = s->cin;
    c->cout = s->cexp;
    p = conv_arrays(s, p, s->cexp, 0, c);
    if (which != BLOCK_FIRST) {
        c->in.lines = s->along.second;
        c->in.pixels = s->across.second;
        c->cin = s->cexp;
        c->cout = s->cout;
        shift_at = PN_PARAM_SHIFT;
        zero_at = PN_PARAM_ZERO_OUT;
        p = conv_arrays(s, p, s->cout, 0, c);
    }
    if (which == BLOCK_SHORTCUT) {
        c->in.lines = c->in.pixels = 1;
        c->cin = s->cin;
        shift_at = PN_PARAM_SHIFT_2;
        zero_at = PN_PARAM_ZERO_ADD;
        conv_arrays(s, p, s->cout, 0, c);
    }
    conv_of(m, s, c);
    c->shift = param[shift_at];
    c->zero_q8 = pn_zero_q8((int8_t)param[zero_at]);
    if (which == BLOCK_SECOND) {
        c->zero = (const int8_t *)param + PN_PARAM_ZERO_MID;
        c->stride = 1;
    }
}

// A line of `pixels` outputs, as many at a time as are worth it, the first kernel beginning with pixel `x0`.
static void block_pixels(const pn_model_t *m, const pn_stage_t *s, pn_conv_t *c, int x0, uint32_t pixels, line_t out) {
    uint32_t quads = pn_window_quads(c);
    uint32_t most = pn_windows_at_once(quads, 0, pixels), n;
    PN_WRITE(c->work, pn_work(s, false).sums, TAG(m, TAG_WORK, s->index, s->done));
    (void)m, (void)s; // only the checking build looks at them
    for (; pixels > 0; pixels -= n) {
        n = pixels < most ? pixels : most;
        pn_conv_pixels(c, x0, n, out.at, out.step);
        x0 += (int)n * c->stride;
        out.at += (int)n * out.step;
        c->x = c->x == NULL ? NULL : c->x + (int)n * c->x_step;
    }
}

// Line `y` between the convolutions.
static PN_APART void block_middle(const pn_model_t *m, const pn_stage_t *s, uint32_t y) {
    pn_conv_t c;
    uint32_t pixels = pn_middle_pixels(s), from, end;
    size_t bytes = (size_t)pixels * s->cexp;
    line_t out = { (int8_t *)m->run.arena + s->wide_at + y % pn_kernel_lines(s) * bytes, s->cexp };
    pn_middle(s, true, s->out_from, s->out_to, &from, &end);
    block_conv(m, s, BLOCK_FIRST, &c);
    map_rows(m, s, y, &c.in);
    block_pixels(m, s, &c, first_pixel(s, from), pixels, out);
    PN_WRITE(out.at, bytes, TAG(m, TAG_WIDE, s->index, y));
    PN_READ(c.work, pn_work(s, false).sums, TAG(m, TAG_WORK, s->index, s->done));
    map_rows(m, s, y, &c.in); // again, for the checking build
}

// What the shortcut makes of the input line under output line `o`, in the work area.
static line_t block_shortcut(const pn_model_t *m, const pn_stage_t *s, line_t in) {
    pn_conv_t c;
    block_conv(m, s, BLOCK_SHORTCUT, &c);
    line_t out = { (int8_t *)c.work + pn_work(s, false).sums, s->cout };
    c.in.rows[0] = (const uint8_t *)in.at;
    c.in.step = in.step;
    c.in.w = (int)pn_pixels_in(s);
    block_pixels(m, s, &c, (int)(s->out_from * s->across.stride) - s->from, pn_pixels_out(s), out);
    PN_WRITE(out.at, pn_pixels_out(s) * s->cout, TAG(m, TAG_KEPT, s->index, s->done));
    return out;
}

// The lines between the convolutions that are under the second one for output line `o`.
static void middle_rows(const pn_model_t *m, const pn_stage_t *s, uint32_t o, pn_taps_t *taps) {
    uint32_t lo, hi, pixels = pn_middle_pixels(s), bytes = s->cexp * pn_size(s);
    int top = (int)o - s->along.second / 2;
    pn_middle(s, false, o, o + 1, &lo, &hi);
    taps->step = (int)bytes;
    taps->w = (int)pixels;
    for (int k = 0; k < s->along.second; k++) {
        uint32_t y = (uint32_t)(top + k);
        bool inside = top + k >= (int)lo && top + k < (int)hi;
        taps->rows[k] = inside ? m->run.arena + s->wide_at + y % pn_kernel_lines(s) * pixels * bytes : NULL;
    }
}

static void block_line(pn_model_t *m, const pn_stage_t *s, uint32_t o) {
    int8_t zero_add = s->zero_in;
    line_t added = residual(m, s, o), out = line_out(m, s, o);
    if (s->flags & PN_FLAG_EXPAND) {
        added = block_shortcut(m, s, added);
        zero_add = (int8_t)pn_stage_param(m, s)[PN_PARAM_ZERO_ADD];
    } else {
        added.at += (s->out_from - s->from) * added.step;
    }
    pn_conv_t c;
    uint32_t from, end;
    block_conv(m, s, BLOCK_SECOND, &c);
    pn_middle(s, true, s->out_from, s->out_to, &from, &end);
    c.res_mult = pn_res_mult(m, s);
    c.zero_q8 -= c.res_mult * zero_add;
    c.x = added.at;
    c.x_step = added.step;
    middle_rows(m, s, o, &c.in);
    block_pixels(m, s, &c, (int)s->out_from - s->across.second / 2 - (int)from, pn_pixels_out(s), out);
    for (uint32_t x = 0; x < pn_pixels_out(s); x++) {
        wrote(m, s, o, out.at + (size_t)x * (size_t)out.step, s->cout);
    }
    PN_READ(c.work, pn_work(s, false).sums, TAG(m, TAG_WORK, s->index, o));
    if (s->flags & PN_FLAG_EXPAND) {
        PN_READ(added.at, pn_pixels_out(s) * s->cout, TAG(m, TAG_KEPT, s->index, o));
    }
}

#endif
