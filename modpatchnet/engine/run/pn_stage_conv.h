// Dense convolutions, line by line. A part of pn_stage.c.
#ifndef PN_STAGE_CONV_H
#define PN_STAGE_CONV_H

// The order of taps of weights that lie as [row][column][n] when lines are rows or columns.
static void tap_order(const pn_model_t *m, const pn_stage_t *s, int n, pn_taps_t *taps) {
    taps->kernel = s->kernel;
    taps->line_step = m->run.segment.columns ? n : n * s->kernel;
    taps->pixel_step = m->run.segment.columns ? n * s->kernel : n;
    taps->w = (int)pn_pixels_in(s);
}

// The kernel's first line for output line `o`, which may lie outside the map, and those inside it.
static int lines_under(const pn_stage_t *s, uint32_t o, uint32_t *lo, uint32_t *hi) {
    pn_needs(s, o, o + 1, lo, hi);
    return (int)(o * s->stride) - s->kernel / 2;
}

// The kernel's first pixel for output pixel `x`, counted from the input line's first needed one.
static int first_pixel(const pn_stage_t *s, uint32_t x) {
    return (int)(x * s->stride) - s->kernel / 2 - s->from;
}

static void map_rows(const pn_model_t *m, int t, uint32_t o, pn_taps_t *taps) {
    const pn_stage_t *s = &pn_stages(m)[t];
    uint32_t lo, hi;
    int top = lines_under(s, o, &lo, &hi);
    for (int k = 0; k < s->kernel; k++) {
        taps->rows[k] = NULL;
        if (top + k >= (int)lo && top + k < (int)hi) {
            line_t line = line_in(m, t, (uint32_t)(top + k));
            taps->rows[k] = (const uint8_t *)line.at;
            taps->step = line.step;
        }
    }
}

// For `n` outputs from s->channel on.
static pn_conv_t conv_of(const pn_model_t *m, const pn_stage_t *s, uint32_t n) {
    pn_scaled_t a = pn_scaled_from(m, s->weight_off, s->cout, (uint32_t)s->kernel * s->kernel * s->cin, s->channel);
    pn_conv_t c = {
        .zero = s->index ? &s->zero_in : (const int8_t *)m->blob + PN_HEADER_INPUT_ZERO,
        .zero_step = s->index == 0,
        .weight = a.weight,
        .bias = a.bias,
        .mult = a.mult,
        .zero_q8 = pn_zero_q8(s->zero_out),
        .cin = s->cin,
        .cout = (int)n,
        .stride = s->stride,
        .shift = s->shift,
        .work = m->run.arena + m->run.segment.work_at,
    };
    tap_order(m, s, s->cin, &c.in);
    return c;
}

// Samples what the kernels of `n` output pixels from `x` on reach of the picture, into the work area. Returns the first
// kernel's first pixel.
static int sample_block(const pn_model_t *m, const pn_stage_t *s, uint32_t o, uint32_t x, uint32_t n, pn_conv_t *c) {
    uint32_t lo, hi;
    int top = lines_under(s, o, &lo, &hi), x0 = first_pixel(s, x), end = x0 + (int)(n - 1) * s->stride + s->kernel;
    int from = x0 > 0 ? x0 : 0, to = end < (int)pn_pixels_in(s) ? end : (int)pn_pixels_in(s);
    int8_t *line = (int8_t *)c->work + pn_work(s, false).sums;
    c->in.w = to - from;
    c->in.step = s->cin;
    for (int y = top; y < top + s->kernel; y++) {
        bool inside = y >= (int)lo && y < (int)hi;
        c->in.rows[y - top] = inside ? (const uint8_t *)line : NULL;
        if (inside) {
            sample(m, (uint32_t)y, s->from + (uint32_t)from, (uint32_t)(to - from), line);
            line += (to - from) * s->cin;
        }
    }
    return x0 - from;
}

// One output line of a convolution: the outputs from s->channel on that are made now.
static void conv_line(pn_model_t *m, int t, uint32_t o) {
    const pn_stage_t *s = &pn_stages(m)[t];
    uint32_t n;
    pn_conv_t c = conv_of(m, s, pn_part_channels(m, s));
    line_t out = line_out(m, t, o);
    if (pn_grouped_conv(s)) {
        out.step = c.cout;
    } else {
        out.at += s->channel;
    }
    // before any line is read
    PN_WRITE(c.work, pn_work(s, false).sums + pn_work(s, false).wide, TAG(m, TAG_WORK, s->index, o));
    if (s->mode != PN_MODE_WINDOW) {
        map_rows(m, t, o, &c.in);
    }
    for (uint32_t x = s->out_from, most = pn_conv_at_once(s); x < s->out_to; x += n) {
        n = s->out_to - x < most ? s->out_to - x : most;
        int x0 = s->mode == PN_MODE_WINDOW ? sample_block(m, s, o, x, n, &c) : first_pixel(s, x);
        pn_conv_pixels(&c, x0, n, out.at, out.step);
        for (uint32_t i = 0; i < n; i++, out.at += out.step) {
            wrote(m, t, o, out.at, c.cout);
        }
    }
}

#endif
